"""Finds flow files that the frames give no reason to believe, whatever is wrong with them.

`mistakes` recognises vectors that fit once a mistake is undone. Where nothing can be compared,
because the vectors lead out of the frame, or where a file has one vector for all pixels, it finds
none. That is no evidence that the file is right, so it is asked for here.
"""

import cv2
import numpy as np

from data_prep.flow.dis import SMALLEST_SIDE, Dis
from data_prep.flow.mistakes import FlowField, GreyLevels, Pair

LEAST_INSIDE = 0.25
"""Share of the vectors that must end in the frame, unless along these the frames are clearly more
alike than without motion."""
FEWEST_INSIDE = 0.1
"""Share of the vectors that must end in the frame in any case."""
SAME = 0.05
"""Pixels by which vectors may differ and still be one vector for all."""
CLEAR_DIFFERENCE = 4.0
"""Grey levels, after smoothing, that noise and compression do not reach on their own."""
LEAST_MOVED = 0.02
"""Share of the pixels that must have moved otherwise, as DIS sees it."""
LEAST_MOTION = 0.5
"""Pixels by which they must have."""
LARGEST_RATIO = 0.5
"""Of their difference along the vectors as given, what at most is left along those of DIS."""


def find_doubt(first: GreyLevels, second: GreyLevels, flow: FlowField) -> str | None:
    """Returns what speaks against the flow of a pair, and what to do; None if nothing does.

    Args:
      first, second: `mistakes.grey_levels` of its frames.
      flow: from the first to the second as given, pixels at their size.
    """
    pair = Pair(first, second)
    given, inside = pair.differ(sampled := pair.sample(flow))
    still, _ = pair.differ(np.zeros_like(sampled))
    share = inside.mean()
    if share < FEWEST_INSIDE or (
        share < LEAST_INSIDE and given[inside].mean() > LARGEST_RATIO * still[inside].mean()
    ):
        length = np.median(np.linalg.norm(flow, axis=-1))
        height, width = first.shape
        return (
            f"{1 - share:.0%} of its vectors lead out of the frame (median length {length:.0f} px "
            f"in {width}x{height}), so that nothing shows that they are right; dx and dy must be "
            "in pixels of the file's own field. Is the unit another one, is the field of another "
            "frame or size, or is the file no flow?"
        )
    if np.ptp(flow, axis=(0, 1)).max() > SAME or (still >= CLEAR_DIFFERENCE).mean() < LEAST_MOVED:
        return None
    if min(first.shape) < SMALLEST_SIDE:
        return None
    seen = pair.sample(_estimate(first, second))
    along, stays = pair.differ(seen)
    moved = stays & inside & (np.abs(seen - sampled).max(axis=-1) >= LEAST_MOTION)
    moved &= given >= CLEAR_DIFFERENCE
    if moved.mean() < LEAST_MOVED or along[moved].mean() > LARGEST_RATIO * given[moved].mean():
        return None
    dx, dy = flow.mean(axis=(0, 1))
    vectors = "0" if not flow.any() else f"({dx:.2f}, {dy:.2f})"
    return (
        f"all its vectors are {vectors}, but the frames differ: {moved.mean():.0%} of the pixels "
        f"moved by {np.median(np.linalg.norm(seen[moved], axis=-1)):.1f} px in the median. Did the "
        "tool that wrote it fail, does its unit round to nothing, or are these other frames?"
    )


def _estimate(first: GreyLevels, second: GreyLevels) -> FlowField:
    frames = (np.round(frame).astype(np.uint8) for frame in (first, second))
    colours = [cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) for frame in frames]
    dis = Dis()
    return dis.match(*([dis.encode(frame)] for frame in colours))[0]
