"""Reads NumPy's files, .npy and .npz, that may be damaged or of other tools.

Nothing in them is run, and no memory is taken for what a header merely states.
"""

import io
import math
import re
import zipfile
from collections.abc import Sequence

import numpy as np

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Of the length of the header, by the version of the format."""
_KIND = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[?biufcSU]\d*)['"]""")
_OBJECTS = re.compile(r"""['"]descr['"]\s*:\s*['"][<>|=]?O""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\sL,]*)\)""")
_LARGEST_PACKED = 1 << 30
"""Bytes to which a compressed array may unpack."""


def read_array(data: bytes) -> np.ndarray:
    """Reads the content of an npy file: an array of numbers or text, which cannot be written to.

    Raises:
      ValueError: it is no such file, or damaged.
    """
    if not data.startswith(_MAGIC):
        raise ValueError(f"begins with {data[:6]!r}; an npy file begins with {_MAGIC!r}")
    start = 8 + _LENGTH_BYTES.get(data[6] if len(data) > 6 else 0, 0)
    end = start + int.from_bytes(data[8:start], "little")
    header = data[start:end].decode("latin1")
    if _OBJECTS.search(header):
        raise ValueError("Object arrays cannot be loaded; expected an array of numbers")
    found = [pattern.search(header) for pattern in (_KIND, _ORDER, _SHAPE)]
    if None in found:
        raise ValueError("its header is damaged, or it holds something else than numbers")
    kind, order, sides = (match[1] for match in found)
    shape = tuple(int(side) for side in re.findall(r"\d+", sides))
    try:
        dtype = np.dtype(kind)
    except Exception as error:  # NumPy has several kinds for this.
        raise ValueError(f"its numbers are of unknown kind {kind!r}") from error
    entries = math.prod(shape)
    if entries * dtype.itemsize > len(data) - end:
        raise ValueError(
            f"its array of shape {shape} has {entries * dtype.itemsize} bytes, and "
            f"{max(len(data) - end, 0)} are there: it is cut off or damaged"
        )
    if not entries * dtype.itemsize:
        return np.empty(shape, dtype)
    array = np.frombuffer(data, dtype, entries, end)
    return array.reshape(shape, order="F" if order == "True" else "C")


def array_names(data: bytes) -> list[str]:
    """Returns the names of the arrays of an npz file; ValueError as `read_arrays`."""
    return list(_members(_open(data)))


def read_arrays(data: bytes, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the content of an npz file, each array as `read_array` does.

    Args:
      data: of the file.
      names: of the arrays to read, of those of `array_names`; None for all.

    Raises:
      ValueError: it is no such file, or damaged.
    """
    archive = _open(data)
    members = _members(archive)
    chosen = members if names is None else names
    return {name: read_array(_unpack(archive, members[name])) for name in chosen}


def _open(data: bytes) -> zipfile.ZipFile:
    if not data.startswith(b"PK"):
        raise ValueError(f"begins with {data[:4]!r}; an npz file is a zip and begins with b'PK'")
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile and struct each raise their own on damage.
        raise ValueError(f"not a readable npz file: {error}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    packed = member.compress_type != zipfile.ZIP_STORED
    if packed and member.file_size > _LARGEST_PACKED:
        raise ValueError(
            f"{member.filename} in it unpacks to {member.file_size} bytes; expected at most "
            f"{_LARGEST_PACKED}: write it uncompressed"
        )
    try:
        return archive.read(member)
    except Exception as error:  # zipfile, zlib and struct each raise their own on damage.
        raise ValueError(f"not a readable npz file: {error}") from error
