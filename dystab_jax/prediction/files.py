"""Writes the masks of a video in the formats that ``--format`` names."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from dystab_jax.array_types import Picture
from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.prediction.coco import CocoFile
from dystab_jax.prediction.cutouts import Cutouts, encode_cutout
from dystab_jax.prediction.objects import ObjectTracker
from dystab_jax.prediction.overlay_video import OverlayVideo
from dystab_jax.prediction.segmented import Output, SegmentedFrame, VideoFacts
from dystab_jax.prediction.written_files import write_file
from dystab_jax.report import pictures
from dystab_jax.runtime.atomic_files import bounded

FORMATS = {
    "png": "masks/FRAME.png, 0 and 255; with objects also instances/FRAME.png, their numbers",
    "soft": "soft/FRAME.png, probability of object times 255; 128 and more is the mask",
    "rgba": "cutouts/FRAME.png, cutout.mov (ProRes 4444), cutout.webm (VP9): alpha is the mask",
    "video": "overlay.mp4, of a folder of frames also overlays/FRAME.jpg: the mask as a tint",
    "coco": "annotations.json, masks as compressed run lengths",
}
"""One line on the files of each."""
FOLDERS = ("masks", "soft", "cutouts", "overlays", "instances")
FILES = ("overlay.mp4", "cutout.mov", "cutout.webm", "annotations.json")
"""What is written for a video, by all formats together."""
WITH_OBJECTS = ("png", "video", "coco")
"""Formats that tell objects apart."""


def make_outputs(
    formats: Sequence[str], folder: Path, facts: VideoFacts, instances: bool
) -> list[Output]:
    """Returns what writes a video's masks, one for each format.

    Args:
      formats: keys of `FORMATS`; one that is named twice is written once.
      folder: there already, in which to write.
      facts: of the video.
      instances: tell objects apart, see `ObjectTracker`.

    Raises:
      ValueError: no format, an unknown one, or none that tells objects apart though asked to.
    """
    check_formats(formats, instances)
    tracker = ObjectTracker() if instances else None  # one for all, so that numbers agree
    makers = {
        "png": lambda: MaskImages(folder, tracker),
        "soft": lambda: SoftImages(folder),
        "rgba": lambda: Cutouts(folder, facts),
        "video": lambda: Overlays(folder, facts, tracker),
        "coco": lambda: CocoFile(folder / "annotations.json", facts, tracker),
    }
    return [makers[name]() for name in dict.fromkeys(formats)]


def check_formats(formats: Sequence[str], instances: bool) -> None:
    """Checks what ``make_outputs`` is asked for, before a network is loaded.

    Raises:
      ValueError: see there.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(
            f"format {', '.join(map(repr, unknown)) or 'missing'}; expected some of "
            f"{', '.join(FORMATS)}"
        )
    if instances and not set(WITH_OBJECTS) & set(formats):
        raise ValueError(
            f"no object is told apart in the format {', '.join(formats)}; add one of "
            f"{', '.join(WITH_OBJECTS)}, or leave instances out"
        )


def write_image(
    formats: Sequence[str], folder: Path, frame: SegmentedFrame, path: Path, instances: bool
) -> None:
    """Writes the mask of an image by itself, in one folder.

    NAME.png (png), NAME-soft.png (soft), NAME-cutout.png (rgba), NAME-overlay.jpg (video),
    NAME-annotations.json (coco), NAME-instances.png (png with objects); see `FORMATS`.

    Args:
      formats, folder, instances: see `make_outputs`.
      frame: the image; called NAME.
      path: of its file.

    Raises:
      ValueError, OSError: see `make_outputs` and `Output.write`.
    """
    check_formats(formats, instances)
    tracker = ObjectTracker() if instances else None
    numbers = tracker.numbers(frame) if tracker else None
    # An ending of our own could make a name too long for file systems.
    name, mask = bounded(frame.name), frame.mask
    if "png" in formats:
        write_file(folder / f"{frame.name}.png", mask_files.encode_mask(mask))
        if numbers is not None:
            data = mask_files.encode_levels(numbers, davis_palette())
            write_file(folder / f"{name}-instances.png", data)
    if "soft" in formats:
        write_file(folder / f"{name}-soft.png", mask_files.encode_levels(levels(frame.soft)))
    if "rgba" in formats:
        write_file(folder / f"{name}-cutout.png", encode_cutout(frame))
    if "video" in formats:
        picture = tint(frame, numbers)
        write_file(folder / f"{name}-overlay.jpg", pictures.encode(picture, ".jpg", quality=92))
    if "coco" in formats:
        facts = VideoFacts(frame.name, 1.0, path, False)
        annotations = CocoFile(folder / f"{name}-annotations.json", facts, tracker)
        annotations.write(frame)
        annotations.close()


