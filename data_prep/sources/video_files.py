"""Reads video files frame by frame with PyAV, which brings its own FFmpeg.

What a file says of itself is honoured and checked: interlaced frames are deinterlaced, frames are
turned as the display matrix says, pixels that are not square are made so, and what can be decoded
is compared with the number of frames and the duration that the file states.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from data_prep.sources.file_ends import is_cut
from data_prep.sources.frames import (
    Frame,
    as_jpeg,
    check_mask_names,
    mask_stamps,
    say_note,
    truth_of,
)
from data_prep.sources.layout import file_stamp
from data_prep.sources.truth import TruthFile
from data_prep.sources.upright import Upright

VIDEO_ENDINGS = (
    *(".mp4", ".avi", ".mov", ".webm", ".mkv", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts"),
    *(".3gp", ".3g2", ".wmv", ".asf", ".flv", ".ogv", ".vob", ".mxf", ".dv", ".y4m", ".gif"),
)
"""In lower case; names in upper case are the same."""
MISSING = 0.02
"""Share of the frames that may be missing or damaged in a file that is taken, with a note; one
frame may always be."""
_LARGEST = {"max_pixels": str(1 << 26)}
"""Option of decoders, twice the frames of 8K: a damaged header may state any size."""
_ADVICE = (
    "get the whole file again, or write what can be read into a new one: "
    "ffmpeg -err_detect ignore_err -i FILE NEW.mp4"
)
_NO_VIDEO = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


@dataclass(frozen=True)
class VideoFile:
    """Reads a video file; its frames are named 00000, 00001, ...

    They are stored as JPEG of quality 95: the file holds no bytes of single frames to keep.

    Attributes:
      name: of the video.
      path: of the file.
      masks: truth by frame name.
    """

    name: str
    path: Path
    masks: dict[str, TruthFile] = field(default_factory=dict)

    def read(self, note: Callable[[str], Any] = say_note) -> Iterator[Frame]:
        """Yields the frames in order; see `data_prep.sources.frames` for errors."""
        names = []
        with closing(decode_video(self.path, note)) as decoded:
            for image, time in decoded:
                names.append(f"{len(names):05d}")
                shown = f"{self.path} frame {names[-1]}"
                truth = truth_of(names[-1], image, self.masks, shown)
                yield Frame(names[-1], image, as_jpeg(image), truth, time=time)
        check_mask_names(self.masks, names, self.path)

    def length(self) -> int:
        """Returns about how many frames there are; 0 where it is unknown."""
        return count_frames(self.path)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do, or what decodes them."""
        return [file_stamp(self.path), f"PyAV {av.__version__}", *mask_stamps(self.masks)]


class TimedImage(NamedTuple):
    """Holds one decoded frame.

    Attributes:
      image: RGB, upright, square pixels.
      time: seconds since the first frame; grows from frame to frame.
    """

    image: UInt8[np.ndarray, "H W 3"]
    time: float


def decode_video(path: Path, note: Callable[[str], Any] = say_note) -> Iterator[TimedImage]:
    """Decodes the frames of a video file in the order in which they are shown.

    Holds a few frames at a time. Of several video streams the one with the most pixels is read.

    Args:
      path: of the file.
      note: takes what the user should know of a file that is read all the same.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is no video, or much less than it states can be decoded; names the file.
    """
    with _open(path) as container:
        stream = _video_stream(container, path, note)
        # One thread: what a decoder makes of damage, and what it holds, depend on their number.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = _LARGEST
        progress, upright = _Progress(container, stream), Upright(stream)
        for frame in _decode(container, stream, progress):
            for image in upright.push(frame):
                yield TimedImage(image, progress.take())
        for image in upright.drain():
            yield TimedImage(image, progress.take())
        _check_complete(path, progress, note)
        if is_cut(path, container.format.name):
            raise ValueError(
                f"{path}: it is cut off after {progress.frames} frames; how many are missing is "
                f"not known; {_ADVICE}"
            )


def count_frames(path: Path) -> int:
    """Returns about how many frames a video file has, by what it states; 0 where it does not."""
    try:
        with _open(path) as container:
            stream = _video_stream(container, path)
            seconds = (container.duration or 0) / av.time_base
            return max(stream.frames or round(seconds * _rate(stream)), 0)
    except (OSError, ValueError):
        return 0


def read_rate(path: Path) -> float | None:
    """Returns the frames per second that a video file states; None where it states none."""
    try:
        with _open(path) as container:
            return _rate(_video_stream(container, path)) or None
    except (OSError, ValueError):
        return None


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty; get it again")
    try:
        # file: keeps names with colons from being taken for protocols. No other protocol: what
        # playlists name is not fetched.
        return av.open(
            f"file:{path}",
            metadata_errors="replace",
            options={"protocol_whitelist": "file"} | _LARGEST,
        )
    except (FFmpegError, OSError) as error:
        raise ValueError(
            f"{path}: not a video that FFmpeg can read ({_reason(error)}): it is incomplete, "
            "damaged or of another kind than its name says; get it again"
        ) from error


