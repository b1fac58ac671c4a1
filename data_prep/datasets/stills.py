"""Pairs still images with their truth, and reads it, for all data sets of still images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from data_prep.builder import Plan
from data_prep.sources.discover import NO_IMAGE, files_beside_images, list_images, not_read
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import check_layout, file_stamp, some
from data_prep.sources.truth import Truth
from dystab_jax.data.folders import by_name
from dystab_jax.data.mask_files import read_bright_truth

THRESHOLD = 128
"""Object is what is brighter."""
ASPECT_TOLERANCE = 0.02
"""By how much the proportions of a truth may differ from its image's, as a share."""


@dataclass(frozen=True)
class GreyFile:
    """Names the truth of one image: object where its grey level is above `THRESHOLD`.

    Some truths have another size than their image. If the proportions agree, the truth is brought
    to the size of the image by nearest neighbour; otherwise it cannot belong to it.
    """

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""
        mask = read_bright_truth(self.path, THRESHOLD)
        if mask.shape == shape:
            return Truth(mask)
        (height, width), (rows, columns) = shape, mask.shape
        if abs(columns * height / (rows * width) - 1) >= ASPECT_TOLERANCE:
            raise ValueError(
                f"{self.path}: truth of {columns}x{rows} for an image of {width}x{height}; their "
                "proportions must agree"
            )
        return Truth(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""
        return [file_stamp(self.path)]


def pair(
    dataset: str, images: Iterable[Path], truths: Iterable[Path]
) -> tuple[list[ImageFiles], list[str]]:
    """Pairs images with the truths of the same name.

    Args:
      dataset: for messages.
      images: image files.
      truths: truth files.

    Returns:
      One source per image that has a truth, in the order of the images, and notes on the others.

    Raises:
      ValueError: two images or two truths have the same name.
    """
    images, truths = by_name(images), by_name(truths)
    paired = [
        ImageFiles(path.stem, path.parent, (path,), {path.stem: GreyFile(truths[name])})
        for name, path in images.items()
        if name in truths
    ]
    notes = []
    for here, there, what in ((images, truths, "truth"), (truths, images, "image")):
        alone = [path.name for name, path in here.items() if name not in there]
        if alone:
            notes.append(f"{dataset}: no {what} for {some(alone)}; left out")
    return paired, notes


def count_note(spec: str, found: int, complete: int) -> list[str]:
    """Notes that a split has not as many images as it should, if so."""
    return [] if found == complete else [f"{spec} is not complete: {found} of {complete} images"]


def plan_test_set(dataset: str, source: Path, folders: Sequence[str], complete: int) -> Plan:
    """Plans a set that is used for testing as a whole.

    Args:
      dataset: its name.
      source: the --source.
      folders: in it, of images and of truths.
      complete: how many images there should be.

    Raises:
      FileNotFoundError: SOURCE does not hold these folders.
      ValueError: no image has a truth, or two files have the same name.
    """
    check_layout(source, folders)
    images, truths = (list_images(source / folder) for folder in folders)
    videos, notes = pair(dataset, images, truths)
    if not videos:
        raise ValueError(
            f"{source}: {len(images)} images in {folders[0]}, {len(truths)} truths in "
            f"{folders[1]}, and no two of the same name"
        )
    strange = [path for folder in folders for path in files_beside_images(source / folder)]
    notes += not_read(strange, "file", source, NO_IMAGE)
    notes += count_note(f"{dataset}:test", len(videos), complete)
    return Plan(tuple(videos), (), {"test": tuple(one.name for one in videos)}, tuple(notes))
