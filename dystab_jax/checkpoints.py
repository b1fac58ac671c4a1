"""Saving and restoring a run: the state and where its data iterator stood."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from dystab_jax.state import State


class Checkpoints:
    """The newest checkpoints of one run; a half-written one is never seen.

    Args:
      directory: made where absent.
      keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = Path(directory).resolve()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, state: State, position: dict[str, Any]) -> None:
        """Writes in the background; ``position`` is the data iterator's state, plain json."""
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
        )
        self._manager.save(step, args=items)

    def restore(self, like: State) -> tuple[State, dict[str, Any]] | None:
        """The newest state and position, or None where nothing has been saved.

        Args:
          like: a state of the same structure; its arrays give shapes and devices.

        Raises:
          ValueError: the checkpoint is of other networks or optimizers, or unreadable.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
        )
        try:
            restored = self._manager.restore(step, args=items)
        except Exception as error:  # Orbax raises many kinds; all mean the same to the user
            raise ValueError(
                f"checkpoint {step} in {self.directory} does not fit this config's networks and "
                f"optimizers, or is damaged: {_first_line(error)}. Use the config it was trained "
                "with, or another --workdir"
            ) from error
        return restored.state, restored.position

    def wait(self) -> None:
        """Until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the directory."""
        self._manager.close()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
