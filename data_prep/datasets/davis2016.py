"""Plans ``davis2016``: the DAVIS 2016 benchmark in its original layout.

    SOURCE/JPEGImages/480p/SEQUENCE/00000.jpg
    SOURCE/Annotations/480p/SEQUENCE/00000.png
    SOURCE/ImageSets/480p/train.txt, val.txt
        lines "/JPEGImages/480p/SEQUENCE/00000.jpg /Annotations/480p/SEQUENCE/00000.png"

Splits: train (30 sequences, 2079 frames, no masks) and val (20 sequences, 1376 frames, with masks).
A part of the benchmark will do: what is absent is said, what is listed must exist.
"""

from pathlib import Path

from data_prep.builder import Plan, RecordsBuilder
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import hint
from data_prep.sources.truth import MaskFile, TruthFile
from dystab_jax.data.folders import on_disk
from dystab_jax.data.text_files import number_lines

SEQUENCES = {
    "train": (
        "bear bmx-bumps boat breakdance-flare bus car-turn dance-jump dog-agility drift-turn "
        "elephant flamingo hike hockey horsejump-low kite-walk lucia mallard-fly mallard-water "
        "motocross-bumps motorbike paragliding rhino rollerblade scooter-gray soccerball stroller "
        "surf swing tennis train"
    ).split(),
    "val": (
        "blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog "
        "drift-chicane drift-straight goat horsejump-high kite-surf libby motocross-jump "
        "paragliding-launch parkour scooter-black soapbox"
    ).split(),
}
FRAMES = {"train": 2079, "val": 1376}


class Davis2016(RecordsBuilder):
    """Writes the records of ``davis2016``."""


BUILDER = Davis2016


def plan(source: Path) -> Plan:
    """Reads the two lists and compares them with the complete benchmark.

    Raises:
      FileNotFoundError: SOURCE or both lists are missing.
      ValueError: a list is malformed or both are empty.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such directory; check --source")
    lists = {split: source / "ImageSets" / "480p" / f"{split}.txt" for split in FRAMES}
    if not any(path.is_file() for path in lists.values()):
        raise FileNotFoundError(
            f"{lists['val']}: no such file, and no train.txt beside it; --source must be the "
            "directory that holds JPEGImages, Annotations and ImageSets"
            + hint(source, ("JPEGImages", "ImageSets/480p"))
        )
    videos = {
        split: read_list(source, path, truth=split == "val")
        for split, path in lists.items()
        if path.is_file()
    }
    if not any(videos.values()):
        raise ValueError(f"{lists['val']} and train.txt beside it: no frame is listed")
    notes = [note for split in FRAMES for note in missing(split, videos.get(split, []))]
    names = {split: tuple(video.name for video in row) for split, row in videos.items()}
    return Plan(
        tuple(video for row in videos.values() for video in row),
        names.get("train", ()),
        {"val": names["val"]} if names.get("val") else {},
        tuple(notes),
    )


def read_list(source: Path, path: Path, truth: bool) -> list[ImageFiles]:
    """Reads the sequences of a list.

    Args:
      source: the --source, below which the listed files lie.
      path: of the list.
      truth: whether the sequences come with their masks.

    Raises:
      ValueError: a line is not of the form that the module shows.
    """
    images: dict[str, list[Path]] = {}
    masks: dict[str, dict[str, TruthFile]] = {}
    for number, line in number_lines(path):
        entries = line.split()
        if len(entries) != 2:
            raise ValueError(
                f"{path} line {number}: {line!r}; expected the paths of an image and its truth"
            )
        image, mask = (on_disk(source / entry.lstrip("/")) for entry in entries)
        images.setdefault(image.parent.name, []).append(image)
        masks.setdefault(image.parent.name, {})[image.stem] = MaskFile(mask)
    return [
        ImageFiles(name, frames[0].parent, tuple(frames), masks[name] if truth else {})
        for name, frames in images.items()
    ]


def missing(split: str, videos: list[ImageFiles]) -> list[str]:
    """Notes what a split lacks of the complete benchmark, if it lacks anything."""
    frames = sum(len(video.paths) for video in videos)
    if frames == FRAMES[split]:
        return []
    absent = sorted(set(SEQUENCES[split]) - {video.name for video in videos})
    return [
        f"davis2016:{split} is not complete: {len(videos)} of {len(SEQUENCES[split])} sequences, "
        f"{frames} of {FRAMES[split]} frames; absent: {' '.join(absent) or 'single frames only'}"
    ]
