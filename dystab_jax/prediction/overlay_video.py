"""Writes overlays of masks as video files that browsers and phones play: H.264 in mp4."""

from pathlib import Path

from data_prep.sources.frames import FrameSource
from data_prep.sources.video_files import VideoFile, read_rate
from dystab_jax.prediction.video_writer import Encoding, VideoWriter

DEFAULT_FPS = 24.0
"""Of overlays of frame folders, and of videos that do not say."""
H264 = Encoding(
    container="mp4",
    codec="libx264",
    pixels="yuv420p",
    # What it loses of outlines cannot be seen.
    options={"crf": "20", "preset": "veryfast"},
    muxer={"movflags": "+faststart"},
)
"""The index lies at the front, so that browsers play it while it loads."""


def frames_per_second(video: FrameSource) -> float:
    """Returns the rate that a video file states; `DEFAULT_FPS` where there is no sensible one."""
    rate = read_rate(video.path) if isinstance(video, VideoFile) else None
    return rate or DEFAULT_FPS


class OverlayVideo(VideoWriter):
    """Writes pictures with their times into an mp4 file; see `VideoWriter`."""

    def __init__(self, path: Path, rate: float):
        """Opens nothing yet.

        Args:
          path: of the file.
          rate: pictures per second, of those that have no time of their own.
        """
        super().__init__(path, rate, H264)
