"""Frames with drawn objects whose masks and flow are exact, for the tests of what writes them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dystab_jax.prediction.segmented import SegmentedFrame, Trace

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (120, 120, 120)


class Box(NamedTuple):
    """A rectangle: place, colour, and how far it moved since the frame before."""

    left: int
    top: int
    width: int
    height: int
    color: tuple[int, int, int] = RED
    step: tuple[int, int] = (0, 0)


def draw(
    boxes: Sequence[Box],
    size: tuple[int, int] = (60, 100),
    t: int = 0,
    shot: int = 0,
    time: float | None = None,
    first: bool = False,
    flow_scale: int = 1,
) -> tuple[SegmentedFrame, np.ndarray]:
    """Draws boxes, later ones in front.

    Args:
      boxes: may reach over the frame's edge.
      size: (height, width) of the frame.
      t: number of the frame, its name.
      shot, time: of the frame.
      first: of its shot, so that it has no flow to the frame before.
      flow_scale: the flow is so many times smaller than the frame.

    Returns:
      The frame, and the true numbers: of box b b + 1, uint8 [H, W].
    """
    image = np.full((*size, 3), 60, np.uint8)
    numbers = np.zeros(size, np.uint8)
    flow = np.zeros((*size, 2), np.float32)
    for number, box in enumerate(boxes, 1):
        rows = slice(max(box.top, 0), max(box.top + box.height, 0))
        columns = slice(max(box.left, 0), max(box.left + box.width, 0))
        image[rows, columns], numbers[rows, columns] = box.color, number
        flow[rows, columns] = -np.array(box.step)
    small = flow[flow_scale // 2 :: flow_scale, flow_scale // 2 :: flow_scale] / flow_scale
    soft = np.where(numbers > 0, np.float32(0.9), np.float32(0.1))
    empty = np.zeros(small.shape[:2], np.float32)
    flows = {} if first else {-1: small.astype(np.float16)}
    trace = Trace(flows, empty, empty, empty, 0.0, 0.0)
    return SegmentedFrame(f"{t:05d}", time, image, soft, trace, shot), numbers
