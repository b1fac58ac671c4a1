"""Finds sequences with one palette image per frame, as in DAVIS-2017 and YouTube-VOS."""

from pathlib import Path

from data_prep.sources.discover import list_images
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import some
from data_prep.sources.truth import IndexFile


def numbered_video(name: str, images: Path, annotations: Path, stray: list[str]) -> ImageFiles:
    """Lists the files of one sequence with its truth.

    Args:
      name: of the sequence.
      images: folder of its frames.
      annotations: folder of its palette images, named like the frames; may be absent.
      stray: receives SEQUENCE/FRAME of each annotation that has no image; it is left out.
    """
    paths = list_images(images)
    found = list_images(annotations) if annotations.is_dir() else ()
    frames = {path.stem for path in paths}
    stray += [f"{name}/{path.stem}" for path in found if path.stem not in frames]
    masks = {path.stem: IndexFile(path) for path in found if path.stem in frames}
    return ImageFiles(name, images, paths, masks)


def stray_note(dataset: str, stray: list[str]) -> list[str]:
    """Notes annotations that have no image, if there are any."""
    return [f"{dataset}: no image for {len(stray)} annotations: {some(stray)}"] if stray else []
