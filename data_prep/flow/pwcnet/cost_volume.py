"""Warps features and compares them: the operations of PWC-Net that have no parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dystab_jax.array_types import Flow

Features = Float[Array, "B H W C"]
TILE = 16
"""Columns of the first map that are compared at once; see `cost_volume`."""


def warp_inside(features: Features, flow: Flow) -> Features:
    """Samples bilinearly at x + flow(x); zero beyond the map, as PWC-Net was trained.

    Args:
      features: of the second frame, float32.
      flow: in pixels of the feature map.

    Returns:
      Features seen from the first frame. A sample counts as inside if less than a thousandth of its
      weight lies on pixels beyond the border, which are zero.
    """
    batch, height, width, channels = features.shape
    rows = jnp.arange(batch * height * width).reshape(batch, height, width)
    start = rows[:, :1, :1]
    # Clipped as floats: a diverging flow may exceed what integers hold.
    x = jnp.clip(flow[..., 0] + jnp.arange(width, dtype=jnp.float32)[None, None], -1, width)
    y = jnp.clip(flow[..., 1] + jnp.arange(height, dtype=jnp.float32)[None, :, None], -1, height)
    left, top = jnp.floor(x), jnp.floor(y)
    flat = features.reshape(-1, channels)

    def take(down: int, right: int) -> Features:
        row = jnp.clip(top.astype(jnp.int32) + down, 0, height - 1)
        column = jnp.clip(left.astype(jnp.int32) + right, 0, width - 1)
        return jnp.take(flat, start + row * width + column, axis=0, mode="clip")

    along, down = (x - left)[..., None], (y - top)[..., None]
    upper = (1 - along) * take(0, 0) + along * take(0, 1)
    lower = (1 - along) * take(1, 0) + along * take(1, 1)
    samples = (1 - down) * upper + down * lower
    # Border pixels stand in for the zeros beyond, so the share inside makes up for both.
    share = _share_inside(x, width) * _share_inside(y, height)
    return samples * jnp.where(share > 0.999, share, 0)[..., None]


def _share_inside(places: Float[Array, "B H W"], count: int) -> Float[Array, "B H W"]:
    """Returns how much of a sample's weight lies on pixels 0 to count - 1."""
    return jnp.clip(jnp.minimum(places + 1, count - places), 0, 1)


def cost_volume(first: Features, second: Features, radius: int) -> Float[Array, "B H W K"]:
    """Averages products of features at x in the first map and x + d in the second (Eq. 2).

    Of each row, `TILE` positions are multiplied with all columns around them as matrices, of which
    a diagonal band is kept: more products than needed, yet faster than one sum for each d.

    Args:
      first, second: of one shape, float32.
      radius: r, of |dx| and |dy|.

    Returns:
      K = (2r + 1)² costs, dx changing fastest; zero where x + d lies outside.
    """
    batch, height, width, channels = first.shape
    side = 2 * radius + 1
    tiles = -(-width // TILE)
    fill = tiles * TILE - width
    reach = TILE + 2 * radius
    first = jnp.pad(first / channels, ((0, 0), (0, 0), (0, fill), (0, 0)))
    first = first.reshape(batch, height, tiles, TILE, channels)
    second = jnp.pad(second, ((0, 0), (radius, radius), (radius, radius + fill), (0, 0)))
    starts = range(0, tiles * TILE, TILE)
    second = jnp.stack([second[:, :, start : start + reach] for start in starts], 2)

    def compare(row: jax.Array) -> jax.Array:
        """Returns costs [B, H, tiles, TILE, side] of displacements by row - r rows."""
        rows = jax.lax.dynamic_slice_in_dim(second, row, height, 1)
        products = jnp.einsum("bhtxc,bhtyc->bhtxy", first, rows)
        # With rows one entry longer, what lay on diagonals lies in columns.
        flat = products.reshape(batch, height, tiles, TILE * reach)
        flat = jnp.pad(flat, ((0, 0), (0, 0), (0, 0), (0, TILE)))
        return flat.reshape(batch, height, tiles, TILE, reach + 1)[..., :side]

    costs = jnp.moveaxis(jax.lax.map(compare, jnp.arange(side)), 0, -2)
    return costs.reshape(batch, height, tiles * TILE, side**2)[:, :, :width]
