"""Reads the frames of a video, one at a time: of folders of images and of drawn videos.

`data_prep.sources.video_files` reads those of video files. What is wrong with a file is a
ValueError (FileNotFoundError where it is missing) that names it.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from data_prep.sources.layout import file_stamp, read_bytes
from data_prep.sources.truth import Truth, TruthFile
from dystab_jax.data.encodings import open_picture
from dystab_jax.data.folders import composed

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
"""In lower case; names in upper case are the same."""
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
      time: seconds since the first frame; None where the frames have no times.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    encoded: bytes
    truth: Truth | None = None
    group: str = ""
    time: float | None = None


def say_note(text: str) -> None:
    """Writes a note for the user without disturbing progress bars."""
    tqdm.write(f"note: {text}", file=sys.stderr)


@runtime_checkable
class FrameSource(Protocol):
    """Describes a video whose frames can be read; small and picklable."""

    @property
    def name(self) -> str:
        """Returns the name of the video."""

    def read(self, note: Callable[[str], Any] = say_note) -> Iterator[Frame]:
        """Yields the frames in order, holding few; ``note`` takes what the user should know."""

    def length(self) -> int:
        """Returns about how many frames there are, for progress bars; 0 where it is unknown."""

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do."""


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

    def read(self, note: Callable[[str], Any] = say_note) -> Iterator[Frame]:
        """Yields the frames in order; see the module for errors."""
        if not self.paths:
            raise ValueError(f"{self.folder}: no images in it ({' '.join(IMAGE_ENDINGS)})")
        names = [path.stem for path in self.paths]
        name, times = Counter(map(composed, names)).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{self.folder}: two images are named {name}; remove one")
        check_mask_names(self.masks, names, self.folder)
        for path in self.paths:
            image, encoded = read_image(path)
            yield Frame(path.stem, image, encoded, truth_of(path.stem, image, self.masks, path))

    def length(self) -> int:
        """Returns about how many frames there are; 0 where it is unknown."""
        return len(self.paths)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the video do."""
        return [*map(file_stamp, self.paths), *mask_stamps(self.masks)]


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

    def read(self, note: Callable[[str], Any] = say_note) -> Iterator[Frame]:
        """Yields the frames in order; see the module for errors."""
        from data_prep.datasets import drawing

        video = drawing.draw_video(self.split, self.index, frames=DRAWN_FRAMES)
        for t, image in enumerate(video.frames):
            encoded = as_jpeg(image)
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


def read_image(path: Path) -> tuple[UInt8[np.ndarray, "H W 3"], bytes]:
    """Reads an image file as RGB, and bytes to store: its own (JPEG, PNG) or a lossless PNG.

    Images are turned as their EXIF orientation says, here and when the stored bytes are decoded
    with the same flag. 16-bit levels are shortened to 8, transparency is dropped.

    Raises:
      FileNotFoundError, ValueError: missing; not an image, cut off, or an animation.
    """
    data = read_bytes(path)
    try:
        # OpenCV returns half an image for half a file; Pillow does not.
        checked = open_picture(data)
        kind, pictures = checked.format, getattr(checked, "n_frames", 1)
        if checked.mode == "LAB":
            raise ValueError("its colours are Lab; convert it to RGB")
        if kind == "TIFF" and checked.mode == "RGBA":  # OpenCV blends these with black
            image = np.array(checked.convert("RGB"))
        else:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except Exception as error:  # Decoders raise whatever they like on broken files.
        raise ValueError(f"{path}: not a readable image: {error}") from error
    if image is None:
        raise ValueError(f"{path}: not a readable image for OpenCV")
    if pictures > 1 and kind != "MPO":  # phones add small pictures to a JPEG, which is then an MPO
        raise ValueError(
            f"{path}: {pictures} pictures in one {kind} file; give an animation as a video file, "
            "other pictures in one file each"
        )
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return image, data


def truth_of(
    name: str, image: np.ndarray, masks: dict[str, TruthFile], shown: Path | str
) -> Truth | None:
    """Reads the truth of a frame; None where there is none.

    Args:
      name: of the frame.
      image: the frame, whose size the truth must have.
      masks: truth by frame name.
      shown: the frame in messages.

    Raises:
      FileNotFoundError, ValueError: it is missing, unreadable or of another size.
    """
    if name not in masks:
        return None
    truth = masks[name].read(image.shape[:2])
    if truth.mask.shape != image.shape[:2]:
        raise ValueError(
            f"{masks[name].path}: truth of {_size(truth.mask)} for a frame of {_size(image)} "
            f"({shown}); they must have the same size"
        )
    return truth


def mask_stamps(masks: dict[str, TruthFile]) -> list[Any]:
    """Returns the fingerprints of a video's truth."""
    return [stamp for truth in masks.values() for stamp in truth.fingerprint()]


def check_mask_names(masks: dict[str, TruthFile], names: list[str], shown: Path) -> None:
    """Raises ValueError, naming the file, for truth of a frame that is not among ``names``."""
    strange = sorted(set(masks) - set(names))
    if strange:
        raise ValueError(f"{masks[strange[0]].path}: no frame {strange[0]} in {shown}")


def as_jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Returns the bytes that are stored for an RGB image that has none of its own."""
    return cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[
        1
    ].tobytes()


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
