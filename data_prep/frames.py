"""Frames of any video, one at a time: folders of images, video files, drawn videos.

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

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".webm", ".mkv", ".m4v", ".mpg", ".mpeg")
JPEG_QUALITY = 95
"""Of frames that come without encoded bytes of their own: of video files and drawn ones."""
DRAWN_FRAMES = 10
"""Length of a drawn video."""
_NOT_AN_IMAGE = (OSError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises


class Frame(NamedTuple):
    """One frame, and what is known about it.

    Attributes:
      name: file name without ending; five digits for video files.
      image: RGB.
      encoded: JPEG or PNG bytes of ``image``, its own where there are any.
      mask: 1 = object, of the image's size; None where there is no truth.
      group: kind of the frame, see `dystab_jax.records`.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    encoded: bytes
    mask: UInt8[np.ndarray, "H W"] | None = None
    group: str = ""


@dataclass(frozen=True)
class ImageFiles:
    """A video kept as one image file per frame.

    Attributes:
      name: of the video.
      folder: for messages.
      paths: the images, in order.
      masks: truth by frame name.
    """

    name: str
    folder: Path
    paths: tuple[Path, ...]
    masks: dict[str, Path] = field(default_factory=dict)

    def read(self) -> Iterator[Frame]:
        if not self.paths:
            raise ValueError(f"{self.folder}: no images in it ({' '.join(IMAGE_ENDINGS)})")
        names = [path.stem for path in self.paths]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise ValueError(f"{self.folder}: two images are named {doubled}; remove one")
        _check_mask_names(self.masks, names, self.folder)
        for path in self.paths:
            image, encoded = read_image(path)
            yield Frame(path.stem, image, encoded, _mask_of(path.stem, image, self.masks, path))

    def length(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> list[Any]:
        return [_file_stamp(path) for path in (*self.paths, *self.masks.values())]


@dataclass(frozen=True)
class VideoFile:
    """A video file that OpenCV can read; its frames are named 00000, 00001, ...

    They are stored as JPEG of quality 95: the file holds no bytes of single frames to keep.
    """

    name: str
    path: Path
    masks: dict[str, Path] = field(default_factory=dict)

    def read(self) -> Iterator[Frame]:
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
                mask = _mask_of(names[-1], image, self.masks, f"{self.path} frame {names[-1]}")
                yield Frame(names[-1], image, encoded, mask)
        finally:
            capture.release()
        if not names:
            raise ValueError(
                f"{self.path}: OpenCV reads no frame from it; convert it (for example to mp4 with "
                "H.264), or give its frames as a folder of images"
            )
        _check_mask_names(self.masks, names, self.path)

    def length(self) -> int:
        capture = cv2.VideoCapture(str(self.path))
        try:
            return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        finally:
            capture.release()

    def fingerprint(self) -> list[Any]:
        return [_file_stamp(path) for path in (self.path, *self.masks.values())]


@dataclass(frozen=True)
class DrawnFrames:
    """A video of the ``movers`` set, drawn when it is read; stored as JPEG of quality 95.

    Attributes:
      split, index: which one, see `data_prep.drawing`.
      truth: whether masks and groups come along.
    """

    split: str
    index: int
    truth: bool

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:03d}"

    def read(self) -> Iterator[Frame]:
        from data_prep import drawing

        video = drawing.draw_video(self.split, self.index, frames=DRAWN_FRAMES)
        for t, image in enumerate(video.frames):
            encoded = _as_jpeg(image[..., ::-1])
            mask, group = (video.masks[t], video.groups[t]) if self.truth else (None, "")
            yield Frame(f"{t:05d}", image, encoded, mask, group)

    def length(self) -> int:
        return DRAWN_FRAMES

    def fingerprint(self) -> list[Any]:
        return [self.split, self.index]


FrameSource = ImageFiles | VideoFile | DrawnFrames


def read_image(path: Path) -> tuple[UInt8[np.ndarray, "H W 3"], bytes]:
    """An image file as RGB, and bytes to store: its own for JPEG and PNG, else a lossless PNG.

    Raises:
      FileNotFoundError, ValueError: missing; not an image, or cut off.
    """
    data = _read_bytes(path)
    try:
        # OpenCV returns half an image for half a file; Pillow does not.
        with Image.open(io.BytesIO(data)) as checked:
            checked.load()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (*_NOT_AN_IMAGE, cv2.error) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from error
    if image is None:
        raise ValueError(f"{path}: not a readable image for OpenCV")
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return image, data


def read_mask(path: Path) -> UInt8[np.ndarray, "H W"]:
    """A truth image as 0 and 1: whatever is not zero is object.

    {0, 255}, {0, 1}, 1-bit, grey levels that number objects, colour images and palette images (by
    index) are understood. Index 255 of a palette image means "void" and counts as background here.

    Raises:
      FileNotFoundError, ValueError: missing; not an image.
    """
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            levels = np.asarray(image)
            palette, alpha = image.mode == "P", image.mode in ("LA", "RGBA")
    except _NOT_AN_IMAGE as error:
        raise ValueError(f"{path}: not a readable mask image: {error}") from error
    mask = levels != 0
    if palette:
        mask &= levels != 255
    if alpha:
        mask = mask[..., :-1]
    return (mask.any(axis=-1) if mask.ndim == 3 else mask).astype(np.uint8)


def _mask_of(
    name: str, image: np.ndarray, masks: dict[str, Path], shown: Path | str
) -> np.ndarray | None:
    if name not in masks:
        return None
    mask = read_mask(masks[name])
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"{masks[name]}: truth of {_size(mask)} for a frame of {_size(image)} ({shown}); they "
            "must have the same size"
        )
    return mask


def _check_mask_names(masks: dict[str, Path], names: list[str], shown: Path) -> None:
    strange = sorted(set(masks) - set(names))
    if strange:
        raise ValueError(f"{masks[strange[0]]}: no frame {strange[0]} in {shown}")


def _as_jpeg(bgr: UInt8[np.ndarray, "H W 3"]) -> bytes:
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes()


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path.read_bytes()


def _file_stamp(path: Path) -> list[Any]:
    if not path.is_file():
        return [str(path), None, None]
    state = path.stat()
    return [str(path), state.st_size, state.st_mtime_ns]
