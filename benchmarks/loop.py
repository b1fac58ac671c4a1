"""Measures how much of the training time steps take, and how far ahead of them the data are.

    python -m benchmarks.loop [--config configs/davis.py:small] [--data_dir data]
        [--set data.train=folder/mine:train ...] [--phases dynamic static joint] [--steps N]

One phase of each kind, one after the other as in training, with as many steps as the run takes: the
loop as training runs it, with its data, logging and the checkpoint at its end; some of its steps on
a batch that lies on the device; and some batches alone, a second time, when all are decoded where
``data.keep_in_memory`` keeps them. Efficiency is the second over the first. χ's labels are drawn,
which changes no time.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks.settings import load_config
from dystab_jax.bootstrap import Phase, Training
from dystab_jax.build import Run
from dystab_jax.commands.user_errors import USER_ERRORS
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.runtime import parallel
from dystab_jax.runtime.cores import use_cores
from dystab_jax.runtime.huge_pages import restart_with_huge_pages
from dystab_jax.runtime.interruption import Interruption

PHASES = ("dynamic", "static", "joint")
FIRST = 2
"""Steps that are not counted: the first compiles, the next finds memory where it will be."""
ENOUGH = 20
"""Steps, or batches, whose time stands for that of all."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Holds seconds of a step.

    Attributes:
      steps: of the loop.
      loop: as training runs them.
      alone: on a batch that lies on the device.
      data: its batch, with nothing else to do.
    """

    steps: int
    loop: float
    alone: float
    data: float


class _Training(Training):
    """Trains single phases, χ's labels drawn."""

    def labels(self, phase: Phase) -> PseudoLabels | None:
        """Draws labels where the phase needs them."""
        if phase.kind != "static":
            return None
        data = self._data["static"]
        rng, frames = np.random.default_rng(0), len(data.frames)
        sizes = np.array(data.sizes())
        mask = rng.integers(0, 256, (frames, -(-sizes.prod(1).max() // 8)), np.uint8)
        number = rng.random(frames, np.float32)
        return PseudoLabels(
            sizes,
            {"motion_mask": mask, "static_mask": mask},
            {"confidence_phi": number, "confidence_chi": number},
        )


def measure(run: Run, kinds: Iterable[str], most: int | None) -> Iterator[tuple[str, Measured]]:
    """Trains for the steps of one phase of each kind.

    Args:
      run: in an empty workdir.
      kinds: of the phases, in their order.
      most: steps of each; None for all of the phase.

    Raises:
      ValueError: the run has no such phase.
    """
    with _Training(run, Interruption()) as training:
        plan = {phase.kind: phase for phase in reversed(training.phases)}
        for kind in kinds:
            if kind not in plan:
                raise ValueError(f"the config has no phase of kind {kind}")
            yield kind, _measure(training, run.mesh, plan[kind], most)


def _measure(training: Training, mesh: Mesh, phase: Phase, most: int | None) -> Measured:
    steps = min(phase.end - phase.start, most or phase.end)
    begin = training.step
    start = dataclasses.replace(phase, start=begin, end=begin + FIRST)
    timed = dataclasses.replace(phase, start=begin + FIRST, end=begin + FIRST + steps)
    training.phases = (start, timed)
    training.run_phase(start)
    jax.block_until_ready(training.state)
    began = time.perf_counter()
    training.run_phase(timed)
    jax.block_until_ready(training.state)
    loop = (time.perf_counter() - began) / steps

    some = min(steps, ENOUGH)
    batches = training.batches(timed, training.labels(timed))
    batch = next(batches)
    began = time.perf_counter()
    for _ in range(some):
        next(batches)
    data = (time.perf_counter() - began) / some

    step, state = training.step_function(timed), training.state
    shards = jax.block_until_ready(parallel.shard(batch, mesh))
    began = time.perf_counter()
    for _ in range(some):
        state, _ = step(state, shards)
    jax.block_until_ready(state)
    alone = (time.perf_counter() - began) / some
    training.state = state
    return Measured(steps, loop, alone, data)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default="configs/davis.py:small")
    add("--data_dir", type=Path, default=Path("data"))
    add("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the config")
    add("--phases", nargs="+", choices=PHASES, default=PHASES)
    add("--steps", type=int, metavar="N", help="at most so many of each phase")
    arguments = parser.parse_args(argv)
    settings = [*arguments.set, f"data.dir={arguments.data_dir}"]
    try:
        _run(load_config(arguments.config, settings), arguments)
    except USER_ERRORS as error:
        sys.exit(f"error: {error}")


def _run(config: ConfigDict, arguments: argparse.Namespace) -> None:
    print(f"{arguments.config}; ms per step")
    print(
        f"{'phase':10}{'steps':>6}{'loop':>9}{'alone':>9}{'data':>9}{'efficiency':>12}"
        f"{'data ahead':>12}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as workdir:
        run = Run.of(config, Path(workdir))
        for kind, one in measure(run, arguments.phases, arguments.steps):
            loop, alone, data = (1e3 * seconds for seconds in (one.loop, one.alone, one.data))
            print(
                f"{kind:10}{one.steps:6}{loop:9.1f}{alone:9.1f}{data:9.1f}{alone / loop:12.1%}"
                f"{alone / data:11.1f}x",
                flush=True,
            )


if __name__ == "__main__":
    restart_with_huge_pages()
    use_cores()
    main()
