"""Says where masks are worth a look, from what led to them. No probability of being right."""

import numpy as np

from dystab_jax.data import resize
from dystab_jax.inference import threshold
from dystab_jax.prediction.segmented import SegmentedFrame, Trace

UNSURE = 0.5
"""A doubt above it is a reason for a look. Ours: each doubt is 1/2 where it begins to matter."""
VAGUE = (0.25, 0.75)
"""Between these a soft map says neither object nor background."""
STILL = 0.5
"""L_A at which fusion takes half of a model's say, ``floor`` of `inference.fuse_masks`."""

NOTHING = "no object found"
NOT_PHI = "φ sees no object"
NOT_CHI = "χ sees no object"
DISAGREE = "φ and χ disagree"
RESTS = "nothing moves in the mask"
BLURRED = "much of the mask is vague"
REFINED = "refinement changed much of the mask"
JUMPS = "the mask's size jumps"
NO_PROBABILITY = (
    "This is not a probability of being right: masks without a mark can be wrong, and marked ones "
    "right."
)
NOTE = (
    "Marked frames are worth a look: no object was found, φ and χ disagree or one of them sees "
    "nothing, nothing moves in their masks, much of the mask is neither clearly object nor clearly "
    f"background, refinement changed much of it, or its size jumps. {NO_PROBABILITY}"
)
"""What a page of a video says of the reasons."""
NOTE_OF_IMAGES = (
    "An image is marked where no object was found, or much of the mask is neither clearly object "
    f"nor clearly background. {NO_PROBABILITY}"
)
"""What a page of images says, whose masks χ alone has made."""


def doubts(frame: SegmentedFrame, area_before: float | None = None) -> dict[str, float]:
    """Measures every doubt about a mask.

    * No object: 1 for an empty mask, beside which nothing else counts.
    * φ and χ disagree: 1 - IoU of their masks; one of them may be empty.
    * Nothing moves: c⁴ / (a⁴ + c⁴), with a the greater L_A of both and c = 1/2: the share of its
      say that a model loses in the fusion.
    * Vague: pixels between 1/4 and 3/4 per pixel of the mask.
    * Refinement: 1 - IoU of the mask and what it was before the CRF.
    * Jump: 1 - (smaller area / larger area) of this mask and the one before.

    Of masks that χ alone made from an image, only the first and the vague pixels are known.

    Args:
      frame: with its mask.
      area_before: share of the image that the mask of the frame before covers; None or 0 where
        there is none in this shot.

    Returns:
      Doubts by reason, in [0, 1]; above `UNSURE` they are worth a look.
    """
    mask = frame.mask
    pixels = int(mask.sum())
    if pixels == 0:
        return {NOTHING: 1.0}
    vague = int(np.count_nonzero((frame.soft > VAGUE[0]) & (frame.soft < VAGUE[1])))
    found = {BLURRED: min(1.0, vague / pixels)}
    if frame.trace is None:
        return found
    found |= _doubts_of_trace(frame.trace)
    before = threshold(frame.trace.fused)
    found[REFINED] = 1 - overlap(before, resize.fit_mask(mask, before.shape))
    if area_before:
        areas = sorted((pixels / mask.size, area_before))
        found[JUMPS] = 1 - areas[0] / areas[1]
    return found


def _doubts_of_trace(trace: Trace) -> dict[str, float]:
    phi, chi = threshold(trace.phi), threshold(trace.chi)
    reason = DISAGREE
    if phi.any() != chi.any():
        reason = NOT_CHI if phi.any() else NOT_PHI
    greater = max(trace.confidence_phi, trace.confidence_chi)
    return {reason: 1 - overlap(phi, chi), RESTS: STILL**4 / (greater**4 + STILL**4)}


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the IoU of two masks of 0 and 1 of one size; 1 where both are empty."""
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0
