"""Keeps arrays of a long video in a temporary file."""

import os
import tempfile
import weakref
import zlib
from functools import partial

import numpy as np
from jaxtyping import Shaped


class Spool:
    """Takes arrays, and gives a function for each that reads it again.

    The file lies where Python puts temporary ones, which the variable TMPDIR changes; it is gone
    with the last of these functions. They may be called by several threads at once.
    """

    def __init__(self) -> None:
        """Opens the file; OSError where that cannot be."""
        self._file = tempfile.TemporaryFile(buffering=0)
        weakref.finalize(self, self._file.close)
        self._end = 0

    def keep(self, array: Shaped[np.ndarray, "..."]) -> partial:
        """Writes an array, packed without loss.

        Returns:
          A function without arguments that reads it.

        Raises:
          OSError: the disk is full, or cannot be written.
        """
        data = memoryview(zlib.compress(np.ascontiguousarray(array).data, level=1))
        start, size = self._end, len(data)
        while data:
            data = data[self._write(data) :]
        return partial(self._read, start, size, array.shape, array.dtype)

    def _write(self, data: memoryview) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            place = tempfile.gettempdir()
            raise OSError(
                f"{place} cannot take the maps of a long video: {error}; make room, or choose "
                "another folder for temporary files with TMPDIR"
            ) from error
        self._end += written
        return written

    def _read(
        self, start: int, size: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> Shaped[np.ndarray, "..."]:
        data = os.pread(self._file.fileno(), size, start)
        return np.frombuffer(zlib.decompress(data), dtype).reshape(shape)
