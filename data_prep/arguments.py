"""Defines the command line of preparing, and checks its arguments."""

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

from data_prep.flow import ESTIMATORS, NETWORKS, PRECISIONS, FlowOptions
from data_prep.flow.precomputed import check_gaps
from data_prep.video import Recipe
from data_prep.workers import Runner
from dystab_jax.data.dataset_registry import DATA_SETS, data_set
from dystab_jax.runtime.paths import user_path

SOURCE_HELP = "the original data. " + ". ".join(
    f"{one.name}: {one.source or 'none, it is drawn'}" for one in DATA_SETS.values()
)


def recipe(dataset: str, flow: FlowOptions, max_gap: int, flow_size: str) -> Recipe:
    """Returns how flow is to be computed; of still images, not at all.

    Raises:
      ValueError, FileNotFoundError: an unknown estimator or one without its weights or files, a
        gap below 1 or one that the files lack, or a malformed size.
    """
    if data_set(dataset).stills:
        return Recipe(max_gap=0)
    flow.check()
    if max_gap < 1:
        raise ValueError(f"max_gap is {max_gap}; it must be at least 1")
    if flow.source is not None:
        check_gaps(flow.source, max_gap)
    if flow_size == "native":
        return Recipe(flow, max_gap, None)
    match = re.fullmatch(r"(\d+)x(\d+)", flow_size)
    size = tuple(map(int, match.groups())) if match else (0, 0)
    if min(size) < 12:
        raise ValueError(
            f"flow_size is {flow_size!r}; expected WIDTHxHEIGHT, at least 12x12, or native"
        )
    return Recipe(flow, max_gap, size)


def beam_run(runner: str | None, options: str | None, jobs: int | None) -> Runner | None:
    """Returns what works through the videos under Apache Beam, None without a runner.

    Raises:
      ValueError: Beam is not installed, has no such runner or option, or arguments exclude others.
    """
    if runner is None:
        if options is not None:
            raise ValueError(f"--beam_options={options} needs --runner, e.g. --runner=DirectRunner")
        return None
    if jobs is not None:
        raise ValueError(
            f"--jobs={jobs} is for this machine's own processes; --runner={runner} takes "
            "the number of its workers in --beam_options, see docs/preparing_at_scale.md"
        )
    try:
        from data_prep import beam
    except ImportError as error:
        raise ValueError(
            f"--runner needs Apache Beam: pip install -r requirements-beam.txt ({error})"
        ) from error
    return beam.with_runner(runner, options or "")


def plan_options(
    dataset: str,
    source: str | Path | None,
    masks: str | Path | None,
    sequences: str | Path | None,
    fbms_compatibility: bool,
) -> dict[str, Any]:
    """Returns the arguments for the ``plan`` of the data set's module.

    Raises:
      ValueError: no such data set, a source missing or out of place, or an option of another set.
    """
    drawn = data_set(dataset).source is None
    if drawn and source is not None:
        raise ValueError(f"{dataset} is drawn, it has no source; got --source={source}")
    if not drawn and source is None:
        raise ValueError(f"{dataset} needs --source, the directory of the original data")
    if dataset != "folder" and masks is not None:
        raise ValueError(f"--masks is for --dataset=folder; {dataset} knows where its truth lies")
    if dataset != "youtube_vos" and sequences is not None:
        raise ValueError(f"--sequences is for --dataset=youtube_vos, not for {dataset}")
    if dataset != "fbms59" and fbms_compatibility:
        raise ValueError(f"--fbms_compatibility is for --dataset=fbms59, not for {dataset}")
    paths = {"source": source, "masks": masks, "sequences": sequences}
    options: dict[str, Any] = {
        name: user_path(path).resolve() for name, path in paths.items() if path is not None
    }
    return options | ({"fbms_compatibility": True} if fbms_compatibility else {})


