"""Finds sequences with one palette image per frame, as in DAVIS-2017 and YouTube-VOS."""

from collections.abc import Iterable
from pathlib import Path

from data_prep.sources.discover import list_images
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import some
from data_prep.sources.truth import IndexFile
from dystab_jax.data.folders import by_name, composed
from dystab_jax.data.text_files import read_lines


def numbered_video(name: str, images: Path, annotations: Path, stray: list[str]) -> ImageFiles:
    """Lists the files of one sequence with its truth.

    Args:
      name: of the sequence.
      images: folder of its frames.
      annotations: folder of its palette images, named like the frames; may be absent.
      stray: receives SEQUENCE/FRAME of each annotation that has no image; it is left out.
    """
    paths = list_images(images)
    found = by_name(list_images(annotations)) if annotations.is_dir() else {}
    frames = {composed(path.stem): path.stem for path in paths}
    stray += [f"{name}/{path.stem}" for stem, path in found.items() if stem not in frames]
    masks = {frames[stem]: IndexFile(path) for stem, path in found.items() if stem in frames}
    return ImageFiles(name, images, paths, masks)


def read_names(path: Path, there: Iterable[str]) -> list[str]:
    """Reads a list of sequences: one name a line, which may hold blanks; or several without any.

    Args:
      path: of the list.
      there: names of the folders of sequences.

    Returns:
      The names as the folders spell them; those of no folder as the list has them.
    """
    known = {composed(name): name for name in there}
    names: list[str] = []
    for line in map(composed, read_lines(path)):
        names += [line] if line in known else line.split()
    return [known.get(name, name) for name in names]


def stray_note(dataset: str, stray: list[str]) -> list[str]:
    """Notes annotations that have no image, if there are any."""
    return [f"{dataset}: no image for {len(stray)} annotations: {some(stray)}"] if stray else []
