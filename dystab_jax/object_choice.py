"""Chooses without labels which region is the object, and which of φ and χ to trust.

Arrays in, arrays out. The functions run on JAX arrays inside a jitted step and on NumPy arrays at
test time, and return the kind they got.
"""

from dataclasses import dataclass, field

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

Masks = Float[jax.Array | np.ndarray, "B H W 1"]
"""Probability of object in [0, 1]."""
Shares = Float[jax.Array | np.ndarray, " B"]
Flags = Bool[jax.Array | np.ndarray, " B"]
LEAST_SHARE = 0.15
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
SHARPNESS, FLOOR = 4.0, 0.5
"""Of the mode `weighted`, where nobody says otherwise; see `fuse_masks`."""
TINY_AREA = 1e-3  # share of a frame
TINY_WEIGHT = 1e-12
# One flag per sample, or a single one for all of them.
Choice = Bool[jax.Array | np.ndarray, "_"]
Flag = Bool[jax.Array | np.ndarray | np.bool_, ""]


@dataclass(frozen=True)
class Earlier:
    """Holds what decided about the earlier frames of a video that is predicted in pieces.

    With it, later pieces are decided by all that has been seen of the video.

    Attributes:
      border: covered shares of the image border, summed over φ's masks.
      masks: how many these were.
      evidence: means over frames that `trust_in_phi` goes by, times ``frames``.
      frames: how many there were.
    """

    border: float = 0.0
    masks: int = 0
    evidence: np.ndarray = field(default_factory=lambda: np.zeros(5))
    frames: int = 0


NOTHING = Earlier()
"""Of a video that is predicted as a whole, and at its beginning."""


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


def canonicalise_sequence(
    masks: Masks, border: int = 2, earlier: Earlier = NOTHING
) -> tuple[Masks, Flag]:
    """Applies the border rule once for all frames, by their summed border shares.

    Args:
      masks: the frames [T, H, W, 1] of one video (and of all its gaps, if there are several).
      border: width of the border, pixels of this array.
      earlier: of the same video.

    Returns:
      The masks of the object, and whether all of them were complemented.
    """
    shares = border_share(masks, border)
    if earlier.masks:
        total, count = shares.sum(keepdims=True) + earlier.border, len(masks) + earlier.masks
        flipped = total / count > 0.5
    else:
        flipped = shares.mean(keepdims=True) > 0.5
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


def fuse_masks(
    phi: Masks,
    chi: Masks,
    loss_a_phi: Shares | None = None,
    loss_a_chi: Shares | None = None,
    mode: str = "weighted",
    trust: str = "loss_a",
    sharpness: float = SHARPNESS,
    floor: float = FLOOR,
    weight: Shares | None = None,
) -> Masks:
    """Combines what the dynamic and the static model predict for the frames of one video.

    Modes: `weighted` w φ + (1 - w) χ, see below; `geometric` sqrt(φ χ), `product` φ χ, `mean`
    (φ + χ) / 2, `dynamic` φ, `static` χ.

    The weights compare a and b, L_A of φ's and χ's masks, of the whole video, and ask of each frame
    whether anything moves in the masks at all:

        w = g r / (r + h),    g = a⁴ / (a⁴ + c⁴),    h = b⁴ / (b⁴ + c⁴),
        r = (mean a / mean b · (area of χ / area of φ)^((1 - o) / 2))^k,

    with o the share of the smaller mask that lies in the larger: of masks in different places the
    larger is more often background. Where nothing moves χ stands; where χ sees nothing φ does.

    With the geometric mean a model at one half leaves the decision to the other, one at 0 vetoes.

    Args:
      phi: masks of φ after the border rule.
      chi: masks of χ.
      loss_a_phi: Eq. (3) of φ's masks; greater means that the flow inside is harder to inpaint.
      loss_a_chi: Eq. (3) of χ's masks.
      mode: see above.
      trust: `loss_a`: geometric, product and mean take χ alone for samples with
        loss_a_chi > loss_a_phi; `none`: they combine always and need no losses.
      sharpness: k ≥ 0 of `weighted`; the greater, the more the better model decides alone.
      floor: c > 0 of `weighted`; a smaller L_A(φ) gives φ no say, even where χ is empty.
      weight: w of `weighted`, where it is decided already.

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
        if weight is None:
            weight = trust_in_phi((phi, chi), (loss_a_phi, loss_a_chi), sharpness, floor)
        weight = weight[:, None, None, None]
        return weight * phi + (1 - weight) * chi
    fused = FUSIONS[mode](phi, chi)
    return select_samples(loss_a_chi > loss_a_phi, chi, fused) if uses_losses else fused


def trust_in_phi(
    masks: tuple[Masks, Masks],
    confidences: tuple[Shares, Shares],
    sharpness: float,
    floor: float,
    earlier: Earlier = NOTHING,
) -> Shares:
    """Computes w of the mode `weighted` of `fuse_masks`.

    Args:
      masks: of φ and χ.
      confidences: L_A of both.
      sharpness, floor: see there.
      earlier: of the same video; its frames count in the means of the whole video.
    """
    moves = [one**4 / (one**4 + floor**4) for one in confidences]
    means = evidence_for_phi(masks, confidences)
    if earlier.frames:
        frames = len(masks[0])
        means = (frames * np.asarray(means) + earlier.evidence) / (frames + earlier.frames)
    areas = [area + TINY_AREA for area in means[2:4]]
    exponent = (1 - means[4] / min(areas)) / 2
    strengths = [one / area**exponent for one, area in zip(means[:2], areas, strict=True)]
    total = strengths[0] + strengths[1] + TINY_WEIGHT
    phi, chi = ((strength / total) ** sharpness for strength in strengths)
    return moves[0] * phi / (phi + moves[1] * chi + TINY_WEIGHT)


def evidence_for_phi(masks: tuple[Masks, Masks], confidences: tuple[Shares, Shares]) -> list:
    """Returns five means over frames: L_A of φ and of χ, both areas, and what these share."""
    phi, chi = ((mask > 0.5).astype(mask.dtype) for mask in masks)
    return [*(one.mean() for one in (*confidences, phi, chi)), (phi * chi).mean()]


def select_samples(chosen: Choice, where_true: Masks, where_false: Masks) -> Masks:
    """Takes whole samples of one array or the other, in the array library of `where_true`."""
    library = where_true.__array_namespace__()
    return library.where(chosen[:, None, None, None], where_true, where_false)


def _complement_where(mask: Masks, flipped: Choice) -> Masks:
    return select_samples(flipped, 1 - mask, mask)
