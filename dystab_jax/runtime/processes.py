"""Several processes, one on each host of a pod or cluster: who does what, and where they meet.

Every process trains on its share of each batch, which JAX makes one program of all devices. What
is not such a program, the predictions for pseudo-labels and scores, is shared out by videos and
gathered, and only the first process writes files that belong to all.
"""

import os
import pickle
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

T = TypeVar("T")
PART = 1 << 28
"""Bytes that cross the processes at once."""


@dataclass(frozen=True)
class Cluster:
    """Describes how the processes find one another.

    Attributes:
      coordinator: HOST:PORT of the first process; None where the cluster says it: TPU pods, Slurm
        steps, Open MPI and Kubernetes do.
      processes: how many there are.
      process: the number of this one, from 0.
      timeout: seconds for which a process may be silent before all others end.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    timeout: int = 100

    def __post_init__(self):
        given = [self.coordinator, self.processes, self.process]
        if any(value is not None for value in given) and None in given:
            raise ValueError(
                "--coordinator, --processes and --process go together: HOST:PORT of the first "
                "process, how many there are, and the number of this one, from 0"
            )


def connect(cluster: Cluster, mode: str) -> bool:
    """Joins the other processes; must come before anything that asks for a device.

    Args:
      cluster: how.
      mode: "on", "off", or "auto": where a cluster is given or found. With JAX_PLATFORMS=cpu none
        is looked for, since the search can wait for servers that are not there.

    Returns:
      Whether there is a cluster.

    Raises:
      ValueError: "on", and there is none.
    """
    given = cluster.coordinator is not None
    look = mode == "on" or (mode == "auto" and os.environ.get("JAX_PLATFORMS") != "cpu")
    if mode == "off" or not (given or look):
        return False
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.process,
            heartbeat_timeout_seconds=cluster.timeout,
        )
    except ValueError as error:  # nothing says where the others are
        if given or mode == "on":
            raise ValueError(
                f"cannot join other processes: {error}. Give --coordinator, --processes and "
                "--process, or --distributed=off"
            ) from error
        return False
    return True


def fail(message: str) -> NoReturn:
    """Ends this process with an error; of several, without waiting for those it would hold up.

    The others then cannot reach it and end as well, see ``ending_together``.
    """
    if not jax.distributed.is_initialized():
        sys.exit(message)
    print(f"process {index()}: {message}", file=sys.stderr, flush=True)
    os._exit(1)


@contextmanager
def ending_together(passing: tuple[type[Exception], ...]) -> Iterator[None]:
    """Makes whatever ends one of several processes end all; each says why.

    Args:
      passing: what the caller deals with itself.
    """
    try:
        yield
    except Exception as error:
        several = jax.distributed.is_initialized()
        if not several or isinstance(error, passing):
            raise
        if not isinstance(error, jax.errors.JaxRuntimeError):
            traceback.print_exc()
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fail(
            f"error: {reason}. If another process has ended or cannot be reached, see what it "
            "says. The same command on every host goes on from the newest checkpoint"
        )


def count() -> int:
    """Returns how many there are."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
    """Returns the number of this one, from 0; a process by itself does not ask for a device."""
    return jax.process_index() if jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Reports whether this process writes what belongs to all."""
    return index() == 0


def mine(items: Sequence[T]) -> Sequence[T]:
    """Returns the share of this process."""
    return items[index() :: count()]


def gather(value: T) -> list[T]:
    """Returns what each process has given, in their order; all must call it.

    Args:
      value: anything that can be pickled.
    """
    if count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    # Two numbers, and parts, since JAX counts in 32 bits.
    counts = multihost_utils.process_allgather(np.array(divmod(data.size, PART), np.int32))
    sizes = [int(parts) * PART + int(rest) for parts, rest in np.asarray(counts)]
    gathered = [bytearray() for _ in sizes]
    for start in range(0, max(sizes), PART):
        part = data[start : start + PART]
        padded = np.zeros(min(PART, max(sizes) - start), np.uint8)
        padded[: part.size] = part
        for whole, other in zip(
            gathered, np.asarray(multihost_utils.process_allgather(padded)), strict=True
        ):
            whole += other.tobytes()
    return [pickle.loads(whole[:size]) for whole, size in zip(gathered, sizes, strict=True)]


def meet(where: str) -> None:
    """Waits until every process is there."""
    if count() > 1:
        multihost_utils.sync_global_devices(where)


def bar(*arguments, **options) -> tqdm:
    """Shows the progress of this process's share, in the first alone; in a file, now and then."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(*arguments, **options, mininterval=interval, disable=not is_first())


def local(tree: Any) -> Any:
    """Returns arrays that are the same on all devices, as this process has them."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), tree)
