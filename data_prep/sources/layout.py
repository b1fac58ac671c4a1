"""Reads files of a data set, notices that they changed, and checks where they lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dystab_jax.data.folders import is_visible


def read_bytes(path: Path) -> bytes:
    """Reads the content of a file; FileNotFoundError naming it where there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path.read_bytes()


def file_stamp(path: Path) -> list[Any]:
    """Returns path, size and time of change; differs when the file does."""
    if not path.is_file():
        return [str(path), None, None]
    state = path.stat()
    return [str(path), state.st_size, state.st_mtime_ns]


def check_layout(source: Path, needed: Sequence[str], every: bool = True) -> None:
    """Checks that SOURCE is the directory that a data set's layout begins with.

    Args:
      source: the --source.
      needed: what must lie in it, such as "JPEGImages/480p".
      every: all of these are needed, or any one of them.

    Raises:
      FileNotFoundError: it does not exist, or holds something else. Where the right directory is
        one or two levels below or above, the message names it.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such directory; check --source")
    enough = all if every else any
    if enough((source / name).exists() for name in needed):
        return
    absent = [name for name in needed if not (source / name).exists()]
    raise FileNotFoundError(
        f"{source}: there is no {_listed(absent, 'and')} in it; --source must be the directory "
        f"that holds {_listed(needed, 'and' if every else 'or')}{hint(source, needed, every)}"
    )


def hint(source: Path, needed: Sequence[str], every: bool = True) -> str:
    """Returns a message's ending: the directory near SOURCE that `check_layout` would accept."""
    enough = all if every else any
    below = [*sorted(source.glob("*/")), *sorted(source.glob("*/*/"))]
    seen = [path for path in below if all(map(is_visible, path.relative_to(source).parts))]
    near = [*source.parents[:3], *seen]
    right = (path for path in near if enough((path / name).exists() for name in needed))
    return next((f": use --source={path}" for path in right), "")


def _listed(names: Sequence[str], word: str) -> str:
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def some(names: Sequence[str], most: int = 5) -> str:
    """Returns a few names for a message: "a b c and 7 more"."""
    shown = " ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
