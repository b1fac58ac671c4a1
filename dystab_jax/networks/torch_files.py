"""Reads PyTorch checkpoint files into NumPy arrays, without torch and without running pickled code.

Both layouts are read: the zip archive of torch.save since 1.6, and the sequence of pickles and
raw storages before it, in which most published weights still come.
"""

import pickle
import zipfile
from collections import OrderedDict
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


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles plain containers and descriptions of tensors; any other class is refused."""

    _FUNCTIONS = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }

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

    A state dict may lie under the key "state_dict" or "model", and its names may start with
    "module.", as data-parallel training leaves them; both wrappings are removed.

    Args:
      path: a .pth file written by torch.save from a state dict.

    Returns:
      Arrays of the stored shapes and dtypes.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not such a file, or asks for anything but tensors in dictionaries.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no checkpoint {path}; give the path of a .pth file with the weights"
        )
    try:
        content, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        return _named_arrays(content, storages)
    except Exception as error:  # A broken pickle may raise anything.
        raise ValueError(
            f"{path} is not a checkpoint of weights that can be read: {error}. Expected a state "
            "dict saved by torch.save"
        ) from error


def _read_zip(path: Path) -> tuple[object, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("the zip archive holds no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        order = root + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its numbers are stored big-endian")
        with archive.open(pickles[0]) as file:
            unpickler = _TensorUnpickler(file)
            content = unpickler.load()
        storages = {
            storage.key: np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)
            for storage in _storages_of(_state_dict(content))
        }
    return content, storages


def _read_legacy(path: Path) -> tuple[object, dict[str, np.ndarray]]:
    with open(path, "rb") as file:
        if _TensorUnpickler(file).load() != _LEGACY_MAGIC:
            raise ValueError("it does not start as torch.save starts a file")
        if _TensorUnpickler(file).load() != _LEGACY_PROTOCOL:
            raise ValueError("it has an unknown protocol version")
        if not _TensorUnpickler(file).load()["little_endian"]:
            raise ValueError("its numbers are stored big-endian")
        content = _TensorUnpickler(file).load()
        known = {storage.key: storage for storage in _storages_of(_state_dict(content))}
        storages = {}
        for key in _TensorUnpickler(file).load():
            storages[key] = _read_storage(file, known.get(key), key)
    return content, storages


def _read_storage(file: BinaryIO, storage: _Storage | None, key: str) -> np.ndarray:
    if storage is None:
        raise ValueError(f"storage {key} belongs to no tensor of the state dict")
    entries = int.from_bytes(file.read(8), "little")
    if entries != storage.entries:
        raise ValueError(f"storage {key} has {entries} entries, expected {storage.entries}")
    return np.frombuffer(file.read(entries * storage.dtype.itemsize), storage.dtype)


def _state_dict(content: object) -> dict[str, _Tensor]:
    """Returns the state dict inside its wrappings, with plain names."""
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise ValueError("it holds no dictionary of tensors")
    for name, tensor in content.items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(f"its entry {name!r} is not a tensor")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _storages_of(tensors: dict[str, _Tensor]) -> set[_Storage]:
    return {tensor.storage for tensor in tensors.values()}


def _named_arrays(content: object, storages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, tensor in _state_dict(content).items():
        storage = storages[tensor.storage.key]
        last = tensor.offset + sum(
            (size - 1) * step for size, step in zip(tensor.shape, tensor.steps, strict=True)
        )
        empty = 0 in tensor.shape
        lowest = min((tensor.offset, *tensor.shape, *tensor.steps))
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
