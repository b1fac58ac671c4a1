"""Measures what sensor noise does to masks of shots in which nothing moves.

    python -m benchmarks.still_shots --workdir=runs/demo --noise=3

Draws 30 frames of `movers`' test split, each shown four times with new noise of the given grey
levels, and predicts their masks by a trained run: by φ and χ together, as users do, and by χ alone.
There is no motion to see, so both should be the same.
"""

import argparse
import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from data_prep.datasets.drawing import draw_video
from dystab_jax.build import Run
from dystab_jax.commands import predict
from dystab_jax.commands.runs import open_runs
from dystab_jax.evaluation import metrics, snapshots

SHOTS = 30
FRAMES = 4
HEIGHT, WIDTH = 192, 320


def write_shot(folder: Path, number: int, noise: float) -> np.ndarray:
    """Writes the frames of a shot as PNGs.

    Args:
      folder: does not exist yet.
      number: of the shot.
      noise: standard deviation of the sensor's noise, grey levels.

    Returns:
      Its truth, uint8 [H, W] of 0 and 1.
    """
    drawn = draw_video("test", number % 20, frames=3 + number // 20, height=HEIGHT, width=WIDTH)
    random = np.random.default_rng(number)
    folder.mkdir()
    for t in range(FRAMES):
        noisy = drawn.frames[-1] + random.normal(0, noise, drawn.frames[-1].shape)
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{t:05d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return (drawn.masks[-1] > 0).astype(np.uint8)


def score_shots(run: Run, variables: dict, noise: float, shots: int = SHOTS) -> np.ndarray:
    """Returns J [shots, 2] of the masks of both together and of χ alone, mean over the frames.

    Args:
      run: gives networks and config.
      variables: of the networks, by name.
      noise: see ``write_shot``.
      shots: how many.
    """
    alone = copy.deepcopy(run.config)
    alone.eval.fusion = "static"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(shots):
            shot = Path(name) / f"shot{number}"
            truth = write_shot(shot, number, noise)
            row = []
            for kind, one in (("fused", run), ("chi", replace(run, config=alone))):
                output = Path(name) / f"{kind}{number}"
                predict.predict(one, variables, shot, output)
                masks = [
                    cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
                    for path in sorted((output / "masks").glob("*.png"))
                ]
                row.append(np.mean([metrics.jaccard(mask, truth > 0) for mask in masks]))
            rows.append(row)
    return np.array(rows)


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
