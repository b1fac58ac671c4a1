"""Addresses such as gs://bucket/folder, in place of paths."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def is_address(given: str | Path) -> bool:
    """Returns whether this is an address such as gs://bucket/folder, not a path."""
    return re.match(r"[a-z][a-z0-9+]*://", str(given)) is not None


def open_address(address: str) -> tuple[Any, str]:
    """Returns the file system of an address, such as gs://bucket/data, and the path in it.

    Raises:
      ValueError: the package that opens it is not installed, or there is no such kind of address.
    """
    import fsspec  # takes a third of a second

    options = {"auto_mkdir": True} if address.startswith("file:") else {}
    try:
        return fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise ValueError(
            f"{address} cannot be opened: {error}. For gs:// run `pip install -r "
            "requirements-gcs.txt`"
        ) from error


@contextmanager
def naming(address: str, what: str) -> Iterator[None]:
    """Names an address in errors of its file system, of which each kind has its own.

    Args:
      address: that is worked with.
      what: "read" or "written".

    Raises:
      ValueError: in place of any error.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{address} cannot be {what}: {reason}") from error
