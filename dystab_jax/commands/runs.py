"""Opens runs: from a config to the runs that it stands for, each in its workdir."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dystab_jax.build import Run, make_steps
from dystab_jax.data import network_file
from dystab_jax.evaluation import run_facts, saved_config
from dystab_jax.runtime import locks, processes
from dystab_jax.runtime.atomic_files import write_whole

# A run is what these say; the other sections may change between calls.
FIXED_SECTIONS = ("seed", "data", "phi", "psi", "chi", "loss", "bootstrap")
# These may be added to a finished loop, once.
ADDED_SECTIONS = ("self_training", "supervised")
# Where data lies and how fast it is read may differ from machine to machine.
FREE_DATA_FIELDS = ("dir", "keep_in_memory", "most_memory_gb", "threads")
# By these, videos are added to a run.
GROWING = {"data.train", "data.videos", "bootstrap.growth_rounds"}


def open_runs(
    config: ConfigDict | None, workdir: Path, mode: str, only: Sequence[str] = ()
) -> Iterator[Run]:
    """Opens the runs of a config, one after the other; new ones where ``mode`` is "train".

    Arguments as in ``train``.

    A run that is trained or scored is locked until the next one is asked for.

    Raises:
      ValueError: the config has a wrong name or value; ``only`` names no run of it; another program
        trains or scores the run.
      OSError: no such run, or the workdir cannot be written.
    """
    saved = (workdir / "config.json").exists()
    if not saved and mode not in ("train", "compile"):
        raise saved_config.no_run(workdir)
    if config is None:
        if not saved:
            raise ValueError("--config is needed to train, for instance --config=configs/demo.py")
        config = saved_config.read(workdir)
    config = saved_config.with_absolute_data(config)
    if config.runs and _has_learned(workdir):
        raise ValueError(
            f"--workdir={workdir} holds a single run, and this config stands for several; use "
            "another --workdir"
        )
    runs = dict(expand(config))
    unknown = sorted(set(only) - set(runs))
    if unknown:
        names = ", ".join(runs) if config.runs else "none, it is a single run"
        raise ValueError(f"--only: the config has no run {', '.join(unknown)}; it has: {names}")
    if mode == "predict" and config.runs:
        raise ValueError(
            f"--workdir={workdir} holds several runs; choose one: "
            + ", ".join(str(workdir / name) for name in runs)
        )
    if mode == "train" and _is_exported(workdir):
        raise ValueError(
            f"--workdir={workdir} holds exported networks, which do not go on learning; train in "
            "another --workdir"
        )
    for run_config in runs.values():
        make_steps(run_config)  # a mistake in the last one shows before anything is written
    if config.runs and mode == "train":
        _store(config, workdir)
    for name, run_config in runs.items():
        if not only or name in only:
            if name:
                print(f"\n{name}")
            with _alone(workdir / name, mode):
                yield _open_run(run_config, workdir / name, mode)


def _alone(workdir: Path, mode: str) -> AbstractContextManager:
    """Keeps other programs out of a run that is changed; of several processes the first does."""
    if mode not in ("train", "eval") or not processes.is_first():
        return nullcontext()
    _make_writable(workdir)
    return locks.hold(workdir)


def _open_run(config: ConfigDict, workdir: Path, mode: str) -> Run:
    path = workdir / "config.json"
    stored = saved_config.read_json(path) if path.exists() else None
    if stored is not None and mode != "compile" and _has_learned(workdir):
        _check_same(stored, run_facts.as_json(config), path, mode)
    run = Run.to_predict(config, workdir) if mode == "predict" else Run.of(config, workdir)
    if mode == "train":
        _store(config, workdir)
    return run


def _has_learned(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("[0-9]*")) or _is_exported(workdir)


def _is_exported(workdir: Path) -> bool:
    return (workdir / network_file.FILE).exists()


def _store(config: ConfigDict, workdir: Path) -> None:
    _make_writable(workdir)
    write_whole(workdir / "config.json", json.dumps(run_facts.as_json(config), indent=1) + "\n")


def _check_same(stored: dict, given: dict, path: Path, mode: str) -> None:
    """Raises where a config differs from the one that its workdir was made with."""
    before, now = _flat(stored), _flat(given)
    free = {f"data.{field}" for field in FREE_DATA_FIELDS}
    if mode == "train":
        free |= GROWING  # training knows which videos there were
    added = [name for name in ADDED_SECTIONS if before.get(f"{name}.data")]
    fixed = [*FIXED_SECTIONS, *added]
    rounds = "bootstrap.rounds"
    if not added and now.get(rounds, 0) >= before.get(rounds, 0):
        free.add(rounds)  # what has been trained is the beginning of more rounds
    different = [
        f"{key} is {now.get(key)!r}, was {before.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key.partition(".")[0] in fixed and key not in free and before.get(key) != now.get(key)
    ]
    if different:
        raise ValueError(
            f"the config is not the one that {path} records: {'; '.join(different)}. Use that "
            "config to go on, or another --workdir to start anew"
        )


def _flat(tree: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _make_writable(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_whole(workdir / ".write-test", "")
        (workdir / ".write-test").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"--workdir={workdir} cannot be written: {error}; choose another") from error


def expand(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the runs of a config: its own, named "", or those in ``config.runs``.

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
