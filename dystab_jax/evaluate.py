"""Scores anybody's masks against ground truth, from two folders of PNG files.

    python -m dystab_jax.evaluate --protocol=davis2016 --masks=DIR --truth=DIR --output=FILE.json

Masks and truth lie as DIR/SEQUENCE/FRAME.png. Nothing of the model is needed: any method's
masks in the official DAVIS layout can be scored.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dystab_jax import protocols

HELP = """\
Score masks against ground truth.

Both folders hold one folder per sequence with one PNG per frame, the same names on both sides:
DIR/SEQUENCE/FRAME.png. The frames scored are those of the truth (davis2016: without the first
and last of every sequence, which need no prediction either). Object is 255 in {0, 255} images,
1 in {0, 1} and 1-bit images, every index but 0 in palette images. Soft maps are refused:
threshold them first, after resizing.
"""

COLUMNS = {"J": "j", "J recall": "recall_j", "F": "f", "F recall": "recall_f"}
COLUMNS |= {"F beta": "f_beta", "MAE": "mae"}


def read_mask(path: str | Path) -> np.ndarray:
    """Reads a hard mask, whichever of the usual encodings it comes in.

    Grey, 1-bit and grey-valued RGB images (alpha is ignored): the upper half of the range where
    it is used, as in {0, 255}; otherwise 1, as in {0, 1}. Palette images: every index but 0,
    whatever the colours (255 is object too, as in DAVIS-2016); if all colours used are grey it
    is read as the grey image it looks like.

    Args:
      path: an image file, 8 bits per channel or fewer.

    Returns:
      uint8 [H, W], 1 = object.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is not a readable image, or not a hard mask; names the file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a mask (PNG)")
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Decoders raise whatever they like on broken files.
        raise ValueError(f"{path} is not a readable image ({error}); write it again") from error

    if image.mode not in ("1", "P", "L", "LA", "RGB", "RGBA"):
        raise ValueError(
            f"{path} has pixels of kind {image.mode}, expected 8-bit grey, 1-bit, palette or "
            "grey-valued RGB; write 0 for background and 255 for the object"
        )
    levels = np.asarray(image).astype(np.uint8)
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = np.unique(levels)
        if used[-1] >= len(palette) or not _is_grey(palette[used]):
            return (levels != 0).astype(np.uint8)
        levels = palette[levels]
    if image.mode in ("RGB", "RGBA") and not _is_grey(levels):
        raise ValueError(
            f"{path} is a colour image, expected a mask; write 0 for background and 255 for the "
            "object, or keep the palette if it shows labels"
        )
    if levels.ndim == 3:
        levels = levels[..., 0]
    highest = levels.max()
    if 1 < highest < 128:
        raise ValueError(
            f"{path} has grey levels up to {highest}, which can be labels or a soft map; write 0 "
            "for background and 255 for the object"
        )
    return (levels > (127 if highest > 1 else 0)).astype(np.uint8)


def load_videos(
    masks: Path, truth: Path, sequences: Sequence[str] | None = None
) -> tuple[dict[str, protocols.Video], list[str]]:
    """Finds the frames to score; the images are read by the protocol, frame by frame.

    Args:
      masks: predictions, SEQUENCE/FRAME.png.
      truth: ground truth, SEQUENCE/FRAME.png; its frames are the frames of a sequence.
      sequences: names to score; left out, all folders of `truth`.

    Returns:
      Videos by name, sorted, and a line on each thing in `masks` that is not scored.

    Raises:
      FileNotFoundError: a folder is missing or empty, or sequences have no truth or no masks.
    """
    for path, role in ((masks, "masks"), (truth, "truth")):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not a folder; --{role} expects one")
    with_masks, with_truth = _folders(masks), _folders(truth)
    names = with_truth if sequences is None else sorted(set(sequences))
    if not names:
        raise FileNotFoundError(f"{truth} has no folder; expected SEQUENCE/FRAME.png in it")
    _require(names, with_truth, truth, "pass names that are there to --sequences")
    _require(names, with_masks, masks, "add them, or pass the others to --sequences")

    ignored = sorted(set(with_masks) - set(names))
    notes = [f"sequences in {masks} that are not scored: {', '.join(ignored)}"] if ignored else []
    videos = {}
    for name in names:
        true = sorted((truth / name).glob("*.png"))
        if not true:
            raise FileNotFoundError(f"{truth / name} has no PNG file; expected FRAME.png in it")
        predicted = [masks / name / path.name for path in true]
        extra = {path.name for path in (masks / name).glob("*.png")} - {p.name for p in true}
        if extra:
            notes.append(
                f"{masks / name} has {len(extra)} frames without truth, such as {min(extra)}"
            )
        videos[name] = protocols.Video(
            truth=[functools.partial(read_mask, path) for path in true],
            masks=[functools.partial(read_mask, path) for path in predicted],
            frame_names=[str(path) for path in predicted],
        )
    return videos, notes


