"""Copies prepared data sets from a bucket to this host, once."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dystab_jax.runtime import locks
from dystab_jax.runtime.addresses import naming, open_address
from dystab_jax.runtime.paths import cache_folder

DISK_GB = "DYSTAB_JAX_DISK_GB"
"""Environment variable: what copies may take on this host; left out, half of what is free."""
ABOUT = """\
Copies of prepared data sets that lie in buckets, made by DyStaB-JAX so that training can read
them. Any folder here can be removed while no run is using it; it is copied again when needed.
"""


def local_copy(address: str, subfolder: str, files: str) -> Path:
    """Returns a folder of this host with the files of a data set that lies in a bucket.

    Files that are here already, and have not changed there, are not copied again.

    Args:
      address: of the data directory, such as gs://bucket/data.
      subfolder: of the data set in it, such as davis2016/1.0.0.
      files: regular expression for names of records that are needed; what is no record always is.

    Raises:
      ValueError: it cannot be read, or takes more than this host has for it.
    """
    store, root = open_address(address.rstrip("/"))
    source = f"{root}/{subfolder}"
    copies = cache_folder() / "data"
    folder = copies / hashlib.sha256(address.encode()).hexdigest()[:8] / subfolder
    folder.mkdir(parents=True, exist_ok=True)
    (copies / "README.txt").write_text(ABOUT)
    with locks.wait_for(folder, ".copying"):
        there: dict[str, Any] = {}
        with naming(address, "read"), contextlib.suppress(FileNotFoundError):
            store.invalidate_cache()
            there = store.find(source, detail=True)
        origin = folder / ".origin.json"
        known = json.loads(origin.read_text()) if origin.exists() else {}
        named = {path.rsplit("/", 1)[-1]: (path, said) for path, said in there.items()}
        wanted = {
            name: (path, _version(said))
            for name, (path, said) in named.items()
            if "array_record" not in name or re.search(files, name)
        }
        new = {
            name: path
            for name, (path, version) in wanted.items()
            if known.get(name) != version or not (folder / name).exists()
        }
        _check_room(copies, f"{address}/{subfolder}", sum(named[name][1]["size"] for name in new))
        for name in tqdm(new, desc=f"copying {subfolder}", unit="file", disable=not new):
            store.get_file(new[name], str(folder / ".partial"))
            (folder / ".partial").replace(folder / name)
            known[name] = wanted[name][1]
            origin.write_text(json.dumps(known))
        for path in folder.iterdir():
            if not path.name.startswith(".") and path.name not in named:
                path.unlink()
    return folder


def _version(said: Mapping[str, Any]) -> str:
    """Returns what differs where a file has changed, of what a file system says of it."""
    told = (said.get(key) for key in ("size", "generation", "ETag", "etag", "mtime", "created"))
    return " ".join(str(one) for one in told if one is not None)


def _check_room(copies: Path, what: str, size: int) -> None:
    """Raises ValueError where so many bytes more are too many."""
    bound = os.environ.get(DISK_GB)
    if bound is None:
        most = shutil.disk_usage(copies).free / 2
        advice = f"make room, or set {DISK_GB}=GIGABYTES"
    else:
        try:
            taken = sum(path.stat().st_size for path in copies.rglob("*") if path.is_file())
            most = float(bound) * 1e9 - taken
        except ValueError as error:
            raise ValueError(f"{DISK_GB}={bound}; expected a number of gigabytes") from error
        advice = f"raise {DISK_GB}={bound}, or remove other copies there"
    if size > most:
        raise ValueError(
            f"{what} takes {size / 1e9:.2f} GB on this host, and {max(most, 0) / 1e9:.2f} GB are "
            f"left for copies in {copies}; {advice}"
        )
