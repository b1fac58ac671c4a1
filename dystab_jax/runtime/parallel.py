"""The devices, and the one place where a step is mapped over them."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "data"


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """Returns all devices of all hosts in one row; the batch is split along it."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def map_step(step: Callable, mesh: Mesh, batch_axis: int = 1) -> Callable:
    """Runs ``step(state, batch) -> (state, metrics)`` on every device's share of the batch.

    What ``jax.pmap`` with ``axis_name="data"`` does, in one jitted call; the state is replicated
    and donated.

    Args:
      step: pure, per device, averages over the axis "data" itself.
      mesh: see ``make_mesh``.
      batch_axis: axis of the batch's arrays that is split; 1 for rounds [updates, B, ...].
    """
    share = P(*[None] * batch_axis, AXIS)
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), share), out_specs=(P(), P()), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0)


def map_prediction(predict: Callable, mesh: Mesh) -> Callable:
    """Runs ``predict(state, batch) -> arrays``, all of [B, ...], on every device's share."""
    mapped = jax.shard_map(
        predict, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )
    return jax.jit(mapped)


def replicate(tree, mesh: Mesh):
    """Puts the same values on every device."""
    sharding = NamedSharding(mesh, P())
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def shard(batch: dict[str, np.ndarray], mesh: Mesh, batch_axis: int = 1) -> dict[str, jax.Array]:
    """Puts this process's share of a batch on its devices."""
    sharding = NamedSharding(mesh, P(*[None] * batch_axis, AXIS))
    put = partial(jax.make_array_from_process_local_data, sharding)
    return {name: put(array) for name, array in batch.items()}
