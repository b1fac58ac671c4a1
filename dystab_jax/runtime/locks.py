"""Keeps two programs from working in one folder."""

import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_NOT_SUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Answers of file systems without locks, such as some of buckets and of networks."""


class FolderInUseError(ValueError):
    """Signals that another program works in the folder; says which."""


@contextmanager
def hold(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Holds the lock of a folder while entered.

    The system gives the lock back when the process ends, however it ends, so none is ever stale.

    Args:
      folder: made where absent.
      name: of the lock file, which stays and says who held it last.

    Raises:
      FolderInUseError: another process holds it.
      OSError: the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUseError(
                f"{folder} is in use by {_holder(file)}; wait for it or end it, or use another "
                "folder"
            ) from error
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
            print(f"note: {folder} lies on a file system without locks; start one run at a time")
        file.truncate(0)
        file.write(json.dumps(_description()) + "\n")
        file.flush()
        yield


@contextmanager
def wait_for(folder: Path, name: str) -> Iterator[None]:
    """Holds the lock of a folder while entered; waits until no other process does."""
    with open(folder / name, "a+") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _description() -> dict[str, str | int]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(sys.argv),
    }


def _holder(file: IO[str]) -> str:
    """Describes the process that holds a lock, as far as its file says."""
    file.seek(0)
    try:
        known = json.loads(file.read())
        return "process {process} on {host} since {since} ({command})".format(**known)
    except (ValueError, KeyError, TypeError):  # it is about to write, or of another version
        return "another process"
