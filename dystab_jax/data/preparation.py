"""Keeps in a run's workdir how the flow of its data was prepared, for predictions later on."""

import json
from pathlib import Path
from typing import Any

from dystab_jax.data.records import dataset_directory
from dystab_jax.runtime.atomic_files import write_whole

FILE = "preparation.json"
"""Written by data_prep.prepare into each data set, and by training into the workdir."""
FACTS = ("flow", "flow_size", "max_gap", "flow_network", "flow_weights")
"""Estimator; WIDTHxHEIGHT or native; largest gap; what a network's flow depends on: SHA-256 of the
weights, precision, RAFT's iterations; file name of the weights."""

Facts = dict[str, Any]


def read(data_dir: str | Path, spec: str) -> dict[str, Facts]:
    """Reads how data sets were prepared, as far as they are there and say it.

    Args:
      data_dir: the --data_dir of data_prep.prepare.
      spec: see ``records.open_source``.

    Returns:
      Those of ``FACTS`` that are known, by the spec of each part, in their order.
    """
    found = {}
    for part in map(str.strip, spec.split("+")):
        dataset, _, name = part.partition(":")[0].partition("/")
        facts = _load(dataset_directory(data_dir, dataset, name) / FILE)
        if facts.get("flow"):
            found[part] = {key: facts[key] for key in FACTS if facts.get(key) is not None}
    return found


def keep(workdir: Path, data_dir: str | Path, spec: str) -> None:
    """Writes into the workdir what `read` finds; leaves what is there where it finds nothing."""
    found = read(data_dir, spec)
    if found:
        write_whole(workdir / FILE, json.dumps(found, indent=1) + "\n")


def of_run(workdir: Path, data_dir: str | Path, spec: str) -> dict[str, Facts]:
    """Returns what training kept; of an older workdir what `read` finds; {} where nothing is."""
    return _load(workdir / FILE) or read(data_dir, spec)


def _load(path: Path) -> dict[str, Any]:
    """Reads a JSON file; {} where there is none or it is damaged: masks can be had without it."""
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
