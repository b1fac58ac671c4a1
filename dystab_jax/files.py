"""Writing files so that a kill leaves the old one or the new one."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes | str) -> None:
    """Writes a file whole or not at all; folders above it are made where absent.

    Raises:
      OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
