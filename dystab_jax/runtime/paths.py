"""Paths as users write them, on every command line and in every config."""

import os
import re
from pathlib import Path

PHASES = "phases"
"""Folder of a workdir that holds the averaged networks at the end of every phase."""
_ADDRESS = r"(gs|s3|https?|ftp|hdfs|file|az|abfss?):/"
"""Beginning of an address of which Path has made one slash of two."""


def user_path(given: str | Path) -> Path:
    """Returns the absolute path that a user has named.

    A leading ~ is the home, as in a shell, which does not expand it in --flag=~/folder. Relative
    paths begin in the folder in which the command was started.

    Args:
      given: as written; colons and all other characters of file names are allowed.

    Raises:
      ValueError: it is empty, or an address such as gs://bucket/data.
    """
    text = str(given)
    if "://" in text or re.match(_ADDRESS, text):
        raise ValueError(
            f"{given} is an address, and a path is expected; mount the bucket, for instance with "
            "gcsfuse, and give the folder"
        )
    if not text.strip():
        raise ValueError("an empty path; name a file or folder, . for this one")
    path = Path(text)
    if text.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:  # no such user: it is a name like any other
            pass
    return path.absolute()


def cache_folder() -> Path:
    """Returns the program's folder in the user's cache; RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dystab-jax"
