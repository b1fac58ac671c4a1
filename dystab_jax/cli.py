"""What ``run.py`` does once the flags are read: open a run, train it, score it, use it."""

import json
import os
import runpy
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep.prepare import prepare
from dystab_jax import bootstrap, evaluation, predict, report
from dystab_jax.build import Run
from dystab_jax.checkpoints import Checkpoints
from dystab_jax.monitor import TrainingStopped
from dystab_jax.records import dataset_directory
from dystab_jax.state import State

USER_ERRORS = (ValueError, OSError, TrainingStopped)
"""Errors whose message is for the user, without a traceback."""

# A run is what these say; the other sections may change between calls.
FIXED_SECTIONS = ("seed", "data", "phi", "psi", "chi", "loss", "bootstrap")
# Where data lies and how fast it is read may differ from machine to machine.
FREE_DATA_FIELDS = ("dir", "keep_in_memory", "threads")


def open_run(config: ConfigDict | None, workdir: Path, mode: str) -> Run:
    """The run in ``workdir``, new if there is none and ``mode`` is "train".

    Raises:
      ValueError: the config has a wrong name or value, or is not the one of the checkpoints here.
      OSError: no such run, or the workdir cannot be written.
    """
    path = workdir / "config.json"
    stored = _read(path) if path.exists() else None
    if stored is None and mode != "train":
        raise FileNotFoundError(
            f"{path} does not exist: --workdir={workdir} holds no run; train first, with "
            f"`python run.py --config=CONFIG --workdir={workdir}`"
        )
    if config is None:
        if stored is None:
            raise ValueError("--config is needed to train, for instance --config=configs/demo.py")
        config = _to_config(stored)
    elif stored is not None and any((workdir / "checkpoints").glob("[0-9]*")):
        _check_same(stored, _plain(config), path)
    run = Run.of(config, workdir)
    if mode != "predict":
        _make_writable(workdir)
        _write(path, json.dumps(_plain(config), indent=1) + "\n")
    return run


def train(run: Run) -> None:
    """Trains to the end of the schedule, then evaluates."""
    _prepare_embedded(run, run.config.data.train)
    _finish(run, bootstrap.train(run))


def evaluate(run: Run) -> None:
    """Scores the newest checkpoint and writes the report."""
    _finish(run, _trained(run))


def predict_masks(run: Run, source: Path, output: Path) -> None:
    """Masks and overlays of an image, a folder of frames or a video."""
    written = predict.predict(run, _trained(run), source, output)
    print(f"{len(written)} files in {output}")


def check_config(argv: list[str]) -> None:
    """Whether the config file on the command line, and its variant, can be had.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it has no such variant.
    """
    given, _ = _config_arguments(argv)
    if given is None:
        return
    path, colon, variant = given.partition(":")
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config={given}: there is no file {path}")
    try:
        _load(given)
    except TypeError as error:
        if not colon:
            raise
        raise ValueError(f"{path} has no variants, got {variant!r}: --config={path}") from error


def explain_override(argv: list[str], error: Exception) -> str:
    """Which of the overrides on the command line names a field that the config does not have.

    Args:
      argv: the command line.
      error: what parsing it raised.

    Returns:
      The override with the names that its section does have; else the error's own words.
    """
    given, overrides = _config_arguments(argv)
    for override in overrides if given else ():
        section = _load(given)
        for depth, key in enumerate(keys := override.partition("=")[0].split(".")):
            if not isinstance(section, ConfigDict) or key not in section:
                known = section.keys() if isinstance(section, ConfigDict) else ()
                return (
                    f"--config.{override}: {'.'.join(['config', *keys[:depth]])} has no field "
                    f"{key!r}; it has {', '.join(known) or 'none'}"
                )
            section = section[key]
    return " ".join(str(error).strip("'\"").split())


def _config_arguments(argv: list[str]) -> tuple[str | None, list[str]]:
    """FILE[:VARIANT] of --config, and its overrides SECTION.FIELD[=VALUE]."""
    given, overrides = None, []
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        name = name.removeprefix("-").removeprefix("-") if word.startswith("-") else ""
        if name == "config":
            given = value if equals else following
        elif name.startswith("config."):
            overrides.append(f"{name.removeprefix('config.')}{equals}{value}")
    return given, overrides


def _load(given: str) -> ConfigDict:
    path, colon, variant = given.partition(":")
    get_config = runpy.run_path(path)["get_config"]
    return get_config(variant) if colon else get_config()


def _finish(run: Run, state: State) -> None:
    if not run.config.eval.data:
        print("eval.data is empty: nothing is scored")
        return
    _prepare_embedded(run, run.config.eval.data)
    result = evaluation.evaluate(run, state)
    page = report.write_report(run.workdir, result, run.config)
    print(f"\n{evaluation.table(result.report)}\n\nscores   {result.path}\npictures {page}")


def _trained(run: Run) -> State:
    directory = run.workdir / "checkpoints"
    restored = None
    if directory.is_dir():
        checkpoints = Checkpoints(directory, run.config.log.keep_checkpoints)
        restored = checkpoints.restore(run.abstract_state())
        checkpoints.close()
    if restored is None:
        raise FileNotFoundError(f"{directory} holds no checkpoint yet; train first")
    return restored[0]


def _prepare_embedded(run: Run, spec: str) -> None:
    """Draws ``movers`` where a run needs it and it is not there."""
    data_dir = run.config.data.dir
    needed = any(part.partition(":")[0] == "movers" for part in spec.split("+"))
    if needed and not (dataset_directory(data_dir, "movers") / "dataset_info.json").exists():
        prepare(dataset="movers", data_dir=data_dir)


def _plain(config: ConfigDict) -> dict[str, Any]:
    """As json gives it back."""
    return json.loads(json.dumps(config.to_dict()))


def _to_config(stored: dict[str, Any]) -> ConfigDict:
    def revive(value):
        if isinstance(value, dict):
            return {key: revive(inner) for key, inner in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ConfigDict(revive(stored))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not json ({error}); restore it or use another --workdir"
        ) from error


def _check_same(stored: dict, given: dict, path: Path) -> None:
    """Raises where a config differs from the one that its workdir was made with."""
    before, now = _flat(stored), _flat(given)
    free = {f"data.{field}" for field in FREE_DATA_FIELDS}
    different = [
        f"{key} is {now.get(key)!r}, was {before.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key.partition(".")[0] in FIXED_SECTIONS
        and key not in free
        and before.get(key) != now.get(key)
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
        _write(workdir / ".write-test", "")
        (workdir / ".write-test").unlink()
    except OSError as error:
        raise OSError(f"--workdir={workdir} cannot be written: {error}; choose another") from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
