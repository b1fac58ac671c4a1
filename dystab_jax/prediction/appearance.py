"""Compares regions of images by their colours."""

import cv2
import numpy as np
from jaxtyping import Float32, Shaped

from dystab_jax.array_types import Picture

BINS = 12, 4, 4
"""Of hue, saturation and value: coarse, since objects turn and light changes."""

Histogram = Float32[np.ndarray, "N"]
"""Shares of a region's pixels, which add up to 1."""


def color_histogram(image: Picture, mask: Shaped[np.ndarray, "_H _W"]) -> Histogram:
    """Returns the histogram of the hue, saturation and value of the pixels where mask is not 0."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    inside = (mask != 0).astype(np.uint8)
    counts = cv2.calcHist([hsv], [0, 1, 2], inside, BINS, [0, 180, 0, 256, 0, 256]).ravel()
    return counts / max(float(counts.sum()), 1.0)


def color_distance(first: Histogram, second: Histogram) -> float:
    """Returns the Hellinger distance of two histograms: 0 of equal ones, 1 if no colour agrees."""
    return float(np.sqrt(max(0.0, 1 - np.sqrt(first * second).sum())))
