"""Chooses which region is the object without labels, by the border of the image.

Arrays in, arrays out. The functions run on JAX arrays inside a jitted step and on NumPy arrays at
test time, and return the kind they got.
"""

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

Masks = Float[jax.Array | np.ndarray, "B H W 1"]
"""Probability of object in [0, 1]."""
Shares = Float[jax.Array | np.ndarray, " B"]
Flags = Bool[jax.Array | np.ndarray, " B"]
LEAST_SHARE = 0.15
# One flag per sample, or a single one for all of them.
Choice = Bool[jax.Array | np.ndarray, "_"]
Flag = Bool[jax.Array | np.ndarray | np.bool_, ""]


def border_share(mask: Masks, border: int = 2) -> Shares:
    """Returns the share of the image border that the mask, cut at one half, covers.

    Args:
      mask: soft or hard; object is where it is greater than 0.5.
      border: width of the border, pixels of this array.

    Returns:
      Covered border pixels over border pixels, one share per sample, in [0, 1].
    """
    height, width = mask.shape[1:3]
    hard = (mask > 0.5).astype(np.float32)
    inner = hard[:, border : height - border, border : width - border]
    border_pixels = height * width - inner.shape[1] * inner.shape[2]
    return (hard.sum((1, 2, 3)) - inner.sum((1, 2, 3))) / border_pixels


def canonicalise(mask: Masks, border: int = 2) -> tuple[Masks, Flags]:
    """Chooses, of a region and its complement, the one that touches less of the image border.

    The mask is complemented where it covers more than half of the image border; one that covers
    exactly half stays. The decision is a comparison and carries no gradient; the gradient of
    the result is that of `mask` or of `1 - mask`.

    Args:
      mask: one region per sample, in [0, 1].
      border: width of the border, pixels of this array.

    Returns:
      The mask of the object, and which samples were complemented.
    """
    flipped = border_share(mask, border) > 0.5
    return _complement_where(mask, flipped), flipped


def canonicalise_sequence(masks: Masks, border: int = 2) -> tuple[Masks, Flag]:
    """Applies the border rule once for all frames, by their summed border shares.

    Args:
      masks: the frames [T, H, W, 1] of one video (and of all its gaps, if there are several).
      border: width of the border, pixels of this array.

    Returns:
      The masks of the object, and whether all of them were complemented.
    """
    flipped = border_share(masks, border).mean(keepdims=True) > 0.5
    return _complement_where(masks, flipped), flipped[0]


def oracle_channel(
    mask: Masks, truth: Masks | UInt8[jax.Array | np.ndarray, "B H W 1"]
) -> tuple[Masks, Flags]:
    """Lets ground truth choose between a region and its complement, by the greater J.

    For the upper bounds that some published numbers are. Nothing calls it by default, and a
    result obtained with it must say `"oracle": true`.

    Args:
      mask: one region per sample, in [0, 1].
      truth: the object, in [0, 1]; both are cut at one half.

    Returns:
      The chosen mask, and which samples were complemented; a tie keeps the mask.
    """
    hard, true = mask > 0.5, truth > 0.5

    def jaccard(region):
        # A union of 0 pixels means two empty masks: the intersection is 0 too, J is 1.
        intersection = (region & true).sum((1, 2, 3)).astype(np.float32)
        union = (region | true).sum((1, 2, 3)).astype(np.float32)
        empty = (union == 0).astype(np.float32)
        return (intersection + empty) / (union + empty)

    flipped = jaccard(~hard) > jaccard(hard)
    return _complement_where(mask, flipped), flipped


def move_cut(masks: Masks, cut: float) -> Masks:
    """Shifts masks so that another level of them comes to lie at one half.

        m - level + 1/2, clipped to [0, 1].

    The game cuts masks at one half, and there they lose the parts of an object that move like the
    ground around it. What they have lost still is above the background.

    Args:
      masks: canonical; object is where they are greater.
      cut: the level, in (0, 1); 0.5 leaves masks whose extremes lie around one half as they are.
        A mask's lowest ``LEAST_SHARE`` of its range is background even above the level, so that
        one that is undecided everywhere does not become all object.
    """
    low, high = masks.min((1, 2, 3), keepdims=True), masks.max((1, 2, 3), keepdims=True)
    background = low + LEAST_SHARE * (high - low)
    return (masks - background.clip(cut) + 0.5).clip(0, 1)


def _complement_where(mask: Masks, flipped: Choice) -> Masks:
    return select_samples(flipped, 1 - mask, mask)


def select_samples(chosen: Choice, where_true: Masks, where_false: Masks) -> Masks:
    """Takes whole samples of one array or the other, in the array library of `where_true`."""
    library = where_true.__array_namespace__()
    return library.where(chosen[:, None, None, None], where_true, where_false)
