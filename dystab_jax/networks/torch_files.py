"""Reads PyTorch checkpoint files into NumPy arrays, without torch and without running pickled code.

Three layouts are read: the zip archive of torch.save since 1.6, the sequence of pickles and raw
storages before it, in which most published weights still come, and safetensors.
"""

import io
import json
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from itertools import product
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_SAFETENSORS = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "I32": "IntStorage",
    "I16": "ShortStorage",
    "I8": "CharStorage",
    "U8": "ByteStorage",
    "BOOL": "BoolStorage",
}
_LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors header, as its format bounds them."""

_WRAPPINGS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "params",
    "weights",
)
"""Keys under which training programs keep the state dict, the likeliest first."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Prefixes that data-parallel training, torch.compile and trainers put before every name."""

_OTHER_FILES = (
    (b"<!doctype", "a web page; the download has led to a form or an error, so get the file anew"),
    (b"<html", "a web page; the download has led to a form or an error, so get the file anew"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"\x89hdf", "an HDF5 file; save the state dict with torch.save or as safetensors"),
    (b"\x1f\x8b", "a gzip archive; unpack it and give the file inside"),
    (b"rar!", "a RAR archive; unpack it and give the file inside"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it and give the file inside"),
    (b"pk\x03\x04", "cut off in the midst of a zip archive; get the file anew"),
)
"""Files that people give in place of checkpoints, by their first bytes in lower case."""


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    entries: int


class _Tensor(NamedTuple):
    """Describes a view into a storage that may not have been read yet; steps in entries."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, steps, *_unused) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(steps))


def _rebuild_parameter(tensor, *_unused) -> _Tensor:
    return tensor


class _Ignored:
    """Stands for an object beside the weights that is not needed; takes all, does nothing."""

    def __init__(self, *_, **__): ...

    def __setstate__(self, _): ...

    def __setitem__(self, _, __): ...


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles plain containers and descriptions of tensors; any other class is refused.

    Options and counters that training programs keep beside the weights are passed over.
    """

    _FUNCTIONS = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    } | dict.fromkeys(
        (
            ("_codecs", "encode"),
            ("argparse", "Namespace"),
            ("collections", "defaultdict"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            # The latter of Python 3.13.
            *product(("pathlib", "pathlib._local"), ("Path", "PosixPath", "WindowsPath")),
            ("torch", "Size"),
            ("torch", "device"),
        ),
        _Ignored,
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in self._FUNCTIONS:
            return self._FUNCTIONS[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}; a checkpoint of weights needs only tensors in "
            "dictionaries, and nothing else is run"
        )

    def persistent_load(self, identity: tuple) -> _Storage:
        kind, dtype, key, _location, entries, *view = identity
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError(f"it refers to {identity!r}, expected a plain storage")
        return _Storage(str(key), dtype, int(entries))


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch checkpoint by name, in the file's order.

    The state dict may lie in a dictionary under one of the usual keys ("state_dict", "model", ...),
    beside options and counters, which are passed over. Prefixes that all names have in common, as
    data-parallel training, torch.compile and trainers put them, are removed.

    Args:
      path: a file written by torch.save, or a safetensors file.

    Returns:
      Arrays of the stored shapes and dtypes.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is something else, which the message names, or asks for anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {path}; give the path of a .pth file with the weights"
        )
    with open(path, "rb") as file:
        start = file.read(32)
    try:
        if zipfile.is_zipfile(path):
            content, storages = _read_zip(path)
        elif start[8:9] == b"{":
            content, storages = _read_safetensors(path)
        else:
            _refuse_other_files(start)
            content, storages = _read_legacy(path)
        return _named_arrays(content, storages)
    except Exception as error:  # A broken pickle may raise anything.
        raise ValueError(
            f"{path} is not a checkpoint of weights that can be read: {error}. Expected a state "
            "dict saved by torch.save, or safetensors"
        ) from error


def _refuse_other_files(start: bytes) -> None:
    if not start:
        raise ValueError("it is empty; get the file anew")
    for first, kind in _OTHER_FILES:
        if start.lstrip().lower().startswith(first):
            raise ValueError(f"it is {kind}")


