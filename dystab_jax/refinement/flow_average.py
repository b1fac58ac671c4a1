"""Averages the masks of a video along its flow."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

SoftMaps = Float[np.ndarray, "T H W 1"]


class FramePair(NamedTuple):
    """Holds the flow between two frames of a video.

    Attributes:
      frame: number of the first.
      gap: signed distance of the second.
      flow: from the first to the second, [H, W, 2], pixels.
    """

    frame: int
    gap: int
    flow: np.ndarray


def average_along_flow(maps: SoftMaps, pairs: Sequence[FramePair], weight: float) -> SoftMaps:
    """Averages each mask with those of the frames before and after, where the flow says they were.

    Recursively, once forwards and once backwards in time:

        a_t = (1 - w) m_t + w a_{t-1}(x + u_{t→t-1}),   likewise b_t,
        result = (a_t + b_t - (1 - w) m_t) / (1 + w),

    so that a frame at distance d has a weight in proportion to w^d, and all weights sum to one.
    What flickers is quietened, and frames in which the object rests are helped by others.

    Args:
      maps: soft maps of the T frames of a video.
      pairs: those of neighbours are used; the others have no say.
      weight: w, in [0, 1); 0 returns the maps.

    Returns:
      Maps in [0, 1]; where no flow leads to the neighbour, the recursion begins anew.
    """
    if not weight:
        return maps
    neighbours = {(p.frame, p.gap): p.flow for p in pairs if abs(p.gap) == 1}
    own = maps[..., 0].astype(np.float32)

    def recurse(times: Sequence[int], gap: int) -> np.ndarray:
        result, last = np.empty_like(own), None
        for t in times:
            result[t] = own[t]
            if last is not None and (t, gap) in neighbours:
                result[t] = (1 - weight) * own[t] + weight * _warp(last, neighbours[t, gap])
            last = result[t]
        return result

    forwards, backwards = recurse(range(len(own)), -1), recurse(range(len(own))[::-1], 1)
    return ((forwards + backwards - (1 - weight) * own) / (1 + weight))[..., None]


def _warp(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Samples values [H, W] at x + flow(x), bilinearly; the border is replicated."""
    height, width = values.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    return cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
