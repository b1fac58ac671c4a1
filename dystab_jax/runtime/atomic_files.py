"""Writing files so that a kill leaves the old one or the new one."""

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
