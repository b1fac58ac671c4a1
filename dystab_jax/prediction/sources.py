"""Takes images and videos as Python programs hold them: arrays, iterators, paths."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.sources.discover import list_videos
from data_prep.sources.frames import IMAGE_ENDINGS, Frame, FrameSource, say_note
from dystab_jax.array_types import Picture

FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class ArrayFrames:
    """Reads a video from arrays in memory, or as they come.

    Attributes:
      name: of the video.
      frames: RGB uint8 [H, W, 3] each.
      count: how many there are; 0: unknown.
    """

    name: str
    frames: Iterable[np.ndarray]
    count: int = 0

    def read(self, note: Callable[[str], Any] = say_note) -> Iterator[Frame]:
        """Yields the frames in order.

        Raises:
          ValueError: one is no picture; names its number.
        """
        for number, given in enumerate(self.frames):
            image = as_picture(given, f"frame {number}")
            done, data = cv2.imencode(".png", image[..., ::-1], FAST_PNG)
            assert done  # as_picture has checked what OpenCV needs
            yield Frame(f"{number:05d}", image, data.tobytes())

    def length(self) -> int:
        """Returns how many frames there are; 0 where it is unknown."""
        return self.count

    def fingerprint(self) -> list[Any]:
        """Returns nothing: no files are behind it."""
        return []


def as_picture(given: Any, name: str) -> Picture:
    """Checks that something is an image.

    Raises:
      ValueError: it is not RGB uint8 [H, W, 3], at least one pixel.
    """
    array = np.asarray(given)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise ValueError(
            f"{name} is {array.dtype} {list(array.shape)}; expected RGB, uint8 [H, W, 3]"
        )
    return array


def is_image(source: Path) -> bool:
    """Returns whether a path is that of a single image, for which no flow is needed."""
    return source.is_file() and source.suffix.lower() in IMAGE_ENDINGS


def as_video(source: Path | np.ndarray | Iterable[np.ndarray]) -> FrameSource:
    """Makes a source of frames of a path, an array [T, H, W, 3], or an iterable of images.

    Raises:
      FileNotFoundError: there is nothing at the path.
      ValueError: it holds no video, or several.
    """
    if isinstance(source, Path):
        videos = list_videos(source, one_video=True)
        if len(videos) > 1:
            raise ValueError(
                f"{source} holds {len(videos)} videos, the first is {videos[0].name}; give one"
            )
        return videos[0]
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise ValueError(
            f"the array has the shape {list(source.shape)}; expected a video, uint8 [T, H, W, 3], "
            "or an image, uint8 [H, W, 3]"
        )
    return ArrayFrames("video", source, len(source) if hasattr(source, "__len__") else 0)
