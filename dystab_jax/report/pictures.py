"""Draws pictures of masks and flow. NumPy and OpenCV only; all images are RGB uint8 [H, W, 3]."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from dystab_jax.array_types import Picture

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = {
    "phi": (230, 159, 0),
    "chi": (86, 180, 233),
    "fused": (213, 94, 0),
    "truth": (0, 158, 115),
}
"""RGB by the model whose mask is shown, in overlays and in charts."""
PANELS = {
    "image": "image",
    "flow": "flow",
    "phi": "φ, motion",
    "chi": "χ, appearance",
    "fused": "fused",
    "truth": "truth",
}
"""Titles of the pictures of a frame, in the order in which they are shown."""

_INK, _PAPER = 32, 255  # grey levels of a sheet
_MARGIN = 4  # pixels between the panels of a sheet
_BAND = 18  # pixels, height of the line that a caption takes


def overlay(
    image: Picture,
    mask: Integer[np.ndarray, "H W"],
    color: tuple[int, int, int] = COLORS["fused"],
    alpha: float = 0.4,
    outline: int | None = None,
    fade: float = 0.0,
) -> Picture:
    """Tints the mask in the image and draws its outline, inside the mask, in full colour.

    The edge of the image counts as an edge of a mask that touches it.

    Args:
      image: what the mask belongs to; unchanged.
      mask: not 0 = object.
      color: of tint and outline.
      alpha: strength of the tint, 0 for none and 1 to cover the image.
      outline: its width in pixels, 0 for none; None: 1, and more for images over 360 rows.
      fade: how far the background loses its colours and half of its light, 0 to 1: small pictures
        are easier to read so.

    Raises:
      ValueError: mask and image differ in size; alpha or fade is not in [0, 1].
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"mask {mask.shape} and image {image.shape[:2]} differ in size (height, width); "
            "resize the mask first"
        )
    for name, value in (("alpha", alpha), ("fade", fade)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; expected 0 (leaves the image) to 1")
    if outline is None:
        outline = max(1, round(image.shape[0] / 240))
    inside = (mask != 0).astype(np.uint8)
    paint = np.array(color, np.float32)
    covered = inside > 0
    dim = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] / 2
    tinted = np.round(image * (1 - fade) + dim * fade).astype(np.uint8)
    tinted[covered] = np.round(image[covered] * (1 - alpha) + paint * alpha).astype(np.uint8)
    if outline:
        # A frame of background around it closes the outline at the edge of the image.
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        core = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=outline)[1:-1, 1:-1]
        tinted[covered & (core == 0)] = color
    return tinted


def fit_flow_picture(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resizes a picture of flow, often smaller than its frame, to (height, width)."""
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)


def caption(image: Picture, text: str) -> Picture:
    """Puts a line of text above the image; OpenCV draws ASCII alone, so Greek has to be spelled.

    Text that is too wide for the image is made smaller, down to half, and then cut.

    Raises:
      ValueError: a character that cannot be drawn.
    """
    if not text.isascii():
        raise ValueError(f"caption {text!r} holds characters that OpenCV cannot draw; spell them")
    font, scale, room = cv2.FONT_HERSHEY_SIMPLEX, 0.42, image.shape[1] - 4
    needed = cv2.getTextSize(text, font, scale, 1)[0][0]
    scale *= min(1.0, max(0.5, room / max(needed, 1)))
    band = np.full((_BAND, image.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(band, text, (2, _BAND - 5), font, scale, (_INK,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([band, image])


def sheet(rows: Sequence[Sequence[tuple[str, Picture]]], width: int = 240) -> Picture:
    """Arranges rows of captioned panels on white, each panel ``width`` pixels wide.

    Args:
      rows: (caption, image) of each panel; rows may differ in length.
      width: images are scaled to it, up or down.

    Raises:
      ValueError: no panel at all.
    """
    if not any(rows):
        raise ValueError("a sheet needs at least one panel")
    columns = max(len(row) for row in rows)
    strips = []
    for row in filter(len, rows):
        panels = [caption(_at_width(image, width), text) for text, image in row]
        height = max(len(panel) for panel in panels)
        strip = np.full((height, columns * (width + _MARGIN) - _MARGIN, 3), _PAPER, np.uint8)
        for number, panel in enumerate(panels):
            left = number * (width + _MARGIN)
            strip[: len(panel), left : left + width] = panel
        strips.append(
            cv2.copyMakeBorder(strip, *[_MARGIN] * 4, cv2.BORDER_CONSTANT, value=[255] * 3)
        )
    return np.concatenate(strips)


def encode(image: Picture | UInt8[np.ndarray, "H W"], ending: str, quality: int = 85) -> bytes:
    """Encodes an image; returns the bytes of its file.

    Args:
      image: RGB or grey.
      ending: ".png" or ".jpg".
      quality: of JPEG, 0 to 100.

    Raises:
      ValueError: OpenCV cannot write such a file.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
    stored = image[..., ::-1] if image.ndim == 3 else image
    try:
        done, data = cv2.imencode(ending, np.ascontiguousarray(stored), options)
    except cv2.error as error:
        raise ValueError(f"no {ending} can be made of an image {image.shape}: {error}") from error
    if not done:
        raise ValueError(f"no {ending} can be made of an image {image.shape}")
    return data.tobytes()


def _at_width(image: Picture, width: int) -> Picture:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    method = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def flow_to_color(flow: np.ndarray, longest: float | None = None) -> np.ndarray:
    """Shows flow by a colour wheel: hue for the direction, saturation for the length.

    Args:
      flow: [H, W, 2], pixels.
      longest: length in pixels shown fully saturated; by default the 99th percentile of the field.

    Returns:
      RGB uint8 [H, W, 3]; white where nothing moves.
    """
    length = np.linalg.norm(flow, axis=-1)
    if longest is None:
        longest = float(np.percentile(length, 99))
    hsv = np.empty((*length.shape, 3), np.float32)
    hsv[..., 0] = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
    hsv[..., 1] = np.clip(length / max(longest, 1e-6), 0, 1)
    hsv[..., 2] = 1
    return np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
