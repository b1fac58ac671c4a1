"""Reads and writes images of masks, numbered objects and soft maps: the one place for both.

=====================  ===============================================  ============================
function               object is                                        files
=====================  ===============================================  ============================
`read_mask`            see `mask_rule`                                  predictions, folder,
                                                                        davis2016, truth in folders
`read_numbers`         its number, see `mask_rule`                      the same, where numbered
`read_map`             grey level / 255, a probability                  the same, of still images
`read_truth_numbers`   a number, the index or level; 255 is void        davis2017, youtube_vos
`read_bright_truth`    brighter than a threshold of the protocol        segtrackv2, still images
`read_colour_codes`    up to the caller                                 fbms59
=====================  ===============================================  ============================

All readers raise FileNotFoundError where there is no file, and ValueError where it is not an image
or not one of the kind expected; both name the file.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Float32, Int32
from PIL import Image

from dystab_jax.data import mask_rule
from dystab_jax.data.encodings import decode_image, open_picture
from dystab_jax.data.mask_rule import VOID, Levels, Palette, has_numbers

_SIXTEEN_BIT_COLOURS = (b"\x10\x02", b"\x10\x04", b"\x10\x06")
"""Depth and kind of pixels in a PNG's header. Pillow would cut them to 8 bits, and {0, 1} to 0."""

Result = TypeVar("Result")


def read_mask(path: str | Path, numbered: bool = False) -> Levels:
    """Reads a hard mask of any encoding, by the rule of `mask_rule`.

    Args:
      path: an image file.
      numbered: the masks of its sequence number their objects, see `is_numbered_sequence`; 255 is
        void then in a palette image that holds no number, too.

    Returns:
      uint8 [H, W], 1 = object.
    """
    return mask_rule.merge(read_numbers(path), numbered)


def read_numbers(path: str | Path) -> Levels:
    """Reads object numbers, by the rule of `mask_rule`; a mask without numbers is object 1.

    Returns:
      uint8 [H, W], 0 = background; 255 is void beside numbers, and an object where it is alone.
    """
    return _judged(path, mask_rule.object_numbers, open_image(path))


def read_predicted_numbers(path: str | Path) -> Levels:
    """Reads object numbers as `read_numbers`, but 255 is object 1 where it is alone, else none."""
    numbers = read_numbers(path)
    return np.where(numbers == VOID, 0, numbers) if has_numbers(numbers) else numbers // VOID


def is_numbered(path: str | Path) -> bool | None:
    """Decides if a mask file numbers its objects; None where it cannot say, holding none.

    It does with an index from 1 to 254 of a palette image, or numbers beyond 1 of another one.
    Index 255 alone is the object of DAVIS-2016, or void where an object has left.
    """
    image = open_image(path)
    numbers = _judged(path, mask_rule.object_numbers, image)
    if not has_numbers(numbers):
        return None
    return image.mode == "P" or bool(numbers.max() > 1)


def is_numbered_sequence(paths: Iterable[Path]) -> bool:
    """Decides if the masks of a sequence number their objects, by the first that can say."""
    return next((said for said in map(is_numbered, paths) if said is not None), False)


def read_map(path: str | Path, highest: int = 255) -> Float32[np.ndarray, "H W"]:
    """Reads a soft map: grey levels divided by `highest`; 1-bit and colour palette images as masks.

    Args:
      path: an image file, 8 bits per channel or fewer.
      highest: the level that means probability 1; a level above it is a ValueError.

    Returns:
      Probability of object, float32 [H, W] in [0, 1].
    """
    levels, grey = _map_levels(path)
    if not grey:
        return levels.astype(np.float32)
    if levels.max() > highest:
        raise ValueError(f"{path} has grey levels up to {levels.max()}, expected 0 to {highest}")
    return levels.astype(np.float32) / np.float32(highest)


def highest_level(paths: Sequence[Path]) -> int:
    """Returns the `highest` of a set of maps: 1 if no grey map uses a level above 1, else 255.

    Looks at as many files as it takes, which is one for soft maps of most methods.
    """
    for path in paths:
        levels, grey = _map_levels(path)
        if grey and levels.max() > 1:
            return 255
    return 1


