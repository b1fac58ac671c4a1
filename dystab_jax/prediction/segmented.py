"""Describes a frame with its mask, as files and pages take it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from dystab_jax.array_types import Picture
from dystab_jax.inference import threshold


@dataclass(frozen=True)
class Trace:
    """Holds what led to a mask, at the networks' resolution h × w.

    Attributes:
      flows: flow from this frame to the one that is so many frames later (negative: earlier),
        float32 [h, w, 2], pixels of that resolution; the smallest gaps first, of two the later
        frame. None crosses a cut.
      phi, chi, fused: soft maps [h, w], before the CRF.
      confidence_phi, confidence_chi: L_A of the masks of φ and χ; at 0 nothing moves in them.
    """

    flows: Mapping[int, np.ndarray]
    phi: np.ndarray
    chi: np.ndarray
    fused: np.ndarray
    confidence_phi: float
    confidence_chi: float


@dataclass(frozen=True)
class SegmentedFrame:
    """Holds a frame and its mask at native size.

    Attributes:
      name: file name without ending; five digits for video files.
      time: seconds since the first frame; None where frames have no times.
      image: RGB uint8 [H, W, 3].
      soft: probability of object, float32 [H, W], after the CRF.
      trace: None where χ alone made the mask, from the image.
      shot: number of the shot, from 0; a cut begins a new one.
    """

    name: str
    time: float | None
    image: Picture
    soft: np.ndarray
    trace: Trace | None = None
    shot: int = 0

    @property
    def mask(self) -> np.ndarray:
        """Returns the hard mask, uint8 [H, W] of 0 and 1; all 0 where there is no object."""
        return threshold(self.soft)


@runtime_checkable
class Output(Protocol):
    """Describes what takes the frames of a video, one after the other, and makes files of them."""

    def write(self, frame: SegmentedFrame) -> None:
        """Takes the next frame; memory does not grow with their number.

        Raises:
          OSError: it cannot be written.
        """

    def close(self) -> None:
        """Completes the files, of however many frames there were.

        Raises:
          OSError: they cannot be written.
        """


@dataclass(frozen=True)
class VideoFacts:
    """Describes the video behind the frames.

    Attributes:
      name: of the video.
      rate: frames per second; of frames that have no times.
      path: of the video file or folder.
      is_file: whether it is a video file, and no folder of frames.
    """

    name: str
    rate: float
    path: Path
    is_file: bool
