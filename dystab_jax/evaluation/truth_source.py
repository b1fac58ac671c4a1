"""Reads ground truth from a folder of PNG files or from a prepared data set."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dystab_jax.data import mask_files, records
from dystab_jax.data.folders import by_name, composed, list_folders
from dystab_jax.data.text_files import read_lines
from dystab_jax.evaluation.mask_folders import find_davis, find_truth, list_masks
from dystab_jax.evaluation.protocols.base import LazyArray
from dystab_jax.evaluation.protocols.registry import default_protocols


@dataclass(frozen=True)
class TruthVideo:
    """Holds the truth of one video, a function per frame that has truth, in temporal order.

    Attributes:
      frame_names: file names without ending.
      masks: hard masks; None where only the numbers of the objects are known.
      regions: object numbers, as in `base.Video`, None where they have none.
    """

    frame_names: list[str]
    masks: list[LazyArray] | None
    regions: list[LazyArray] | None


@dataclass(frozen=True)
class TruthSet:
    """Holds the truth of a data set.

    Attributes:
      dataset, split: for the report.
      protocol: name of the main protocol that suits it.
      videos: by name, sorted; a still image is a video of one frame.
    """

    dataset: str
    split: str
    protocol: str
    videos: dict[str, TruthVideo]


def from_folder(folder: Path, sequences: Sequence[str] | None = None) -> TruthSet:
    """Finds truth in SEQUENCE/FRAME.png, IMAGE.png, or the root of DAVIS-2016 or DAVIS-2017.

    Args:
      folder: where it lies, see `mask_folders`. Of a root, the sequences in ImageSets/480p/val.txt
        (2016) or ImageSets/2017/val.txt are taken.
      sequences: names to take instead.

    Raises:
      FileNotFoundError: a folder or list is missing or empty, or sequences are not there.
      ValueError: a truth is not a readable image, or there are several folders of truth.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; --truth expects one, or with --data_dir the name of a "
            "prepared data set"
        )
    dataset, split, protocol, listed = folder.name, "all", "all_frames", None
    davis = find_davis(folder)
    if davis is not None:
        year = "2017" if (folder / "ImageSets" / "2017" / "val.txt").is_file() else "480p"
        dataset, split = f"davis{2017 if year == '2017' else 2016}", "val"
        protocol = default_protocols(dataset)[0]
        if sequences is None:
            listed = read_list(folder / "ImageSets" / year / "val.txt")
    folder = find_truth(folder) if davis is None else davis
    if sequences is not None:
        split = "custom"

    chosen = listed if sequences is None else sequences
    videos = by_name(list_folders(folder), stem=False)
    images = list_masks(folder)
    what, there = ("folder", videos) if videos else ("image", images)
    protocol = protocol if videos else "saliency"
    chosen = sorted(there) if chosen is None else sorted(set(map(composed, chosen)))
    _require(chosen, there, f"{folder} has no {what}")
    files = {name: _frames(videos[name]) if videos else [images[name]] for name in chosen}
    read = {name: _files_video(paths) for name, paths in files.items()}
    return TruthSet(dataset, split, protocol, read)


def from_records(data_dir: Path, spec: str, sequences: Sequence[str] | None = None) -> TruthSet:
    """Opens the truth of a prepared data set.

    Args:
      data_dir: where prepared data sets lie.
      spec: DATASET:SPLIT, as for `records.open_source`.
      sequences: names of videos to take; left out, all.

    Raises:
      FileNotFoundError: not prepared, or sequences are not there.
      ValueError: malformed spec, no such split, or the split has no truth.
    """
    source = records.open_source(data_dir, spec)
    # The first record of a frame; its other records differ in the flow.
    first: dict[str, dict[int, int]] = {}
    for position, key in enumerate(source.keys):
        first.setdefault(key.video, {}).setdefault(key.frame, position)
    dataset, split = spec.rsplit(":", 1)
    if sequences is not None:
        names = {composed(name): name for name in first}
        wanted = sorted(set(map(composed, sequences)))
        _require(wanted, names, f"{spec} has no video")
        first, split = {names[name]: first[names[name]] for name in wanted}, "custom"
    videos = {}
    for name, frames in sorted(first.items()):
        # In some data sets some frames alone have truth.
        positions = [
            frames[frame]
            for frame in sorted(frames)
            if "mask" in source.some(frames[frame], ("mask",))
        ]
        if positions:
            numbered = "regions" in source.some(positions[0], ("regions",))
            read = {
                part: [partial(_recorded, source, position, part) for position in positions]
                for part in ("mask", "regions")
            }
            videos[name] = TruthVideo(
                [source.frame_names[position] for position in positions],
                read["mask"],
                read["regions"] if numbered else None,
            )
    if not videos:
        raise ValueError(f"{spec} has no truth; name a split with masks, such as val or test")
    protocol = default_protocols(spec.partition(":")[0])[0]
    return TruthSet(dataset, split, protocol, videos)


def read_list(path: Path) -> list[str]:
    """Reads sequence names from a list: plain names, or lines such as /JPEGImages/480p/NAME/0.jpg.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is empty, or not text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; name the sequences with --sequences")
    lines = read_lines(path)
    names = [Path(line).parent.name if "/" in line else line for line in lines]
    if not names:
        raise ValueError(f"{path} is empty; expected one sequence name a line")
    return sorted(set(names))


def _frames(folder: Path) -> list[Path]:
    paths = list(list_masks(folder).values())
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no PNG file, nor another image; expected FRAME.png in it"
        )
    return paths


def _files_video(paths: list[Path]) -> TruthVideo:
    # Decided for the sequence: a frame that an object has left may hold void alone.
    numbered = mask_files.is_numbered_sequence(paths)
    read = mask_files.read_numbers if numbered else mask_files.read_mask
    frames = [partial(read, path) for path in paths]
    return TruthVideo(
        [path.stem for path in paths], None if numbered else frames, frames if numbered else None
    )


def _recorded(
    source: records.RecordSource | records.JoinedSource, position: int, part: str
) -> np.ndarray:
    return records.decode_record(source.some(position, (part,)), (part,))[part]


def _require(names: Sequence[str], there: Container[str], problem: str) -> None:
    missing = sorted(name for name in set(names) if name not in there)
    if missing:
        raise FileNotFoundError(
            f"{problem} for {', '.join(missing)}; pass names that are there to --sequences"
        )
