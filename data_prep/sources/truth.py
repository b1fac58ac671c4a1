"""Truth of a frame, in the encodings of the data sets.

A truth file is a small picklable object with

* ``path``: for messages;
* ``read(shape)``: the `Truth` of a frame of that (height, width);
* ``fingerprint()``: what changes when the files behind it change.

What is wrong with a file is a ValueError (FileNotFoundError where it is missing) that names it.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_prep.sources.layout import NOT_AN_IMAGE, file_stamp, read_bytes
from dystab_jax.data.encodings import VOID

Levels = UInt8[np.ndarray, "H W"]


class Truth(NamedTuple):
    """What is known about the objects of one frame.

    Attributes:
      mask: 1 = object.
      regions: 0 = background, 1, 2, ... = the objects, 255 = void; None where they have no numbers.
    """

    mask: Levels
    regions: Levels | None = None


@runtime_checkable
class TruthFile(Protocol):
    """See the module."""

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth: ...

    def fingerprint(self) -> list[Any]: ...


@dataclass(frozen=True)
class MaskFile:
    """One image in which whatever is not zero is object, see `read_mask`."""

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth:
        return Truth(read_mask(self.path))

    def fingerprint(self) -> list[Any]:
        return [file_stamp(self.path)]


@dataclass(frozen=True)
class IndexFile:
    """One image whose levels (of a palette image: indices) are the numbers of the objects.

    Level 255 is void: neither object nor background, not scored.
    """

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth:
        with open_image(self.path) as image:
            mode, regions = image.mode, np.asarray(image)
        if mode not in ("P", "L", "1"):
            raise ValueError(
                f"{self.path}: a truth image of mode {mode}; expected a palette image whose "
                "indices number the objects"
            )
        regions = regions.astype(np.uint8)
        if mode == "L" and set(np.unique(regions)) == {0, VOID}:
            raise ValueError(
                f"{self.path}: a black and white truth image; expected a palette image whose "
                f"indices number the objects, {VOID} being void"
            )
        return Truth(foreground(regions), regions)

    def fingerprint(self) -> list[Any]:
        return [file_stamp(self.path)]


def foreground(regions: Levels) -> Levels:
    """The merged mask of numbered objects: 1 where they are neither background nor void."""
    return ((regions != 0) & (regions != VOID)).astype(np.uint8)


def read_mask(path: Path) -> Levels:
    """A truth image as 0 and 1: whatever is not zero is object.

    {0, 255}, {0, 1}, 1-bit, grey levels that number objects, colour images and palette images (by
    index) are understood. Index 255 of a palette image means "void" and counts as background here.

    Raises:
      FileNotFoundError, ValueError: missing; not an image.
    """
    with open_image(path) as image:
        levels = np.asarray(image)
        palette, alpha = image.mode == "P", image.mode in ("LA", "RGBA")
    mask = levels != 0
    if palette:
        mask &= levels != VOID
    if alpha:
        mask = mask[..., :-1]
    return (mask.any(axis=-1) if mask.ndim == 3 else mask).astype(np.uint8)


def read_grey_mask(path: Path, threshold: int) -> Levels:
    """A truth image as 0 and 1: its grey level is above a threshold.

    An image that holds nothing above 1 is one of {0, 1} and kept as it is.

    Args:
      path: grey, colour or 1-bit image.
      threshold: of grey levels 0 to 255.

    Raises:
      FileNotFoundError, ValueError: missing; not an image.
    """
    with open_image(path) as image:
        levels = np.asarray(image.convert("L"))
    return (levels > (threshold if levels.max(initial=0) > 1 else 0)).astype(np.uint8)


def open_image(path: Path) -> Image.Image:
    """A complete truth image, to be used in a ``with`` statement.

    Raises:
      FileNotFoundError, ValueError: missing; not an image, or cut off.
    """
    data = read_bytes(path)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except NOT_AN_IMAGE as error:
        raise ValueError(f"{path}: not a readable mask image: {error}") from error
    return image
