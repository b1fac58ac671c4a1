"""Replaces files so that a kill leaves the old one or the new one; reports a full disk as such."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

_REASONS = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


class FullDiskError(OSError):
    """Reports a folder on a disk that has no room left."""


def full_disk(error: BaseException) -> str | None:
    """Returns how a full disk is behind an error, None where it is not.

    Libraries in C++ raise errors of other types with the system's words in them; others chain
    errors of their own to the system's.
    """
    seen: BaseException | None = error
    while seen is not None:
        for code, reason in _REASONS.items():
            if getattr(seen, "errno", None) == code or os.strerror(code) in str(seen):
                return reason
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def naming_full_disk(folder: Path, advice: str = "make room") -> Iterator[None]:
    """Raises FullDiskError, which names the folder, for any error that a full disk has caused.

    Args:
      folder: in which is written.
      advice: what the user is to do.
    """
    try:
        yield
    except FullDiskError:
        raise
    except Exception as error:
        reason = full_disk(error)
        if reason is None:
            raise
        raise FullDiskError(f"{folder}: {reason}; {advice}") from error


def replace_file(path: Path, data: bytes | str) -> None:
    """Writes a file whole or not at all; folders above it are made where absent.

    Raises:
      OSError: it cannot be written; FullDiskError where there is no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with naming_full_disk(path.parent):
            partial.write_bytes(data.encode() if isinstance(data, str) else data)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
