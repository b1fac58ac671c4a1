"""Writes files so that a kill leaves the old one or the new one, under names of any length."""

import hashlib
from pathlib import Path

from dystab_jax.runtime import processes
from dystab_jax.runtime.disk import replace_file


def write_whole(path: Path, data: bytes | str, everyone: bool = False) -> None:
    """Writes a file whole or not at all; folders above it are made where absent.

    Args:
      path: of the file.
      data: all of it.
      everyone: whether each of several processes writes, a file of its own; otherwise only the
        first does.

    Raises:
      OSError: it cannot be written.
    """
    if everyone or processes.is_first():
        replace_file(path, data)


def bounded(name: str, most: int = 200) -> str:
    """Returns a name that leaves room for endings: file systems allow 255 bytes.

    Args:
      name: any.
      most: bytes.

    Returns:
      The name where it fits, else its beginning, + and a digest of the whole.
    """
    data = name.encode(errors="surrogateescape")  # as names that are no UTF-8 lie on the disk
    if len(data) <= most:
        return name
    digest = hashlib.sha256(data).hexdigest()[:16]
    return data[: most - len(digest) - 1].decode(errors="ignore") + "+" + digest
