"""What ``run.py`` does once the flags are read: open runs, train them, score them, use them."""

import json
import re
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep.flow import FlowOptions
from data_prep.prepare import prepare
from dystab_jax import bootstrap, compile_ahead, experiments, figures, predict, report, tables
from dystab_jax.build import Run, make_steps
from dystab_jax.data.records import dataset_directory
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation import run_facts, score_run, selection
from dystab_jax.runtime import parallel, processes
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.interruption import Interruption
from dystab_jax.runtime.monitor import TrainingStopped


class RunsNotDoneError(RuntimeError):
    """Some of several runs could not be done; the others are."""


USER_ERRORS = (ValueError, OSError, TrainingStopped, RunsNotDoneError)
"""Errors whose message is for the user, without a traceback."""

# A run is what these say; the other sections may change between calls.
FIXED_SECTIONS = ("seed", "data", "phi", "psi", "chi", "loss", "bootstrap")
# These may be added to a finished loop, once.
ADDED_SECTIONS = ("self_training", "supervised")
# Where data lies and how fast it is read may differ from machine to machine.
FREE_DATA_FIELDS = ("dir", "keep_in_memory", "threads")

_SAVED = Path(__file__).resolve().parents[1] / "configs" / "saved.py"


def train(config: ConfigDict | None, workdir: Path, only: Sequence[str] = ()) -> None:
    """Trains to the end of the schedule, scores, and writes reports, figures and tables.

    A config with ``runs`` stands for several, each in a folder of its own; what has been trained
    and scored already is left as it is, and one that cannot be done does not stop the others.

    Args:
      config: None: the one that the workdir has.
      workdir: of the run or runs.
      only: names of the runs to do; default: all.

    Raises:
      RunsNotDoneError: which of several runs were not done, after the others are.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """

    def train_and_score(run: Run) -> None:
        _prepare_embedded(run, run.config.data.train)
        specs = _to_score(run)
        bootstrap.train(run, interruption)
        _score(run, specs, again=False)

    with Interruption() as interruption:
        _each_run(config, workdir, "train", only, train_and_score)


def evaluate(config: ConfigDict | None, workdir: Path, only: Sequence[str] = ()) -> None:
    """Scores what the workdir holds and writes reports, figures and tables.

    Arguments and errors as in ``train``.
    """
    with Interruption():
        _each_run(
            config, workdir, "eval", only, lambda run: _score(run, _to_score(run), again=True)
        )


def _each_run(
    config: ConfigDict | None,
    workdir: Path,
    mode: str,
    only: Sequence[str],
    work: Callable[[Run], None],
) -> None:
    not_done = []
    for run in open_runs(config, workdir, mode, only):
        try:
            eval_options.check(run.config)
            work(run)
        except USER_ERRORS as error:
            if run.workdir == workdir:
                raise
            print(f"not done: {error}")
            not_done.append(run.workdir.name)
    _write_tables(workdir)
    if not_done:
        raise RunsNotDoneError(
            f"{', '.join(not_done)} could not be done, see above; the other runs are. The same "
            "command goes on with them"
        )


def compile_ahead_of_time(
    config: ConfigDict | None, workdir: Path, topology: str, only: Sequence[str] = ()
) -> None:
    """Compiles every step of a config for a TPU slice; needs no TPU and trains nothing.

    Args:
      config: None: the one that the workdir has.
      workdir: gets compile/TOPOLOGY.json; it need not hold a run.
      topology: such as "v5e:4x4".
      only: names of the runs to do; default: all.
    """
    mesh = parallel.make_mesh(compile_ahead.devices_of(topology))
    for run in open_runs(config, workdir, "compile", only):
        path = compile_ahead.compile_run(Run.of(run.config, run.workdir, mesh), topology)
        print(f"saved   {path}")


def write_tables(workdir: Path) -> None:
    """Tables 1-7 from all results in the workdir and below it; nothing is computed anew.

    Raises:
      FileNotFoundError: there is no result.
    """
    if not _write_tables(workdir):
        raise FileNotFoundError(
            f"--workdir={workdir} and the folders in it hold no eval/*.json; score a run first, "
            "with --mode=eval"
        )


def predict_masks(
    config: ConfigDict | None,
    workdir: Path,
    source: Path,
    output: Path,
    flow: FlowOptions = predict.DEFAULT_FLOW,
) -> None:
    """Masks and overlays of an image, a folder of frames or a video."""
    flow.check()
    (run,) = open_runs(config, workdir, "predict")
    eval_options.check(run.config)
    (snapshot,) = selection.chosen(run, "last")
    trained_on = _flow_of_training(run.config)
    if trained_on - {flow.estimator}:
        print(
            f"note: trained on flow by {' and '.join(sorted(trained_on))}, predicting from flow by "
            f"{flow.estimator}; --flow chooses another"
        )
    written = predict.predict(run, snapshot.variables, source, output, flow)
    print(f"{len(written)} files in {output}")


def _flow_of_training(config: ConfigDict) -> set[str]:
    """The estimators behind the training data, as far as these are still there to tell."""
    found = set()
    for spec in config.data.train.split("+"):
        dataset, _, name = spec.strip().partition(":")[0].partition("/")
        path = dataset_directory(config.data.dir, dataset, name) / "preparation.json"
        if path.is_file():
            found.add(json.loads(path.read_text())["flow"])
    return found


