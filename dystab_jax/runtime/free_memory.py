"""Gives memory that the program has freed back to the system."""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Returns free memory between blocks in use to the system, which glibc keeps by itself.

    Frames come and go between arrays that stay, and each leaves a hole: after 80 frames of 1080p
    a third of the memory is holes. Takes some milliseconds; does nothing without glibc.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
        return ctypes.CDLL(None).malloc_trim
    return None
