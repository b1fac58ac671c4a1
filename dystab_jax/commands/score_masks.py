"""Scores any masks against ground truth, from two folders of PNG files.

    python -m dystab_jax.evaluate --protocol=davis2016 --masks=DIR --truth=DIR --output=FILE.json
    python -m dystab_jax.evaluate --masks=DIR --truth=fbms59:test --data_dir=data --output=FILE.json

Nothing of the model is needed: any method's masks in the official layouts can be scored. The truth
is a folder of PNG files or a data set that `data_prep.prepare` made.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dystab_jax.data import mask_files
from dystab_jax.data.folders import composed
from dystab_jax.evaluation.mask_folders import find_predictions, list_masks
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.truth_source import TruthSet, from_folder, from_records, read_list
from dystab_jax.runtime.disk import replace_file
from dystab_jax.runtime.paths import user_path

HELP = """\
Score masks against ground truth.

Predictions lie as DIR/SEQUENCE/FRAME.png, as run.py --mode=predict leaves them
(DIR/SEQUENCE/masks/FRAME.png), below folders such as DIR/Annotations or DIR/480p, or, of a single
sequence or of still images, as DIR/FRAME.png; the truth as SEQUENCE/FRAME.png or IMAGE.png with the
same names, also below Annotations, Annotations_unsupervised and 480p. Or the
truth is a prepared data set: --truth=fbms59:test --data_dir=data. The frames scored are those of
the truth (davis2016: without the first and last of every sequence, which need no prediction
either). Object is 255 in {0, 255} images, 1 in {0, 1} and 1-bit images, one
half and above in antialiased ones, every index but 0 in palette images, every colour but black;
davis2017 and fbms59 take objects apart by the indices of palette images. Index 255 is void in a
sequence whose truth also has numbers, else object. Soft maps are for saliency alone (grey, 255 =
certain): threshold them first, after resizing, for the others.
"""


def load_videos(
    masks: Path, truth: TruthSet, prediction: str = "masks"
) -> tuple[dict[str, registry.Video], list[str]]:
    """Pairs truth with predictions; the images are read by the protocol, frame by frame.

    Args:
      masks: predictions, in a layout of `mask_folders`.
      truth: what is scored.
      prediction: how they are read, `prediction` of a protocol: "masks", "objects" or "maps".

    Returns:
      Videos by name, sorted, and a line on each thing in `masks` that is not scored.

    Raises:
      FileNotFoundError: no such folder, sequences have no folder, or none of its names fits.
      ValueError: masks lie in several folders of equal right.
    """
    paths, notes = _prediction_paths(masks, truth, prediction)
    if prediction == "maps":
        there = [path for row in paths.values() for path in row if path.is_file()]
        read = partial(mask_files.read_map, highest=mask_files.highest_level(there))
    else:
        readers = {"masks": mask_files.read_mask, "objects": mask_files.read_predicted_numbers}
        read = readers[prediction]
    videos = {}
    for name, row in paths.items():
        true = truth.videos[name]
        videos[name] = registry.Video(
            truth=true.masks,
            regions=true.regions,
            frame_names=[str(path) for path in row],
            **{prediction: [partial(read, path) for path in row]},
        )
    return videos, notes


def table(result: Mapping) -> str:
    """Returns a table of every sequence's scores and of all together; of stills all together."""
    protocol = registry.protocol(result["protocol"])
    rows = []
    if result["frames"] > result["sequences"]:
        rows += [
            (name, row, protocol.sequence_columns) for name, row in result["per_sequence"].items()
        ]
    rows.append(("mean", result, protocol.columns))
    width = max(len("sequence"), *(len(name) for name, _, _ in rows))
    titles = [f"{title:>8}" for title in protocol.columns]
    lines = ["  ".join([f"{'sequence':{width}}", "frames", *titles])]
    for name, row, columns in rows:
        # Some scores are those of the whole data set alone.
        scores = [
            f"{row[columns[title]]:{len(text)}.4f}" if title in columns else " " * len(text)
            for title, text in zip(protocol.columns, titles, strict=True)
        ]
        lines.append("  ".join([f"{name:{width}}", f"{row['frames']:6}", *scores]))
    if "frame_mean_j" in result:
        lines.append(f"mean over all frames: J {result['frame_mean_j']:.4f}")
    if "objects_found" in result:
        lines.append(f"objects with F above 0.75: {result['objects_found']} of {result['objects']}")
    if "per_object" in result:
        lines.append(f"the mean is over {result['objects']} objects")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 after printing one line on what failed."""
    arguments = _parser().parse_args(argv)
    try:
        masks, output = user_path(arguments.masks), user_path(arguments.output)
        sequences = _sequences(arguments.sequences) if arguments.sequences else None
        if arguments.data_dir:
            truth = from_records(user_path(arguments.data_dir), arguments.truth, sequences)
        else:
            truth = from_folder(user_path(arguments.truth), sequences)
        score = registry.protocol(arguments.protocol or truth.protocol)
        videos, notes = load_videos(masks, truth, score.prediction)
        _require_masks(videos, score)
        result = score(videos, jobs=arguments.jobs)
        # Shown before it is written, so that a path that cannot be written loses nothing.
        print(f"{truth.dataset}:{truth.split}, protocol {score.name}\n{table(result)}")
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        report = registry.report(
            truth.dataset,
            truth.split,
            {("masks", arguments.crf): result},
            oracle=arguments.oracle,
        )
        replace_file(output, json.dumps(report, indent=1) + "\n")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written to {output}")
    return 0


def _prediction_paths(
    masks: Path, truth: TruthSet, kind: str
) -> tuple[dict[str, list[Path]], list[str]]:
    """Returns the files of the frames of every video, and a line on each that is not scored."""
    stills = all(true.frame_names == [name] for name, true in truth.videos.items())
    folders, others = find_predictions(masks, truth.videos, stills, kind)
    notes = [f"sequences in {masks} that are not scored: {', '.join(others)}"] if others else []
    frames: dict[Path, list[str]] = {}
    for name, folder in folders.items():
        frames.setdefault(folder, []).extend(truth.videos[name].frame_names)
    listed = {folder: list_masks(folder) for folder in frames}
    for folder, names in frames.items():
        there = listed[folder]
        wanted = set(map(composed, names))
        extra = [path.name for name, path in there.items() if name not in wanted]
        if len(extra) == len(there):
            found = f"{len(there)} masks named like {extra[0]}" if extra else "no mask"
            raise FileNotFoundError(
                f"{folder} has {found}; expected {names[0]}.png and so on, as in the truth"
            )
        if extra:
            notes.append(f"{folder} has {len(extra)} frames without truth, such as {extra[0]}")
    paths = {
        name: [
            listed[folder].get(composed(frame), folder / f"{frame}.png")
            for frame in truth.videos[name].frame_names
        ]
        for name, folder in folders.items()
    }
    return paths, notes


def _require_masks(videos: Mapping[str, registry.Video], score: registry.Protocol) -> None:
    """Checks, before the first is scored, that there is a mask of each frame that will be."""
    wanted = [
        Path(video.frame_name(frame)) for video in videos.values() for frame in score.frames(video)
    ]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}: no such file; {len(missing)} of the {len(wanted)} masks that protocol "
            f"{score.name} scores are missing; add them, or leave their sequences out of "
            "--sequences"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dystab_jax.evaluate",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help=f"frames scored and way of averaging: {', '.join(registry.PROTOCOLS)} (default: the "
        "main one of the data set; for other folders all_frames, for still images saliency)",
    )
    parser.add_argument(
        "--masks", required=True, metavar="DIR", help="predictions, SEQUENCE/FRAME.png"
    )
    parser.add_argument(
        "--truth",
        required=True,
        metavar="DIR|DATASET:SPLIT",
        help="ground truth, SEQUENCE/FRAME.png, or the root of DAVIS-2016 or DAVIS-2017 (with "
        "Annotations/480p), of which the sequences in ImageSets/480p/val.txt or "
        "ImageSets/2017/val.txt are scored; with --data_dir the name of a prepared data set",
    )
    parser.add_argument(
        "--data_dir",
        metavar="DIR",
        help="where prepared data sets lie, the --data_dir of data_prep.prepare",
    )
    parser.add_argument("--output", required=True, metavar="FILE.json", help="where the scores go")
    parser.add_argument(
        "--sequences",
        metavar="FILE|a,b,c",
        help="score these only: names with commas between them, or a file with one name (or one "
        "DAVIS list entry) a line; default: all sequences of the truth",
    )
    parser.add_argument(
        "--crf",
        default="none",
        metavar="NAME",
        help="how the masks were post-processed, for the report (default: %(default)s)",
    )
    parser.add_argument(
        "--oracle",
        action="store_true",
        help="say in the report that ground truth chose which region is the object",
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=os.cpu_count(),
        metavar="N",
        help="frames scored at once (default: the number of processors, %(default)s here)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _sequences(text: str) -> list[str]:
    if text.strip() and os.path.isfile(user_path(text)):  # a long text is no path
        return read_list(user_path(text))
    if text.endswith(".txt"):
        raise FileNotFoundError(f"{text} does not exist; --sequences expects a file or a,b,c")
    return sorted({name.strip() for name in text.split(",") if name.strip()})
