"""Finds which predicted object stands for which true one.

Two protocols need that: the unsupervised one of DAVIS-2017 and the F-measure of Ochs, Malik and
Brox for FBMS-59. Both look for the best one-to-one assignment over a whole sequence.
"""

import numpy as np
import scipy
from jaxtyping import Float, Integer

Numbers = Integer[np.ndarray, "H W"]
"""0 = background, else the number of an object."""


def overlap(predicted: Numbers, true: Numbers) -> Integer[np.ndarray, "P N"]:
    """Counts the pixels that predicted object p and true object n share, background included.

    Args:
      predicted: object numbers.
      true: object numbers, same size.

    Returns:
      Counts [largest predicted number + 1, largest true number + 1]; they add up to H·W.
    """
    rows, columns = int(predicted.max()) + 1, int(true.max()) + 1
    pairs = predicted.astype(np.int64) * columns + true
    return np.bincount(pairs.ravel(), minlength=rows * columns).reshape(rows, columns)


def assign(scores: Float[np.ndarray, "P N"]) -> dict[int, int]:
    """Finds the one-to-one assignment with the largest sum of scores (Hungarian method).

    Returns:
      {column: row}, of all columns or of as many as there are rows.
    """
    rows, columns = scipy.optimize.linear_sum_assignment(scores, maximize=True)
    return dict(zip(columns.tolist(), rows.tolist(), strict=True))
