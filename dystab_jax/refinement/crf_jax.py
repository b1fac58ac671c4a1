"""The mean field of `crf` as one jitted function, for a GPU or TPU.

Lattices come from the host. They are padded to the next power of two, so that frames of one
size share a few compiled programs. On a CPU its gathers and scatters take several times as long
as the sparse products of `permutohedral` (`python -m benchmarks.crf` measures both).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from dystab_jax.array_types import Array
from dystab_jax.refinement.permutohedral import Lattice


def mean_field(
    lattices: list[Lattice],
    compats: tuple[float, ...],
    log_odds: Float32[np.ndarray, " N"],
    iterations: int,
) -> Float32[np.ndarray, " N"]:
    """Computes what `crf.mean_field` does, from its kernels' lattices, on JAX's default device."""
    padded = [_pad(lattice) for lattice in lattices]
    return np.asarray(_mean_field(padded, compats, log_odds, iterations))


def _pad(lattice: Lattice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pads corners, weights and neighbours; points added have no weight and no neighbours.

    M, which stands for a neighbour that does not exist, becomes one of them or lies beyond them.
    """
    axes, _, size = lattice.neighbours.shape
    room = 1 << (size - 1).bit_length()
    neighbours = np.full((axes, 2, room), room, np.int32)
    neighbours[:, :, :size] = lattice.neighbours
    return lattice.corners, lattice.weights, neighbours


def _filter(lattice, values: Float[Array, " N"]) -> Float[Array, " N"]:
    corners, weights, neighbours = lattice
    room = neighbours.shape[-1]
    on_lattice = jnp.zeros(room, values.dtype).at[corners].add(weights * values[:, None])
    for back, ahead in neighbours:
        sides = on_lattice.at[back].get(mode="fill", fill_value=0)
        sides += on_lattice.at[ahead].get(mode="fill", fill_value=0)
        on_lattice += sides / 2
    gain = 1 / (1 + 2.0 ** (1 - corners.shape[1]))
    return (weights * on_lattice[corners]).sum(axis=1) * gain


@partial(jax.jit, static_argnames=("compats", "iterations"))
def _mean_field(lattices, compats, log_odds, iterations):
    ones = jnp.ones_like(log_odds)
    norms = [1 / jnp.sqrt(_filter(lattice, ones) + 1e-20) for lattice in lattices]
    kernels = list(zip(lattices, compats, norms, strict=True))
    constant = log_odds
    for lattice, compat, norm in kernels:
        constant -= compat * norm * _filter(lattice, norm)

    def update(_, probability):
        total = constant
        for lattice, compat, norm in kernels:
            total += 2 * compat * norm * _filter(lattice, norm * probability)
        return jax.nn.sigmoid(total)

    return jax.lax.fori_loop(0, iterations, update, jax.nn.sigmoid(log_odds))
