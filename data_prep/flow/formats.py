"""Reads and writes optical flow in the file formats of other tools, by a file's ending.

==============  ====================================================================================
``.flo``        Middlebury: the float32 202021.25 ("PIEH"), width and height as int32, then dx and
                dy of each pixel, row by row, as float32; little-endian. Unknown: beyond 1e9
``.png``        KITTI: 16 bits, red = 64·dx + 32768, green = 64·dy + 32768, blue = 0 where unknown
``.npz, .npy``  an array [h, w, 2] or [2, h, w] of floats, in an npz under the name ``flow``.
                Unknown: not finite, or beyond 1e9
==============  ====================================================================================

In memory, flow is float32 [h, w, 2], (dx right, dy down) in pixels, NaN where it is unknown.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from data_prep.sources.layout import read_bytes
from dystab_jax.data.array_files import array_names, read_array, read_arrays
from dystab_jax.data.encodings import open_picture
from dystab_jax.runtime.atomic_files import write_whole

UNKNOWN = 1e9
"""Middlebury's limit: what is longer stands for "unknown"."""
KITTI_STEPS = 64
"""Steps of a KITTI flow per pixel."""
KITTI_LIMIT = 512
"""Displacements below this can be stored by KITTI's format, pixels."""
_FLO_MAGIC = b"PIEH"
_FLO_HEADER = 12
_FLO_UNKNOWN = 1e10
_KITTI_ZERO = 1 << 15

FlowField = Float32[np.ndarray, "h w 2"]


def read_flow(path: Path) -> FlowField:
    """Reads a flow field.

    Args:
      path: its ending, one of `ENDINGS`, decides the format.

    Returns:
      [h, w, 2], pixels of this array, NaN where unknown.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or holds something else.
    """
    form = _form(path)
    data = read_bytes(path)
    try:
        flow = form.decode(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    with np.errstate(over="ignore"):  # a float64 beyond float32 is unknown
        flow = flow.astype(np.float32)
    known = np.abs(flow) <= UNKNOWN  # also false for NaN
    return np.where(known.all(axis=-1, keepdims=True), flow, np.float32(np.nan))


def write_flow(path: Path, flow: FlowField) -> None:
    """Writes a flow field, whole or not at all; folders above it are made where absent.

    Args:
      path: its ending, one of `ENDINGS`, decides the format.
      flow: [h, w, 2], pixels, NaN where unknown. KITTI's format rounds to 1/64 px.

    Raises:
      ValueError: the format cannot hold it.
    """
    form = _form(path)
    flow = np.asarray(flow, np.float32)
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape:
        raise ValueError(f"{path}: flow has shape {flow.shape}; expected [height, width, 2]")
    if (np.abs(flow) > UNKNOWN).any():
        raise ValueError(
            f"{path}: flow beyond {UNKNOWN:g} px would be read as unknown; mark what is unknown "
            "as NaN"
        )
    try:
        data = form.encode(flow)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    write_whole(path, data)


def _read_flo(data: bytes) -> FlowField:
    # Not cv2.readOpticalFlow: whatever the damage, it returns None, and it ignores bytes left over.
    if not data.startswith(_FLO_MAGIC):
        raise ValueError(f"begins with {data[:4]!r}; a .flo file begins with {_FLO_MAGIC!r}")
    if len(data) < _FLO_HEADER:
        raise ValueError(f"{len(data)} bytes; the header of a .flo file alone has {_FLO_HEADER}")
    width, height = struct.unpack_from("<2i", data, 4)
    if min(width, height) < 1:
        raise ValueError(f"states a size of {width}x{height}; both must be at least 1")
    expected = _FLO_HEADER + 8 * width * height
    if len(data) != expected:
        raise ValueError(
            f"{len(data)} bytes; a .flo file of {width}x{height} has {expected}: it is cut off or "
            "damaged"
        )
    return np.frombuffer(data, "<f4", offset=_FLO_HEADER).reshape(height, width, 2)


def _write_flo(flow: FlowField) -> bytes:
    height, width = flow.shape[:2]
    stored = np.where(_unknown(flow)[..., None], np.float32(_FLO_UNKNOWN), flow)
    return _FLO_MAGIC + struct.pack("<2i", width, height) + stored.astype("<f4").tobytes()


def _read_kitti(data: bytes) -> FlowField:
    try:
        # OpenCV returns half an image for half a file; Pillow has no 16-bit colours.
        open_picture(data)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ValueError, cv2.error) as error:
        raise ValueError(f"not a readable PNG: {error}") from error
    if image is None or image.dtype != np.uint16 or image.shape[2:] != (3,):
        found = "nothing" if image is None else f"{image.dtype} {image.shape}"
        hint = "; colours that show flow cannot be read back" * found.startswith("uint8")
        raise ValueError(f"decodes to {found}; KITTI flow is uint16 [height, width, 3]{hint}")
    valid, dy, dx = np.moveaxis(image, -1, 0)  # OpenCV's order is blue, green, red
    flow = (np.stack([dx, dy], axis=-1).astype(np.float32) - _KITTI_ZERO) / KITTI_STEPS
    return np.where(valid[..., None] > 0, flow, np.nan)


