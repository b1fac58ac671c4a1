"""Finds the videos in a directory, as `data_prep.sources.frames` sources."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from data_prep.sources.frames import IMAGE_ENDINGS, FrameSource, ImageFiles
from data_prep.sources.truth import MaskFile
from data_prep.sources.video_files import VIDEO_ENDINGS, VideoFile
from dystab_jax.data.folders import (
    by_name,
    composed,
    is_visible,
    list_files,
    list_folders,
    list_visible,
)
from dystab_jax.data.mask_files import is_numbered_sequence

NO_IMAGE = f"is no image ({' '.join(IMAGE_ENDINGS)})"
"""Reason for `not_read`."""


def list_videos(
    source: Path, masks: Path | None = None, one_video: bool = False
) -> list[FrameSource]:
    """Lists the videos in a directory, which may also be one frame folder or one video file.

    Args:
      source: holds video files and folders of frames, mixed at will; or is one of these itself.
      masks: MASKS/VIDEO/FRAME.png, for some or all of the videos and frames.
      one_video: a folder of frames is one video, whatever folders lie in it; else it is refused if
        there are images in these, too.

    Returns:
      One source per video, in natural order of their names.

    Raises:
      FileNotFoundError: source or masks do not exist.
      ValueError: no video in it; two of the same name; frames beside videos; masks of no video.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or directory; check --source")
    if masks is not None and not masks.is_dir():
        raise FileNotFoundError(f"{masks}: no such directory; check --masks")
    if source.is_file():
        if source.suffix.lower() not in VIDEO_ENDINGS:
            raise ValueError(
                f"{source}: not a video file ({' '.join(VIDEO_ENDINGS)}); for images, give the "
                "folder that holds them"
            )
        found = [source]
    else:
        found = [
            path
            for path in list_visible(source)
            if path.is_dir() or path.suffix.lower() in VIDEO_ENDINGS
        ]
        if list_images(source):
            if any(path.is_file() or (list_images(path) and not one_video) for path in found):
                raise ValueError(
                    f"{source}: holds images as well as videos; give either one folder of frames "
                    "or a directory of videos"
                )
            found = [source]
    if not found:
        raise ValueError(
            f"{source}: no video in it; expected video files ({' '.join(VIDEO_ENDINGS)}) or "
            f"folders of images ({' '.join(IMAGE_ENDINGS)})"
        )
    names: set[str] = set()
    for path in found:
        name = composed(_name(path))
        if name in names:
            raise ValueError(f"{source}: two videos are named {name}; rename one")
        names.add(name)
    truths = by_name(list_folders(masks), stem=False) if masks is not None else {}
    videos = [_video(path, truths) for path in found]
    if masks is not None:
        strange = [folder for name, folder in truths.items() if name not in names]
        if strange:
            raise ValueError(f"{strange[0]}: masks of a video that is not in {source}")
        if not any(video.masks for video in videos):
            raise ValueError(f"{masks}: no masks in it; expected {masks}/VIDEO/FRAME.png")
    return videos


def list_images(folder: Path) -> tuple[Path, ...]:
    """Lists the image files of a folder in natural order (2 before 10)."""
    return tuple(list_files(folder, IMAGE_ENDINGS))


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _video(path: Path, truths: Mapping[str, Path]) -> FrameSource:
    name = _name(path)
    images = list_images(path) if path.is_dir() else ()
    # Truth goes by the name that the frame has on the disk, however its own file spells it.
    frames = {composed(image.stem): image.stem for image in images}
    folder, truth = truths.get(composed(name)), {}
    if folder is not None:
        masks = list_images(folder)
        numbered = _is_numbered(masks)
        truth = {
            frames.get(stem, mask.stem): MaskFile(mask, numbered)
            for stem, mask in by_name(masks).items()
        }
    if path.is_dir():
        return ImageFiles(name, path, images, truth)
    return VideoFile(name, path, truth)


def _is_numbered(masks: tuple[Path, ...]) -> bool:
    try:
        return is_numbered_sequence(masks)
    except (ValueError, OSError):
        return False  # said when the mask itself is read


# -- what is left out -----------------------------------------------------------------------------


