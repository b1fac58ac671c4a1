"""Writes files so that a kill leaves the old one or the new one, under names of any length."""

import hashlib
import os
from pathlib import Path

from dystab_jax.runtime import processes


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
    if not (everyone or processes.is_first()):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{bounded(path.name)}.{processes.index()}.{os.getpid()}")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def bounded(name: str, most: int = 200) -> str:
    """Returns a name that leaves room for endings: file systems allow 255 bytes.

    Args:
      name: any.
      most: bytes.

    Returns:
      The name where it fits, else its beginning, + and a digest of the whole.
    """
    data = name.encode()
    if len(data) <= most:
        return name
    digest = hashlib.sha256(data).hexdigest()[:16]
    return data[: most - len(digest) - 1].decode(errors="ignore") + "+" + digest
