"""Crops, mirrors and recolours training examples."""

from dataclasses import dataclass

import cv2
import numpy as np

from dystab_jax.data.records import FLOW_FIELDS as FLOWS
from dystab_jax.data.resize import flip_flow, resize_flow

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class Augmentation:
    """Holds section ``data.augmentation`` of a config.

    Attributes:
      flip: mirror half of the examples.
      smallest_crop: side of the smallest crop as a share of the frame's; 1 for no cropping.
      color: largest relative change of brightness, contrast and saturation of the image.
    """

    flip: bool
    smallest_crop: float
    color: float

    def __post_init__(self):
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(
                f"data.augmentation.smallest_crop is {self.smallest_crop}; expected (0, 1]"
            )


def augment(example: Example, options: Augmentation, rng: np.random.Generator) -> Example:
    """Crops, mirrors and recolours; image, flows and masks together.

    Flow keeps its meaning: a crop that is enlarged enlarges the vectors, a mirror negates dx.

    Args:
      example: arrays [H, W, C]; numbers pass unchanged.
      options: how much.
      rng: of this example.
    """
    height, width = example["image"].shape[:2]
    share = rng.uniform(options.smallest_crop, 1)
    rows, columns = round(height * share), round(width * share)
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    mirrored = options.flip and rng.random() < 0.5
    result = {}
    for name, array in example.items():
        if array.ndim < 2:
            result[name] = array
            continue
        array = array[top : top + rows, left : left + columns]
        if name in FLOWS:
            array = resize_flow(array.astype(np.float32), (height, width))
            array = (flip_flow(array) if mirrored else array).astype(np.float16)
        else:
            # Plain INTER_NEAREST would shift masks by up to half a pixel against the image.
            method = cv2.INTER_LINEAR if name == "image" else cv2.INTER_NEAREST_EXACT
            channels = array.shape[2]
            array = cv2.resize(array, (width, height), interpolation=method)
            array = array.reshape(height, width, channels)
            array = array[:, ::-1] if mirrored else array
        result[name] = np.ascontiguousarray(array)
    if options.color:
        result["image"] = _recolor(result["image"], options.color, rng)
    return result


def _recolor(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Changes saturation about each pixel's grey, contrast about the image's mean, brightness.

    All three together are one affine map of a pixel's colour.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    to_grey = np.full((3, 3), 1 / 3)
    colors = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * to_grey)
    mean = np.mean(cv2.mean(image)[:3])
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(image, np.hstack([colors, offset]))


def draw_ellipse(rng: np.random.Generator) -> np.ndarray:
    """Draws centre row and column, two radii (shares of the sides) and angle, float32 [5]."""
    centre, radii = rng.uniform(0.1, 0.9, 2), rng.uniform(0.08, 0.4, 2)
    return np.array([*centre, *radii, rng.uniform(0, np.pi)], np.float32)
