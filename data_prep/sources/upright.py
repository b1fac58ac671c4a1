"""Turns decoded video frames into RGB pictures as a player shows them."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from jaxtyping import UInt8

WIDEST_PIXEL = 4
"""Width of a pixel by its height, or the reverse; what states more is not believed."""


class Upright:
    """Deinterlaces frames, makes their pixels square, and turns them by the display matrix.

    Gives as many pictures as it gets frames, but some later.
    """

    def __init__(self, stream: av.VideoStream):
        """Prepares for the frames of a stream."""
        self._stream = stream
        self._graph: av.filter.Graph | None = None
        self._kind: Any = None

    def push(self, frame: av.VideoFrame) -> Iterator[np.ndarray]:
        """Takes a frame; yields the pictures that are ready."""
        if self._graph is None and not frame.interlaced_frame:
            yield self._picture(frame)  # most videos need no filter
            return
        kind = frame.width, frame.height, frame.format.name
        if kind != self._kind:
            yield from self.drain()
        if self._graph is None:
            self._graph, self._kind = _deinterlacer(frame, self._stream), kind
        self._graph.vpush(frame)
        yield from self._pull()

    def drain(self) -> Iterator[np.ndarray]:
        """Yields the pictures that are still in the filter."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pull()
            self._graph = None

    def _pull(self) -> Iterator[np.ndarray]:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield self._picture(frame)

    def _picture(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        image = frame.to_ndarray(format="rgb24")
        image = _make_square(image, self._stream.sample_aspect_ratio)
        # frame.side_data makes a cycle of references, which keeps the frame in memory.
        matrix = SideDataContainer(frame).get(Type.DISPLAYMATRIX)
        return image if matrix is None else _turn(image, np.frombuffer(matrix, np.int32))


def _deinterlacer(frame: av.VideoFrame, stream: av.VideoStream) -> av.filter.Graph:
    """Makes a filter of as many frames as it gets; those that are not interlaced stay the same."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base
    )
    fields = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, fields, graph.add("buffersink")).configure()
    return graph


def _make_square(image: np.ndarray, ratio: Fraction | None) -> np.ndarray:
    """Widens or heightens a picture whose pixels are not square; none gets smaller."""
    if not ratio or ratio == 1 or not 1 / WIDEST_PIXEL <= ratio <= WIDEST_PIXEL:
        return image
    height, width = image.shape[:2]
    size = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _turn(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns and mirrors a picture by a display matrix, to the nearest quarter.

    Args:
      image: as stored.
      matrix: int32 [9], a b u c d v x y w: the pixel (p, q) is shown at (a p + c q, b p + d q).
    """
    a, b, _, c, d = map(int, matrix[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
