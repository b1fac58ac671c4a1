"""Convolves 3x3 with a quarter of the multiplications, for the CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", CVPR 2016): the input is cut into tiles of 6x6 that overlap by two, the kernel is brought
to the same size, and products of their transforms, summed over the channels, give tiles of 4x4.
36 products replace 144. In float32 results differ from the plain sums by about 1e-5 of their size.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TILE = 4
"""Side of the tiles of the result."""
FEWEST_CHANNELS = 32
"""With fewer, in or out, moving tiles around costs more than the products save."""

# Bᵀ, G and Aᵀ of F(4, 3) for the points 0, 1, -1, 2, -2 and infinity.
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float32,
)
_SIDE = len(_INPUT)

Weights = Float[Array, "36 C D"]


def transform(kernel: Float[Array, "3 3 C D"]) -> Weights:
    """Returns what `convolve` takes of a kernel; the same for all maps."""
    weights = jnp.einsum("ia,jb,abcd->ijcd", _KERNEL, _KERNEL, kernel)
    return weights.reshape(_SIDE**2, *kernel.shape[2:])


def convolve(maps: Float[Array, "B H W C"], weights: Weights) -> Float[Array, "B H W D"]:
    """Convolves with stride 1 and one zero around the maps."""
    batch, height, width, channels = maps.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    margins = ((1, 1 + TILE * rows - height), (1, 1 + TILE * columns - width))
    padded = jnp.pad(maps, ((0, 0), *margins, (0, 0)))
    tiles = []
    for strip in _combine(_INPUT, _every(padded, rows, axis=1)):
        tiles += _combine(_INPUT, _every(strip, columns, axis=2))
    tiles = jnp.stack(tiles).reshape(_SIDE**2, batch * rows * columns, channels)
    products = jnp.einsum("ktc,kcd->ktd", tiles, weights)
    products = products.reshape(_SIDE, _SIDE, batch, rows, columns, -1)
    fine = [jnp.stack(_combine(_OUTPUT, row), 3) for row in _combine(_OUTPUT, products)]
    result = jnp.stack(fine, 2).reshape(batch, TILE * rows, TILE * columns, -1)
    return result[:, :height, :width]


def _every(maps: Array, count: int, axis: int) -> list[Array]:
    """Returns the first, second ... sixth row (or column) of all ``count`` tiles on an axis."""
    reach = TILE * (count - 1) + 1
    cut = partial(jax.lax.slice_in_dim, maps, stride=TILE, axis=axis)
    return [cut(i, i + reach) for i in range(_SIDE)]


def _combine(matrix: np.ndarray, parts: Sequence[Array] | Array) -> list[Array]:
    """Multiplies matrix and vector of arrays; as sums, which XLA fuses with what is around."""
    rows = []
    for row in matrix:
        terms = [factor * part for factor, part in zip(row, parts, strict=True) if factor]
        rows.append(sum(terms[1:], terms[0]))
    return rows
