"""Prepares a data set: reads the videos, estimates optical flow, writes TFDS records.

    python -m data_prep.prepare --dataset=movers --data_dir=data
    python -m data_prep.prepare --dataset=folder --source=my_videos --data_dir=data
    python -m data_prep.prepare --dataset=davis2016 --source=DAVIS --data_dir=data
    python -m data_prep.prepare --dataset=ecssd --source=ECSSD --data_dir=data

Videos are worked on in parallel, each leaving one file under DATA_DIR/DATASET/.partial. A run that
was interrupted, by whatever means, continues there, and ends in the same bytes as one that was not.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import absl.logging
import cv2
from tqdm import tqdm

from data_prep import renewal
from data_prep.arguments import (
    beam_run,
    describe_list,
    folder_name,
    parser,
    plan_options,
    recipe,
)
from data_prep.flow import FlowOptions
from data_prep.sources.discover import frame_notes
from data_prep.sources.layout import some
from data_prep.video import read_details
from data_prep.workers import alone, intermediate_files, make_directory, prepare_videos
from dystab_jax.data.dataset_registry import DATA_SETS
from dystab_jax.data.records import dataset_directory
from dystab_jax.runtime.disk import naming_full_disk
from dystab_jax.runtime.huge_pages import restart_with_huge_pages
from dystab_jax.runtime.paths import user_path

FORMAT = 2
"""Raised when records or intermediates change in a way that makes old ones unusable."""


class BadVideosError(ValueError):
    """Reports videos that could not be prepared; the others are done, kept for the next run."""


def prepare(
    *,
    dataset: str,
    data_dir: str | Path,
    source: str | Path | None = None,
    name: str | None = None,
    masks: str | Path | None = None,
    sequences: str | Path | None = None,
    fbms_compatibility: bool = False,
    max_gap: int = 3,
    flow: str = "dis",
    flow_size: str = "640x384",
    flow_weights: str | Path | None = None,
    flow_iterations: int = FlowOptions.iterations,
    flow_precision: str = FlowOptions.precision,
    flow_source: str | Path | None = None,
    jobs: int | None = None,
    runner: str | None = None,
    beam_options: str | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
) -> Path:
    """Prepares one data set, or finds it prepared.

    Args:
      dataset: a name in `dystab_jax.data.dataset_registry.DATA_SETS`.
      data_dir: where prepared data sets lie.
      source: the original data; not for movers.
      name: of a folder data set; default: the last part of source.
      masks: truth of a folder data set, MASKS/VIDEO/FRAME.png.
      sequences: file of the IDs to which youtube_vos is restricted; its name is kept.
      fbms_compatibility: masks of fbms59 as earlier systems have them, see `datasets.fbms59`.
      max_gap: pairs are 1 to max_gap frames apart, in both directions; this and the flow's
        arguments mean nothing for still images.
      flow: the estimator's name, one of `data_prep.flow.ESTIMATORS`.
      flow_size: "WIDTHxHEIGHT" to which frames are shrunk (never enlarged) for flow, or "native".
      flow_weights, flow_iterations, flow_precision: see `data_prep.flow.FlowOptions`.
      flow_source: directory of precomputed flow, see `data_prep.flow.precomputed`.
      jobs: videos at once; default: one per processor. 1 stays in this process.
      runner: of Apache Beam, on which the videos are worked on instead; the result is the same.
      beam_options: Beam's own, "--flag=value --flag".
      overwrite: replace a data set prepared with other settings.
      skip_bad: leave videos out that cannot be prepared, rather than fail after the others.
      progress: show progress bars and messages.

    Returns:
      The data set's directory; `dystab_jax.data.records.open_source` opens it.

    Raises:
      FileNotFoundError, ValueError: something is wrong with the arguments or the source.
      BadVideosError: (a ValueError) with single videos.
    """
    say = _speaker(progress)
    options = plan_options(dataset, source, masks, sequences, fbms_compatibility)
    weights = user_path(flow_weights).resolve() if flow_weights is not None else None
    files = user_path(flow_source).resolve() if flow_source is not None else None
    data_dir = user_path(data_dir)
    estimator = FlowOptions(flow, weights, flow_iterations, flow_precision, files)
    how = recipe(dataset, estimator, max_gap, flow_size)
    run = beam_run(runner, beam_options, jobs)
    name = folder_name(dataset, options.get("source"), name)
    settings = {
        "format": FORMAT,
        "dataset": dataset,
        "source": str(options["source"]) if "source" in options else None,
        "masks": str(options["masks"]) if "masks" in options else None,
        "sequences": describe_list(options.get("sequences")),
        "fbms_compatibility": fbms_compatibility,
        "max_gap": how.max_gap,
        "flow": how.flow.estimator if how.max_gap else "",
        "flow_network": how.flow.describe_network() if how.max_gap else None,
        "flow_source": str(how.flow.source) if how.flow.source is not None else None,
        "flow_size": flow_size if how.max_gap else "",
    }
    target = dataset_directory(data_dir, dataset, name)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    work = data_dir / dataset / ".partial" / f"{name or dataset}-{digest}"
    found = _read_finished(target, settings) if target.exists() and not overwrite else None
    if found is not None:
        unknown = _why_not_compared(found, options.get("source"))
        if unknown is not None:
            return _leave(target, work, say, unknown)

    # Imported here: TFDS takes a second to import, and worker processes import this module.
    module = importlib.import_module(f"data_prep.datasets.{dataset}")
    plan = module.plan(**options)
    for note in (*plan.notes, *(frame_notes(plan.videos) if how.max_gap else ())):
        say(f"note: {note}")
    kind = "images" if DATA_SETS[dataset].stills else "videos"
    now = renewal.digests(plan, how)
    if found is not None:
        changes = renewal.compare(found["videos"], now)
        if not changes:
            return _leave(target, work, say)
        say(f"{target}: the source has changed: {changes.describe(kind)}")

    advice = "make room and run the same command again; videos that are done stay done"
    with naming_full_disk(data_dir, advice), alone(work):
        if found is not None:
            paths = intermediate_files(plan.videos, work)
            renewal.take_over(target, found, now, plan, how, paths, progress)
        how.flow.check_weights()
        finished, bad = prepare_videos(plan.videos, how, work, jobs, progress, run)
        for path in finished.values() if how.max_gap else ():  # still images have no notes
            for note in read_details(path)["notes"]:
                say(f"note: {note}")
        if bad and not (skip_bad and finished):
            raise BadVideosError(_describe(bad, finished, skip_bad))
        for names, message in _by_message(bad):
            say(f"left out: {names}: {message}")
        staging = work / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        written = _write(module, plan, finished, staging, name, progress)
        report = settings | {
            "flow_weights": weights.name if weights is not None and how.max_gap else None,
            "left_out": sorted(bad),
            "opencv": cv2.__version__,
            "videos": now,
        }
        (written / "preparation.json").write_text(json.dumps(report, indent=2))
        _move_into_place(written, target, work)
        _remove(work)
    say(f"prepared {len(finished)} {kind} in {target}")
    return target


def _why_not_compared(found: dict[str, Any], source: Path | None) -> str | None:
    """Returns what to say of a set that cannot be compared with its source; None where it can."""
    if source is None:
        return ""  # drawn: always the same
    if not source.exists():
        return f"{source} is not there any more; the prepared set is taken as it is"
    if "videos" not in found:
        return (
            "prepared before files of the source were listed, so that changes of it cannot be "
            "noticed; it is taken as it is"
        )
    return None


def _leave(target: Path, work: Path, say: Callable[[str], None], note: str = "") -> Path:
    """Leaves a prepared set as it is."""
    if work.is_dir():  # left by a run killed at its very end; or at work, with --overwrite
        with contextlib.suppress(ValueError), alone(work):
            _remove(work)
    if note:
        say(f"note: {target}: {note}")
    say(f"{target} is prepared already; --overwrite would do it again")
    return target


def _write(
    module: Any,
    plan: Any,
    finished: dict[str, Path],
    staging: Path,
    name: str | None,
    progress: bool,
) -> Path:
    """Runs the module's TFDS builder on the intermediate files; returns what it wrote."""
    import tensorflow_datasets as tfds

    config = tfds.core.BuilderConfig(name=name) if name else None
    with _quiet(tfds):
        builder = module.BUILDER(
            data_dir=staging, config=config, plan=plan, intermediates=finished, progress=progress
        )
        builder.download_and_prepare()
    return Path(builder.data_dir)


