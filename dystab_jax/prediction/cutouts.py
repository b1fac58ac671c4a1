"""Cuts the object out of its frames: images and videos with alpha."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from dystab_jax.prediction.segmented import SegmentedFrame, VideoFacts
from dystab_jax.prediction.video_writer import Encoding, VideoWriter
from dystab_jax.prediction.written_files import write_file

EDGE = 0.8
"""Pixels, standard deviation by which the edge of the matte is softened: two pixels wide."""
PRORES = Encoding(
    container="mov",
    codec="prores_ks",
    pixels="yuva444p10le",
    # 16 bits of alpha take hardly more room than 8, and come back exactly.
    options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
)
"""What editing programs take; alpha is not compressed with loss."""
VP9 = Encoding(
    container="webm",
    codec="libvpx-vp9",
    pixels="yuva420p",
    # "good" takes six times as long and looks the same.
    options={"crf": "24", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
    bit_rate=0,
)
"""What browsers play (Safari does not show its alpha); constant quality."""


class Cutouts:
    """Writes cutouts/FRAME.png, cutout.mov and cutout.webm: the frames with `matte` as alpha.

    Colours are the image's own everywhere, not multiplied by alpha, so that an editor can widen the
    matte. In the videos frames keep their times, and odd sizes are padded by their last row or
    column.

    A frame of DAVIS at 480p takes 0.8 MB as PNG, 0.4 MB in cutout.mov (ProRes 4444), 0.04 MB in
    cutout.webm (VP9), and 0.1 s for the three together.
    """

    def __init__(self, folder: Path, facts: VideoFacts):
        """Opens nothing yet.

        Args:
          folder: in which to write.
          facts: of the video.
        """
        self._folder = folder / "cutouts"
        self._videos = [
            VideoWriter(folder / "cutout.mov", facts.rate, PRORES),
            VideoWriter(folder / "cutout.webm", facts.rate, VP9),
        ]

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the next frame; OSError where it cannot be."""
        write_file(self._folder / f"{frame.name}.png", encode_cutout(frame))
        for video in self._videos:
            video.write(_with_alpha(frame), frame.time)

    def close(self) -> None:
        """Completes the videos; OSError where they cannot be."""
        for video in self._videos:
            video.close()


def encode_cutout(frame: SegmentedFrame) -> bytes:
    """Returns a PNG of the frame with its `matte` as alpha."""
    return cv2.imencode(".png", cv2.cvtColor(_with_alpha(frame), cv2.COLOR_RGBA2BGRA))[1].tobytes()


def matte(mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Returns the alpha of a mask: 255 in it, 0 outside, softened across its edge.

    Not the soft map: it says how sure the networks are, not how much of a pixel is object, and
    would let background through wherever they waver, or around all of the object without a CRF.

    Returns:
      Alpha, 128 and more exactly in the mask, which so loses nothing, however thin.
    """
    soft = cv2.GaussianBlur((mask != 0).astype(np.uint8) * 255, (0, 0), EDGE)
    return np.where(mask != 0, np.maximum(soft, 128), np.minimum(soft, 127))


def _with_alpha(frame: SegmentedFrame) -> UInt8[np.ndarray, "H W 4"]:
    return np.dstack([frame.image, matte(frame.mask)])
