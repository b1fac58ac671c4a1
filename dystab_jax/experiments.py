"""Configs that stand for several runs, and what a run says of itself in its results."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict


def expand(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """The runs of a config: its own, named "", or those in ``config.runs``.

    ``runs`` holds pairs of a name and the fields that are different in that run, themselves pairs
    of a path such as "loss.temporal_weight" and a value.

    Raises:
      ValueError: a field does not exist or is of another type, or two runs have one name.
    """
    if not config.runs:
        yield "", config
        return
    names = [name for name, _ in config.runs]
    if len(set(names)) < len(names):
        raise ValueError(f"config.runs: two runs have the same name; there are {names}")
    for name, changes in config.runs:
        run = config.copy_and_resolve_references()
        run.runs = ()
        for path, value in changes:
            _set(run, path, value, name)
        yield name, run


def _set(config: ConfigDict, path: str, value: Any, name: str) -> None:
    *sections, key = path.split(".")
    node = config
    for section in sections:
        node = node.get(section) if isinstance(node, ConfigDict) else None
    if not isinstance(node, ConfigDict) or key not in node:
        raise ValueError(f"config.runs: {name} sets {path!r}, which the config does not have")
    try:
        node[key] = value
    except TypeError as error:
        raise ValueError(f"config.runs: {name} sets {path!r} to {value!r}: {error}") from error
