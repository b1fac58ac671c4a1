"""Guided filter of He, Sun and Tang (2010): edges of a map follow those of an image.

OpenCV's `ximgproc.guidedFilter` does not stand in: it reflects at the border and, for a colour
guide in [0, 1], is up to 0.5 off the formula where the windows' covariance is small.
"""

import cv2
import numpy as np
from jaxtyping import Float32


def guided_filter(
    guide: Float32[np.ndarray, "H W C"],
    values: Float32[np.ndarray, "H W"],
    radius: int,
    epsilon: float,
) -> Float32[np.ndarray, "H W"]:
    """Fits the values locally by the guide's channels (He et al. 2010, Eq. (19)-(21)).

    In every window of (2·radius + 1)² pixels, q = a·I + b with

        a = (cov(I, I) + ε·identity)^-1 cov(I, p),    b = mean(p) - a·mean(I),

    and a pixel's result averages a and b over the windows that hold it. At the image's border
    windows hold the pixels inside.

    Args:
      guide: I, of order one; three channels for colours, one for grey.
      values: p.
      radius: pixels.
      epsilon: ε, in squared units of the guide; variances well above it count as edges.

    Returns:
      q; it may leave the range of p a little.
    """
    slopes, offset = _fit(guide, values, radius, epsilon)
    return offset + sum(slope * guide[..., channel] for channel, slope in enumerate(slopes))


def guided_upsample(
    guide: Float32[np.ndarray, "H W C"],
    small: Float32[np.ndarray, "h w C"],
    values: Float32[np.ndarray, "h w"],
    radius: int,
    epsilon: float,
) -> Float32[np.ndarray, "H W"]:
    """Enlarges a map such that its edges are those of the large guide (He and Sun 2015).

    The fits of ``guided_filter`` to the small guide are enlarged, and applied to the large one.

    Args:
      guide: at the size that the map is to have.
      small: the same, of the map's size.
      values: the map.
      radius, epsilon: see ``guided_filter``; pixels of the small guide.
    """
    slopes, offset = _fit(small, values, radius, epsilon)
    size = guide.shape[1::-1]

    def enlarge(plane):
        return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)

    result = enlarge(offset)
    for channel, slope in enumerate(slopes):
        result += enlarge(slope) * guide[..., channel]
    return result


def _fit(
    guide: Float32[np.ndarray, "H W C"],
    values: Float32[np.ndarray, "H W"],
    radius: int,
    epsilon: float,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the averages of a, one plane for each channel, and of b; see ``guided_filter``."""
    window = (2 * radius + 1, 2 * radius + 1)

    def window_sum(plane):
        return cv2.boxFilter(plane, -1, window, normalize=False, borderType=cv2.BORDER_CONSTANT)

    share = 1 / window_sum(np.ones_like(values))

    def mean(plane):
        return window_sum(plane) * share

    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(guide, -1, 0)]
    means = [mean(plane) for plane in planes]
    mean_values = mean(values)
    covariances = [
        mean(plane * values) - average * mean_values
        for plane, average in zip(planes, means, strict=True)
    ]
    variances = {}
    for i, plane in enumerate(planes):
        for j in range(i + 1):
            variances[i, j] = mean(plane * planes[j]) - means[i] * means[j]
        variances[i, i] += np.float32(epsilon)
    slopes = _solve(variances, covariances)
    offset = mean_values
    for slope, average in zip(slopes, means, strict=True):
        offset = offset - slope * average
    return [mean(slope) for slope in slopes], mean(offset)


def _solve(matrix: dict, right: list[np.ndarray]) -> list[np.ndarray]:
    """Solves A x = b for every pixel, by A = L D Lᵀ; `matrix` holds A's lower triangle, i >= j."""
    size = len(right)
    lower, diagonal, x = {}, [], list(right)
    for i in range(size):
        for j in range(i):
            # (L D)_ij first; L_ij once D_j has divided it.
            product = matrix[i, j]
            for k in range(j):
                product = product - lower[i, k] * lower[j, k] * diagonal[k]
            lower[i, j] = product / diagonal[j]
        pivot = matrix[i, i]
        for k in range(i):
            pivot = pivot - lower[i, k] ** 2 * diagonal[k]
        diagonal.append(pivot)
        for k in range(i):
            x[i] = x[i] - lower[i, k] * x[k]
    for i in reversed(range(size)):
        x[i] = x[i] / diagonal[i]
        for k in range(i + 1, size):
            x[i] = x[i] - lower[k, i] * x[k]
    return x
