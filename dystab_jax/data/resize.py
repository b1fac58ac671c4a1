"""Resizes and flips images, flow and masks."""

import math
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8

from dystab_jax.array_types import Picture

LARGEST_STRETCH = Fraction(3, 2)
"""Factor by which ``data.image_size`` may change the ratio of a frame's sides."""


def network_size(frame: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size at which the networks see the frames of a video.

    That is ``image_size``, unless it changes the ratio of the sides by more than a factor of 1.5.
    Then it is what changes it least: ``image_size``, a square of about its area, or it turned. So
    there are at most three sizes, for each of which a step compiles once: 192x352 of videos from
    1.22 (nearly 4:3) to panoramas, 256x256, and 352x192 of portrait videos.

    Args:
      frame: (height, width) of the frames, pixels.
      image_size: (height, width), ``data.image_size``.

    Returns:
      (height, width). The square's side is a multiple of the largest number up to 32 that divides
      both sides of ``image_size``, so that what divides these divides it as well.
    """
    height, width = image_size

    def stretch(size: tuple[int, int]) -> Fraction:
        products = frame[0] * size[1], frame[1] * size[0]
        return Fraction(max(products), min(products))

    if stretch((height, width)) <= LARGEST_STRETCH:
        return height, width
    step = max(n for n in range(1, 33) if height % n == width % n == 0)
    side = step * max(1, round(math.sqrt(height * width) / step))
    return min((height, width), (side, side), (width, height), key=stretch)


def resize_flow(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes flow [h, w, 2], its vectors then in pixels of the new resolution.

    Args:
      flow: float32, pixels at its own size.
      size: (height, width) wanted.
    """
    height, width = flow.shape[:2]
    if (height, width) == tuple(size):
        return flow
    shrinks = size[0] * size[1] < height * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(flow, (size[1], size[0]), interpolation=method)
    return resized * np.array([size[1] / width, size[0] / height], flow.dtype)


def flip_flow(flow: np.ndarray) -> np.ndarray:
    """Returns the flow [..., H, W, 2] of the mirrored pair: columns reversed, dx negated."""
    return flow[..., ::-1, :] * np.array([-1, 1], flow.dtype)


def fit_width(image: Picture, width: int) -> Picture:
    """Shrinks an image to ``width`` pixels where it is wider, its proportions kept."""
    height, own = image.shape[:2]
    if own <= width:
        return image
    size = (width, max(1, round(height * width / own)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def fit_mask(mask: Integer[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Resizes a mask to (height, width): 1 where objects cover more than half of the pixel."""
    share = cv2.resize((mask != 0).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return (share > 0.5).astype(np.uint8)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image uint8 [h, w, 3] to (height, width)."""
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=method)


def upsample(
    maps: Float[np.ndarray, "*frames h w 1"], size: tuple[int, int]
) -> Float[np.ndarray, "*frames H W 1"]:
    """Resizes soft maps bilinearly; to be thresholded afterwards, not before.

    Pixels are squares with centres at half-integers (output pixel i samples (i + ½)·h/H - ½, edges
    repeated), as in OpenCV and `jax.image.resize`; shrinking does not smooth.

    Args:
      maps: [h, w, 1] or [T, h, w, 1], in [0, 1].
      size: height and width of the result, pixels.

    Returns:
      float32 maps of that size, in [0, 1].
    """
    height, width = size
    frames = np.asarray(maps, np.float32).reshape(-1, *maps.shape[-3:-1])
    resized = np.empty((len(frames), height, width), np.float32)
    for frame, out in zip(frames, resized, strict=True):
        out[:] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*maps.shape[:-3], height, width, 1)
