"""Compares regions of images by their colours."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float32, Integer, Shaped, UInt8

from dystab_jax.array_types import Picture

BINS = 12 * 4 * 4
"""Of hue, saturation and value: coarse, since objects turn and light changes."""

WINDOW = 9
"""Pixels, side of the square whose colours have a say in `divide`."""
COLOR_FLOOR, FLOW_FLOOR = 0.05, 0.2
"""What colours and flow in `divide` can be wrong by: 1 to so little is as far as they can decide.
Flow has a little less to say than colours that are all of one object."""

Histogram = Float32[np.ndarray, "N"]
"""Shares of a region's pixels, which add up to 1."""


def color_bins(image: Picture) -> Integer[np.ndarray, "_H _W"]:
    """Returns the bin of the hue, saturation and value of each pixel."""
    hue, saturation, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV))
    # OpenCV's hues are 0 to 179.
    return (hue // 15).astype(np.int32) * 16 + (saturation // 64) * 4 + value // 64


def color_histogram(image: Picture, mask: Shaped[np.ndarray, "_H _W"]) -> Histogram:
    """Returns the histogram of the colours of the pixels where mask is not 0."""
    counts = np.bincount(color_bins(image)[mask != 0], minlength=BINS).astype(np.float32)
    return counts / max(counts.sum(), np.float32(1))


def color_distance(first: Histogram, second: Histogram) -> float:
    """Returns the Hellinger distance of two histograms: 0 of equal ones, 1 if no colour agrees."""
    return float(np.sqrt(max(0.0, 1 - np.sqrt(first * second).sum())))


def divide(
    image: Picture, brought: Shaped[np.ndarray, "_H _W"], colors: Mapping[int, Histogram]
) -> UInt8[np.ndarray, "_H _W"]:
    """Decides to which of several objects, which lie before one another, each pixel belongs.

    Flow alone smears their numbers: where one object uncovers another, it leads nowhere. So what
    the flow brings is weighed against the colours around.

    Args:
      image: of the region.
      brought: number that the flow brings to each pixel; others than those of the objects say
        nothing.
      colors: histograms of the objects, by number.

    Returns:
      One of the numbers for every pixel.
    """
    bins, numbers = color_bins(image), np.array(list(colors), np.uint8)
    shares = np.stack([one[bins] for one in colors.values()]) + np.float32(1e-3)
    shares /= shares.sum(axis=0)
    votes = [
        cv2.blur(np.log(share + COLOR_FLOOR), (WINDOW, WINDOW))
        + np.log(cv2.blur((brought == n).astype(np.float32), (3, 3)) + FLOW_FLOOR)
        for share, n in zip(shares, numbers, strict=True)
    ]
    return numbers[np.argmax(votes, axis=0)]
