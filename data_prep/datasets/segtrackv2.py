"""Plans ``segtrackv2``: the SegTrack v2 benchmark in its original layout.

    SOURCE/JPEGImages/NAME/*.bmp|png|jpg
    SOURCE/GroundTruth/NAME/*.bmp|png|jpg           one object
    SOURCE/GroundTruth/NAME/1/*, 2/*, ...           several objects, one folder each

From "SegTrack v2 Dataset" of Fuxin Li (https://web.engr.oregonstate.edu/~lif/SegTrack2/), for
research only.

Splits: train (all sequences, no masks) and test (all sequences, with truth). Complete: 14
sequences, 976 frames, 24 objects. Images and masks may have different endings; they belong together
by name, or else by order where there are as many of one as of the other. Masks are grey with soft
borders: object is what is at least half bright. The mask of several objects is their union.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.builder import Plan, RecordsBuilder
from data_prep.sources.discover import list_images
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import check_layout, file_stamp, some
from data_prep.sources.truth import Truth
from dystab_jax.data.folders import by_name, composed, list_folders, on_disk
from dystab_jax.data.mask_files import read_bright_truth
from dystab_jax.data.mask_rule import foreground

SEQUENCES, FRAMES, OBJECTS = 14, 976, 24
HALF = 127


class Segtrackv2(RecordsBuilder):
    """Writes the records of ``segtrackv2``."""


BUILDER = Segtrackv2


@dataclass(frozen=True)
class ObjectFiles:
    """Names the masks of all objects in one frame; where they overlap, the later one counts."""

    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """Returns the first file, for messages."""
        return self.paths[0]

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""
        masks = [read_bright_truth(path, HALF) for path in self.paths]
        for path, mask in zip(self.paths, masks, strict=True):
            if mask.shape != masks[0].shape:
                raise ValueError(f"{path}: its size is not that of {self.path}")
        if len(masks) == 1:
            return Truth(masks[0])
        regions = np.zeros_like(masks[0])
        for number, mask in enumerate(masks, 1):
            regions[mask == 1] = number
        return Truth(foreground(regions), regions)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""
        return [file_stamp(path) for path in self.paths]


def plan(source: Path) -> Plan:
    """Pairs frames with masks and compares what there is with the complete benchmark.

    Raises:
      FileNotFoundError: SOURCE does not hold JPEGImages and GroundTruth.
      ValueError: no sequence in it, or masks of which it is not clear to which frames they belong.
    """
    check_layout(source, ("JPEGImages", "GroundTruth"))
    notes: list[str] = []
    videos, objects = [], 0
    for folder in list_folders(source / "JPEGImages"):
        images, truth = list_images(folder), on_disk(source / "GroundTruth" / folder.name)
        folders = list_folders(truth) or [truth] if truth.is_dir() else []
        masks = [_masks_of(images, one, notes) for one in folders]
        _check_objects(folders, masks)
        objects += len(folders)
        frames = masks[0] if masks else {}
        files = {name: ObjectFiles(tuple(one[name] for one in masks)) for name in frames}
        videos.append(ImageFiles(folder.name, folder, images, files))
        if len(files) < len(images):
            notes.append(
                f"segtrackv2: {folder.name}: {len(files)} of {len(images)} frames have a mask"
            )
    if not videos:
        raise ValueError(f"{source / 'JPEGImages'}: no sequence in it")
    frames = sum(len(video.paths) for video in videos)
    if (len(videos), frames, objects) != (SEQUENCES, FRAMES, OBJECTS):
        notes.append(
            f"segtrackv2 is not complete: {len(videos)} of {SEQUENCES} sequences, {frames} of "
            f"{FRAMES} frames, {objects} of {OBJECTS} objects"
        )
    labelled = tuple(video.name for video in videos if video.masks)
    return Plan(
        tuple(videos),
        tuple(video.name for video in videos),
        {"test": labelled} if labelled else {},
        tuple(notes),
    )


def _masks_of(images: tuple[Path, ...], folder: Path, notes: list[str]) -> dict[str, Path]:
    """Returns the masks in a folder by the names of their frames."""
    masks, names = list_images(folder), {composed(path.stem): path.stem for path in images}
    named = by_name(masks)
    if all(stem in names for stem in named):
        return {names[stem]: path for stem, path in named.items()}
    if len(masks) == len(images):
        notes.append(f"segtrackv2: {folder}: masks belong to frames by order, not by name")
        return {image.stem: mask for image, mask in zip(images, masks, strict=True)}
    strange = [path.name for stem, path in named.items() if stem not in names]
    raise ValueError(
        f"{folder}: {len(masks)} masks for {len(images)} frames, and no frame is called like "
        f"{some(strange)}; expected names of frames, or as many masks as frames"
    )


def _check_objects(folders: list[Path], masks: list[dict[str, Path]]) -> None:
    for folder, one in zip(folders, masks, strict=True):
        different = sorted(set(one) ^ set(masks[0]))
        if different:
            raise ValueError(
                f"{folder}: every object needs a mask in the same frames, but this one and "
                f"{folders[0].name} differ at {some(different)}"
            )
