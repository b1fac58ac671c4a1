"""Writes overlays of masks as video files that browsers and phones play: H.264 in mp4."""

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from data_prep.sources.frames import FrameSource
from data_prep.sources.video_files import VideoFile, read_rate
from dystab_jax.array_types import Picture

DEFAULT_FPS = 24.0
"""Of overlays of frame folders, and of videos that do not say."""
CLOCK = 90_000
"""Ticks per second of the time stamps."""
QUALITY = {"crf": "20", "preset": "veryfast"}
"""Of x264: what it loses of outlines cannot be seen."""
BT709 = 1
"""Number of this standard in H.264, for matrix, primaries and transfer alike."""


def frames_per_second(video: FrameSource) -> float:
    """Returns the rate that a video file states; `DEFAULT_FPS` where there is no sensible one."""
    rate = read_rate(video.path) if isinstance(video, VideoFile) else None
    return rate or DEFAULT_FPS


class OverlayVideo:
    """Writes pictures with their times into an mp4 file, opened at the first picture.

    Pixels are yuv420p and the index lies at the front, so that browsers play it while it loads. Odd
    sizes, which yuv420p does not have, are padded by their last row or column. Used in a ``with``
    block, at whose end the file is complete.
    """

    def __init__(self, path: Path, rate: float):
        """Opens nothing yet.

        Args:
          path: of the file.
          rate: pictures per second, of those that have no time of their own.
        """
        self._path, self._rate = path, Fraction(rate).limit_denominator(100_000)
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._frames, self._last = 0, -1

    def write(self, picture: Picture, time: float | None = None) -> None:
        """Appends a picture.

        Args:
          picture: all have the size of the first.
          time: seconds from the beginning at which it is shown; None: by the rate.

        Raises:
          OSError: it cannot be written.
        """
        height, width = picture.shape[:2]
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        frame.time_base = Fraction(1, CLOCK)
        shown = round((self._frames / self._rate if time is None else time) * CLOCK)
        frame.pts = self._last = max(shown, self._last + 1)
        frame.duration = round(CLOCK / self._rate)
        try:
            if self._container is None:
                self._open(frame.width, frame.height)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self._frames += 1

    def _open(self, width: int, height: int) -> None:
        # file: keeps names with colons from being taken for protocols.
        name, options = f"file:{self._path}", {"movflags": "+faststart"}
        self._container = av.open(name, "w", format="mp4", options=options)
        self._stream = self._container.add_stream("libx264", self._rate, options=QUALITY)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = Fraction(1, CLOCK)
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709

    def __enter__(self) -> "OverlayVideo":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Completes the file, unless it is given up for an error.

        Raises:
          OSError: it cannot be written.
        """
        if self._container is None:
            return
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._container.close()
            if kind is None:
                raise self._failure(error) from error

    def _failure(self, error: Exception) -> OSError:
        return OSError(
            f"{self._path.name} cannot be written below {self._path.parent.parent}: {error}; is "
            "the disk full?"
        )