def describe_list(sequences: Path | None) -> dict[str, str] | None:
    """Returns name and SHA-256 of a list of sequences, since the file may be gone later.

    Raises:
      FileNotFoundError: there is no such file.
    """
    if sequences is None:
        return None
    if not sequences.is_file():
        raise FileNotFoundError(f"{sequences}: no such file; check --sequences")
    return {
        "name": sequences.name,
        "sha256": hashlib.sha256(sequences.read_bytes()).hexdigest(),
    }


def folder_name(dataset: str, source: Path | None, name: str | None) -> str | None:
    """Returns the name of a ``folder`` data set, None for the others, which have their own.

    Raises:
      ValueError: not a name, or given to another data set.
    """
    if dataset != "folder":
        if name is not None:
            raise ValueError(f"--name is for --dataset=folder; {dataset} has its own name")
        return None
    chosen = name or (source.stem if source.is_file() else source.name)
    if not re.fullmatch(r"\w[\w.-]{0,99}", chosen, re.ASCII):
        raise ValueError(
            f"{chosen!r} cannot be the name of a data set, which DATASET:SPLIT must hold; choose "
            "one of up to 100 letters a-z, digits, _ - . with --name"
        )
    return chosen


def parser(description: str) -> argparse.ArgumentParser:
    """Makes the command line; its values are the arguments of `data_prep.prepare.prepare`."""
    made = argparse.ArgumentParser(
        prog="python -m data_prep.prepare",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--dataset", required=True, choices=DATA_SETS, help="which data set")
    add("--data_dir", required=True, help="where prepared data sets lie, e.g. data")
    add("--source", help=SOURCE_HELP)
    add("--name", help="folder only: name of the data set (default: last part of --source)")
    add(
        "--masks",
        help="folder only: truth as MASKS/VIDEO/FRAME.png, non-zero = object, for some or all "
        "frames (those of a video file are named 00000, 00001, ...); makes a split val",
    )
    add(
        "--sequences",
        metavar="FILE",
        help="youtube_vos only: IDs of the videos to prepare, one a line (default: all)",
    )
    add(
        "--fbms_compatibility",
        action="store_true",
        help="fbms59 only: masks by the grey level of the truth images, as earlier systems have it",
    )
    add("--max_gap", type=int, default=3, help="frames between the two of a pair (default: 3)")
    add(
        "--flow",
        default="dis",
        choices=sorted(ESTIMATORS),
        help="estimator (default: dis); still images need no flow, so for "
        f"{', '.join(one.name for one in DATA_SETS.values() if one.stills)} this, --flow_size and "
        "--max_gap mean nothing",
    )
    add(
        "--flow_size",
        default="640x384",
        help="WIDTHxHEIGHT to which frames are shrunk for flow, never enlarged, turned for upright "
        "videos; or native (default: 640x384)",
    )
    add(
        "--flow_weights",
        metavar="FILE",
        help=f"checkpoint (.pth) of a network ({', '.join(NETWORKS)})",
    )
    add(
        "--flow_iterations",
        type=int,
        default=FlowOptions.iterations,
        help=f"updates of RAFT (default: {FlowOptions.iterations})",
    )
    add(
        "--flow_precision",
        default=FlowOptions.precision,
        choices=PRECISIONS,
        help=f"in which networks compute (default: {FlowOptions.precision})",
    )
    add(
        "--flow_source",
        metavar="DIR",
        help="precomputed only: flow that other tools computed, as DIR/gapGAP/VIDEO/FRAME.flo (or "
        "KITTI's .png, .npz, .npy), from each frame to the one GAP frames later, GAP = 1, -1, 2, "
        "-2, ... up to --max_gap",
    )
    add("--jobs", type=int, help="videos worked on at once (default: one per processor)")
    add(
        "--runner",
        help="of Apache Beam, to work on the videos elsewhere than in --jobs processes, e.g. "
        "DirectRunner, DataflowRunner; see docs/preparing_at_scale.md",
    )
    add(
        "--beam_options",
        metavar="OPTIONS",
        help='of the runner: --beam_options="--flag=value --flag"',
    )
    add("--overwrite", action="store_true", help="replace what was prepared with other settings")
    add("--skip_bad", action="store_true", help="leave out videos that cannot be prepared")
    return made
