"""Writes pictures with their times into video files of any encoding, with or without alpha."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace
from jaxtyping import UInt8

from dystab_jax.prediction.written_files import not_written

CLOCK = 90_000
"""Ticks per second of the time stamps; files of coarser clocks round them."""
BT709 = 1
"""Number of this standard in H.264 and its relatives, for matrix, primaries and transfer alike."""


@dataclass(frozen=True)
class Encoding:
    """Describes a kind of video file.

    Attributes:
      container: name of FFmpeg's muxer.
      codec: name of FFmpeg's encoder.
      pixels: FFmpeg's name of the kind of pixels; pictures have alpha where it has a fourth plane.
      options: of the encoder.
      muxer: options of the muxer.
      bit_rate: bits per second; 0: as the options say, None: the encoder's own default.
    """

    container: str
    codec: str
    pixels: str
    options: Mapping[str, str] = field(default_factory=dict)
    muxer: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None


class VideoWriter:
    """Writes pictures with their times into a file that is opened at the first picture.

    Odd sizes, which most kinds of pixels do not have, are padded by their last row or column. Used
    in a ``with`` block, at whose end the file is complete, or completed by `close`.
    """

    def __init__(self, path: Path, rate: float, encoding: Encoding):
        """Opens nothing yet.

        Args:
          path: of the file.
          rate: pictures per second, of those that have no time of their own.
          encoding: what kind of file.
        """
        self._path, self._rate = path, Fraction(rate).limit_denominator(100_000)
        self._encoding = encoding
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._frames, self._last = 0, -1

    def write(self, picture: UInt8[np.ndarray, "H W C"], time: float | None = None) -> None:
        """Appends a picture.

        Args:
          picture: RGB, or RGB and alpha; all have the size of the first.
          time: seconds from the beginning at which it is shown; None: by the rate.

        Raises:
          OSError: it cannot be written.
        """
        frame = _as_frame(picture, self._encoding.pixels)
        frame.time_base = Fraction(1, CLOCK)
        shown = round((self._frames / self._rate if time is None else time) * CLOCK)
        frame.pts = self._last = max(shown, self._last + 1)
        frame.duration = round(CLOCK / self._rate)
        try:
            if self._container is None:
                self._open(frame.width, frame.height)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise not_written(self._path, error) from error
        self._frames += 1

    def close(self) -> None:
        """Completes the file; there is none where there was no picture.

        Raises:
          OSError: it cannot be written.
        """
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode(None))
            container.close()
        except (av.FFmpegError, OSError) as error:
            with contextlib.suppress(av.FFmpegError, OSError):
                container.close()
            raise not_written(self._path, error) from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Completes the file, unless it is given up for an error.

        Raises:
          OSError: it cannot be written.
        """
        if kind is None:
            self.close()
        elif self._container is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._container.close()

    def _open(self, width: int, height: int) -> None:
        kind = self._encoding
        # file: keeps names with colons from being taken for protocols.
        name, options = f"file:{self._path}", dict(kind.muxer)
        self._container = av.open(name, "w", format=kind.container, options=options)
        self._stream = self._container.add_stream(
            kind.codec, self._rate, options=dict(kind.options)
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = kind.pixels
        if kind.bit_rate is not None:
            self._stream.bit_rate = kind.bit_rate
        codec = self._stream.codec_context
        codec.time_base = Fraction(1, CLOCK)
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709


def _as_frame(picture: np.ndarray, pixels: str) -> av.VideoFrame:
    """Returns a picture [H, W, 3 or 4] in the kind of pixels, its sides even, colours BT.709."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even[..., :3]), format="rgb24")
    frame = frame.reformat(format=pixels, dst_colorspace=Colorspace.ITU709)
    if picture.shape[-1] == 4:
        _set_alpha(frame, even[..., 3])
    return frame


def _set_alpha(frame: av.VideoFrame, alpha: UInt8[np.ndarray, "H W"]) -> None:
    """Fills the plane of alpha; FFmpeg's own conversion to 10 bits spoils pixels now and then."""
    plane, bits = frame.planes[3], frame.format.components[3].bits
    levels = np.round(alpha * ((2**bits - 1) / 255)).astype(np.uint8 if bits == 8 else np.uint16)
    rows = np.zeros((plane.height, plane.line_size // levels.itemsize), levels.dtype)
    rows[:, : plane.width] = levels
    plane.update(rows.tobytes())