@contextlib.contextmanager
def _quiet(tfds: Any) -> Iterator[None]:
    """Silences TFDS, which announces downloads and warns of configurations it does not know."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.logging.set_verbosity(verbosity)


def _read_finished(target: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Reads ``preparation.json``; ValueError where the set was prepared with other settings."""
    path = target / "preparation.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{target} exists, but {path.name} in it cannot be read ({error}); remove it or use "
            "--overwrite"
        ) from error
    changed = [
        f"{key} {found.get(key)!r}, now {value!r}"
        for key, value in settings.items()
        if found.get(key) != value
    ]
    if changed:
        raise ValueError(
            f"{target} was prepared with other settings ({'; '.join(changed)}); use --overwrite to "
            "replace it, or another --data_dir or --name"
        )
    return found


def _remove(work: Path) -> None:
    """Removes the intermediate files, and the directory of all intermediates when it is empty."""
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.parent.rmdir()


def _move_into_place(written: Path, target: Path, work: Path) -> None:
    """Renames the finished directory; an older one goes only when the new one is complete."""
    make_directory(target.parent)
    replaced = work / "replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        os.replace(target, replaced)
    os.replace(written, target)


def _describe(bad: dict[str, str], finished: dict[str, Path], skip_bad: bool) -> str:
    lines = [f"{len(bad)} of {len(bad) + len(finished)} videos cannot be prepared:"]
    lines += [f"  {names}: {message}" for names, message in _by_message(bad)]
    if not finished:
        lines.append("nothing else is left to prepare")
    elif not skip_bad:
        lines.append(
            f"The other {len(finished)} are done and kept: repair the files and run the same "
            "command again, or add --skip_bad to leave these videos out."
        )
    return "\n".join(lines)


def _by_message(bad: dict[str, str]) -> list[tuple[str, str]]:
    """Returns names of videos with what is wrong with all of them, each message once."""
    grouped: dict[str, list[str]] = {}
    for name, message in bad.items():
        grouped.setdefault(message, []).append(name)
    return [
        (names[0] if len(names) == 1 else f"{len(names)} videos ({some(names)})", message)
        for message, names in grouped.items()
    ]


def _speaker(progress: bool) -> Any:
    def say(text: str) -> None:
        if progress:
            tqdm.write(text, file=sys.stderr)

    return say


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 (some videos are bad) or 2 (nothing was done)."""
    try:
        prepare(**vars(parser(__doc__).parse_args(arguments)))
    except BadVideosError as error:
        print(error, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    restart_with_huge_pages()
    sys.exit(main())