def _read_safetensors(path: Path) -> tuple[object, dict[str, np.ndarray]]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if length > min(_LARGEST_HEADER, len(data) - 8):
        raise ValueError("its header is cut off or damaged")
    header = json.loads(data[8 : 8 + length])
    tensors, storages = OrderedDict(), {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _SAFETENSORS:
            raise ValueError(f"tensor {name!r} is of type {entry['dtype']}, which is not read")
        dtype = _DTYPES[_SAFETENSORS[entry["dtype"]]]
        first, last = (8 + length + int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(side) for side in entry["shape"])
        entries = math.prod(shape)
        if not 8 + length <= first <= last <= len(data) or last - first != entries * dtype.itemsize:
            raise ValueError(f"tensor {name!r} lies beyond the file; it is cut off or damaged")
        steps = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        tensors[name] = _Tensor(_Storage(name, dtype, entries), 0, shape, steps)
        storages[name] = np.frombuffer(data[first:last], dtype)
    return tensors, storages


def _read_zip(path: Path) -> tuple[object, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("the zip archive holds no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        # torch.save packs nothing, so weights never unpack to much more than the file.
        size = sum(member.file_size for member in archive.infolist())
        if size > 100 * path.stat().st_size:
            raise ValueError(f"it states that it unpacks to {size} bytes; it is damaged")
        order = root + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its numbers are stored big-endian")
        content = _unpickle(io.BytesIO(archive.read(pickles[0])))
        storages = {
            storage.key: np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)
            for storage in _storages_of(content).values()
        }
    return content, storages


def _read_legacy(path: Path) -> tuple[object, dict[str, np.ndarray]]:
    with open(path, "rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as file:
        if _unpickle(file) != _LEGACY_MAGIC:
            raise ValueError("it does not start as torch.save starts a file")
        if _unpickle(file) != _LEGACY_PROTOCOL:
            raise ValueError("it has an unknown protocol version")
        if not _unpickle(file)["little_endian"]:
            raise ValueError("its numbers are stored big-endian")
        content = _unpickle(file)
        known = _storages_of(content)
        storages = {key: _read_storage(file, known.get(key), key) for key in _unpickle(file)}
    return content, storages


def _unpickle(file: BinaryIO | mmap) -> object:
    """Unpickles from the place of a file; first checks that no memory is taken beyond its size."""
    begin = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        if "PUT" in opcode.name and int(argument) > file.tell() - begin:
            raise pickle.UnpicklingError(f"it remembers an object at place {argument}")
    end = file.tell()
    file.seek(begin)
    return _TensorUnpickler(io.BytesIO(file.read(end - begin))).load()


def _read_storage(file: mmap, storage: _Storage | None, key: str) -> np.ndarray:
    if storage is None:
        raise ValueError(f"storage {key} belongs to no tensor of the state dict")
    entries = int.from_bytes(file.read(8), "little")
    if entries != storage.entries:
        raise ValueError(f"storage {key} has {entries} entries, expected {storage.entries}")
    return np.frombuffer(file.read(entries * storage.dtype.itemsize), storage.dtype)


def _state_dict(content: object) -> dict[str, _Tensor]:
    """Finds the state dict inside its wrappings, and gives its names without prefixes."""
    found = _unwrap(content)
    if not found:
        raise ValueError("it holds no dictionary of tensors")
    for name, tensor in found.items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(f"its entry {name!r} is not a tensor")
    names = [str(name) for name in found]
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in names)), None):
        names = [name.removeprefix(prefix) for name in names]
    # Data-parallel training may have wrapped a part of the network alone.
    names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, found.values(), strict=True))


def _unwrap(content: object) -> dict | None:
    """Returns the dictionary that holds tensors; None where there is none.

    Raises:
      ValueError: there are several, and none lies under a usual key.
    """
    if not isinstance(content, dict):
        return None
    for key in _WRAPPINGS:
        if found := _unwrap(content.get(key)):
            return found
    if any(isinstance(value, _Tensor) for value in content.values()):
        return content
    others = {
        key: found
        for key, value in content.items()
        if "optim" not in str(key) and (found := _unwrap(value))
    }
    if len(others) > 1:
        raise ValueError(
            f"it holds several dictionaries of tensors, {', '.join(map(str, others))}; save the "
            "one of this network by itself"
        )
    return next(iter(others.values()), None)


def _storages_of(content: object) -> dict[str, _Storage]:
    return {tensor.storage.key: tensor.storage for tensor in _state_dict(content).values()}


def _named_arrays(content: object, storages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in _state_dict(content).items():
        storage = storages[tensor.storage.key]
        last = tensor.offset + sum(
            (size - 1) * step for size, step in zip(tensor.shape, tensor.steps, strict=True)
        )
        empty = 0 in tensor.shape
        lowest = min((tensor.offset, *tensor.shape, *tensor.steps))
        last = max(last, math.prod(tensor.shape) - 1)  # also of steps of 0, which repeat entries
        if lowest < 0 or (last >= len(storage) and not empty):
            raise ValueError(
                f"tensor {name!r} reaches to entry {last} of a storage of {len(storage)}; "
                "the file is cut off or damaged"
            )
        arrays[name] = np.lib.stride_tricks.as_strided(
            storage[tensor.offset :],
            tensor.shape,
            [step * storage.dtype.itemsize for step in tensor.steps],
        ).copy()
    return arrays
