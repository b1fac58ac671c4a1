"""Keeps networks that are done learning in one small file: NumPy arrays, read without pickle."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dystab_jax.data.array_files import array_names, read_arrays
from dystab_jax.runtime.atomic_files import write_whole

Networks = dict[str, dict]
"""Flax variables, by the name of the network."""

FILE = "networks.npz"
"""In a folder that holds them, beside config.json and preparation.json."""

_POSITION = "position.json"
_STATISTICS = "batch_stats"
"""Collection that stays in float32: variances may be larger or smaller than float16 can say."""


def write(path: Path, networks: Networks, position: dict[str, Any]) -> None:
    """Writes networks, weights in float16; the same networks make the same bytes.

    Args:
      path: of the .npz file.
      networks: arrays in trees of dicts.
      position: plain json: what is known about them, as of a checkpoint.

    Raises:
      ValueError: a weight is not finite in float16.
      OSError: it cannot be written.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(flatten_dict(networks, sep="/").items()):
            stored = np.asarray(array, np.float32)
            if f"/{_STATISTICS}/" not in name:
                with np.errstate(over="ignore"):  # said below, by name
                    stored = stored.astype(np.float16)
            if not np.isfinite(stored).all():
                raise ValueError(f"{name} has values that are not finite in float16")
            with archive.open(_member(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, stored, allow_pickle=False)
        archive.writestr(_member(_POSITION), json.dumps(position, indent=1))
    write_whole(path, content.getvalue())


def _member(name: str) -> zipfile.ZipInfo:
    """Returns a member of an archive that is of 1980, whenever it is written."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def read(path: Path, like: Networks) -> tuple[Networks, dict[str, Any]]:
    """Reads networks, in float32, and what is known about them.

    Args:
      path: of the .npz file.
      like: trees of arrays or of their shapes, which the file has to fit.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or of other networks; says where.
    """
    wanted = {name: leaf.shape for name, leaf in flatten_dict(like, sep="/").items()}
    data = path.read_bytes()
    try:
        names = [name for name in array_names(data) if name != _POSITION]
        found = {name: one.astype(np.float32) for name, one in read_arrays(data, names).items()}
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            position = json.loads(archive.read(_POSITION))
    except Exception as error:  # beside ValueError, zipfile's own of the position
        raise ValueError(f"{path} is damaged: {error}; export or download it again") from error
    for name in sorted(wanted.keys() | found.keys()):
        here = wanted.get(name, "absent")
        there = found[name].shape if name in found else "absent"
        if here != there:
            raise ValueError(
                f"{path} does not fit the config beside it: {name} is {there} there and {here} "
                "here; export it again"
            )
    read_in = unflatten_dict(found, sep="/")
    # A network without any variables has no entry in the file.
    return {name: {"params": {}, **read_in.get(name, {})} for name in like}, position
