"""Writes overlays of masks as a video file."""

import math
from pathlib import Path

import cv2
import numpy as np

from data_prep.sources.frames import FrameSource, VideoFile
from dystab_jax.array_types import Picture

DEFAULT_FPS = 24.0
"""Of overlays of frame folders, and of videos that do not say."""


def frames_per_second(video: FrameSource) -> float:
    """Returns the rate that a video file states; `DEFAULT_FPS` where there is no sensible one."""
    if not isinstance(video, VideoFile):
        return DEFAULT_FPS
    capture = cv2.VideoCapture(str(video.path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if math.isfinite(rate) and 0 < rate <= 1000 else DEFAULT_FPS


class OverlayVideo:
    """Writes an mp4 file, opened at the first picture; OpenCV cuts odd sizes down by one pixel."""

    def __init__(self, path: Path, rate: float):
        """Opens nothing yet.

        Args:
          path: of the file, which ends in .mp4.
          rate: pictures per second.
        """
        self._path, self._rate = path, rate
        self._writer, self._frames = None, 0

    def write(self, picture: Picture) -> None:
        """Appends a picture; all have the size of the first."""
        if self._writer is None:
            code = cv2.VideoWriter_fourcc(*"mp4v")
            size = picture.shape[1], picture.shape[0]
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, size)
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))
        self._frames += 1

    def close(self) -> None:
        """Completes the file."""
        if self._writer is not None:
            self._writer.release()

    def check(self) -> None:
        """Reads back what was written, since OpenCV is silent when it cannot write.

        Raises:
          OSError: pictures are missing.
        """
        capture = cv2.VideoCapture(str(self._path))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if found != self._frames:
            raise OSError(
                f"{self._path.name} has {max(found, 0)} of {self._frames} frames: OpenCV could not "
                f"write it below {self._path.parent.parent}; is the disk full?"
            )