def _write_kitti(flow: FlowField) -> bytes:
    known_at = ~_unknown(flow)
    known = np.rint(flow[known_at] * KITTI_STEPS) + _KITTI_ZERO
    if known.size and not 0 <= known.min() <= known.max() <= 65535:
        raise ValueError(
            f"flow reaches {np.nanmax(np.abs(flow)):.1f} px; KITTI's format holds less than "
            f"{KITTI_LIMIT} px: choose .flo or .npz"
        )
    image = np.zeros((*flow.shape[:2], 3), np.uint16)
    image[known_at, 1:] = known[:, ::-1]
    image[known_at, 0] = 1
    return cv2.imencode(".png", image)[1].tobytes()


def _read_npz(data: bytes) -> Float[np.ndarray, "h w 2"]:
    names = array_names(data)
    if "flow" not in names:
        raise ValueError(f"holds arrays {names}; expected one named 'flow'")
    return _as_field(read_arrays(data, ("flow",))["flow"])


def _read_npy(data: bytes) -> Float[np.ndarray, "h w 2"]:
    return _as_field(read_array(data))


def _as_field(array: np.ndarray) -> np.ndarray:
    """Returns [h, w, 2] from that or [2, h, w]; where both would do, from the first."""
    if array.dtype.kind != "f" or array.itemsize > 8:
        raise ValueError(f"flow is {array.dtype}; expected float16, float32 or float64")
    if array.ndim != 3 or 2 not in (array.shape[0], array.shape[2]) or 0 in array.shape:
        raise ValueError(
            f"flow has shape {array.shape}; expected [height, width, 2] or [2, height, width]"
        )
    return array if array.shape[2] == 2 else np.moveaxis(array, 0, -1)


def _write_npz(flow: FlowField) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, flow=flow)
    return buffer.getvalue()


def _write_npy(flow: FlowField) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, flow)
    return buffer.getvalue()


def _unknown(flow: FlowField) -> Bool[np.ndarray, "h w"]:
    return np.isnan(flow).any(axis=-1)


class Form(NamedTuple):
    """Describes a file format, in memory.

    Attributes:
      decode: from bytes to numbers as they are; ValueError where these are no flow.
      encode: from float32, NaN where unknown, to bytes; ValueError where they cannot hold it.
    """

    decode: Callable[[bytes], np.ndarray]
    encode: Callable[[FlowField], bytes]


FORMATS = {
    ".flo": Form(_read_flo, _write_flo),
    ".npz": Form(_read_npz, _write_npz),
    ".npy": Form(_read_npy, _write_npy),
    ".png": Form(_read_kitti, _write_kitti),
}
"""By the ending of a file."""
ENDINGS = tuple(FORMATS)


def _form(path: Path) -> Form:
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise ValueError(f"{path}: no format for flow ends so; expected one of {' '.join(ENDINGS)}")
    return found