def _video_stream(
    container: av.container.InputContainer, path: Path, note: Callable[[str], Any] | None = None
) -> av.VideoStream:
    """Returns the stream to read; covers and other attached pictures are none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_VIDEO]
    if not streams:
        raise ValueError(f"{path}: there is no video in it, only sound, a cover or the like")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise ValueError(
            f"{path}: FFmpeg knows no decoder for its video; convert it, for example to H.264"
        )
    best = max(known, key=lambda stream: stream.width * stream.height)
    if note is not None and len(streams) > 1:
        note(
            f"{path}: {len(streams)} video streams; number {best.index} is read, which has the "
            f"most pixels, {best.width}x{best.height}"
        )
    return best


class _Progress:
    """Notes what has been seen of a video: frames, their times, its end, and damage."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream):
        self.stream = stream
        self.frames, self.reason = 0, ""
        self._broken_packets, self._broken_frames = 0, 0
        self._is_avi = container.format.name == "avi"
        # Seconds. A stream's own duration counts only beside a count of its frames: some containers
        # give their own to all streams, and sound may be longer.
        self._any_stream = not (stream.frames and _stated_seconds(stream))
        if self._any_stream:
            self.stated = (container.duration or 0) / av.time_base
            self._start = min(container.start_time or 0, 0) / av.time_base
        else:
            # Of AVI, FFmpeg shortens the duration to what is there, and leaves the count.
            seconds = stream.frames / (_rate(stream) or math.inf) if self._is_avi else 0.0
            self.stated = max(_stated_seconds(stream), seconds)
            self._start = _seconds(stream.start_time, stream.time_base)
        self.end = 0.0
        self._times: list[float] = []
        self._raw: float | None = None  # of the frame before, as in the file
        self._last = 0.0  # as handed out

    @property
    def broken(self) -> int:
        """Returns how many frames are damaged; what breaks a packet may show in its frame again."""
        return max(self._broken_packets, self._broken_frames)

    def passes(self, packet: av.Packet) -> None:
        """Notes a packet of any stream."""
        ours = packet.stream_index == self.stream.index
        if packet.pts is not None and (ours or self._any_stream):
            end = _seconds(packet.pts + (packet.duration or 0), packet.time_base)
            self.end = max(self.end, end - self._start)

    def breaks(self, reason: str) -> None:
        """Notes a packet that is damaged or cut off."""
        self._broken_packets, self.reason = self._broken_packets + 1, reason

    def shows(self, frame: av.VideoFrame) -> None:
        """Notes a decoded frame."""
        # AVI knows when packets are decoded, and nothing of when frames are shown.
        ticks = frame.dts if self._is_avi else frame.pts
        raw = None if ticks is None else _seconds(ticks, self.stream.time_base)
        step = 1 / (_rate(self.stream) or 25)
        if raw is not None and self._raw is not None and raw > self._raw:
            step = raw - self._raw  # else the clock stands or was set back: by the rate
        if self.frames:
            self._last += step
        self._raw = raw
        self._times.append(self._last)
        self.frames += 1
        self._broken_frames += frame.is_corrupt

    def take(self) -> float:
        """Returns the time of the next frame to be handed out."""
        return self._times.pop(0)


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, progress: _Progress
) -> Iterator[av.VideoFrame]:
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:  # the file ends in the midst of something
            progress.breaks(_reason(error))
            packet = None
        if packet is not None:
            progress.passes(packet)
            # An empty one is the end, which is handled below, or a frame that AVI repeats.
            if packet.stream_index != stream.index or not packet.size:
                continue
        try:
            frames = stream.decode(packet)
        except FFmpegError as error:
            progress.breaks(_reason(error))
            frames = []
        else:
            if packet is not None and packet.is_corrupt:
                progress.breaks("a packet is cut off")
        for frame in frames:
            progress.shows(frame)
            yield frame
        if packet is None:
            return


def _check_complete(path: Path, progress: _Progress, note: Callable[[str], Any]) -> None:
    """Compares what was decoded with what the file states.

    Raises:
      ValueError: much of it is missing, or all.
    """
    because = f" ({progress.reason})" if progress.reason else ""
    if not progress.frames:
        raise ValueError(f"{path}: no frame in it can be decoded{because}; {_ADVICE}")
    missing = max(_missing_at_end(progress), progress.broken)
    if not missing:
        return
    total = max(progress.stream.frames, progress.frames + _missing_at_end(progress))
    text = f"{path}: {missing} of {total} frames are missing or damaged{because}"
    if missing > max(1, MISSING * total):
        raise ValueError(f"{text}; {_ADVICE}")
    more = "" if progress.stream.frames else "; more may be missing at its end"
    note(f"{text}; what can be decoded is used{more}")


def _missing_at_end(progress: _Progress) -> int:
    """Returns how many frames the file states beyond those that were decoded.

    A count alone proves nothing: it includes frames that an edit list hides, and AVI's repeated
    ones. The duration must be short as well.
    """
    late = math.floor((progress.stated - progress.end) * (_rate(progress.stream) or 25) + 0.01)
    counted = progress.stream.frames
    if progress.stated and (late < 1 or not counted):
        return late if late > 1 else 0
    return max(counted - progress.frames, 0)


def _rate(stream: av.VideoStream) -> float:
    """Returns the frames per second that a stream states; 0 where it states none to be believed."""
    rates = stream.average_rate, stream.guessed_rate
    return float(next((rate for rate in rates if rate and 0 < rate <= 1000), 0))


def _stated_seconds(stream: av.VideoStream) -> float:
    return max(_seconds(stream.duration, stream.time_base), 0.0)


def _seconds(ticks: int | None, base: Fraction | None) -> float:
    return float((ticks or 0) * (base or 0))


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
