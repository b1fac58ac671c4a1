"""Reads a video with its flow, in pieces of a few frames each, none of which reaches over a cut."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from data_prep.sources.frames import FrameSource
from data_prep.video import Recipe, read_with_flow
from dystab_jax.array_types import Picture
from dystab_jax.data.resize import network_size, resize_flow, resize_image
from dystab_jax.inference import PIECE
from dystab_jax.refinement.flow_average import FramePair

SMALLEST_SIDE = 12
"""Pixels, what DIS needs."""
DIFFERENT = 0.3
"""Distance of neighbouring frames' colours above which there is a cut; see benchmarks/cuts.py."""
_SIZE = (96, 54)
_LEVELS = 8


@dataclass
class Piece:
    """Holds consecutive frames of a shot and their flows.

    Attributes:
      shot: number of the shot, from 0.
      names, encoded: of each frame; encoded at native size.
      times: of each frame, seconds; None in a folder.
      images: uint8 [h, w, 3] at the networks' resolution.
      flows: of each frame: (signed distance of the other frame, float16 [h, w, 2] in pixels of that
        resolution), within the shot.
    """

    shot: int = 0
    names: list[str] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    flows: list[list[tuple[int, np.ndarray]]] = field(default_factory=list)

    def pairs(self, flows_per_frame: int) -> list[FramePair]:
        """Returns the flows of all frames, of each the smallest gaps first, so many at most."""
        return [
            FramePair(owner, gap, flow)
            for owner, flows in enumerate(self.flows)
            for gap, flow in sorted(flows, key=lambda pair: abs(pair[0]))[:flows_per_frame]
        ]

    def cut(self, length: int) -> "Piece":
        """Takes the first ``length`` frames away and returns them."""
        taken = Piece(self.shot)
        for column, values in vars(self).items():
            if column != "shot":
                setattr(taken, column, values[:length])
                setattr(self, column, values[length:])
        return taken


def read_pieces(
    video: FrameSource,
    recipe: Recipe,
    image_size: tuple[int, int],
    on_frame: Callable[[tuple[int, int]], Any] = lambda size: None,
) -> Iterator[Piece]:
    """Yields the pieces of a video in order; every frame is in one of them.

    Shots of 2 · `PIECE` frames and more are cut, flow reaches across these cuts. So memory does not
    grow with the length of the video.

    Args:
      video: where frames come from.
      recipe: how flow is computed.
      image_size: (height, width) of the networks; see `dystab_jax.data.resize.network_size`.
      on_frame: called after each frame with its (height, width) for the networks.

    Raises:
      ValueError, FileNotFoundError: see ``read_with_flow``.
    """
    waiting, length, before = Piece(), 0, None
    for frame, flows in read_with_flow(video, recipe, SMALLEST_SIDE):
        colours = _colours(frame.image)
        if before is not None and distance(before, colours) > DIFFERENT:
            yield waiting
            waiting, length = Piece(waiting.shot + 1), 0
        before = colours
        size = network_size(frame.image.shape[:2], image_size)
        waiting.names.append(frame.name)
        waiting.encoded.append(frame.encoded)
        waiting.times.append(frame.time)
        waiting.images.append(resize_image(frame.image, size))
        waiting.flows.append([])
        for gap, (forward, backward) in flows.items():
            if gap > length:
                continue  # to a frame before the cut
            for owner, to, flow in ((-1, -gap, backward), (-1 - gap, gap, forward)):
                small = resize_flow(flow, size).astype(np.float16)
                waiting.flows[owner].append((to, small))
        length += 1
        on_frame(size)
        # Not as soon as they have all their flows: the last piece would be a short one, and its
        # frames decide together which region is the object.
        if len(waiting.names) == 2 * PIECE:
            yield waiting.cut(PIECE)
    if waiting.names:
        yield waiting


def colour_distance(one: Picture, other: Picture) -> float:
    """Returns how much the colours of two frames differ, wherever these lie in them.

        ½ Σ |h − h′|,    h the histogram of 8 × 8 × 8 colours of the frame shrunk to 96 × 54

    Returns:
      0 for the same colours, 1 for entirely others.
    """
    return distance(_colours(one), _colours(other))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Returns half of the absolute difference of two histograms, in [0, 1]."""
    return float(np.abs(one - other).sum() / 2)


def _colours(image: Picture) -> np.ndarray:
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [_LEVELS] * 3, [0, 256] * 3)
    return counts.ravel() / counts.sum()
