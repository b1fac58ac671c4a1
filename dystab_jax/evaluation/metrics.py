"""Scores one frame or one map, and computes the statistics of a sequence of such scores.

NumPy and OpenCV only: arrays in, plain floats out. Which frames are scored and how the
scores are averaged is the business of `protocols/`.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy.typing import ArrayLike

HardMask = Bool[np.ndarray, "H W"] | Integer[np.ndarray, "H W"]
"""1 = object; any value other than 0 counts as object."""
SoftMap = HardMask | Float[np.ndarray, "H W"]
"""Probability of object in [0, 1]; a hard mask is one whose values are 0 and 1."""


def jaccard(prediction: HardMask, truth: HardMask) -> float:
    """Computes J, region similarity: intersection over union of the object.

    Args:
      prediction: hard mask.
      truth: hard mask of the same size.

    Returns:
      J in [0, 1]; 1 where both masks are empty.

    Raises:
      ValueError: sizes differ, or a mask is not a two-dimensional hard mask.
    """
    predicted, true = _object_pixels(prediction, truth)
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else 1.0


def boundary_f(prediction: HardMask, truth: HardMask, bound: float = 0.008) -> float:
    """Computes F of DAVIS-2016, contour accuracy: F-measure of matched boundary pixels.

        P = share of the predicted boundary within r of the true boundary
        R = share of the true boundary within r of the predicted boundary
        F = 2PR / (P + R),    r = ceil(bound · hypot(H, W)) pixels

    A missing boundary (empty or full mask) has nothing to match: with the other one present
    one of P and R is 0 and so is F; with both missing F is 1.

    Args:
      prediction: hard mask.
      truth: hard mask of the same size.
      bound: tolerance as a share of the image diagonal; 0.008 means 8 px at 854x480.

    Returns:
      F in [0, 1].

    Raises:
      ValueError: sizes differ, or a mask is not a two-dimensional hard mask.
    """
    return float(boundary_f_table([prediction], [truth], bound)[0, 0])


def boundary_f_table(
    predictions: Sequence[HardMask], truths: Sequence[HardMask], bound: float = 0.008
) -> Float[np.ndarray, "P N"]:
    """Computes `boundary_f` of every prediction and truth, each boundary widened only once.

    Args:
      predictions: P hard masks of one frame.
      truths: N hard masks of the same size.
      bound: as for `boundary_f`.

    Returns:
      F of prediction p and truth n at [p, n].

    Raises:
      ValueError: as `boundary_f`.
    """
    pairs = [[_object_pixels(one, other) for other in truths] for one in predictions]
    if not pairs or not truths:
        return np.zeros((len(predictions), len(truths)))
    radius = int(np.ceil(bound * np.hypot(*truths[0].shape)))
    predicted = [_Boundary(row[0][0], radius) for row in pairs]
    true = [_Boundary(true, radius) for _, true in pairs[0]]
    return np.array([[_matched_f(one, other) for other in true] for one in predicted])


def f_beta(
    prediction: SoftMap, truth: HardMask, beta2: float = 0.3, threshold: float = 0.5
) -> float:
    """Computes F_β of one map against its truth, the map thresholded at a fixed level.

        F_β = (1 + β²) P R / (β² P + R)

    Args:
      prediction: probability of object in [0, 1].
      truth: hard mask of the same size.
      beta2: β²; 0.3 stresses precision, as is usual for saliency.
      threshold: object is where the map is greater than this.

    Returns:
      F_β in [0, 1]; 1 where thresholded map and truth are both empty, 0 where one of them is.

    Raises:
      ValueError: sizes differ, or the map leaves [0, 1].
    """
    soft, true = probability(prediction, truth)
    predicted = soft > threshold
    # F_β = (1 + β²) TP / (β²·|truth| + |prediction|): defined wherever one of them has a pixel.
    total = beta2 * np.count_nonzero(true) + np.count_nonzero(predicted)
    return float((1 + beta2) * np.count_nonzero(predicted & true) / total) if total else 1.0


def mae(prediction: SoftMap, truth: HardMask) -> float:
    """Computes the mean absolute error between a map and its truth.

    Args:
      prediction: probability of object in [0, 1].
      truth: hard mask of the same size.

    Returns:
      Mean over the pixels of |prediction - truth|, in [0, 1].

    Raises:
      ValueError: sizes differ, or the map leaves [0, 1].
    """
    soft, true = probability(prediction, truth)
    return float(np.mean(np.abs(soft - true), dtype=np.float64))


def recall(scores: ArrayLike) -> float:
    """Returns the share of the frames of one sequence that score above one half, in [0, 1]."""
    return float(np.mean(np.asarray(scores) > 0.5))


def decay(scores: ArrayLike) -> float:
    """Computes the loss of a sequence over time: mean of its first quarter minus that of its last.

    As in DAVIS, the quarters run between the frames round(linspace(1, n, 5)), ends included, so
    neighbouring quarters share a frame.

    Args:
      scores: one score per frame, in temporal order, at least one.

    Returns:
      Loss in [-1, 1]; negative where the sequence gets better.
    """
    scores = np.asarray(scores)
    # np.round goes to the even neighbour at exact halves; DAVIS nudges them up.
    ends = np.round(np.linspace(1, len(scores), 5) + 1e-10).astype(int) - 1
    first, last = scores[ends[0] : ends[1] + 1], scores[ends[3] : ends[4] + 1]
    return float(first.mean() - last.mean())


class _Boundary:
    """Holds a boundary as pixels, their count, and the pixels within `radius` of it."""

    def __init__(self, mask: np.ndarray, radius: int):
        self.pixels = _boundary(mask)
        self.count = np.count_nonzero(self.pixels)
        self.near = np.zeros_like(self.pixels)
        if not self.count:
            return
        # Outside the box around the boundary, grown by the radius, nothing is near; the dilation
        # is what costs time here.
        left, top, width, height = cv2.boundingRect(self.pixels)
        box = np.s_[
            max(top - radius, 0) : top + height + radius,
            max(left - radius, 0) : left + width + radius,
        ]
        self.near[box] = cv2.dilate(self.pixels[box], _disk(radius))


def _matched_f(predicted: _Boundary, true: _Boundary) -> float:
    if not predicted.count or not true.count:
        return float(predicted.count == true.count)
    precision = np.count_nonzero(predicted.pixels & true.near) / predicted.count
    recall = np.count_nonzero(true.pixels & predicted.near) / true.count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Returns the pixels that differ from their E, S or SE neighbour: uint8 {0, 1} [H, W].

    In the last row and column the neighbour outside the image repeats the nearest pixel, which
    leaves E alone in the last row, S alone in the last column and nothing in the corner.
    """
    boundary = np.zeros(mask.shape, np.uint8)
    boundary[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    boundary[:-1] |= mask[:-1] ^ mask[1:]
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary


def _disk(radius: int) -> np.ndarray:
    """Returns the pixels within `radius` of the centre: uint8 {0, 1}, 2·radius + 1 square."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def _object_pixels(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both masks as boolean arrays of one size."""
    check_sizes(prediction, truth)
    return nonzero(prediction, "prediction"), nonzero(truth, "truth")


def probability(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the map as floats in [0, 1] and the truth as booleans, of one size.

    Raises:
      ValueError: sizes differ, the map leaves [0, 1], or the truth is not a hard mask.
    """
    check_sizes(prediction, truth)
    low, high = prediction.min(), prediction.max()
    # Written so that a map with a NaN in it fails as well.
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"the map has values from {low} to {high}, expected probabilities in [0, 1]; "
            "divide 8-bit maps by 255"
        )
    if prediction.dtype.kind != "f":
        prediction = prediction.astype(np.float32)
    return prediction, nonzero(truth, "truth")


def nonzero(mask: np.ndarray, role: str) -> np.ndarray:
    """Returns the pixels of a hard mask that are not 0, bool [H, W].

    Raises:
      ValueError: it is a soft one; names its ``role``.
    """
    if mask.dtype.kind not in "bui":
        raise ValueError(
            f"{role} has type {mask.dtype}, expected a hard mask (bool or integer); "
            "threshold a soft map first"
        )
    return mask if mask.dtype == bool else mask != 0


def check_sizes(prediction: np.ndarray, truth: np.ndarray) -> None:
    """Checks that both have two dimensions and one size.

    Raises:
      ValueError: they have not.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction {prediction.shape} and truth {truth.shape} differ in size (height, "
            "width); resize the soft map to the truth's size before thresholding it"
        )
    if prediction.ndim != 2 or not prediction.size:
        raise ValueError(f"masks of shape {prediction.shape}, expected (height, width)")
