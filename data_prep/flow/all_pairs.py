"""The correlation of all pairs of positions in two feature maps, and windows of it (RAFT, Sec. 3.2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Features = Float[Array, "B H W C"]


def hat(centres: Float[Array, "*N"], count: int) -> Float[Array, "*N count"]:
    """Weights of linear interpolation at ``centres`` between samples 0, 1, ..., count - 1.

    Beyond the first and the last sample there are zeros.
    """
    samples = jnp.arange(count, dtype=centres.dtype)
    return jnp.maximum(0, 1 - jnp.abs(centres[..., None] - samples))


def halve(features: Features) -> Features:
    """Means over 2x2 positions; an odd last row or column is left out."""
    _, height, width, _ = features.shape
    even = features[:, : height // 2 * 2, : width // 2 * 2]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4