def table(result: dict) -> str:
    """The scores of every sequence and their mean over the sequences, as text."""
    mean = {key: result[{"j": "mean_j", "f": "mean_f"}.get(key, key)] for key in COLUMNS.values()}
    rows = [*result["per_sequence"].items(), ("mean", mean | {"frames": result["frames"]})]
    width = max(len("sequence"), *(len(name) for name, _ in rows))
    lines = [f"{'sequence':{width}}  frames" + "".join(f"  {title:>8}" for title in COLUMNS)]
    for name, row in rows:
        scores = "".join(f"  {row[key]:8.4f}" for key in COLUMNS.values())
        lines.append(f"{name:{width}}  {row['frames']:6}{scores}")
    lines.append(f"mean over all frames: J {result['frame_mean_j']:.4f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 after printing one line on what failed."""
    arguments = _parser().parse_args(argv)
    try:
        score = protocols.protocol(arguments.protocol)
        truth, sequences, dataset, split = arguments.truth, None, arguments.truth.name, "all"
        if (truth / "Annotations" / "480p").is_dir():
            dataset, split = "davis2016", "val"
            sequences = _read_list(truth / "ImageSets" / "480p" / "val.txt")
            truth = truth / "Annotations" / "480p"
        if arguments.sequences:
            split = "custom"
            sequences = _sequences(arguments.sequences)
        videos, notes = load_videos(arguments.masks, truth, sequences)
        result = score(videos, jobs=arguments.jobs)
        # Shown before it is written, so that a path that cannot be written loses nothing.
        print(table(result))
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        report = protocols.report(dataset, split, {("masks", "none"): result})
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dystab_jax.evaluate",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--protocol",
        required=True,
        metavar="NAME",
        help=f"frames scored and way of averaging: {', '.join(protocols.PROTOCOLS)}",
    )
    parser.add_argument(
        "--masks", required=True, type=Path, metavar="DIR", help="predictions, SEQUENCE/FRAME.png"
    )
    parser.add_argument(
        "--truth",
        required=True,
        type=Path,
        metavar="DIR",
        help="ground truth, SEQUENCE/FRAME.png, or the root of DAVIS-2016 (with Annotations/480p), "
        "of which the sequences in ImageSets/480p/val.txt are scored",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE.json", help="where the scores go"
    )
    parser.add_argument(
        "--sequences",
        metavar="FILE|a,b,c",
        help="score these only: names with commas between them, or a file with one name (or one "
        "DAVIS list entry) a line; default: all sequences of the truth",
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
    if Path(text).is_file():
        return _read_list(Path(text))
    if text.endswith(".txt"):
        raise FileNotFoundError(f"{text} does not exist; --sequences expects a file or a,b,c")
    return [name.strip() for name in text.split(",") if name.strip()]


def _read_list(path: Path) -> list[str]:
    """Sequence names from a list: plain names, or lines such as /JPEGImages/480p/NAME/0.jpg …"""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; name the sequences with --sequences")
    entries = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    names = [Path(entry).parent.name if "/" in entry else entry for entry in entries]
    if not names:
        raise ValueError(f"{path} is empty; expected one sequence name a line")
    return sorted(set(names))


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def _require(names: Sequence[str], there: Sequence[str], path: Path, advice: str) -> None:
    missing = sorted(set(names) - set(there))
    if missing:
        raise FileNotFoundError(f"{path} has no folder for {', '.join(missing)}; {advice}")


def _is_grey(colours: np.ndarray) -> bool:
    """Whether red, green and blue agree in all colours [..., 3 or 4]."""
    red = colours[..., 0]
    return bool((red == colours[..., 1]).all() and (red == colours[..., 2]).all())


if __name__ == "__main__":
    sys.exit(main())
