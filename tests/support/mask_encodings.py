"""Masks in the encodings in which methods publish them."""

import numpy as np
from PIL import Image

VOS_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def coloured(mask, palette, index=1):
    image = Image.frombytes("P", mask.shape[::-1], (mask * np.uint8(index)).tobytes())
    image.putpalette(palette)
    return image


def rgb(mask):
    return Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))


def with_alpha(image):
    image.putalpha(128)
    return image


ENCODINGS = {
    "0 and 255": lambda mask: Image.fromarray(mask * np.uint8(255)),
    "0 and 1": lambda mask: Image.fromarray(mask),
    "1-bit": lambda mask: Image.fromarray(mask.astype(bool)),
    "palette": lambda mask: coloured(mask, VOS_PALETTE),
    "palette, object 2": lambda mask: coloured(mask, VOS_PALETTE, index=2),
    "palette, object 255": lambda mask: coloured(mask, [40, 0, 0] * 256, index=255),
    "palette, background not black": lambda mask: coloured(mask, [9, 80, 30, 0, 0, 0]),
    "palette, too short": lambda mask: coloured(mask, VOS_PALETTE[:3], index=2),
    "palette of greys": lambda mask: coloured(1 - mask, [255, 255, 255, 0, 0, 0]),
    "RGB": rgb,
    "RGBA": lambda mask: with_alpha(rgb(mask)),
    "grey and alpha": lambda mask: with_alpha(Image.fromarray(mask * np.uint8(255))),
    "not quite 0 and 255": lambda mask: Image.fromarray(mask * np.uint8(225) + np.uint8(15)),
}


def random_masks(seed, shape=(4, 24, 36)):
    return (np.random.default_rng(seed).random(shape) > 0.6).astype(np.uint8)
