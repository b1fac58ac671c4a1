"""Decides which pixels of a mask image are object: one rule for truth and predictions alike.

=======================================  =========================================================
image                                    object
=======================================  =========================================================
1-bit                                    white
grey, nothing above 1                    1
grey, 0 and one level more               that level; below 128 it is the object's number
grey, soft: antialiased, of JPEG, a map  one half of the range and above: 128, of 16 bits 32768;
                                         so there is none where no pixel reaches one half
grey, flat areas of a few levels         each level but 0 a number, where all are below 128 and
                                         do not lie around one another; else refused
palette                                  every index but 0, which is its number; 255 is void
                                         beside numbers and the object where it is alone
palette that shows a grey image          as the grey image: where it is black and white, in steps
                                         as they are, of many levels, or brightest at index 0
RGB, grey-valued                         as the grey image
RGB, a few colours on black              every colour but black; colours of the DAVIS palette are
                                         their numbers, that of its index 255 void as above
RGB, anything else                       refused
grey or RGB with alpha the same          as without alpha; where colour is the same everywhere,
everywhere                               too, and alpha 0: none
alpha that varies                        one half of it and above, by the rule of grey, where the
                                         colours are the same everywhere or show a picture; a
                                         grey image must show the same shape, else it is refused
=======================================  =========================================================

"A few" is at most `MOST_NUMBERS`. An image that is 0 everywhere has no object; a full one is 255
(or 1) everywhere. Data sets whose protocols say otherwise have readers of their own, in
`mask_files`: fbms59, segtrackv2, davis2017, youtube_vos, and still images.
"""

import cv2
import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from PIL import Image

VOID = 255
"""Number of a region that belongs neither to an object nor to the background."""
MOST_NUMBERS = 32
"""Grey levels or colours of an image that can number its objects, the background's among them; a
soft mask has more."""
LEAST_JUMPS = 0.05
"""Share of the steps between unlike neighbours that skip a level where levels number objects. In
a soft mask the levels lie around one another."""

Levels = UInt8[np.ndarray, "H W"]
Palette = UInt8[np.ndarray, "256 3"]

_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_REMEDY = "write 0 for background and 255 for the object, or objects as the indices of a palette"


def object_numbers(image: Image.Image) -> Levels:
    """Returns the numbers of the objects of an image, by the table of the module.

    Returns:
      uint8 [H, W]: 0 = background, 1 to 254 = the objects, 1 where they have no numbers; 255 where
      an image says so, see `merge`.

    Raises:
      ValueError: it is not a mask, or can be read in two ways; says what it holds.
    """
    if image.mode == "P":
        return _from_palette(image)
    pixels = visible(image)
    if pixels.ndim == 3 and not is_grey(pixels):
        return _from_colours(pixels)
    levels = pixels[..., 0] if pixels.ndim == 3 else pixels
    return _from_grey(levels, 65535 if image.mode.startswith("I") else 255)


def grey_levels(image: Image.Image) -> Integer[np.ndarray, "H W"] | None:
    """Returns the levels of an image that is grey, also by its palette, or grey and alpha.

    They are those of alpha where the table says that it has the shape; of a 1-bit image 0 and 1.
    None where the image shows colours; ValueError as for `object_numbers`.
    """
    if image.mode == "P":
        indices, colours = np.asarray(image), _used_colours(image)
        grey = colours is not None and is_grey(colours)
        return _table(image)[indices][..., 0] if grey else None
    pixels = visible(image)
    if pixels.ndim == 3:
        return pixels[..., 0] if is_grey(pixels) else None
    return pixels


def visible(image: Image.Image) -> Shaped[np.ndarray, "H W *channels"]:
    """Returns grey levels [H, W] or colours [H, W, 3]; alpha where the table gives it the shape.

    Raises:
      ValueError: another kind of pixels, or colours and alpha disagree.
    """
    pixels = np.asarray(image)
    if image.mode in ("1", "L", "RGB"):
        return pixels.astype(np.uint8) if image.mode == "1" else pixels
    if image.mode in _SIXTEEN_BITS and 0 <= pixels.min() and pixels.max() < 1 << 16:
        return pixels
    if image.mode not in ("LA", "RGBA"):
        raise ValueError(
            f"pixels of kind {image.mode}, expected grey, 1-bit, palette or colours of 8 bits, "
            f"with or without alpha; {_REMEDY}"
        )
    colours, alpha = pixels[..., :-1], pixels[..., -1]
    if _is_constant(alpha):
        if _is_constant(colours) and not alpha.any():
            return np.zeros_like(alpha)
        return colours if colours.shape[-1] == 3 else colours[..., 0]
    if _is_constant(colours) or not is_grey(colours):
        return alpha
    if not np.array_equal(merge(_from_grey(colours[..., 0])), merge(_from_grey(alpha))):
        raise ValueError(f"alpha and grey levels show different shapes; {_REMEDY}, without alpha")
    return colours[..., 0]


def merge(numbers: Levels, numbered: bool = False) -> Levels:
    """Returns the mask of all objects together, 0 and 1; 255 is void beside numbers.

    Args:
      numbers: of `object_numbers`.
      numbered: other masks of the sequence have numbers, so that 255 is void here, too.
    """
    if numbered or has_numbers(numbers):
        return foreground(numbers)
    return (numbers != 0).astype(np.uint8)


