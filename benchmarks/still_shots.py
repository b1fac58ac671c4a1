"""Measures what sensor noise does to masks of shots in which nothing moves.

    python -m benchmarks.still_shots --workdir=runs/demo --noise=3

Draws 30 frames of `movers`' test split, each shown four times with new noise of the given grey
levels, and predicts their masks by a trained run: by φ and χ together, as users do, and by χ alone.
There is no motion to see, so both should be the same.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.datasets.drawing import draw_video
from data_prep.video import Recipe
from dystab_jax.build import Run
from dystab_jax.commands.runs import open_runs
from dystab_jax.evaluation import metrics, snapshots
from dystab_jax.prediction.engine import Engine
from dystab_jax.prediction.progress import Progress
from dystab_jax.prediction.sources import ArrayFrames

SHOTS = 30
FRAMES = 4
HEIGHT, WIDTH = 192, 320


def draw_shot(number: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws a shot.

    Args:
      number: of the shot.
      noise: standard deviation of the sensor's noise, grey levels.

    Returns:
      Its frames, uint8 [4, H, W, 3], and its truth, bool [H, W].
    """
    drawn = draw_video("test", number % 20, frames=3 + number // 20, height=HEIGHT, width=WIDTH)
    random = np.random.default_rng(number)
    noisy = drawn.frames[-1] + random.normal(0, noise, (FRAMES, *drawn.frames[-1].shape))
    return np.clip(noisy, 0, 255).astype(np.uint8), drawn.masks[-1] > 0


def score_shots(run: Run, variables: dict, noise: float, shots: int = SHOTS) -> np.ndarray:
    """Returns J [shots, 2] of the masks of both together and of χ alone, mean over the frames.

    Args:
      run: gives networks and config.
      variables: of the networks, by name.
      noise: see ``draw_shot``.
      shots: how many.
    """
    alone = copy.deepcopy(run.config)
    alone.eval.fusion = "static"
    engines = [Engine(one, variables, Recipe()) for one in (run, replace(run, config=alone))]
    j = np.empty((shots, 2))
    for number in range(shots):
        frames, truth = draw_shot(number, noise)
        for column, engine in enumerate(engines):
            found = engine.video(ArrayFrames(f"shot{number}", frames), Progress())
            j[number, column] = np.mean([metrics.jaccard(one.mask > 0, truth) for one in found])
    return j


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=Path, required=True, help="of a trained run")
    parser.add_argument("--noise", type=float, default=3.0, help="grey levels")
    options = parser.parse_args(argv)
    (run,) = open_runs(None, options.workdir, "predict")
    j = score_shots(run, snapshots.newest(run).variables, options.noise)
    print(
        f"{len(j)} shots, noise {options.noise:g}: J of both together {j[:, 0].mean():.4f}, of chi "
        f"alone {j[:, 1].mean():.4f}, largest difference {np.abs(j[:, 0] - j[:, 1]).max():.4f}"
    )


if __name__ == "__main__":
    main()