def read_truth_numbers(path: Path) -> Levels:
    """Reads a truth image whose levels (of a palette image: indices) number the objects.

    Returns:
      uint8 [H, W]: 0 = background, 1, 2, ... = the objects, 255 = void.
    """
    image = open_image(path)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"{path}: a truth image of mode {image.mode}; expected a palette image whose indices "
            "number the objects"
        )
    numbers = np.asarray(image).astype(np.uint8)
    if image.mode == "L" and set(np.unique(numbers)) == {0, VOID}:
        raise ValueError(
            f"{path}: a black and white truth image; expected a palette image whose indices number "
            f"the objects, {VOID} being void"
        )
    return numbers


def read_bright_truth(path: Path, threshold: int) -> Levels:
    """Reads a truth image of which object is what is brighter than a threshold.

    An image that holds nothing above 1 is one of {0, 1} and kept as it is.

    Args:
      path: grey, colour or 1-bit image.
      threshold: of grey levels 0 to 255.

    Returns:
      uint8 [H, W], 1 = object.
    """
    levels = read_grey_levels(path)
    return (levels > (threshold if levels.max(initial=0) > 1 else 0)).astype(np.uint8)


def read_grey_levels(path: Path) -> Levels:
    """Reads how bright the pixels of an image of any kind are: uint8 [H, W], 0 to 255."""
    return np.asarray(_without_alpha(path).convert("L"))


def read_colour_codes(path: Path) -> tuple[Int32[np.ndarray, "H W"], bool]:
    """Reads colours as numbers.

    Returns:
      R·65536 + G·256 + B of a colour image, the level of a grey one; and True for a colour image.
    """
    pixels = np.asarray(_without_alpha(path)).astype(np.int32)
    if pixels.ndim == 2:
        return pixels, False
    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2], True


def open_image(path: str | Path) -> Image.Image:
    """Opens an image file of any kind and reads all of it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a mask image")
    data = path.read_bytes()
    if data.startswith(b"\x89PNG") and data[24:26] in _SIXTEEN_BIT_COLOURS:
        raise ValueError(f"{path}: colours or alpha of 16 bits, expected 8; write it again")
    try:
        return open_picture(data)
    except ValueError as error:
        raise ValueError(f"{path}: not a readable mask image: {error}; write it again") from error


def encode_mask(mask: np.ndarray) -> bytes:
    """Packs a mask [H, W] (non-zero = object) into a grey PNG of 0 and 255."""
    return cv2.imencode(".png", (np.asarray(mask) != 0).astype(np.uint8) * 255)[1].tobytes()


def decode_mask(data: bytes) -> Levels:
    """Returns the mask packed by `encode_mask`, 0 and 1; ValueError where the bytes are no PNG."""
    return decode_image(data, cv2.IMREAD_GRAYSCALE, "mask") >> 7


def encode_regions(regions: np.ndarray) -> bytes:
    """Packs the numbers of regions, uint8 [H, W], into a grey PNG as they are."""
    regions = np.asarray(regions)
    if regions.dtype != np.uint8 or regions.ndim != 2:
        raise ValueError(
            f"regions are {regions.dtype} {regions.shape}; expected uint8 [height, width]"
        )
    return cv2.imencode(".png", regions)[1].tobytes()


def decode_regions(data: bytes) -> Levels:
    """Returns the numbers packed by `encode_regions`; ValueError where the bytes are no PNG."""
    return decode_image(data, cv2.IMREAD_GRAYSCALE, "regions")


def encode_levels(levels: Levels, palette: Palette | None = None) -> bytes:
    """Packs pixels as they are into a grey PNG or, with colours for them, a palette one.

    By Pillow, since OpenCV writes no palettes.
    """
    image = Image.fromarray(levels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(data, format="PNG", compress_level=3)  # twice as fast as the default
    return data.getvalue()


def _judged(path: str | Path, rule: Callable[[Image.Image], Result], image: Image.Image) -> Result:
    """Calls the rule; what it refuses is named after the file."""
    try:
        return rule(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _without_alpha(path: Path) -> Image.Image:
    image = open_image(path)
    if image.mode in ("LA", "RGBA"):
        return Image.fromarray(_judged(path, mask_rule.visible, image))
    return image


def _map_levels(path: str | Path) -> tuple[Levels, bool]:
    """Returns grey levels and True, or a mask of 0 and 1 and False."""
    image = open_image(path)
    levels = _judged(path, mask_rule.grey_levels, image)
    if image.mode == "1" or levels is None:
        return read_mask(path), False
    if levels.dtype != np.uint8:
        raise ValueError(f"{path}: pixels of kind {image.mode}, expected grey of 8 bits")
    return levels, True
