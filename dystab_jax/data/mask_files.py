"""Reads masks, object numbers and soft maps from image files, whichever encoding they come in."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

Levels = UInt8[np.ndarray, "H W"]


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

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a readable image, or not a hard mask; names the file.
    """
    image = _open(path)
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

    Raises:
      FileNotFoundError, ValueError: as `read_mask`.
    """
    image = _open(path)
    if image.mode == "P":
        indices, colours = _palette(image)
        if colours is None or not np.isin(colours, (0, 255)).all() or not _is_grey(colours):
            return indices
    return read_mask(path)


def read_map(path: str | Path, highest: int = 255) -> Float32[np.ndarray, "H W"]:
    """Reads a soft map: grey levels divided by `highest`; 1-bit and colour palette images as masks.

    Args:
      path: an image file, 8 bits per channel or fewer.
      highest: the level that means probability 1.

    Returns:
      Probability of object, float32 [H, W] in [0, 1].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a readable grey image, or goes beyond `highest`.
    """
    levels, grey = _map_levels(path)
    if not grey:
        return levels.astype(np.float32)
    if levels.max() > highest:
        raise ValueError(f"{path} has grey levels up to {levels.max()}, expected 0 to {highest}")
    return levels.astype(np.float32) / np.float32(highest)


def highest_level(paths: list[Path]) -> int:
    """The `highest` of a set of maps: 1 if no grey map of it uses a level above 1, else 255.

    Looks at as many files as it takes, which is one for soft maps of most methods.

    Raises:
      FileNotFoundError, ValueError: as `read_map`.
    """
    for path in paths:
        levels, grey = _map_levels(path)
        if grey and levels.max() > 1:
            return 255
    return 1


def is_numbered(path: str | Path) -> bool:
    """Whether a truth file numbers its objects: a palette image with an index from 1 to 254.

    Index 255 alone is the object of DAVIS-2016; beside numbers it is void.
    """
    numbers = read_numbers(path) if _open(path).mode == "P" else np.zeros((1, 1), np.uint8)
    return bool(((numbers > 0) & (numbers < 255)).any())


def _open(path: str | Path) -> Image.Image:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a mask (PNG)")
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Decoders raise whatever they like on broken files.
        raise ValueError(f"{path} is not a readable image ({error}); write it again") from error
    if image.mode not in ("1", "P", "L", "LA", "RGB", "RGBA"):
        raise ValueError(
            f"{path} has pixels of kind {image.mode}, expected 8-bit grey, 1-bit, palette or "
            "grey-valued RGB; write 0 for background and 255 for the object"
        )
    return image


def _palette(image: Image.Image) -> tuple[Levels, np.ndarray | None]:
    """Indices, and the colours [n, 3] of those used; None where the palette lacks one."""
    indices = np.asarray(image).astype(np.uint8)
    palette = _table(image)
    used = np.unique(indices)
    return indices, palette[used] if used[-1] < len(palette) else None


def _table(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _grey(image: Image.Image, path: str | Path) -> Levels:
    """Levels of an image whose pixels are grey; of a 1-bit image 0 and 1."""
    levels = np.asarray(image).astype(np.uint8)
    if image.mode == "P":
        return _table(image)[levels][..., 0]
    if levels.ndim == 3 and levels.shape[2] >= 3 and not _is_grey(levels):
        raise ValueError(
            f"{path} is a colour image, expected a mask; write 0 for background and 255 for the "
            "object, or keep the palette if it shows labels"
        )
    return levels[..., 0] if levels.ndim == 3 else levels


def _map_levels(path: str | Path) -> tuple[Levels, bool]:
    """Grey levels and True, or a mask of 0 and 1 and False."""
    image = _open(path)
    colours = _palette(image)[1] if image.mode == "P" else None
    if image.mode == "1" or (image.mode == "P" and (colours is None or not _is_grey(colours))):
        return read_mask(path), False
    return _grey(image, path), True


def _is_grey(colours: np.ndarray) -> bool:
    """Whether red, green and blue agree in all colours [..., 3 or 4]."""
    red = colours[..., 0]
    return bool((red == colours[..., 1]).all() and (red == colours[..., 2]).all())
