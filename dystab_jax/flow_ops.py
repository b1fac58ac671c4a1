"""Operations on optical flow: warping, occlusion, resizing, flipping, colouring.

Flow follows the backward-warp convention: ``image1(x) ≈ image2(x + flow(x))``, (dx right, dy down),
in pixels of the array that holds it. Pixel centres lie at integer coordinates.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array, Flow, Mask, PerSample


def _targets(flow: Flow) -> tuple[Float[Array, "B H W"], Float[Array, "B H W"]]:
    """Returns where each pixel lands: coordinates (y, x) of x + flow(x)."""
    _, height, width, _ = flow.shape
    rows = jnp.arange(height, dtype=flow.dtype)[None, :, None]
    columns = jnp.arange(width, dtype=flow.dtype)[None, None, :]
    return rows + flow[..., 1], columns + flow[..., 0]


def warp(values: Float[Array, "B H W C"], flow: Flow) -> Float[Array, "B H W C"]:
    """Samples ``values`` at x + flow(x), bilinearly; the border is replicated.

    Args:
      values: what lies in the second frame.
      flow: pixels, from the first frame to the second.

    Returns:
      ``values`` seen from the first frame.
    """
    return warp_together(values, values[..., :0], flow)[0]


def warp_together(
    values: Float[Array, "B H W C"], constant: Float[Array, "B H W D"], flow: Flow
) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W D"]]:
    """Warps both in one lookup per pixel; ``constant`` passes no gradient."""
    _, height, width, channels = values.shape
    y, x = _targets(flow)
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    top, left = jnp.floor(y), jnp.floor(x)
    index = (top * width + left).astype(jnp.int32)
    found = _read(values, constant, index)
    down, right = (y - top)[..., None], (x - left)[..., None]
    upper = found[..., 0, :] * (1 - right) + found[..., 1, :] * right
    lower = found[..., 2, :] * (1 - right) + found[..., 3, :] * right
    seen = upper * (1 - down) + lower * down
    return seen[..., :channels], seen[..., channels:]


# What warping costs are lookups, on TPUs, and additions in the gradient, on CPUs. So each pixel
# looks up its four neighbours and all channels at once, and gradients come back the same way.
@jax.custom_vjp
def _read(values: Array, constant: Array, index: Array) -> Float[Array, "B H W 4 E"]:
    table = _neighbours(jnp.concatenate([values, constant], -1))
    rows = index.reshape(len(index), -1)
    found = jax.vmap(lambda table, rows: table.at[rows].get(mode="clip"))(table, rows)
    return found.reshape(*index.shape, 4, -1)


def _neighbours(values: Float[Array, "B H W C"]) -> Float[Array, "B H*W 4*C"]:
    """Puts each pixel beside those to its right, below and diagonally below; the border repeats."""
    batch, height, width, channels = values.shape
    padded = jnp.pad(values, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    corners = [padded[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)]
    return jnp.concatenate(corners, -1).reshape(batch, height * width, 4 * channels)


def _read_forward(values, constant, index):
    return _read(values, constant, index), (values, index)


def _read_backward(saved, gradient):
    values, index = saved
    table, back = jax.vjp(_neighbours, values)
    rows = index.reshape(len(index), -1)
    gradient = gradient[..., : values.shape[-1]].reshape(*rows.shape, -1)
    zeros = jnp.zeros_like(table)
    added = jax.vmap(lambda sums, rows, new: sums.at[rows].add(new, mode="drop"))(
        zeros, rows, gradient
    )
    return *back(added), None, None


_read.defvjp(_read_forward, _read_backward)


def occlusion(flow: Flow, returned: Flow, relative: float = 0.01, absolute: float = 0.5) -> Mask:
    """Pixels of the first frame that the second does not show.

    Forward-backward rule of Sundaram et al. (2010), as in UnFlow: occluded where
    |u12 + ũ21|² > relative·(|u12|² + |ũ21|²) + absolute, ũ21 = u21 sampled at x + u12(x), or
    where x + u12(x) leaves the image.

    Args:
      flow: u12, pixels.
      returned: ũ21, ``warp(u21, u12)``.
      relative: share of the squared lengths that may disagree.
      absolute: squared pixels that may disagree at any speed.

    Returns:
      1 where occluded or out of the frame, else 0.
    """
    mismatch = jnp.sum((flow + returned) ** 2, -1)
    lengths = jnp.sum(flow**2, -1) + jnp.sum(returned**2, -1)
    _, height, width, _ = flow.shape
    y, x = _targets(flow)
    outside = (y < 0) | (y > height - 1) | (x < 0) | (x > width - 1)
    occluded = (mismatch > relative * lengths + absolute) | outside
    return occluded[..., None].astype(flow.dtype)


def mean_speed(flow: Flow, slowest: float) -> PerSample:
    """Returns the mean length of the vectors of each sample, pixels; no less than ``slowest``."""
    return jnp.maximum(jnp.mean(jnp.linalg.norm(flow, axis=-1), (1, 2)), slowest)


def normalise_flow(flow: Flow, slowest: float) -> Flow:
    """Scales flow by its ``mean_speed``, so that ε means the same for slow and fast videos.

    The mean motion is kept: without it the denominators of Eq. (3) shrink and half images win.
    """
    return flow / mean_speed(flow, slowest)[:, None, None, None]
