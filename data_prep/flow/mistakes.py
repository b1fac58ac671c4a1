"""Finds out from the frames that flow files hold something else than they should.

Along the true flow two frames are alike: image1(x) ≈ image2(x + u(x)). Where the vectors of a file
are those of a common mistake, undoing the mistake makes the frames clearly more alike: more than
the vectors as given do, and more than no motion. Only pixels count where undoing it moves the other
end of a vector by `LEAST_CHANGE` or more, so a still background hides nothing; where too few do, or
there is too little texture, nothing can be found.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

FlowField = Float32[np.ndarray, "h w 2"]
GreyLevels = Float32[np.ndarray, "h w"]

LEAST_CHANGE = 0.5
"""Pixels by which undoing a mistake must move the end of a vector for it to count."""
LEAST_SHARE = 0.2
"""Of a frame's pixels, summed over the pairs, so many must count. An object that an estimator lost,
in one pair, is less."""
LEAST_GAIN = 1.0
"""Mean grey levels by which undoing a mistake must bring the frames nearer."""
LARGEST_RATIO = 0.75
"""Undone, a mistake must leave at most this share of the difference, of that along no motion too.
Bilinear sampling alone may leave 0.79 of it, where frames hold nothing but noise."""
_LARGEST_DIFFERENCE = 40.0
"""Grey levels; what differs more, being hidden in one of the frames, counts as this."""
_SAMPLES = 20_000
"""Pixels of a pair that are compared, about; more would add nothing."""


class Mistake(NamedTuple):
    """Describes one way in which vectors can be wrong.

    Attributes:
      looks_like: what they are then.
      remedy: what to do.
      undo: from the vectors as given to those that were meant.
    """

    looks_like: str
    remedy: str
    undo: Callable[[FlowField], FlowField]


class Verdict(NamedTuple):
    """Holds the mistake that explains the frames, and their mean differences in grey levels.

    Attributes:
      mistake: which.
      given: along the vectors as given.
      undone: along those that were meant.
    """

    mistake: Mistake
    given: float
    undone: float


def list_mistakes(gap: int, size: tuple[int, int]) -> tuple[Mistake, ...]:
    """Lists the mistakes that are looked for.

    Args:
      gap: frames from the first frame to the second, signed.
      size: (height, width) of the field in its file, by which normalised vectors were divided.
    """
    height, width = size
    unit = "dx and dy must be in pixels of the file's own field; multiply them by its"
    length = (
        "vectors must be in pixels of the file's own field and span the whole gap; were they "
        "computed at another size, or over another gap, and not rescaled?"
    )
    lengths = {1 / factor: f"1/{factor}" for factor in (2, 4, 8, 20, abs(gap)) if factor > 1}
    lengths |= {factor: f"{factor} times" for factor in (2, 4, 8, abs(gap)) if factor > 1}
    return (
        Mistake(
            "flow of the opposite direction",
            "flow must lead from the frame that a file is named after to the one GAP frames later, "
            "earlier where GAP is negative; were the two folders exchanged?",
            partial(_scale, dx=-1, dy=-1),
        ),
        Mistake(
            "flow with dx and dy exchanged", "dx must come first", lambda flow: flow[..., ::-1]
        ),
        Mistake("flow with dy upwards", "dy must point down", partial(_scale, dx=1, dy=-1)),
        Mistake(
            "flow in halves of the image, -1 to 1",
            f"{unit} width / 2 and height / 2",
            partial(_scale, dx=width / 2, dy=height / 2),
        ),
        Mistake(
            "flow in shares of the image, 0 to 1",
            f"{unit} width and height",
            partial(_scale, dx=width, dy=height),
        ),
        *(
            Mistake(
                f"flow of {text} the true length",
                length,
                partial(_scale, dx=1 / share, dy=1 / share),
            )
            for share, text in lengths.items()
        ),
    )


def grey_levels(image: UInt8[np.ndarray, "h w 3"]) -> GreyLevels:
    """Returns what `Evidence` compares: RGB as grey levels, smoothed against noise."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), 1.0)


class Pair:
    """Holds two frames, of which some pixels are compared: every one of small frames."""

    def __init__(self, first: GreyLevels, second: GreyLevels):
        height, width = first.shape
        self._step = max(1, round(math.sqrt(height * width / _SAMPLES)))
        self._first, self._second = first[:: self._step, :: self._step], second
        rows, columns = np.mgrid[0 : height : self._step, 0 : width : self._step]
        self._rows, self._columns = rows.astype(np.float32), columns.astype(np.float32)

    def sample(self, flow: FlowField) -> Float32[np.ndarray, "rows columns 2"]:
        """Returns the vectors of the pixels that are compared."""
        return np.ascontiguousarray(flow[:: self._step, :: self._step])

    def differ(self, flow: FlowField) -> tuple[GreyLevels, Bool[np.ndarray, "h w"]]:
        """Returns by how much the frames differ along sampled vectors, and which end inside."""
        height, width = self._second.shape
        x, y = self._columns + flow[..., 0], self._rows + flow[..., 1]
        seen = cv2.remap(self._second, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        return np.minimum(np.abs(self._first - seen), _LARGEST_DIFFERENCE), inside


class Evidence:
    """Collects what the pairs of one video over one gap say about each mistake."""

    def __init__(self, mistakes: Sequence[Mistake]):
        self._mistakes = mistakes
        # Of each: the share of a frame that counted, and the differences over it: along the vectors
        # as given, undone, and without any motion.
        self._sums = np.zeros((len(mistakes), 4))

    def add(self, first: GreyLevels, second: GreyLevels, flow: FlowField) -> None:
        """Compares one pair.

        Args:
          first, second: `grey_levels` of its frames.
          flow: from the first to the second as given, pixels at their size.
        """
        pair = Pair(first, second)
        flow = pair.sample(flow)
        still = pair.differ(np.zeros_like(flow))[0]
        given, stays = pair.differ(flow)
        for mistake, sums in zip(self._mistakes, self._sums, strict=True):
            meant = mistake.undo(flow)
            counts = stays & (np.abs(meant - flow).max(axis=-1) >= LEAST_CHANGE)
            undone, stays_too = pair.differ(meant)
            counts &= stays_too
            totals = [counts.sum(), *(each[counts].sum() for each in (given, undone, still))]
            sums += np.array(totals) / counts.size

    def verdict(self) -> Verdict | None:
        """Returns the mistake that explains the pairs best; None where the vectors will do."""
        found = []
        for mistake, (share, given, undone, still) in zip(self._mistakes, self._sums, strict=True):
            # An estimator that sees motion where there is none is wrong, but not by a mistake.
            clear = undone <= LARGEST_RATIO * min(given, still)
            if share >= LEAST_SHARE and clear and given - undone >= LEAST_GAIN * share:
                found.append(Verdict(mistake, given / share, undone / share))
        return min(found, key=lambda each: each.undone / each.given, default=None)


def _scale(flow: FlowField, dx: float, dy: float) -> FlowField:
    return flow * np.array([dx, dy], np.float32)
