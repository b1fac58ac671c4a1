"""Saving and restoring a run: arrays, and what is known about them as plain json."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dystab_jax.runtime import mirror, processes

Arrays = Any
"""A tree of arrays: a ``State``, or the averaged variables of the networks."""


class Checkpoints:
    """Keeps the newest checkpoints of one run; a half-written one is never seen.

    Args:
      directory: made where absent.
      keep: how many of the newest stay; None for all.
    """

    def __init__(self, directory: Path, keep: int | None = 2):
        self.directory = Path(directory).resolve()
        # In a bucket's mirror each process has a folder of its own, and the first one writes.
        self._alone = processes.count() > 1 and mirror.is_mirrored(self.directory)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        if self._alone:
            own = processes.index()
            options.multiprocessing_options = ocp.options.MultiprocessingOptions(
                primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"of-{own}"
            )
            options.create = False
            self.directory.mkdir(parents=True, exist_ok=True)
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "position": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=handlers
        )

    def save(self, step: int, state: Arrays, position: dict[str, Any]) -> None:
        """Writes in the background; ``position`` is plain json: the phase, the data iterator."""
        if step in self._manager.all_steps() or (self._alone and not processes.is_first()):
            return
        if self._alone:
            state = processes.local(state)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
        )
        self._manager.save(step, args=items)

    def steps(self) -> list[int]:
        """Returns those that are complete, in order."""
        return sorted(self._manager.all_steps())

    def position(self, step: int) -> dict[str, Any]:
        """Reads what was saved beside the arrays of a step.

        Raises:
          ValueError: it is unreadable.
        """
        items = ocp.args.Composite(position=ocp.args.JsonRestore())
        try:
            return self._manager.restore(step, args=items).position
        except Exception as error:  # Orbax raises many kinds; all mean the same to the user
            raise ValueError(self._damaged(step, error)) from error

    def restore(self, like: Arrays, step: int | None = None) -> tuple[Arrays, dict] | None:
        """Reads arrays and position of a step, by default the newest; None where there is none.

        Args:
          like: a tree of the same structure, or its ShapeDtypeStructs; gives shapes and devices.
          step: one of ``steps()``.

        Raises:
          ValueError: the checkpoint is of other networks or optimizers, or unreadable.
        """
        step = self._manager.latest_step() if step is None else step
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        if self._alone:
            abstract = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()
        )
        try:
            stored = _shapes(self._manager.item_metadata(step).state.tree)
            # Compared here, since Orbax finds out while reading and says so in many pages.
            different = _first_difference(stored, _shapes(ocp.tree.serialize_tree(like)))
            restored = None if different else self._manager.restore(step, args=items)
        except Exception as error:  # Orbax raises many kinds; all mean the same to the user
            raise ValueError(self._damaged(step, error)) from error
        if different:
            raise ValueError(
                f"{self._where(step)} does not fit this config's networks and optimizers: "
                f"{different}. Use the config it was trained with, or another --workdir"
            )
        state = restored.state
        if self._alone:
            state = jax.tree.map(lambda a, to: jax.device_put(a, to.sharding), state, like)
        return state, restored.position

    def _where(self, step: int) -> str:
        return f"checkpoint {step} in {self.directory}"

    def _damaged(self, step: int, error: Exception) -> str:
        return (
            f"{self._where(step)} is damaged: {_first_line(error)}. Remove its folder to go on "
            "from the one before, or use another --workdir"
        )

    def wait(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the directory."""
        self._manager.close()


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array of a tree of dicts, by its path."""
    flat = ocp.tree.to_flat_dict(tree)
    return {".".join(map(str, path)): tuple(leaf.shape) for path, leaf in flat.items()}


def _first_difference(stored: dict[str, tuple], wanted: dict[str, tuple]) -> str | None:
    for name in sorted(stored.keys() | wanted.keys()):
        there, here = stored.get(name, "absent"), wanted.get(name, "absent")
        if there != here:
            return f"{name} is {there} there and {here} here"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
