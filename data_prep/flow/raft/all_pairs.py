"""Correlates all pairs of positions in two feature maps, and looks up windows (RAFT, Sec. 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Features = Float[Array, "B H W C"]
Levels = tuple[Float[Array, "N _h _w"], ...]
"""For each of the N = B·H·W positions of the first map, its correlation with all of the second, at
full, half, quarter ... resolution; with `_margin` zeros on each side."""


def correlate(first: Features, second: Features, levels: int, radius: int) -> Levels:
    """Computes Eq. (1) of RAFT: ⟨first, second⟩/√C for all pairs, and its means over 2ˡx2ˡ.

    Args:
      first, second: features of the two frames.
      levels: how many resolutions of the second.
      radius: of the windows that `look_up` takes.

    Returns:
      The pyramid.
    """
    batch, height, width, channels = first.shape
    rows = first.reshape(batch, height * width, channels) / channels**0.5
    pyramid = []
    for _ in range(levels):
        # Means of the correlation are the correlation with means, at a fraction of the memory.
        volume = jnp.einsum("bnc,byxc->bnyx", rows, second, preferred_element_type=jnp.float32)
        volume = volume.reshape(batch * height * width, *second.shape[1:3])
        margin = _margin(radius)
        pyramid.append(jnp.pad(volume, ((0, 0), (margin, margin), (margin, margin))))
        second = _halve(second)
    return tuple(pyramid)


def look_up(
    pyramid: Levels, centres: Float[Array, "B H W 2"], radius: int
) -> Float[Array, "B H W K"]:
    """Looks up correlations in a square window around ``centres``, bilinear; zero outside.

    Args:
      pyramid: of `correlate`, with the same radius.
      centres: (x, y) in the second frame's features, of each position in the first.
      radius: r; a window has (2r + 1)² samples, one position apart at each level.

    Returns:
      Level by level, the windows; in each, x changes slowest, as published weights expect.
    """
    windows = []
    points = centres.reshape(-1, 2)
    for level, volume in enumerate(pyramid):
        corner, part = _corner(points / 2**level, volume.shape[1:], radius)
        windows.append(_interpolate(_cut(volume, corner, radius), part))
    windows = jnp.stack(windows, 1)  # [N, levels, x, y]
    return windows.reshape(*centres.shape[:3], -1)


def _margin(radius: int) -> int:
    """Returns how many zeros hold a whole patch, so that windows far outside are zero."""
    return 2 * radius + 2


def _corner(
    points: Float[Array, "N 2"], padded: tuple[int, int], radius: int
) -> tuple[jax.Array, jax.Array]:
    """Returns upper left corners (x, y) of patches in the padded volume; points inside a pixel."""
    margin = _margin(radius)
    whole = jnp.floor(points)
    largest = jnp.array([[padded[1] - margin, padded[0] - margin]])
    # Clipped as floats: a diverging flow may exceed what integers hold.
    corner = jnp.clip(whole - radius + margin, 0, largest).astype(jnp.int32)
    return corner, points - whole


def _cut(volume: Float[Array, "N h w"], corner: jax.Array, radius: int) -> jax.Array:
    """Cuts patches of 2r + 2 by 2r + 2 samples, all that a window's interpolation needs."""
    side = 2 * radius + 2

    def cut(plane, corner):
        return jax.lax.dynamic_slice(plane, (corner[1], corner[0]), (side, side))

    return jax.vmap(cut)(volume, corner)


def _interpolate(patches: Float[Array, "N s s"], part: Float[Array, "N 2"]) -> jax.Array:
    """Returns windows [N, x, y]: all their samples lie at the same place inside a pixel."""
    x, y = part[:, 0, None, None], part[:, 1, None, None]
    patches = (1 - y) * patches[:, :-1] + y * patches[:, 1:]
    patches = (1 - x) * patches[:, :, :-1] + x * patches[:, :, 1:]
    return jnp.swapaxes(patches, 1, 2)


def _halve(features: Features) -> Float[Array, "B _h _w C"]:
    """Averages over 2x2 positions; an odd last row or column is left out."""
    _, height, width, _ = features.shape
    even = features[:, : height // 2 * 2, : width // 2 * 2]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4
