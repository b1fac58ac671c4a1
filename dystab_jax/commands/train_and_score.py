"""Trains and scores runs, and writes their reports, figures and tables."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from ml_collections import ConfigDict

from data_prep.prepare import prepare
from dystab_jax import bootstrap
from dystab_jax.build import Run
from dystab_jax.commands import export
from dystab_jax.commands.masks import rules_of
from dystab_jax.commands.runs import open_runs
from dystab_jax.commands.tensorboard import Board
from dystab_jax.commands.user_errors import USER_ERRORS, RunsNotDoneError
from dystab_jax.data.records import dataset_directory
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation import score_run, snapshot_choice, snapshots
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.prediction import report_videos
from dystab_jax.report import claims, figures, growth, page, tables
from dystab_jax.runtime import mirror, processes
from dystab_jax.runtime.interruption import Interruption
from dystab_jax.runtime.profile import Profile


def train(
    config: ConfigDict | None,
    workdir: Path,
    only: Sequence[str] = (),
    profile: str | None = None,
) -> None:
    """Trains to the end of the schedule, scores, and writes reports, figures and tables.

    A config with ``runs`` stands for several, each in a folder of its own; what has been trained
    and scored already is left as it is, and one that cannot be done does not stop the others.

    Args:
      config: None: the one that the workdir has.
      workdir: of the run or runs.
      only: names of the runs to do; default: all.
      profile: the steps that are traced, see ``Profile.parse``; None: none.

    Raises:
      ValueError: ``profile`` is not of that form.
      RunsNotDoneError: which of several runs were not done, after the others are.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """

    def train_and_score(run: Run) -> None:
        _prepare_embedded(run, run.config.data.train)
        specs = _to_score(run)
        tracing = Profile.parse(run.workdir / "profile", profile)
        with Board(run) as board, tracing or nullcontext():
            bootstrap.train(run, interruption, board, tracing)
        mirror.meet(run.workdir, "training is done")
        phases = snapshots.videos_by_phase(run)
        if processes.is_first() and (drawn := growth.write_label_confidences(run.workdir, phases)):
            print(f"growth  {mirror.address_of(drawn)}")
        _score(run, specs, again=False)

    Profile.parse(workdir, profile)  # a mistake shows before anything is written
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
            # Of several processes, one that goes on alone leaves the others waiting for it.
            if run.workdir == workdir or processes.count() > 1:
                raise
            print(f"not done: {error}")
            not_done.append(run.workdir.name)
    _write_tables(workdir)
    if not_done:
        raise RunsNotDoneError(
            f"{', '.join(not_done)} could not be done, see above; the other runs are. The same "
            "command goes on with them"
        )


def write_tables(workdir: Path) -> None:
    """Writes Tables 1-7 and the claims from all results in the workdir and below.

    Computes nothing anew.

    Raises:
      FileNotFoundError: there is no result.
    """
    if not _write_tables(workdir):
        raise FileNotFoundError(
            f"--workdir={workdir} and the folders in it hold no eval/*.json; score a run first, "
            "with --mode=eval"
        )


def export_networks(config: ConfigDict | None, workdir: Path, output: Path) -> None:
    """Writes what a run has learned to a small folder that predicts as the workdir does.

    Args:
      config: as in ``train``; what its section ``eval`` says holds in the folder.
      workdir: of one run.
      output: the folder.
    """
    (run,) = open_runs(config, workdir, "predict")
    eval_options.check(run.config)
    (snapshot,) = snapshot_choice.chosen(run, "last")
    for path in export.export(run, snapshot, output):
        print(f"{path.stat().st_size / 1e6:.1f} MB in {path}")


def _to_score(run: Run) -> list[str]:
    """Returns the data sets that the run is scored on; asked before it trains."""
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
      again: whether to repeat what has been scored by the same rules; what the run was when
        videos were added to it is scored once.
    """
    if not specs:
        return
    asked = eval_options.data_sets(run.config.eval.phases)
    earlier = [phase for phase in snapshots.ends_of_stages(run) if phase not in asked]
    score_run.keep_scores(run, earlier)
    for snapshot in snapshot_choice.chosen(run, ",".join([*earlier, *asked])):
        waiting = [spec for spec in specs if not score_run.is_scored(run, snapshot, spec)]
        anew = again and snapshot.phase not in earlier
        if not anew and not waiting:
            if snapshot.phase not in earlier:
                print(f"phase {snapshot.phase} is scored already; --mode=eval would do it again")
            continue
        results = []
        # The report has a page of each data set, so all of them are scored for it.
        for spec in specs if anew or snapshot.last else waiting:
            show = _player(run, snapshot, spec) if snapshot.last else None
            results.append(result := score_run.score(run, snapshot, spec, show))
            for path, scores in {result.path: result.report, **result.others}.items():
                print(f"\n{score_run.table(scores)}\nin {path}")
            if snapshot.last:
                print(f"figures {figures.write(run.workdir, result)}")
        if snapshot.last:
            print(f"report  {page.write_report(run.workdir, results, run.config)}")


def _player(run: Run, snapshot: Snapshot, spec: str) -> score_run.Show:
    """Returns what writes a page of each video that is scored, for the report."""
    options = run.config.eval
    refined = options.crf if "fused" in eval_options.data_sets(options.crf_models) else "none"
    notes = [*rules_of(run, snapshot), ("CRF", refined), ("scored on", spec)]
    notes.append(("protocol of J", eval_options.protocols_of(spec, options.protocol)[0]))
    if options.oracle:
        notes.append(("oracle", "the truth has chosen which of φ's regions is the object"))
    return partial(report_videos.write, run.workdir, score_run.file_name(spec), notes)


def _write_tables(workdir: Path) -> list[Path]:
    written = tables.write(workdir)
    if written:
        claims.write(workdir)
        print(f"tables  {mirror.address_of(written[0].parent)}")
    return written


def _prepare_embedded(run: Run, spec: str) -> None:
    """Draws ``movers`` where a run needs it and it is not there."""
    data_dir = run.config.data.dir
    needed = any(part.partition(":")[0].strip() == "movers" for part in spec.split("+"))
    prepared = dataset_directory(data_dir, "movers") / "dataset_info.json"
    if needed and not prepared.exists() and processes.is_first():
        prepare(dataset="movers", data_dir=data_dir)
    processes.meet("embedded data are prepared")
