"""Tells the objects of a mask apart, and keeps their numbers over the frames of a video."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are imported when they are used: a second, which few need

from dystab_jax.array_types import Picture
from dystab_jax.prediction.appearance import color_distance, color_histogram
from dystab_jax.prediction.regions import Numbers, Regions, along_flow, paint
from dystab_jax.prediction.segmented import SegmentedFrame

MOST_OBJECTS = 20
"""Of a video, numbered from 1: what the protocol of DAVIS-2017 takes."""
MEMORY = 30
"""Frames for which an object that has vanished is remembered."""
SPECK = 0.0005
"""Share of the frame below which a region is no object of its own."""
CLAIM = 0.1
"""Share of a region, or of an object, that the two must have in common to belong together."""
SETTLED = 5
"""Frames that an object has to be seen by itself before it keeps its number beside another in one
region; a younger one, which may be a fragment of the other, is absorbed."""
NEAR = 1.0
"""Parts of an object that come apart are still one, up to so much of the smaller one's size (the
root of its area) between them: poles and trees cut objects."""
EMERGES, ALIKE_PART = 0.75, 0.7
"""A smaller region that nothing else claims is part of an object that is no farther away than so
much of its size, unless the distance of their colours is more: it comes out behind a pole. Generous
in colours, since the front of a thing may be unlike its back."""
REACH = 1.5, 0.01
"""How far from where it vanished an object may appear again: in its own size, and in the diagonal
of the frame for each frame in between."""
ALIKE, ALIKE_AFTER_CUT, MARGIN = 0.5, 0.3, 0.15
"""Largest distance of colours, see `color_distance`, at which an object is taken for one that has
vanished; the stricter one, with so much of a lead over all others, after a cut. In DAVIS-2016 the
distance of an object to itself 30 frames later is 0.19 in the median, below 0.45 in 95 %; to
another object it is 0.75 in the median, above 0.47 in 95 %."""


@dataclass
class _Known:
    """Holds what is remembered of an object.

    Attributes:
      center, step: (x, y) and how much it moves from frame to frame, pixels.
      size: root of its area when it was last seen by itself, pixels.
      largest: area, pixels.
      colors: see `color_histogram`.
      seen: time of the last frame that showed it.
      alone: frames in which it was a region by itself.
    """

    center: np.ndarray
    step: np.ndarray
    size: float
    largest: int
    colors: np.ndarray
    seen: int
    alone: int = 0


class ObjectTracker:
    """Numbers the objects of one video, frame by frame.

    An object is a connected region of the mask, 8 neighbours. The numbers of the frame before are
    moved along the flow, and the assignment that keeps most pixels gives each region its number
    (Hungarian method); where there is a choice, colours have a say. Then:

    * Objects that touch or cross share a region; flow and colours divide it, see `divide`. Those
      that are one region from the beginning are one object until they part.
    * A part that comes off keeps its object's number while it is near, else it is an object. A part
      that comes out behind something gets the number of the object that it is like and near to.
    * An object that vanishes has `MEMORY` frames to come back under its number, where it can be by
      then and in its colours; across a cut by its colours alone, if they are clearly its own.
    * Regions below `SPECK` of the frame, which are no objects, get the number of the nearest one,
      so that no pixel of the mask is lost.
    * Numbers go to `MOST_OBJECTS` objects, larger ones first. If all are in use, a larger object
      takes that of the smallest one which is gone for good, or else the number of its neighbour.

    Memory is that of one frame, whatever the length of the video. It is our own method; the paper
    segments one object.
    """

    def __init__(self):
        """Knows no object."""
        self._known: dict[int, _Known] = {}
        self._time = -1
        self._frame: SegmentedFrame | None = None
        self._numbers: Numbers | None = None

    def numbers(self, frame: SegmentedFrame) -> Numbers:
        """Returns the numbers of a frame's objects, not 0 exactly in its mask.

        Args:
          frame: the next of the video, or again the one before: several outputs share a tracker.
        """
        if frame is not self._frame:
            self._time += 1
            self._numbers = self._number(frame)
            self._frame = frame
        return self._numbers

    def _number(self, frame: SegmentedFrame) -> Numbers:
        mask = frame.mask
        cut = self._frame is None or frame.shot != self._frame.shot
        moved = np.zeros_like(mask) if cut else _moved(self._numbers, frame) * mask
        regions = Regions.of(mask, moved)
        if len(regions.stats) == 1:
            return moved
        large = max(1, round(SPECK * mask.size))
        owners, spare = self._claim(regions, frame.image, large)
        if not owners and all(regions.area(region) < large for region in spare):
            large = max(map(regions.area, spare))
        spare = {region: n for region, n in spare.items() if regions.area(region) >= large or n}
        self._welcome_back(regions, frame, owners, spare, large, cut)
        self._name_rest(regions, frame, owners, spare, large)
        colors = {n: known.colors for n, known in self._known.items()}
        numbers = paint(regions, frame.image, moved, owners, colors)
        self._remember(frame, numbers, owners)
        return numbers

    def _claim(
        self, regions: Regions, image: Picture, large: int
    ) -> tuple[dict[int, list[int]], dict[int, int]]:
        """Assigns regions by the pixels that they share with the objects of the frame before.

        Returns:
          Objects of the regions that have any, the main one first; for each other region the object
          that most of it was part of, 0 for none.
        """
        shared = regions.shared
        areas = regions.stats[:, cv2.CC_STAT_AREA]
        least = CLAIM * np.minimum(areas[:, None], shared.sum(axis=0)[None])
        claims = (shared > 0) & (shared >= least)
        kept = shared * claims
        weights = self._likeness(regions, image, claims, large)
        rows, columns = scipy.optimize.linear_sum_assignment(kept * weights, maximize=True)
        owners = {
            int(r): [int(n)] for r, n in zip(rows, columns, strict=True) if r and claims[r, n]
        }
        places = {numbers[0]: region for region, numbers in owners.items()}
        for n in map(int, np.flatnonzero(claims.any(axis=0))):
            region, known = int(kept[:, n].argmax()), self._known[n]
            # By itself it is nothing, or a fragment of what it was: the rest is with another.
            is_part = n not in places or regions.area(places[n]) < known.size**2 / 2
            joins = region in owners and n not in owners[region] and shared[region, n] >= large
            if is_part and joins and known.alone >= SETTLED:
                owners[region].append(n)
        spare = {
            region: int(kept[region].argmax())
            for region in range(1, len(shared))
            if region not in owners
        }
        return owners, spare

    def _likeness(
        self, regions: Regions, image: Picture, claims: np.ndarray, large: int
    ) -> np.ndarray:
        """Weighs claims [R, N] by colours where regions or objects have several to choose from."""
        weights, areas = np.ones(claims.shape), regions.stats[:, cv2.CC_STAT_AREA]
        several = (
            (areas >= large)[:, None]
            & claims
            & ((claims.sum(axis=0) > 1)[None] | (claims.sum(axis=1) > 1)[:, None])
        )
        for region in map(int, np.flatnonzero(several.any(axis=1))):
            colors = regions.colors(region, image)
            for n in map(int, np.flatnonzero(several[region])):
                distance = color_distance(colors, self._known[n].colors)
                weights[region, n] = max(1 - distance, 0.1) ** 2
        return weights

    def _welcome_back(
        self,
        regions: Regions,
        frame: SegmentedFrame,
        owners: dict[int, list[int]],
        spare: dict[int, int],
        large: int,
        cut: bool,
    ) -> None:
        """Gives regions without an object to objects that had vanished; takes them from `spare`."""
        here = {n for numbers in owners.values() for n in numbers}
        gone = [
            n
            for n, known in self._known.items()
            if n not in here and self._time - known.seen <= MEMORY
        ]
        candidates = [region for region in spare if regions.area(region) >= large]
        if not gone or not candidates:
            return
        costs = np.full((len(candidates), len(gone)), np.inf)
        for row, region in enumerate(candidates):
            colors = regions.colors(region, frame.image)
            limit = ALIKE_AFTER_CUT if cut else ALIKE
            if spare[region]:  # it must be more like the other than what it came off
                limit = min(limit, color_distance(colors, self._known[spare[region]].colors))
            for column, n in enumerate(gone):
                distance = color_distance(colors, self._known[n].colors)
                if distance < limit and (cut or self._in_reach(n, regions, region)):
                    costs[row, column] = distance
        if cut:
            costs[~_clearly_best(costs)] = np.inf
        never = 1e3
        assigned = scipy.optimize.linear_sum_assignment(np.minimum(costs, never))
        for row, column in zip(*assigned, strict=True):
            if costs[row, column] < never:
                owners[candidates[row]] = [gone[column]]
                del spare[candidates[row]]

    def _in_reach(self, number: int, regions: Regions, region: int) -> bool:
        known, center = self._known[number], regions.centers[region]
        frames = self._time - known.seen
        diagonal = float(np.hypot(*regions.labels.shape))
        reach = REACH[0] * known.size + REACH[1] * diagonal * frames
        places = known.center, known.center + known.step * frames
        return min(float(np.linalg.norm(center - place)) for place in places) <= reach

    def _name_rest(
        self,
        regions: Regions,
        frame: SegmentedFrame,
        owners: dict[int, list[int]],
        spare: Mapping[int, int],
        large: int,
    ) -> None:
        """Gives the regions that are left their old object's number, or a new one."""
        main = {numbers[0]: region for region, numbers in owners.items()}
        for region in sorted(spare, key=regions.area, reverse=True):
            old, area = spare[region], regions.area(region)
            if old in main and area >= large:
                size = np.sqrt(min(area, regions.area(main[old])))
                if regions.gap(region, main[old]) > NEAR * size:
                    old = 0
            if not old and area >= large:
                old = self._emerged(regions, frame.image, region, main)
            if not old and area >= large:
                old = self._new_number(area, {n for numbers in owners.values() for n in numbers})
            if old:
                owners[region] = [old]

    def _emerged(
        self, regions: Regions, image: Picture, region: int, main: Mapping[int, int]
    ) -> int:
        """Returns the object that a region without any is part of, see `EMERGES`; 0 for none.

        Args:
          main: the regions of the objects that were there before.
        """
        colors, distances = regions.colors(region, image), {}
        for n, other in main.items():
            area = regions.area(other)
            if area > regions.area(region) and regions.gap(region, other) <= EMERGES * np.sqrt(
                area
            ):
                distances[n] = color_distance(colors, self._known[n].colors)
        best = min(distances, key=distances.get, default=0)
        return best if best and distances[best] <= ALIKE_PART else 0

    def _new_number(self, area: int, here: Iterable[int]) -> int:
        """Returns a number for a new object; 0 where there is none left for it."""
        here = set(here)
        unused = [n for n in range(1, MOST_OBJECTS + 1) if n not in self._known and n not in here]
        if unused:
            return unused[0]
        absent = [n for n in self._known if n not in here]
        gone = [n for n in absent if self._time - self._known[n].seen > MEMORY]
        smallest = min(gone or absent, key=lambda n: self._known[n].largest, default=0)
        if here and (not gone or self._known[smallest].largest >= area):
            return 0
        self._known.pop(smallest, None)
        return smallest

    def _remember(
        self, frame: SegmentedFrame, numbers: Numbers, owners: Mapping[int, list[int]]
    ) -> None:
        mixed = {n for several in owners.values() if len(several) > 1 for n in several}
        for n in map(int, np.unique(numbers[numbers != 0])):
            inside = (numbers == n).astype(np.uint8)
            x, y, width, height = cv2.boundingRect(inside)
            box = slice(y, y + height), slice(x, x + width)
            moments = cv2.moments(inside[box], binaryImage=True)
            area = int(moments["m00"])
            center = np.array([x + moments["m10"] / area, y + moments["m01"] / area])
            known = self._known.get(n)
            if known is None:
                colors = color_histogram(frame.image[box], inside[box])
                known = _Known(center, np.zeros(2), np.sqrt(area), area, colors, self._time)
                self._known[n] = known
            frames = self._time - known.seen
            if frames:
                known.step = (known.step + (center - known.center) / frames) / 2
            known.center, known.seen = center, self._time
            if n in mixed:
                continue
            known.alone += 1
            known.size, known.largest = float(np.sqrt(area)), max(known.largest, area)
            colors = color_histogram(frame.image[box], inside[box])
            known.colors = 0.8 * known.colors + 0.2 * colors


def _clearly_best(costs: np.ndarray) -> np.ndarray:
    """Returns which costs [R, N] lead all others of their row and of their column by `MARGIN`."""
    best = np.ones(costs.shape, bool)
    for axis in (0, 1):
        if costs.shape[axis] > 1:
            least = np.sort(costs, axis=axis)
            first, second = (np.take(least, [place], axis) for place in (0, 1))
            best &= (costs <= first) & ~(second < first + MARGIN)
    return best


def _moved(numbers: Numbers, frame: SegmentedFrame) -> Numbers:
    """Moves the numbers of the frame before to a frame; without flow they stay where they are."""
    flow = None if frame.trace is None else frame.trace.flows.get(-1)
    return numbers if flow is None else along_flow(numbers, flow)
