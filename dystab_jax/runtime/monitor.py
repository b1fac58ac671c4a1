"""Logs what a training run measures, and stops one that cannot become useful."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from tqdm import tqdm

from dystab_jax.runtime import processes
from dystab_jax.runtime.atomic_files import write_whole

ADVICE = (
    "Things to try: the defaults of configs/davis.py (loss.mask_mode=straight_through, "
    "psi.model.parametric=affine, loss.denominator=both), a smaller phi.optimizer.learning_rate, "
    "another seed, and a look at the flow: objects must move apart from the camera."
)

DISTRUSTED_BATCHES = 5
"""Measured batches in a row without a trusted pseudo-label after which a message says so."""

WORRYING = 3
"""Measurements in a row with masks of nothing or all after which a message says so."""


class TrainingStopped(RuntimeError):
    """Signals that training cannot go on in a useful way; says why and what to try."""


class Log:
    """Appends measurements to metrics.jsonl; forgets what a resumed run will measure again."""

    def __init__(self, path: Path, step: int):
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_whole(path, "".join(f"{line}\n" for line in kept))
        # Of several processes only the first writes.
        target = path if processes.is_first() else Path(os.devnull)
        self._file = target.open("a", buffering=1)

    def write(self, step: int, phase: str, values: dict[str, float]) -> None:
        line = {"step": step, "phase": phase} | {k: round(v, 6) for k, v in values.items()}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        self._file.close()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line that a kill cut short
        return math.inf


@dataclass
class Spent:
    """Holds seconds and how many steps they went into."""

    seconds: float = 0.0
    steps: int = 0

    def add(self) -> None:
        """Counts a step."""
        self.steps += 1


class Times:
    """Adds up how long the parts of a run take, in this process."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[Spent]:
        """Measures the time of a ``with`` block, which counts its steps in what it gets."""
        spent = self._spent.setdefault(part, Spent())
        start = time.monotonic()
        try:
            yield spent
        finally:
            spent.seconds += time.monotonic() - start

    def describe(self) -> str:
        """Returns a line for each part that took a second or had steps; "" for none."""
        lines = []
        for part, spent in self._spent.items():
            if spent.steps or spent.seconds >= 1:
                line = f"time    {part}: {spent.seconds / 60:.1f} min"
                if spent.steps:
                    line += f", {spent.steps} steps, {spent.steps / spent.seconds:.2f} a second"
                lines.append(line + "\n")
        return "".join(lines)


class Guard:
    """Stops a run that cannot become useful.

    Args:
      smallest_mask: share of the image under which a batch's masks count as empty.
      patience: measurements in a row that may be empty.
    """

    def __init__(self, smallest_mask: float, patience: int):
        self._smallest, self._patience = smallest_mask, patience
        self._empty = {}
        self._distrusted = 0

    def check(self, phase: str, values: dict[str, float]) -> None:
        """Raises TrainingStopped for a loss that is not finite and for masks that stay empty."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingStopped(f"{name} is {value} in phase {phase}. {ADVICE}")
            if name.endswith("mask_area"):
                smallest = self._smallest
                tiny = not smallest <= value <= 1 - smallest
                self._empty[name] = self._empty.get(name, 0) + 1 if tiny else 0
                if self._empty[name] > self._patience:
                    raise TrainingStopped(
                        f"the masks have collapsed in phase {phase}: {name} is {value:.4f} and has "
                        f"been under bootstrap.smallest_mask={smallest} (or over {1 - smallest}) "
                        f"for {self._empty[name]} measurements, bootstrap.patience="
                        f"{self._patience}. {ADVICE}"
                    )
                if self._empty[name] == WORRYING:
                    tqdm.write(
                        f"warning: phase {phase}: {name} is {value:.4f}, nothing or all is object, "
                        f"in {WORRYING} measurements in a row. Such a network seldom recovers, and "
                        "misleads the others; more video or more updates "
                        "(bootstrap.least_updates) help"
                    )
        if "chi/trusted" in values:
            self._distrusted = 0 if values["chi/trusted"] else self._distrusted + 1
            if self._distrusted == DISTRUSTED_BATCHES:
                tqdm.write(
                    f"phase {phase}: {self._distrusted} measured batches in a row without a "
                    "trusted pseudo-label (Eq. 7): chi learns from itself alone while phi's masks "
                    "are nowhere more confident than its own by loss.margin"
                )

    def check_variables(self, phase: str, variables: Mapping[str, Any]) -> None:
        """Raises TrainingStopped where a variable is not finite, before it is saved.

        Args:
          phase: for the message.
          variables: trees of arrays by network.
        """
        for name, tree in variables.items():
            if not _all_finite(tree):
                raise TrainingStopped(f"variables of {name} are not finite in {phase}. {ADVICE}")


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.array(leaves))