class MaskImages:
    """Writes masks/FRAME.png: grey of 8 bits, 0 and 255, native size.

    With a tracker also instances/FRAME.png: palette images in DAVIS's colours, whose indices number
    the objects, as the protocol of DAVIS-2017 reads them.
    """

    def __init__(self, folder: Path, tracker: ObjectTracker | None):
        """Writes nothing yet; see `make_outputs`."""
        self._folder, self._tracker = folder, tracker

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the next frame; OSError where it cannot be."""
        data = mask_files.encode_mask(frame.mask)
        write_file(self._folder / "masks" / f"{frame.name}.png", data)
        if self._tracker is not None:
            data = mask_files.encode_levels(self._tracker.numbers(frame), davis_palette())
            write_file(self._folder / "instances" / f"{frame.name}.png", data)

    def close(self) -> None:
        """Has nothing left to do."""


class SoftImages:
    """Writes soft/FRAME.png: grey of 8 bits, native size, see `levels`."""

    def __init__(self, folder: Path):
        """Writes nothing yet; see `make_outputs`."""
        self._folder = folder / "soft"

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the next frame; OSError where it cannot be."""
        data = mask_files.encode_levels(levels(frame.soft))
        write_file(self._folder / f"{frame.name}.png", data)

    def close(self) -> None:
        """Has nothing left to do."""


def levels(soft: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Returns 255 p of a soft map, rounded, halves downwards: 128 and more is exactly the mask.

    The mask is p > 1/2, and 255 / 2 = 127.5, which ordinary rounding makes 128.
    """
    return np.ceil(255 * soft.astype(np.float64) - 0.5).astype(np.uint8)


class Overlays:
    """Writes overlay.mp4, and of a folder of frames overlays/FRAME.jpg: the mask as a tint."""

    def __init__(self, folder: Path, facts: VideoFacts, tracker: ObjectTracker | None):
        """Opens nothing yet; see `make_outputs`."""
        self._folder, self._tracker, self._images = folder, tracker, not facts.is_file
        self._video = OverlayVideo(folder / "overlay.mp4", facts.rate)

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the next frame; OSError where it cannot be."""
        picture = tint(frame, self._tracker.numbers(frame) if self._tracker else None)
        self._video.write(picture, frame.time)
        if self._images:
            data = pictures.encode(picture, ".jpg", quality=92)
            write_file(self._folder / "overlays" / f"{frame.name}.jpg", data)

    def close(self) -> None:
        """Completes the video; OSError where it cannot be."""
        self._video.close()


def tint(frame: SegmentedFrame, numbers: UInt8[np.ndarray, "H W"] | None) -> Picture:
    """Draws the mask of a frame into it, or its objects where they have numbers."""
    if numbers is None:
        return pictures.overlay(frame.image, frame.mask)
    return overlay_objects(frame.image, numbers)


def overlay_objects(image: Picture, numbers: UInt8[np.ndarray, "H W"]) -> Picture:
    """Tints each object in its own colour, object 1 as a mask without objects is tinted."""
    picture = image.copy()
    outline = max(1, round(image.shape[0] / 240))
    for number in np.unique(numbers[numbers != 0]):
        mask = numbers == number
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        # Only the box around it: an edge of the box that it touches is an edge of the object.
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        color = object_color(int(number))
        picture[box] = pictures.overlay(
            picture[box], mask[box].astype(np.uint8), color, outline=outline
        )
    return picture


def object_color(number: int) -> tuple[int, int, int]:
    """Returns the RGB of object 1, 2, ...: first those that all people can tell apart."""
    named = (*(pictures.COLORS[name] for name in ("fused", "chi", "truth", "phi")), *_FURTHER)
    if number <= len(named):
        return named[number - 1]
    # Turns of the wheel of hues, pale and full by turns, that stay away from each other up to 20.
    red, green, blue = colorsys.hsv_to_rgb((0.283 * number + 0.9) % 1, 0.5 + 0.5 * (number % 2), 1)
    return round(255 * red), round(255 * green), round(255 * blue)


_FURTHER = ((204, 121, 167), (240, 228, 66), (0, 114, 178))
"""The other colours of Okabe and Ito."""
