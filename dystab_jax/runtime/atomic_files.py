"""Writing files so that a kill leaves the old one or the new one."""

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
    partial = path.with_name(f".{path.name}.{processes.index()}.{os.getpid()}")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
