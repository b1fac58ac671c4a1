"""How much of the training time is spent in steps, and how far ahead of them the data are.

    python -m benchmarks.loop [--config configs/davis.py:small] [--data_dir data]
        [--set data.train=folder/mine:train ...] [--phases dynamic static joint] [--steps 40]

For each kind of phase: the loop as training runs it, with its data, logging and the checkpoint at
its end; the same steps on a batch that lies on the device; and the data alone. Efficiency is the
second over the first. χ's labels are drawn, which changes no time.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.settings import load_config
from dystab_jax import cli, parallel
from dystab_jax.bootstrap import Phase, Training
from dystab_jax.build import Run
from dystab_jax.cores import use_cores
from dystab_jax.huge_pages import restart_with_huge_pages
from dystab_jax.interruption import Interruption
from dystab_jax.pseudo_labels import PseudoLabels

PHASES = ("dynamic", "static", "joint")
FIRST = 2
"""Steps that are not counted: the first compiles, the next finds memory where it will be."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Seconds of ``steps`` steps.

    Attributes:
      loop: as training runs them.
      alone: on a batch that lies on the device.
      data: their batches, with nothing else to do.
    """

    steps: int
    loop: float
    alone: float
    data: float


class _Training(Training):
    """Training of single phases, χ's labels drawn."""

    def labels(self, phase: Phase) -> PseudoLabels | None:
        if phase.kind != "static":
            return None
        data = self._data["static"]
        rng, frames = np.random.default_rng(0), len(data.frames)
        height, width = data.decoded.size
        mask = rng.integers(0, 256, (frames, -(-height * width // 8)), np.uint8)
        number = rng.random(frames, np.float32)
        return PseudoLabels(
            data.decoded.size,
            {"motion_mask": mask, "static_mask": mask},
            {"confidence_phi": number, "confidence_chi": number},
        )


def measure(run: Run, kind: str, steps: int) -> Measured:
    """Trains for some steps of one kind.

    Raises:
      ValueError: the config has no such phase.
    """
    with _Training(run, Interruption()) as training:
        plan = [phase for phase in training.phases if phase.kind == kind]
        if not plan:
            raise ValueError(f"the config has no phase of kind {kind}")
        start = dataclasses.replace(plan[0], start=0, end=FIRST)
        timed = dataclasses.replace(plan[0], start=FIRST, end=FIRST + steps)
        training.phases = (start, timed)
        training.run_phase(start)
        jax.block_until_ready(training.state)
        began = time.perf_counter()
        training.run_phase(timed)
        jax.block_until_ready(training.state)
        loop = time.perf_counter() - began

        batches = training.batches(timed, training.labels(timed))
        batch = next(batches)
        began = time.perf_counter()
        for _ in range(steps):
            next(batches)
        data = time.perf_counter() - began

        step, state = training.step_function(timed), training.state
        shards = jax.block_until_ready(parallel.shard(batch, run.mesh))
        began = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, shards)
        jax.block_until_ready(state)
        alone = time.perf_counter() - began
    return Measured(steps, loop, alone, data)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default="configs/davis.py:small")
    add("--data_dir", type=Path, default=Path("data"))
    add("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the config")
    add("--phases", nargs="+", choices=PHASES, default=PHASES)
    add("--steps", type=int, default=40)
    arguments = parser.parse_args(argv)
    settings = [*arguments.set, f"data.dir={arguments.data_dir}"]
    try:
        _run(load_config(arguments.config, settings), arguments)
    except cli.USER_ERRORS as error:
        sys.exit(f"error: {error}")


def _run(config: ConfigDict, arguments: argparse.Namespace) -> None:
    print(f"{arguments.config}, {arguments.steps} steps of each; ms per step")
    print(f"{'phase':10}{'loop':>9}{'alone':>9}{'data':>9}{'efficiency':>12}{'data ahead':>12}")
    for kind in arguments.phases:
        with tempfile.TemporaryDirectory() as workdir:
            one = measure(Run.of(config, Path(workdir)), kind, arguments.steps)
        loop, alone, data = (1e3 * s / one.steps for s in (one.loop, one.alone, one.data))
        print(
            f"{kind:10}{loop:9.1f}{alone:9.1f}{data:9.1f}{alone / loop:12.1%}{alone / data:11.1f}x",
            flush=True,
        )


if __name__ == "__main__":
    restart_with_huge_pages()
    use_cores()
    main()