def left_out(source: Path, masks: Path | None = None) -> list[str]:
    """Notes what `list_videos` passes over: files of other kinds, folders among frames.

    Args:
      source, masks: as for `list_videos`, which has accepted them.
    """
    if not source.is_dir():
        return []
    entries = list_visible(source)
    notes = []
    if list_images(source):
        nested = [path for path in entries if path.is_dir()]
    else:
        videos = [path for path in entries if path.is_dir()]
        files = [path for path in entries if not path.is_dir()]
        others = [path for path in files if path.suffix.lower() not in VIDEO_ENDINGS]
        notes += not_read(
            others, "file", source, f"is no video ({' '.join(VIDEO_ENDINGS)}) nor a folder of them"
        )
        nested = [path for video in videos if list_images(video) for path in list_folders(video)]
    notes += not_read(nested, "folder", source, "lies among frames; a video is one folder")
    if masks is not None:
        loose = [path for path in list_visible(masks) if not path.is_dir()]
        notes += not_read(loose, "file", masks, "lies in no folder of a video")
        pictures = [path for folder in list_folders(masks) for path in files_beside_images(folder)]
        notes += not_read(pictures, "file", masks, NO_IMAGE)
    return notes


def frame_notes(videos: Sequence[FrameSource]) -> list[str]:
    """Notes files that lie among frames and are not read, and frames that seem to be missing."""
    strange, gaps, broken = [], [], []
    for video in videos:
        if not isinstance(video, ImageFiles) or not video.folder.is_dir():
            continue
        strange += files_beside_images(video.folder)
        found = find_gaps([path.stem for path in video.paths])
        if found:
            broken.append(video.folder)
            gaps += found
    notes = not_read(strange, "file", None, NO_IMAGE)
    if gaps:
        before, after = gaps[0]
        more = f" ({len(gaps)} such gaps in {len(broken)} videos)" if len(gaps) > 1 else ""
        notes.append(
            f"{broken[0]}: numbers are missing between frames {before} and {after}{more}; such "
            "frames count as neighbours, so flow between them spans more than its gap says. Add "
            "the missing frames, or divide the video there"
        )
    return notes


def files_beside_images(folder: Path) -> list[Path]:
    """Lists the visible files of a folder that are no images."""
    names = (name for name in os.listdir(folder) if is_visible(name))
    others = [folder / name for name in names if Path(name).suffix.lower() not in IMAGE_ENDINGS]
    return sorted(path for path in others if not path.is_dir())


def not_read(paths: Sequence[Path], what: str, within: Path | None, why: str) -> list[str]:
    """Notes files or folders that are passed over, if there are any.

    Args:
      paths: of these; the first is the example.
      what: "file" or "folder".
      within: where they lie; None: the example says it.
      why: ends "PATH ...", such as "is no image".
    """
    if not paths:
        return []
    place = f" in {within}" if within is not None else ""
    if len(paths) == 1:
        return [f"not read: {paths[0]} {why}"]
    return [f"not read: {len(paths)} {what}s{place}, such as {paths[0]}, which {why}"]


def find_gaps(names: Sequence[str]) -> list[tuple[str, str]]:
    """Finds the places where names with one running number leave some of the numbers out.

    A gap is a step larger than the usual one, which must be that of at least half of the frames:
    sets that keep every fifth frame have no gaps, and nor have time stamps, whose steps all differ.

    Args:
      names: of the frames, in order.

    Returns:
      The names before and after each gap.
    """
    rows = [re.split(r"(\d+)", name) for name in names]
    if len({(len(row), *row[::2]) for row in rows}) != 1:
        return []
    columns = [[int(text) for text in column] for column in list(zip(*rows, strict=True))[1::2]]
    running = [column for column in columns if len(set(column)) > 1]
    if len(running) != 1:
        return []
    steps = [second - first for first, second in pairwise(running[0])]
    usual, times = min(Counter(steps).items(), key=lambda item: (-item[1], item[0]))
    if usual < 1 or 2 * times < len(steps):
        return []
    return [pair for pair, step in zip(pairwise(names), steps, strict=True) if step > usual]
