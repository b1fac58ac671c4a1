"""Reads and writes images of masks, numbered objects and soft maps: the one place for both.

Truth and predictions come in many encodings, and each rule for reading them is a function here:

=====================  ===============================================  ============================
function               object is                                        files
=====================  ===============================================  ============================
`read_mask`            the upper half of the range used; palette: every  predictions, folders of
                       index but 0, 255 included                        truth that are scored
`read_numbers`         a number, the index of a palette image            the same, where numbered
`read_map`             grey level / 255, a probability                   the same, of still images
`read_truth_mask`      whatever is not 0; palette: 255 is void           davis2016, folder
`read_truth_numbers`   a number, the index or level; 255 is void         davis2017, youtube_vos
`read_bright_truth`    brighter than a threshold                         segtrackv2, still images
`read_colour_codes`    up to the caller                                  fbms59
=====================  ===============================================  ============================

All readers raise FileNotFoundError where there is no file, and ValueError where it is not an image
or not one of the kind expected; both name the file.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Int32, Shaped, UInt8
from PIL import Image

from dystab_jax.data.encodings import decode_image

VOID = 255
"""Number of a region that belongs neither to an object nor to the background."""

Levels = UInt8[np.ndarray, "H W"]
Palette = UInt8[np.ndarray, "256 3"]

_MASK_MODES = ("1", "P", "L", "LA", "RGB", "RGBA")
"""Kinds of pixels, as Pillow names them, in which masks are published."""


def read_mask(path: str | Path) -> Levels:
    """Reads a hard mask, whichever of the usual encodings it comes in.

    Grey, 1-bit and grey-valued RGB images (alpha is ignored): the upper half of the range where
    it is used, as in {0, 255}; otherwise 1, as in {0, 1}. Palette images: every index but 0,
    whatever the colours (255 is object too, as in DAVIS-2016); if all colours used are grey it
    is read as the grey image it looks like.

    Args:
      path: an image file, 8 bits per channel or fewer.

    Returns:
      uint8 [H, W], 1 = object.
    """
    image = _open_mask(path)
    if image.mode == "P":
        indices, colours = _palette(image)
        if colours is None or not _is_grey(colours):
            return (indices != 0).astype(np.uint8)
    levels = _grey(image, path)
    highest = levels.max()
    if 1 < highest < 128:
        raise ValueError(
            f"{path} has grey levels up to {highest}, which can be labels or a soft map; write 0 "
            "for background and 255 for the object, or objects as the indices of a palette image"
        )
    return (levels > (127 if highest > 1 else 0)).astype(np.uint8)


def read_numbers(path: str | Path) -> Levels:
    """Reads object numbers: the indices of a palette image; a `read_mask` is object 1.

    Args:
      path: an image file. A palette image that shows nothing but black and white is a mask.

    Returns:
      uint8 [H, W], 0 = background.
    """
    image = _open_mask(path)
    if image.mode == "P":
        indices, colours = _palette(image)
        if colours is None or not np.isin(colours, (0, 255)).all() or not _is_grey(colours):
            return indices
    return read_mask(path)


def read_predicted_numbers(path: str | Path) -> Levels:
    """Reads object numbers as `read_numbers`, but where 255 is the only one it is object 1."""
    numbers = read_numbers(path)
    return numbers if _has_numbers(numbers) else numbers // 255


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


def is_numbered(path: str | Path) -> bool:
    """Decides if a truth file numbers its objects: a palette image with an index from 1 to 254.

    Index 255 alone is the object of DAVIS-2016; beside numbers it is void.
    """
    return _open_mask(path).mode == "P" and _has_numbers(read_numbers(path))


def read_truth_mask(path: Path) -> Levels:
    """Reads a truth image of which whatever is not zero is object.

    {0, 255}, {0, 1}, 1-bit, grey levels that number objects, colour images and palette images (by
    index) are understood; alpha is ignored. Index 255 of a palette image means "void" and counts
    as background here.

    Returns:
      uint8 [H, W], 1 = object.
    """
    image = open_image(path)
    pixels = _without_alpha(image)
    mask = pixels != 0
    if image.mode == "P":
        mask &= pixels != VOID
    return (mask.any(axis=-1) if mask.ndim == 3 else mask).astype(np.uint8)


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
    return np.asarray(open_image(path).convert("L"))


def read_colour_codes(path: Path) -> tuple[Int32[np.ndarray, "H W"], bool]:
    """Reads colours as numbers.

    Returns:
      R·65536 + G·256 + B of a colour image, the level of a grey one; and True for a colour image.
    """
    pixels = np.asarray(open_image(path)).astype(np.int32)
    if pixels.ndim == 2:
        return pixels, False
    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2], True


def foreground(numbers: Levels) -> Levels:
    """Returns the merged mask of numbered objects: 1 where neither background nor void."""
    return ((numbers != 0) & (numbers != VOID)).astype(np.uint8)


def open_image(path: str | Path) -> Image.Image:
    """Opens an image file of any kind and reads all of it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a mask image")
    data = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception as error:  # Decoders raise whatever they like on broken files.
        raise ValueError(f"{path}: not a readable mask image: {error}; write it again") from error
    return image


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


