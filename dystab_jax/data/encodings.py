"""Packs flow into the PNG bytes of a record, decodes the images of records and of users."""

import io

import cv2
import numpy as np
from jaxtyping import Float32
from PIL import Image, UnidentifiedImageError

FLOW_STEPS = 16
"""Steps of a stored flow per pixel: rounding loses at most 1/32 px."""
FLOW_LIMIT = 2047.0
"""Largest displacement that can be stored, pixels."""
_FLOW_ZERO = 1 << 15
# Run-length PNG coding: as small as deflate at its default level on this payload (214 against
# 215 KB for a 640x384 field) and several times faster to write.
_FLOW_PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)

PICTURES = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Kinds of images that are opened, as Pillow calls them. Others would run other programs."""
_PIXELS, _PIXELS_PER_BYTE = 1 << 25, 10_000
"""An image may state the first number of pixels, one of 8K, or as many as its bytes can hold:
deflate packs up to 1032 bytes of 8 pixels into one."""

FlowField = Float32[np.ndarray, "h w 2"]


def encode_flow(flow: FlowField) -> bytes:
    """Packs a flow field into a 16-bit PNG: dx above dy, 1/16 px per step, 32768 = no motion.

    Args:
      flow: [h, w, 2], pixels at this array's resolution, each within ±2047.

    Returns:
      PNG bytes of a [2h, w] image. `decode_flow` gives the field back within 1/32 px.

    Raises:
      ValueError: another shape, NaN, or a displacement beyond the limit.
    """
    flow = np.asarray(flow)
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape:
        raise ValueError(f"flow has shape {flow.shape}; expected [height, width, 2]")
    largest = np.abs(flow).max()
    if not largest <= FLOW_LIMIT:  # also true for NaN
        raise ValueError(
            f"flow reaches {largest} px; a stored flow must be finite and within ±{FLOW_LIMIT} px: "
            "mask unknown values, or estimate it at a smaller size"
        )
    planes = np.concatenate([flow[..., 0], flow[..., 1]])
    steps = np.rint(planes * FLOW_STEPS).astype(np.int32) + _FLOW_ZERO
    return cv2.imencode(".png", steps.astype(np.uint16), _FLOW_PNG)[1].tobytes()


def decode_flow(data: bytes) -> FlowField:
    """Returns the field packed by `encode_flow`: [h, w, 2] float32, pixels at its own resolution.

    Raises:
      ValueError: the bytes are not such a PNG.
    """
    planes = decode_image(data, cv2.IMREAD_UNCHANGED, "flow")
    if planes.dtype != np.uint16 or planes.ndim != 2 or planes.shape[0] % 2:
        raise ValueError(
            f"flow decodes to {planes.dtype} {planes.shape}; expected uint16 [2 * height, width]"
        )
    height = planes.shape[0] // 2
    flow = np.empty((height, planes.shape[1], 2), np.float32)
    flow[..., 0] = planes[:height]
    flow[..., 1] = planes[height:]
    flow -= _FLOW_ZERO
    flow /= FLOW_STEPS
    return flow


def decode_image(data: bytes, flags: int, what: str) -> np.ndarray:
    """Decodes the image in PNG or JPEG bytes.

    Args:
      data: the bytes.
      flags: cv2.IMREAD_*.
      what: for the message.

    Raises:
      ValueError: they are no image; OpenCV has two ways to say so, None and cv2.error.
    """
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty buffer, for one
        array = None
    if array is None:
        raise ValueError(f"{len(data)} bytes of {what} cannot be decoded")
    return array


def open_picture(data: bytes) -> Image.Image:
    """Opens an image file of one of `PICTURES`, and reads all of its first picture.

    Raises:
      ValueError: the bytes are no such image, or damaged; it does not name the file.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=PICTURES)
        width, height = image.size
        if width * height > max(_PIXELS, _PIXELS_PER_BYTE * len(data)):
            raise ValueError(f"states {width}x{height} pixels in {len(data)} bytes: it is damaged")
        if image.format == "PNG":
            _check_chunks(data)
        image.load()
    except UnidentifiedImageError as error:
        raise ValueError(
            "it is damaged at its beginning, or of another kind than JPEG, PNG, BMP, PPM, TIFF, "
            "WebP and GIF"
        ) from error
    except Exception as error:  # Decoders raise whatever they like on broken files.
        raise ValueError(str(error) or type(error).__name__) from error
    return image


def _check_chunks(data: bytes) -> None:
    """Raises ValueError for a PNG with a chunk beyond its end, for which OpenCV takes memory."""
    place = 8
    while place + 8 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        place += 12 + length
        if kind == b"IEND":
            break
    if place > len(data):
        raise ValueError("a part of it reaches beyond its end: it is cut off or damaged")
