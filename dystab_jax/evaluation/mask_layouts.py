"""Writes predicted frames in the layout and encoding that each data set's evaluators read.

==========================================  =======================  ===============================
data set                                    file                     pixels
==========================================  =======================  ===============================
davis2016, davis2016_labelled, fbms59,      VIDEO/FRAME.png          8-bit grey, 0 and 255
segtrackv2, movers, folder
davis2017 (unsupervised)                    VIDEO/FRAME.png          palette, the object is number 1
youtube_vos                                 Annotations/VIDEO/       palette, the object is number 1
                                            FRAME.png
msra_b, ecssd, dut_omron                    IMAGE.png                8-bit grey soft map, 255 p
==========================================  =======================  ===============================
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from dystab_jax.runtime.atomic_files import write_whole

MASKS = ("davis2016", "davis2016_labelled", "fbms59", "segtrackv2", "movers", "folder")
NUMBERS = ("davis2017", "youtube_vos")
MAPS = ("msra_b", "ecssd", "dut_omron")


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of DAVIS and PASCAL VOC: bits 0, 1, 2 of the index are the top bits of red,
    green and blue, bits 3, 4, 5 the next ones, 6 and 7 the last."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    colours = sum(((index >> (3 * step + channel)) & 1) << (7 - step) for step in range(3))
    return colours.astype(np.uint8)


def path(folder: str | Path, dataset: str, video: str, frame_name: str) -> Path:
    """Where a frame lies in a submission.

    Args:
      folder: the submission's.
      dataset: name of the data set; "folder/NAME" means "folder".
      video: name of the video; not used for still images.
      frame_name: the frame's (or still image's) file name without ending.

    Raises:
      ValueError: no such data set; lists those there are.
    """
    kind, file = _kind(dataset), f"{frame_name}.png"
    if kind in MAPS:
        return Path(folder) / file
    inside = ("Annotations", video) if kind == "youtube_vos" else (video,)
    return Path(folder, *inside) / file


def write(
    folder: str | Path,
    dataset: str,
    video: str,
    frame_name: str,
    soft: Float[np.ndarray, "H W"],
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
    kind = _kind(dataset)
    if kind in MAPS:
        image = Image.fromarray(np.round(255 * soft.astype(np.float64)).astype(np.uint8))
    else:
        mask = (soft > 0.5).astype(np.uint8)
        image = Image.fromarray(mask if kind in NUMBERS else mask * np.uint8(255))
        if kind in NUMBERS:
            image.putpalette(palette().tobytes())
    data = io.BytesIO()
    image.save(data, format="PNG", compress_level=3)  # twice as fast as the default
    write_whole(target, data.getvalue(), everyone=True)
    return target


def _kind(dataset: str) -> str:
    kind = dataset.partition("/")[0]
    if kind not in MASKS + NUMBERS + MAPS:
        raise ValueError(
            f"data set {dataset!r} has no submission layout; there are "
            f"{', '.join(MASKS + NUMBERS + MAPS)}"
        )
    return kind