def davis_palette() -> Palette:
    """Returns the colours of DAVIS and PASCAL VOC.

    Bits 0, 1, 2 of the index are the top bits of red, green and blue, bits 3, 4, 5 the next ones, 6
    and 7 the last.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = sum(((index >> (3 * step + channel)) & 1) << (7 - step) for step in range(3))
    return colours.astype(np.uint8)


def _open_mask(path: str | Path) -> Image.Image:
    image = open_image(path)
    if image.mode not in _MASK_MODES:
        raise ValueError(
            f"{path} has pixels of kind {image.mode}, expected 8-bit grey, 1-bit, palette or "
            "grey-valued RGB; write 0 for background and 255 for the object"
        )
    return image


def _without_alpha(image: Image.Image) -> Shaped[np.ndarray, "H W *channels"]:
    pixels = np.asarray(image)
    return pixels[..., :-1] if image.mode in ("LA", "RGBA") else pixels


def _has_numbers(numbers: Levels) -> bool:
    return bool(((numbers > 0) & (numbers < VOID)).any())


def _palette(image: Image.Image) -> tuple[Levels, np.ndarray | None]:
    """Returns the indices, and the colours [n, 3] of those used; None if the palette lacks one."""
    indices = np.asarray(image).astype(np.uint8)
    palette = _table(image)
    used = np.unique(indices)
    return indices, palette[used] if used[-1] < len(palette) else None


def _table(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _grey(image: Image.Image, path: str | Path) -> Levels:
    """Returns the levels of an image whose pixels are grey; of a 1-bit image 0 and 1."""
    levels = _without_alpha(image).astype(np.uint8)
    if image.mode == "P":
        return _table(image)[levels][..., 0]
    if levels.ndim == 3 and levels.shape[2] == 3 and not _is_grey(levels):
        raise ValueError(
            f"{path} is a colour image, expected a mask; write 0 for background and 255 for the "
            "object, or keep the palette if it shows labels"
        )
    return levels[..., 0] if levels.ndim == 3 else levels


def _map_levels(path: str | Path) -> tuple[Levels, bool]:
    """Returns grey levels and True, or a mask of 0 and 1 and False."""
    image = _open_mask(path)
    colours = _palette(image)[1] if image.mode == "P" else None
    if image.mode == "1" or (image.mode == "P" and (colours is None or not _is_grey(colours))):
        return read_mask(path), False
    return _grey(image, path), True


def _is_grey(colours: np.ndarray) -> bool:
    """Compares red, green and blue of all colours [..., 3]; True where they agree."""
    red = colours[..., 0]
    return bool((red == colours[..., 1]).all() and (red == colours[..., 2]).all())
