"""Traces some steps of training, for XProf and Perfetto."""

from pathlib import Path
from typing import Any

import jax


class Profile:
    """Traces steps ``first`` to ``first + steps - 1`` of a run, counted from 1.

    In the folder, plugins/profile/TIME/ has what XProf and TensorBoard's profile page read, and
    perfetto_trace.json.gz, which https://ui.perfetto.dev opens. Of several processes each writes.
    Used in a ``with`` block, at whose end a trace under way is written.
    """

    def __init__(self, folder: Path, first: int, steps: int):
        """Traces nothing yet.

        Args:
          folder: where traces go.
          first: the first step that is traced.
          steps: how many are.
        """
        self._folder, self._first, self._steps = folder, first, steps
        self._running = self._done = False

    @classmethod
    def parse(cls, folder: Path, text: str | None) -> "Profile | None":
        """Reads START,STEPS, such as 100,20; None for none.

        Raises:
          ValueError: it is not of this form, or not both are at least 1.
        """
        if text is None:
            return None
        numbers = text.split(",")
        if len(numbers) != 2 or not all(n.strip().isdecimal() and int(n) for n in numbers):
            raise ValueError(
                f"--profile={text} is not of the form START,STEPS with numbers from 1 on, such as "
                "--profile=100,20 for the steps 100 to 119"
            )
        return cls(folder, *map(int, numbers))

    def before(self, step: int, state: Any) -> None:
        """Begins or ends the trace where this is due.

        Args:
          step: number of the step that comes next.
          state: what the step before has made; waited for, so that the trace holds whole steps.
        """
        if not self._done and not self._running and step >= self._first:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running, self._last = True, step + self._steps
        elif self._running and step >= self._last:
            self._stop(state)

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._stop(None)
        elif not self._done:
            print(f"--profile: the run has ended before step {self._first}; nothing is traced")

    def _stop(self, state: Any) -> None:
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self._running, self._done = False, True
        print(f"profile {self._folder}")
