"""Reads the frames of any video, one at a time: folders of images, video files, drawn videos.

A source is a small picklable object with a ``name`` and

* ``read()``: an iterator of `Frame`, in order, that never holds more than one frame;
* ``length()``: about how many frames there are, for progress bars;
* ``fingerprint()``: what changes when the files behind it change.

What is wrong with a file is a ValueError (FileNotFoundError where it is missing) that names it.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_prep.sources.layout import NOT_AN_IMAGE, file_stamp, read_bytes
from data_prep.sources.truth import Truth, TruthFile

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".webm", ".mkv", ".m4v", ".mpg", ".mpeg")
JPEG_QUALITY = 95
"""Of frames that come without encoded bytes of their own: of video files and drawn ones."""
DRAWN_FRAMES = 10
"""Length of a drawn video."""


class Frame(NamedTuple):
    """Holds one frame, and what is known about it.

    Attributes:
      name: file name without ending; five digits for video files.
      image: RGB.
      encoded: JPEG or PNG bytes of ``image``, its own where there are any.
      truth: of the image's size; None where there is none.
      group: kind of the frame, see `dystab_jax.data.records`.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    encoded: bytes
    truth: Truth | None = None
    group: str = ""


@dataclass(frozen=True)
class ImageFiles:
    """Reads a video kept as one image file per frame.

    Attributes:
      name: of the video.
      folder: for messages.
      paths: the images, in order.
      masks: truth by frame name.
    """

    name: str
    folder: Path
    paths: tuple[Path, ...]
    masks: dict[str, TruthFile] = field(default_factory=dict)

    def read(self) -> Iterator[Frame]:
        """Yields the frames in order; see the module for errors."""
        if not self.paths:
            raise ValueError(f"{self.folder}: no images in it ({' '.join(IMAGE_ENDINGS)})")
        names = [path.stem for path in self.paths]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise ValueError(f"{self.folder}: two images are named {doubled}; remove one")
        _check_mask_names(self.masks, names, self.folder)
        for path in self.paths:
            image, encoded = read_image(path)
            yield Frame(path.stem, image, encoded, _truth_of(path.stem, image, self.masks, path))

    def length(self) -> int:
        """Returns about how many frames there are; 0 where it is unknown."""
        return len(self.paths)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do."""
        return [*map(file_stamp, self.paths), *_stamps(self.masks)]


@dataclass(frozen=True)
class VideoFile:
    """Reads a video file with OpenCV; its frames are named 00000, 00001, ...

    They are stored as JPEG of quality 95: the file holds no bytes of single frames to keep.
    """

    name: str
    path: Path
    masks: dict[str, TruthFile] = field(default_factory=dict)

    def read(self) -> Iterator[Frame]:
        """Yields the frames in order; see the module for errors."""
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file")
        capture = cv2.VideoCapture(str(self.path))
        names = []
        try:
            while True:
                found, image = capture.read()
                if not found:
                    break
                names.append(f"{len(names):05d}")
                encoded = _as_jpeg(image)
                image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                shown = f"{self.path} frame {names[-1]}"
                truth = _truth_of(names[-1], image, self.masks, shown)
                yield Frame(names[-1], image, encoded, truth)
        finally:
            capture.release()
        if not names:
            raise ValueError(
                f"{self.path}: OpenCV reads no frame from it; convert it (for example to mp4 with "
                "H.264), or give its frames as a folder of images"
            )
        _check_mask_names(self.masks, names, self.path)

    def length(self) -> int:
        """Returns about how many frames there are; 0 where it is unknown."""
        capture = cv2.VideoCapture(str(self.path))
        try:
            return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        finally:
            capture.release()

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do."""
        return [file_stamp(self.path), *_stamps(self.masks)]


@dataclass(frozen=True)
class DrawnFrames:
    """Draws a video of the ``movers`` set when it is read; stored as JPEG of quality 95.

    Attributes:
      split, index: which one, see `data_prep.datasets.drawing`.
      truth: whether masks and groups come along.
    """

    split: str
    index: int
    truth: bool

    @property
    def name(self) -> str:
        """Returns SPLIT-INDEX, such as train-007."""
        return f"{self.split}-{self.index:03d}"

    def read(self) -> Iterator[Frame]:
        """Yields the frames in order; see the module for errors."""
        from data_prep.datasets import drawing

        video = drawing.draw_video(self.split, self.index, frames=DRAWN_FRAMES)
        for t, image in enumerate(video.frames):
            encoded = _as_jpeg(image[..., ::-1])
            truth, group = None, ""
            if self.truth:
                truth, group = Truth(video.masks[t]), video.groups[t]
            yield Frame(f"{t:05d}", image, encoded, truth, group)

    def length(self) -> int:
        """Returns about how many frames there are; 0 where it is unknown."""
        return DRAWN_FRAMES

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do."""
        return [self.split, self.index]


FrameSource = ImageFiles | VideoFile | DrawnFrames


def read_image(path: Path) -> tuple[UInt8[np.ndarray, "H W 3"], bytes]:
    """Reads an image file as RGB, and bytes to store: its own (JPEG, PNG) or a lossless PNG.

    Raises:
      FileNotFoundError, ValueError: missing; not an image, or cut off.
    """
    data = read_bytes(path)
    try:
        # OpenCV returns half an image for half a file; Pillow does not.
        with Image.open(io.BytesIO(data)) as checked:
            checked.load()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (*NOT_AN_IMAGE, cv2.error) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
    if image is None:
        raise ValueError(f"{path}: not a readable image for OpenCV")
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return image, data


def _truth_of(
    name: str, image: np.ndarray, masks: dict[str, TruthFile], shown: Path | str
) -> Truth | None:
    if name not in masks:
        return None
    truth = masks[name].read(image.shape[:2])
    if truth.mask.shape != image.shape[:2]:
        raise ValueError(
            f"{masks[name].path}: truth of {_size(truth.mask)} for a frame of {_size(image)} "
            f"({shown}); they must have the same size"
        )
    return truth


def _stamps(masks: dict[str, TruthFile]) -> list[Any]:
    return [stamp for truth in masks.values() for stamp in truth.fingerprint()]


def _check_mask_names(masks: dict[str, TruthFile], names: list[str], shown: Path) -> None:
    strange = sorted(set(masks) - set(names))
    if strange:
        raise ValueError(f"{masks[strange[0]].path}: no frame {strange[0]} in {shown}")


def _as_jpeg(bgr: UInt8[np.ndarray, "H W 3"]) -> bytes:
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
