"""PyTorch checkpoint files, written by hand without torch."""

import zipfile

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGE_NAMES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def _opcodes(value):
    """Pickle opcodes of a plain value; bytes are taken as opcodes already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"L%dL\n" % value
    if isinstance(value, str):
        text = value.encode()
        return b"X" + len(text).to_bytes(4, "little") + text
    if isinstance(value, tuple | list):
        inside = b"".join(_opcodes(item) for item in value)
        return b"(" + inside + (b"t" if isinstance(value, tuple) else b"l")
    items = b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items())
    return b"}(" + items + b"u"


def _pickle(value):
    return b"\x80\x02" + _opcodes(value) + b"."


def _tensor(key, array, view=None, legacy=False, steps=None):
    storage = ("storage", b"ctorch\n%s\n" % _STORAGE_NAMES[str(array.dtype)].encode(), key, "cpu")
    storage += (array.size, b"N") if legacy else (array.size,)
    shape = array.shape if view is None else view
    if steps is None:
        steps = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = (_opcodes(storage) + b"Q", 0, tuple(shape), tuple(steps), False, hooks)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _opcodes(arguments) + b"R"


def write_checkpoint(path, arrays, *, legacy=False, wrap=None, content=None, **tensor_kwargs):
    """Writes arrays as torch.save would, in the old layout where ``legacy``; returns the path."""
    if content is None:
        content = {
            name: _tensor(str(i), array, legacy=legacy, **tensor_kwargs)
            for i, (name, array) in enumerate(arrays.items())
        }
    content = _pickle({wrap: content} if wrap else content)
    if legacy:
        with open(path, "wb") as file:
            file.write(_pickle(_MAGIC) + _pickle(_PROTOCOL) + _pickle({"little_endian": True}))
            file.write(content + _pickle([str(i) for i in range(len(arrays))]))
            for array in arrays.values():
                file.write(array.size.to_bytes(8, "little") + array.tobytes())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            for i, array in enumerate(arrays.values()):
                archive.writestr(f"archive/data/{i}", array.tobytes())
    return path
