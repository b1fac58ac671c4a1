"""Which region is the object, fusion of φ and χ, and the way from soft maps to hard masks.

Arrays in, arrays out. The functions on [B, H, W, 1] run on JAX arrays inside a jitted step and
on NumPy arrays at test time, and return the kind they got; `upsample` is for test time only.
"""

import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

Masks = Float[jax.Array | np.ndarray, "B H W 1"]
"""Probability of object in [0, 1]."""
Shares = Float[jax.Array | np.ndarray, " B"]
Flags = Bool[jax.Array | np.ndarray, " B"]
# One flag per sample, or a single one for all of them.
Choice = Bool[jax.Array | np.ndarray, "_"]
Flag = Bool[jax.Array | np.ndarray | np.bool_, ""]

FUSIONS = {
    "geometric": lambda phi, chi: (phi * chi) ** 0.5,
    "product": lambda phi, chi: phi * chi,
    "mean": lambda phi, chi: (phi + chi) / 2,
    "dynamic": lambda phi, chi: phi,
    "static": lambda phi, chi: chi,
}
COMBINING = ("geometric", "product", "mean")
MODES = (*FUSIONS, "weighted")
TRUST = ("loss_a", "none")


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


def fuse(
    phi: Masks,
    chi: Masks,
    loss_a_phi: Shares | None = None,
    loss_a_chi: Shares | None = None,
    mode: str = "weighted",
    trust: str = "loss_a",
    margin: float = 0.2,
) -> Masks:
    """Combines what the dynamic and the static model predict for the same frames.

    Modes: `weighted` w φ + (1 - w) χ with w = sigmoid((L_A(φ) - L_A(χ) - δ) / δ), so that each
    frame listens to φ where its mask explains the flow better, as in Eq. (7), and to χ where the
    flow says little; `geometric` sqrt(φ χ), `product` φ χ, `mean` (φ + χ) / 2, `dynamic` φ,
    `static` χ.
    The geometric mean is not normalised between object and background: sqrt(φχ) against
    sqrt((1-φ)(1-χ)) exceeds one half exactly where φ + χ > 1, so its masks would be those of
    `mean`. As it stands, a model that is undecided (one half) leaves the decision to the other,
    and one that is sure of background (0) vetoes; a product needs both to be sure.

    Args:
      phi: masks of φ after the border rule.
      chi: masks of χ.
      loss_a_phi: Eq. (3) of φ's masks; greater means that the flow inside is harder to inpaint.
      loss_a_chi: Eq. (3) of χ's masks.
      mode: see above.
      trust: `loss_a`: geometric, product and mean take χ alone for samples with
        loss_a_chi > loss_a_phi; `none`: they combine always and need no losses.
      margin: δ of Eq. (7), for `weighted`; 0 means the limit: the model of the greater L_A alone,
        and w = sigmoid(-1) where they tie, as for any δ.

    Returns:
      The fused masks, in [0, 1].

    Raises:
      ValueError: unknown mode or trust, shapes differ, or losses are missing.
    """
    for name, value, accepted in (("mode", mode, MODES), ("trust", trust, TRUST)):
        if value not in accepted:
            raise ValueError(f"fusion {name} {value!r} is unknown; there are {', '.join(accepted)}")
    if phi.shape != chi.shape:
        raise ValueError(f"masks of phi {phi.shape} and chi {chi.shape} differ; resize one first")
    uses_losses = mode == "weighted" or (mode in COMBINING and trust == "loss_a")
    if uses_losses and (loss_a_phi is None or loss_a_chi is None):
        raise ValueError(
            f"fusion {mode!r} with trust={trust!r} needs loss_a_phi and loss_a_chi, one value per "
            "sample; give both, or use mode='mean' with trust='none'"
        )
    if mode == "weighted":
        weight = _trust_in_phi(loss_a_phi, loss_a_chi, margin)[:, None, None, None]
        return weight * phi + (1 - weight) * chi
    fused = FUSIONS[mode](phi, chi)
    return _select(loss_a_chi > loss_a_phi, chi, fused) if uses_losses else fused


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


def upsample(
    maps: Float[np.ndarray, "*frames h w 1"], size: tuple[int, int]
) -> Float[np.ndarray, "*frames H W 1"]:
    """Resizes soft maps bilinearly; to be thresholded afterwards, not before.

    Pixels are squares with centres at half-integers (output pixel i samples (i + ½)·h/H - ½, edges
    repeated), as in OpenCV and `jax.image.resize`; shrinking does not smooth.

    Args:
      maps: [h, w, 1] or [T, h, w, 1], in [0, 1].
      size: height and width of the result, pixels.

    Returns:
      float32 maps of that size, in [0, 1].
    """
    height, width = size
    frames = np.asarray(maps, np.float32).reshape(-1, *maps.shape[-3:-1])
    resized = np.empty((len(frames), height, width), np.float32)
    for frame, out in zip(frames, resized, strict=True):
        out[:] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*maps.shape[:-3], height, width, 1)


def threshold(maps: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns hard masks {0, 1}: 1 where the map is greater than one half."""
    return (maps > 0.5).astype(np.uint8)


def _trust_in_phi(loss_a_phi: Shares, loss_a_chi: Shares, margin: float) -> Shares:
    """Computes w of the mode `weighted` of `fuse`."""
    library = loss_a_phi.__array_namespace__()
    if margin:
        return 1 / (1 + library.exp((loss_a_chi + margin - loss_a_phi) / margin))
    ahead = library.sign(loss_a_phi - loss_a_chi)
    return library.where(ahead == 0, 1 / (1 + math.e), (ahead + 1) / 2).astype(loss_a_phi.dtype)


def _complement_where(mask: Masks, flipped: Choice) -> Masks:
    return _select(flipped, 1 - mask, mask)


def _select(chosen: Choice, where_true: Masks, where_false: Masks) -> Masks:
    """Takes whole samples of one array or the other, in the array library of `where_true`."""
    library = where_true.__array_namespace__()
    return library.where(chosen[:, None, None, None], where_true, where_false)


def draw_ellipses(
    ellipse: Float[jax.Array, "B 5"], height: int, width: int
) -> Float[jax.Array, "B H W 1"]:
    """Draws filled ellipses, masks of 0 and 1.

    Args:
      ellipse: centre row and column and two radii, as shares of the image's sides, and the angle.
      height, width: pixels.
    """
    row, column, radius1, radius2, angle = (ellipse[:, i, None, None] for i in range(5))
    y = jnp.linspace(0, 1, height)[None, :, None] - row
    x = jnp.linspace(0, 1, width)[None, None, :] - column
    along = (x * jnp.cos(angle) + y * jnp.sin(angle)) / radius1
    across = (y * jnp.cos(angle) - x * jnp.sin(angle)) / radius2
    return (along**2 + across**2 < 1).astype(jnp.float32)[..., None]
