"""Writes predicted frames into the files that each data set's evaluators read.

The layouts are in the table of data sets, `dystab_jax.data.dataset_registry`.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from dystab_jax.data import mask_files
from dystab_jax.data.dataset_registry import MaskLayout, data_set
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.runtime.atomic_files import write_whole


def path(folder: str | Path, dataset: str, video: str, frame_name: str) -> Path:
    """Returns where a predicted frame lies.

    Args:
      folder: of all predictions.
      dataset: name of the data set; "folder/NAME" means "folder".
      video: name of the video; not used for still images.
      frame_name: the frame's (or still image's) file name without ending.

    Raises:
      ValueError: no such data set; lists those there are.
    """
    return Path(folder, _layout(dataset).file.format(video=video, frame=frame_name))


def write(
    folder: str | Path,
    dataset: str,
    video: str,
    frame_name: str,
    soft: Float[np.ndarray, "H W"] | UInt8[np.ndarray, "H W"],
) -> Path:
    """Writes one predicted frame; the file is there whole or not at all.

    Args:
      folder, dataset, video, frame_name: as for `path`; folders are made where absent.
      soft: probability of object in [0, 1], at the size of the truth. Where masks are written,
        object is where it is greater than one half.

    Returns:
      The file.

    Raises:
      ValueError: no such data set, or not a soft map.
      OSError: the file cannot be written.
    """
    target = path(folder, dataset, video, frame_name)
    soft = np.asarray(soft)
    if soft.ndim != 2 or not soft.size or not (soft.min() >= 0 and soft.max() <= 1):
        raise ValueError(
            f"video {video}, frame {frame_name}: a map of shape {soft.shape}, expected "
            "probabilities in [0, 1] of shape (height, width)"
        )
    pixels, mask = _layout(dataset).pixels, (soft > 0.5).astype(np.uint8)
    if pixels == "map":
        data = mask_files.encode_levels(np.round(255 * soft.astype(np.float64)).astype(np.uint8))
    elif pixels == "numbers":
        data = mask_files.encode_levels(mask, davis_palette())
    else:
        data = mask_files.encode_levels(mask * np.uint8(255))
    write_whole(target, data, everyone=True)
    return target


def _layout(dataset: str) -> MaskLayout:
    return data_set(dataset.partition("/")[0]).layout
