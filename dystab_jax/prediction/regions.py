"""Finds the connected regions of a mask, and paints numbers into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from dystab_jax.array_types import Picture
from dystab_jax.data.resize import resize_flow
from dystab_jax.prediction.appearance import Histogram, color_histogram, divide

Numbers = UInt8[np.ndarray, "H W"]
"""0 = background, else the number of an object."""


@dataclass(frozen=True)
class Regions:
    """Holds the connected regions of a mask, numbered from 1; row 0 is the background.

    Attributes:
      labels: number of the region, int32 [H, W].
      stats: box (x, y, width, height) and area, [regions + 1, 5].
      centers: (x, y), [regions + 1, 2].
      shared: pixels that region r has in common with object n of the frame before, [r, n].
    """

    labels: np.ndarray
    stats: np.ndarray
    centers: np.ndarray
    shared: np.ndarray

    def area(self, region: int) -> int:
        """Returns the pixels of a region."""
        return int(self.stats[region, cv2.CC_STAT_AREA])

    def colors(self, region: int, image: Picture) -> np.ndarray:
        """Returns the histogram of a region's colours."""
        box, inside = self.inside(region)
        return color_histogram(image[box], inside)

    def inside(self, region: int) -> tuple[tuple[slice, slice], np.ndarray]:
        """Returns the box of a region, and where in it the region is, bool [h, w]."""
        x, y, width, height = self.stats[region, :4]
        box = slice(y, y + height), slice(x, x + width)
        return box, self.labels[box] == region

    def gap(self, first: int, second: int) -> float:
        """Returns the distance between two regions, pixels."""
        corners, sizes = self.stats[[first, second], :2], self.stats[[first, second], 2:4]
        (left, top), (right, bottom) = corners.min(axis=0), (corners + sizes).max(axis=0)
        labels = self.labels[top:bottom, left:right]
        away = (labels != second).astype(np.uint8)
        distances = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
        return float(distances[labels == first].min())

    @classmethod
    def of(cls, mask: Numbers, moved: Numbers) -> "Regions":
        """Finds the regions of a mask, 8 neighbours.

        Args:
          mask: not 0 = object.
          moved: numbers of the objects of the frame before, where they are now.
        """
        count, labels, stats, centers = cv2.connectedComponentsWithStats(mask, connectivity=8)
        pairs = np.bincount((labels.astype(np.int64) * 256 + moved).ravel(), minlength=256 * count)
        shared = pairs.reshape(count, 256)
        shared[0] = shared[:, 0] = 0
        return cls(labels, stats, centers, shared)


def along_flow(numbers: Numbers, flow: Shaped[np.ndarray, "h w 2"]) -> Numbers:
    """Moves the numbers of another frame to this one; 0 is what comes from outside of it.

    Args:
      numbers: of the other frame.
      flow: from this frame to the other, pixels of its own resolution.
    """
    height, width = numbers.shape
    flow = resize_flow(flow.astype(np.float32), (height, width))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        numbers,
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )


def paint(
    regions: Regions,
    image: Picture,
    moved: Numbers,
    owners: Mapping[int, Sequence[int]],
    colors: Mapping[int, Histogram],
) -> Numbers:
    """Returns the numbers of all pixels of the regions.

    Args:
      regions: of the frame.
      image: the frame.
      moved: as the flow brings them.
      owners: objects of each region; those that have none get the number of the nearest object.
      colors: of the objects.
    """
    main = np.zeros(len(regions.stats), np.uint8)
    for region, numbers in owners.items():
        main[region] = numbers[0]
    numbers = main[regions.labels]
    for region, several in owners.items():
        if len(several) > 1:
            box, inside = regions.inside(region)
            divided = divide(image[box], moved[box], {n: colors[n] for n in several})
            numbers[box][inside] = divided[inside]
    lacking = (numbers == 0) & (regions.labels != 0)
    if lacking.any():
        numbers[lacking] = _nearest(numbers)[lacking]
    return numbers


def _nearest(numbers: Numbers) -> Numbers:
    """Returns for each pixel the number of the nearest one that has any."""
    free = (numbers == 0).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(nearest.max() + 1, np.uint8)
    table[nearest[free == 0]] = numbers[free == 0]
    return table[nearest]
