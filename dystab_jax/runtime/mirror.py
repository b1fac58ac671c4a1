"""Keeps runs in buckets: a run works in a folder of this host, and what it writes is copied there.

A bucket has no appending, no renaming and no locks, which a run needs. So it works in a folder of
the user's cache, filled from the bucket when it starts. What has changed since is uploaded with
each checkpoint, after scoring and at the end. ``files.json``, written last, lists what belongs
together: a program that is killed while it uploads leaves what it had uploaded before.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dystab_jax.runtime import locks, processes
from dystab_jax.runtime.addresses import is_address, naming, open_address
from dystab_jax.runtime.paths import cache_folder

LISTING = "files.json"
"""In the bucket: size and digest of each file that belongs to the run."""
_OF_EACH_HOST = ("figures", "masks", "profile", "report", "tensorboard")
"""Folders that a run need not have to go on; each process uploads what it wrote itself."""
_mirrors: list["Mirror"] = []


class Mirror:
    """Keeps a folder of this host and one in a bucket alike.

    Attributes:
      address: such as gs://bucket/runs/davis.
      folder: of this host.
    """

    def __init__(self, address: str, folder: Path):
        """Copies nothing yet."""
        self.address, self.folder = address, folder
        self._files, self._root = open_address(address.rstrip("/"))
        self._uploaded: dict[str, tuple] = {}  # path to size and time of the file here
        self._listing: dict[str, list] = {}

    def pull(self) -> None:
        """Makes the folder hold what the bucket's does.

        Raises:
          ValueError: the bucket cannot be read.
        """
        with naming(self.address, "read"):
            self._listing = self._read_listing()
            for path in _files_in(self.folder):
                if path not in self._listing and not _is_of_a_host(path):
                    (self.folder / path).unlink()
            for path, (_, digest) in self._listing.items():
                here = self.folder / path
                if not here.is_file() or _digest(here) != digest:
                    self._download(path)
                self._uploaded[path] = self._stamp(path)
            for folder in sorted(self.folder.rglob("*"), reverse=True):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()  # Orbax takes an empty one for a damaged checkpoint

    def pull_reports(self) -> None:
        """Fetches what other processes wrote for the report."""
        with naming(self.address, "read"):
            self._files.invalidate_cache()
            for found in self._files.find(f"{self._root}/report"):
                path = found[len(self._root) + 1 :]
                if not (self.folder / path).exists():
                    self._download(path)

    def push(self) -> None:
        """Uploads what has changed here since.

        Raises:
          ValueError: the bucket cannot be written, or another program has written to it.
        """
        first = processes.is_first()
        there = [one for one in _files_in(self.folder) if first or _is_of_a_host(one)]
        with naming(self.address, "written"):
            changed = [path for path in there if self._uploaded.get(path) != self._stamp(path)]
            gone = self._listing.keys() - set(there) if first else set()
            if not changed and not gone:  # a prediction disturbs no training
                return
            if first and self._read_listing() != self._listing:
                raise ValueError(
                    f"{self.address}: another program has written to it meanwhile; one run at a "
                    "time can have it. What this one has learned since its last checkpoint is in "
                    f"{self.folder}"
                )
            listing = {path: said for path, said in self._listing.items() if path not in gone}
            for path in changed:
                with contextlib.suppress(FileNotFoundError):  # it was a temporary one
                    stamp, digest = self._stamp(path), _digest(self.folder / path)
                    self._files.put_file(str(self.folder / path), f"{self._root}/{path}")
                    self._uploaded[path] = stamp
                    if not _is_of_a_host(path):
                        listing[path] = [stamp[0], digest]
            if listing != self._listing:
                content = json.dumps({"files": listing}, indent=1).encode()
                self._files.pipe_file(f"{self._root}/{LISTING}", content)
                self._listing = listing
            for path in gone:
                self._uploaded.pop(path, None)
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(f"{self._root}/{path}")

    def _stamp(self, path: str) -> tuple[int, int] | None:
        """Returns size and time of a file here; None where it is gone."""
        try:
            known = (self.folder / path).stat()
        except FileNotFoundError:
            return None
        return known.st_size, known.st_mtime_ns

    def _read_listing(self) -> dict[str, list]:
        try:
            return json.loads(self._files.cat_file(f"{self._root}/{LISTING}"))["files"]
        except FileNotFoundError:
            return {}

    def _download(self, path: str) -> None:
        here = self.folder / path
        here.parent.mkdir(parents=True, exist_ok=True)
        partial = here.with_name(f".{here.name}.partial")
        self._files.get_file(f"{self._root}/{path}", str(partial))
        partial.replace(here)


def mirrored(given: str, make: bool = True) -> str:
    """Returns a folder of this host that holds what an address does; paths as they are.

    The folder is this process's until it ends. Of several processes on one host each has its own.

    Args:
      given: path or address.
      make: whether there may be nothing at the address yet.

    Raises:
      ValueError: it cannot be read, or there is nothing.
    """
    if not is_address(given):
        return given
    known = [one for one in _mirrors if one.address == given]
    if not known:
        name = re.sub(r"[^\w.-]+", "-", given.rstrip("/").rsplit("/", 1)[-1])
        digest = hashlib.sha256(given.encode()).hexdigest()[:8]
        mirror = Mirror(given, _free_folder(cache_folder() / "runs", f"{name}-{digest}"))
        mirror.pull()
        if not make and not mirror._listing:
            raise ValueError(f"{given} holds no run: there is no {LISTING}")
        known = [mirror]
        _mirrors.append(mirror)
    return str(known[0].folder)


def address_of(path: Path) -> str:
    """Returns where a path is found by others: in the bucket, if it lies in a mirror."""
    mirror = _mirror_of(path)
    if mirror is None:
        return str(path)
    inside = path.relative_to(mirror.folder).as_posix()
    return mirror.address + ("" if inside == "." else f"/{inside}")


def is_mirrored(path: Path) -> bool:
    """Returns whether a path lies in the mirror of a bucket."""
    return _mirror_of(path) is not None


def push(path: Path) -> None:
    """Uploads what has changed in the folder that holds a path, where it mirrors a bucket."""
    mirror = _mirror_of(path)
    if mirror is not None:
        mirror.push()


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    """Uploads what has changed when what is inside ends, also by an error."""
    try:
        yield
    except Exception:
        with contextlib.suppress(ValueError):
            push(path)
        raise
    push(path)


def meet(path: Path, where: str) -> None:
    """Waits until every process is there and sees what the others have written.

    Args:
      path: in a run.
      where: what has been done.
    """
    processes.meet(where)
    mirror = _mirror_of(path)
    if mirror is None or processes.count() == 1:
        return
    mirror.push()
    processes.meet(f"{where}: uploaded")
    if processes.is_first():
        mirror.pull_reports()
    else:
        mirror.pull()


def _mirror_of(path: Path) -> Mirror | None:
    for mirror in _mirrors:
        if path == mirror.folder or mirror.folder in path.parents:
            return mirror
    return None


_held = contextlib.ExitStack()


def _free_folder(parent: Path, name: str) -> Path:
    """Returns a folder that no other process on this host uses, and holds it."""
    number = 0
    while True:
        folder = parent / (f"{name}-{number}" if number else name)
        try:
            _held.enter_context(locks.hold(parent, f"{folder.name}.lock"))
        except locks.FolderInUseError:
            number += 1
            continue
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _files_in(folder: Path) -> list[str]:
    """Returns the paths of all files that are whole and belong to a run."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if "orbax-checkpoint-tmp" not in one)
        for name in sorted(files):
            if not (name.startswith(".") and name.endswith((".partial", ".lock", "write-test"))):
                found.append((Path(place) / name).relative_to(folder).as_posix())
    return found


def _is_of_a_host(path: str) -> bool:
    return path.partition("/")[0] in _OF_EACH_HOST


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
