"""Plans ``fbms59``: Freiburg-Berkeley Motion Segmentation (59 sequences), original layout.

    SOURCE/Trainingset/NAME/NAME_0001.jpg, ...
    SOURCE/Trainingset/NAME/GroundTruth/NAMEDef.dat and the truth images that it names
    SOURCE/Testset/NAME/...

Either set will do. From "Motion Segmentation, FBMS-59" of the Computer Vision Group, University of
Freiburg (https://lmb.informatik.uni-freiburg.de/resources/datasets/), for research only.

Splits: train (Trainingset, no masks), test (labelled frames of Testset: those that are scored),
test_unlabelled (all frames of Testset, no masks) and train_labelled (labelled frames of
Trainingset). Complete: 29 sequences for training, 30 for test with 367 labelled frames.

A truth image marks region i of the .dat file by its "scale": the grey level of a .pgm, or
R·65536 + G·256 + B of a _gt.ppm. Beside the latter lie _gt.pgm and PROB_gt.ppm, which grade how
certain the truth is and are not truth. Region 0 is the background, everything else is foreground.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.builder import Plan, RecordsBuilder
from data_prep.sources.discover import list_images
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import check_layout, file_stamp, some
from data_prep.sources.truth import Truth
from dystab_jax.data import mask_files
from dystab_jax.data.folders import composed, list_files, list_folders, on_disk
from dystab_jax.data.mask_rule import VOID, foreground
from dystab_jax.data.text_files import read_text

FOLDERS = {"train": "Trainingset", "test": "Testset"}
SEQUENCES = {"train": 29, "test": 30}
LABELLED = {"test": 367}
WHITE = 0xFFFFFF
"""Background of the colour images; that of the grey ones is 0."""
STRANGE_SHARE = 0.01
"""Up to this share of pixels may have a colour of no region; they become void."""
COMPATIBLE_LEVEL, COMPATIBLE_LEVELS = 0.1, {"marple7": 0.05, "marple2": 0.4}
"""Grey levels, of 1, above which earlier systems take a pixel for foreground."""


class Fbms59(RecordsBuilder):
    """Writes the records of ``fbms59``."""


BUILDER = Fbms59


@dataclass(frozen=True)
class Definition:
    """Holds what a .dat file says.

    Attributes:
      scales: colour of each region, in order; the first is the background.
      frames: how many the sequence has.
      labels: (number of the frame from 0, name of its truth image, name of its image) of each
        labelled frame.
    """

    scales: tuple[int, ...]
    frames: int
    labels: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class RegionFile:
    """Names a truth image, and how its colours are to be read.

    Attributes:
      path: the image.
      scales: colour of each region, see `Definition`.
      level: where given, the mask is what is brighter than this share of white without being
        white in a colour image, whatever its region: the rule of earlier systems.
    """

    path: Path
    scales: tuple[int, ...]
    level: float | None = None

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""
        colours, in_colour = mask_files.read_colour_codes(self.path)
        regions = np.full(colours.shape, VOID, np.uint8)
        numbers = {WHITE if in_colour else 0: 0}
        numbers |= {scale: number for number, scale in enumerate(self.scales)}
        for scale, number in numbers.items():
            regions[colours == scale] = number
        strange = ~np.isin(colours, list(numbers))
        if strange.mean() > STRANGE_SHARE:
            raise ValueError(
                f"{self.path}: {strange.mean():.0%} of the pixels have a colour of no region, such "
                f"as {colours[strange][0]}; the .dat file beside it lists {list(self.scales)}"
            )
        if self.level is None:
            return Truth(foreground(regions), regions)
        grey = mask_files.read_grey_levels(self.path) / 255
        mask = grey > self.level
        if in_colour:
            mask &= grey <= 0.99
        return Truth(mask.astype(np.uint8), regions)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""
        return [file_stamp(self.path), list(self.scales), self.level]


def plan(source: Path, fbms_compatibility: bool = False) -> Plan:
    """Reads the sequences and their .dat files and compares them with the complete data set.

    Args:
      source: the directory that holds Trainingset, Testset or both.
      fbms_compatibility: masks by the grey level of the truth image, as earlier systems do it,
        instead of by its regions.

    Raises:
      FileNotFoundError: it does not hold these.
      ValueError: a .dat file is malformed, a sequence is in both, or there is none at all.
    """
    check_layout(source, tuple(FOLDERS.values()), every=False)
    videos: dict[str, list[ImageFiles]] = {}
    notes: list[str] = []
    for split, folder in FOLDERS.items():
        videos[split] = []
        for sequence in list_folders(source / folder) if (source / folder).is_dir() else ():
            video, found = _read_sequence(sequence, fbms_compatibility)
            videos[split].append(video)
            notes += found
        notes += _missing(split, videos[split])
    everything = [video for row in videos.values() for video in row]
    if not everything:
        raise ValueError(f"{source}: no sequence in {' or '.join(FOLDERS.values())}")
    twice = {video.name for video in videos["train"]} & {video.name for video in videos["test"]}
    if twice:
        raise ValueError(f"{source}: in Trainingset as well as in Testset: {some(sorted(twice))}")
    truth = {"test": _labelled(videos["test"]), "train_labelled": _labelled(videos["train"])}
    return Plan(
        tuple(everything),
        tuple(video.name for video in videos["train"]),
        {split: names for split, names in truth.items() if names},
        tuple(notes),
        {"test_unlabelled": tuple(video.name for video in videos["test"])},
    )


def _read_sequence(folder: Path, compatible: bool) -> tuple[ImageFiles, list[str]]:
    name, images = folder.name, list_images(folder)
    definition = folder / "GroundTruth" / f"{name}Def.dat"
    found = list_files(definition.parent, (".dat",)) if definition.parent.is_dir() else []
    found = [path for path in found if path.stem.lower().endswith("def")]
    if len(found) == 1:
        definition = found[0]
    if not definition.is_file():
        return ImageFiles(name, folder, images), [f"fbms59: {definition} is absent, so no truth"]
    said = read_definition(definition)
    level = COMPATIBLE_LEVELS.get(name, COMPATIBLE_LEVEL) if compatible else None
    notes = []
    if len(images) != said.frames:
        notes.append(f"fbms59: {name} has {len(images)} of {said.frames} frames")
    if said.scales[0] not in (0, WHITE):
        notes.append(f"fbms59: region 0 of {definition} is coloured, yet taken for background")
    stems = [composed(path.stem) for path in images]
    masks, absent = {}, []
    for number, truth, image in said.labels:
        stem = composed(Path(image).stem)
        if stem not in stems and len(images) == said.frames and 0 <= number < len(stems):
            stem = stems[number]
        if stem in stems:
            frame = images[stems.index(stem)].stem
            masks[frame] = RegionFile(on_disk(definition.parent / truth), said.scales, level)
        else:
            absent.append(stem)
    if absent:
        notes.append(f"fbms59: {name}: no image of the labelled frames {some(absent)}")
    return ImageFiles(name, folder, images, masks), notes


def read_definition(path: Path) -> Definition:
    """Reads a .dat file: headings, each followed by its value; other lines are passed over.

    Raises:
      ValueError: a heading or its value is missing or malformed; names the heading.
    """
    lines = [line.strip() for line in read_text(path, errors="replace").splitlines()]
    rows = iter([line for line in lines if line])

    def value(heading: str) -> str:
        for line in rows:
            if line.lower().startswith(heading):
                for text in rows:
                    return text
        raise ValueError(f"{path}: cut off or malformed: no line {heading!r} with a value after it")

    def number(heading: str) -> int:
        text = value(heading)
        try:
            return int(text)
        except ValueError as error:
            raise ValueError(f"{path}: {text!r} after {heading!r}; expected a number") from error

    scales = tuple(
        number(f"scale of region {region}:") for region in range(number("total number of regions:"))
    )
    frames = number("total number of frames in this shot:")
    labels = tuple(
        (number("frame number:"), value("file name:"), value("input file name:"))
        for _ in range(number("total number of labeled frames for this shot:"))
    )
    if not 1 < len(scales) < VOID:
        raise ValueError(f"{path}: {len(scales)} regions; expected 2 to {VOID - 1}")
    return Definition(scales, frames, labels)


def _labelled(videos: Iterable[ImageFiles]) -> tuple[str, ...]:
    return tuple(video.name for video in videos if video.masks)


def _missing(split: str, videos: list[ImageFiles]) -> list[str]:
    labelled = sum(len(video.masks) for video in videos)
    wanted = LABELLED.get(split, labelled)
    if (len(videos), labelled) == (SEQUENCES[split], wanted):
        return []
    return [
        f"fbms59:{split} is not complete: {len(videos)} of {SEQUENCES[split]} sequences, "
        f"{labelled} of {LABELLED.get(split, 'their')} labelled frames"
    ]
