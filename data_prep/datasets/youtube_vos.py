"""Plans ``youtube_vos``: the training videos of YouTube-VOS (2018, 2019) in their original layout.

    SOURCE/train/JPEGImages/ID/00000.jpg
    SOURCE/train/Annotations/ID/00000.png           palette: 1, 2, ... = objects
    SOURCE/train/meta.json
    SOURCE/train_all_frames/JPEGImages/ID/...       where downloaded as well: the other frames

SOURCE may also be the train folder itself. Truth is public for these videos only; every fifth frame
has it. The plain download holds just those frames; flow between neighbours needs all of them.
From https://youtube-vos.org, for research only.

Splits: train (no masks) and labelled (the annotated frames). A file of IDs, one a line, restricts
both to a split that the user names. Complete: 3471 videos.
"""

import json
from pathlib import Path

from data_prep.builder import Plan, RecordsBuilder
from data_prep.datasets.numbered import numbered_video, read_names, stray_note
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import check_layout, some
from dystab_jax.data.folders import composed, list_folders, on_disk
from dystab_jax.data.text_files import read_text

VIDEOS = 3471


class YoutubeVos(RecordsBuilder):
    """Writes the records of ``youtube_vos``."""


BUILDER = YoutubeVos


def plan(source: Path, sequences: Path | None = None) -> Plan:
    """Lists the videos and compares them with meta.json and with the complete set.

    Args:
      source: the directory that holds train, or train itself.
      sequences: a file of IDs that restricts the data set.

    Raises:
      FileNotFoundError: SOURCE holds no such layout; the list does not exist.
      ValueError: meta.json or the list is malformed or names videos that are not there.
    """
    layout = ("JPEGImages", "Annotations", "meta.json")
    if (source / "train").is_dir():
        source = source / "train"
    check_layout(source, layout)
    images, notes = _images(source)
    found = sorted(folder.name for folder in list_folders(images))
    known = _read_meta(source / "meta.json")
    there = set(map(composed, found))
    strange, absent = sorted(there - known), sorted(known - there)
    if strange:
        notes.append(f"youtube_vos: not in meta.json: {some(strange)}")
    if absent:
        notes.append(
            f"youtube_vos: {len(absent)} videos of meta.json have no images: {some(absent)}"
        )
    if len(found) != VIDEOS:
        notes.append(f"youtube_vos is not complete: {len(found)} of {VIDEOS} videos")
    chosen = found if sequences is None else _read_list(sequences, images, found)
    stray: list[str] = []
    videos = tuple(
        numbered_video(name, images / name, on_disk(source / "Annotations" / name), stray)
        for name in chosen
    )
    if not videos:
        raise ValueError(f"{images}: no video in it")
    notes += [*stray_note("youtube_vos", stray), *_sparse(videos[0])]
    labelled = tuple(video.name for video in videos if video.masks)
    return Plan(videos, tuple(chosen), {"labelled": labelled} if labelled else {}, tuple(notes))


def _images(source: Path) -> tuple[Path, list[str]]:
    every = source.parent / "train_all_frames" / "JPEGImages"
    if every.is_dir():
        return every, [f"youtube_vos: all frames, from {every}"]
    return source / "JPEGImages", []


def _sparse(video: ImageFiles) -> list[str]:
    numbers = [int(path.stem) for path in video.paths if path.stem.isdecimal()]
    if len(numbers) < 2 or numbers[1] - numbers[0] == 1:
        return []
    return [
        f"youtube_vos: frames are {numbers[1] - numbers[0]} apart ({video.name}), so flow spans "
        "more than its gap says; put train_all_frames beside train for flow between neighbours"
    ]


def _read_meta(path: Path) -> set[str]:
    try:
        return set(map(composed, json.loads(read_text(path))["videos"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: malformed ({error}); expected a dictionary 'videos'") from error


def _read_list(path: Path, images: Path, found: list[str]) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check --sequences")
    chosen = read_names(path, found)
    absent = [name for name in chosen if name not in set(found)]
    if absent or not chosen:
        problem = f"no folder in {images} for {some(absent)}" if absent else "it is empty"
        raise ValueError(f"{path}: {problem}; expected one ID a line")
    return sorted(set(chosen))