def foreground(numbers: Levels) -> Levels:
    """Returns the merged mask of numbered objects: 1 where neither background nor void."""
    return ((numbers != 0) & (numbers != VOID)).astype(np.uint8)


def has_numbers(numbers: Levels) -> bool:
    """Returns whether there is an object with a number, rather than void or nothing."""
    return bool(((numbers > 0) & (numbers < VOID)).any())


def is_grey(colours: Shaped[np.ndarray, "*shape"]) -> bool:
    """Compares the channels of all colours [..., 1 or 3]; True where they agree."""
    return bool((colours == colours[..., :1]).all())


def davis_palette() -> Palette:
    """Returns the colours of DAVIS and PASCAL VOC.

    Bits 0, 1, 2 of the index are the top bits of red, green and blue, bits 3, 4, 5 the next ones, 6
    and 7 the last.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = sum(((index >> (3 * step + channel)) & 1) << (7 - step) for step in range(3))
    return colours.astype(np.uint8)


def _from_grey(levels: Integer[np.ndarray, "H W"], largest: int = 255) -> Levels:
    """Reads grey levels of 0 to `largest`."""
    values = np.flatnonzero(np.bincount(levels.ravel()))
    highest, half = int(values[-1]), (largest + 1) // 2
    if highest <= 1:
        return levels.astype(np.uint8)
    if len(values) == 2 and values[0] == 0:
        return (levels != 0).astype(np.uint8) * np.uint8(highest if highest < 128 else 1)
    if len(values) <= MOST_NUMBERS:
        flat = _flat_shares(levels, values)
        numbers = values[0] == 0 and np.median(flat[1:]) >= 0.5 and _levels_jump(levels, values)
        if numbers and highest < 128:
            return levels.astype(np.uint8)
        if highest < half or flat[1:-1].max(initial=0) >= 0.5:
            shown = ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
            raise ValueError(
                f"grey levels up to {highest} ({shown}), which can be the numbers of objects or a "
                f"soft map; {_REMEDY}"
            )
    return (levels >= half).astype(np.uint8)


def _levels_jump(levels: Integer[np.ndarray, "H W"], values: Integer[np.ndarray, " n"]) -> bool:
    """Returns whether unlike neighbours are often further apart than the next level."""
    rank = np.zeros(values[-1] + 1, np.int32)
    rank[values] = np.arange(len(values))
    ranks = rank[levels]
    steps = np.concatenate([np.abs(np.diff(ranks, axis=axis)).ravel() for axis in (0, 1)])
    return bool(np.count_nonzero(steps > 1) > LEAST_JUMPS * np.count_nonzero(steps))


def _flat_shares(
    levels: Integer[np.ndarray, "H W"], values: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Returns the share of each level's pixels that have nothing but this level around them."""
    levels, around = levels.astype(np.float32), np.ones((3, 3), np.uint8)
    flat = levels[cv2.dilate(levels, around) == cv2.erode(levels, around)]
    counts = [(np.count_nonzero(flat == v), np.count_nonzero(levels == v)) for v in values]
    return np.divide(*np.transpose(counts))


def _from_palette(image: Image.Image) -> Levels:
    indices, colours = np.asarray(image), _used_colours(image)
    if colours is None or not is_grey(colours):
        return indices
    grey, used = colours[:, 0].astype(int), np.unique(indices)
    shows_image = (
        np.isin(grey, (0, VOID)).all()
        or len(used) > MOST_NUMBERS
        or (grey == used).all()
        or (used[0] == 0 and grey[0] > grey.min())
    )
    if shows_image and len(set(grey)) == len(used):
        return _from_grey(_table(image)[indices][..., 0])
    return indices


def _from_colours(colours: UInt8[np.ndarray, "H W 3"]) -> Levels:
    """Reads colours, numbers of objects where they are those of the DAVIS palette."""
    codes = _codes(colours)
    used = np.unique(codes)
    if len(used) > MOST_NUMBERS or used[0] != 0:
        raise ValueError(
            f"a colour image of {len(used)} colours, expected a few objects on black; {_REMEDY}"
        )
    known = _codes(davis_palette())
    if not np.isin(used, known).all():
        return (codes != 0).astype(np.uint8)
    order = np.argsort(known)
    return order[np.searchsorted(known, codes, sorter=order)].astype(np.uint8)


def _codes(colours: UInt8[np.ndarray, "*shape 3"]) -> Integer[np.ndarray, "*shape"]:
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _used_colours(image: Image.Image) -> UInt8[np.ndarray, "n 3"] | None:
    """Returns the colours of the indices in use, in their order; None if the palette lacks one."""
    table, used = _table(image), np.unique(np.asarray(image))
    return table[used] if used[-1] < len(table) else None


def _table(image: Image.Image) -> UInt8[np.ndarray, "n 3"]:
    return np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _is_constant(pixels: Shaped[np.ndarray, "H W *channels"]) -> bool:
    return bool((pixels == pixels[0, 0]).all())