def open_runs(
    config: ConfigDict | None, workdir: Path, mode: str, only: Sequence[str] = ()
) -> Iterator[Run]:
    """The runs of a config, one after the other; new ones where ``mode`` is "train".

    Arguments as in ``train``.

    Raises:
      ValueError: the config has a wrong name or value; ``only`` names no run of it.
      OSError: no such run, or the workdir cannot be written.
    """
    saved = (workdir / "config.json").exists()
    if not saved and mode not in ("train", "compile"):
        raise _no_run(workdir)
    if config is None:
        if not saved:
            raise ValueError("--config is needed to train, for instance --config=configs/demo.py")
        config = saved_config(workdir)
    if config.runs and _has_checkpoints(workdir):
        raise ValueError(
            f"--workdir={workdir} holds a single run, and this config stands for several; use "
            "another --workdir"
        )
    runs = dict(experiments.expand(config))
    unknown = sorted(set(only) - set(runs))
    if unknown:
        names = ", ".join(runs) if config.runs else "none, it is a single run"
        raise ValueError(f"--only: the config has no run {', '.join(unknown)}; it has: {names}")
    if mode == "predict" and config.runs:
        raise ValueError(
            f"--workdir={workdir} holds several runs; choose one: "
            + ", ".join(str(workdir / name) for name in runs)
        )
    if config.runs:
        for run_config in runs.values():
            make_steps(run_config)  # a mistake in the last one shows before the first step
        if mode == "train":
            _store(config, workdir)
    for name, run_config in runs.items():
        if not only or name in only:
            if name:
                print(f"\n{name}")
            yield _open_run(run_config, workdir / name, mode)


def saved_config(workdir: Path) -> ConfigDict:
    """The config that a workdir was made with.

    Raises:
      FileNotFoundError: it holds no run.
      ValueError: its config.json is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise _no_run(workdir)
    return _to_config(_read(path))


def _no_run(workdir: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"{workdir / 'config.json'} does not exist: --workdir={workdir} holds no run; train first, "
        f"with `python run.py --config=CONFIG --workdir={workdir}`"
    )


def _open_run(config: ConfigDict, workdir: Path, mode: str) -> Run:
    path = workdir / "config.json"
    stored = _read(path) if path.exists() else None
    if stored is not None and mode != "compile" and _has_checkpoints(workdir):
        _check_same(stored, run_facts.as_json(config), path)
    run = Run.of(config, workdir)
    if mode == "train":
        _store(config, workdir)
    return run


def _has_checkpoints(workdir: Path) -> bool:
    return any((workdir / "checkpoints").glob("[0-9]*"))


def _store(config: ConfigDict, workdir: Path) -> None:
    _make_writable(workdir)
    write_whole(workdir / "config.json", json.dumps(run_facts.as_json(config), indent=1) + "\n")


def name_saved_config(argv: list[str]) -> list[str]:
    """Has overrides on a command line without --config change the config of the workdir."""
    given, overrides = _config_arguments(argv)
    workdir = _argument(argv, "workdir")
    if given is not None or not overrides or workdir is None:
        return argv
    return [argv[0], f"--config={_SAVED}:{workdir}", *argv[1:]]


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
    prefix = re.compile("--?config[.]")
    overrides = [prefix.sub("", word, count=1) for word in argv if prefix.match(word)]
    return _argument(argv, "config"), overrides


def _argument(argv: list[str], name: str) -> str | None:
    """The value of a flag, before absl has read it."""
    value = None
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, written = word.partition("=")
        if flag in (f"-{name}", f"--{name}"):
            value = written if equals else following
    return value


def _load(given: str) -> ConfigDict:
    path, colon, variant = given.partition(":")
    get_config = runpy.run_path(path)["get_config"]
    return get_config(variant) if colon else get_config()


def _to_score(run: Run) -> list[str]:
    """The data sets that the run is scored on; found out before it trains."""
    if not eval_options.data_sets(run.config.eval.data):
        print("eval.data is empty: nothing is scored")
    for spec in eval_options.data_sets(run.config.eval.data):
        _prepare_embedded(run, spec)
    return eval_options.prepared(run.config)


def _score(run: Run, specs: Sequence[str], again: bool) -> None:
    """Scores the snapshots that the config names and writes reports and figures.

    Args:
      run: trained.
      specs: prepared data sets.
      again: whether to repeat what has been scored by the same rules.
    """
    if not specs:
        return
    for snapshot in selection.chosen(run, run.config.eval.phases):
        waiting = [spec for spec in specs if not score_run.is_scored(run, snapshot, spec)]
        if not again and not waiting:
            print(f"phase {snapshot.phase} is scored already; --mode=eval would do it again")
            continue
        results = []
        # The report has a page of each data set, so all of them are scored for it.
        for spec in specs if again or snapshot.last else waiting:
            results.append(result := score_run.evaluate(run, snapshot, spec))
            for path, scores in {result.path: result.report, **result.others}.items():
                print(f"\n{score_run.table(scores)}\nin {path}")
            if snapshot.last:
                print(f"figures {figures.write(run.workdir, result)}")
        if snapshot.last:
            print(f"report  {report.write_report(run.workdir, results, run.config)}")


def _write_tables(workdir: Path) -> list[Path]:
    written = tables.write(workdir)
    if written:
        print(f"tables  {written[0].parent}")
    return written


def _prepare_embedded(run: Run, spec: str) -> None:
    """Draws ``movers`` where a run needs it and it is not there."""
    data_dir = run.config.data.dir
    needed = any(part.partition(":")[0].strip() == "movers" for part in spec.split("+"))
    prepared = dataset_directory(data_dir, "movers") / "dataset_info.json"
    if needed and not prepared.exists() and processes.is_first():
        prepare(dataset="movers", data_dir=data_dir)
    processes.meet("embedded data are prepared")


def _to_config(stored: dict[str, Any]) -> ConfigDict:
    def revive(value):
        if isinstance(value, dict):
            return {key: revive(inner) for key, inner in value.items()}
        return tuple(map(revive, value)) if isinstance(value, list) else value

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
