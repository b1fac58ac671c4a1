"""Finds the videos in a directory, as `data_prep.sources.frames` sources."""

import re
from pathlib import Path
from typing import Any

from data_prep.sources.frames import IMAGE_ENDINGS, FrameSource, ImageFiles
from data_prep.sources.truth import MaskFile
from data_prep.sources.video_files import VIDEO_ENDINGS, VideoFile
from dystab_jax.data.mask_files import is_numbered_sequence


def list_videos(source: Path, masks: Path | None = None) -> list[FrameSource]:
    """Lists the videos in a directory, which may also be one frame folder or one video file.

    Args:
      source: holds video files and folders of frames, mixed at will; or is one of these itself.
      masks: MASKS/VIDEO/FRAME.png, for some or all of the videos and frames.

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
            for path in _visible(source)
            if path.is_dir() or path.suffix.lower() in VIDEO_ENDINGS
        ]
        if list_images(source):
            if any(path.is_file() or list_images(path) for path in found):
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
    videos = [_video(path, masks) for path in found]
    names = [video.name for video in videos]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise ValueError(f"{source}: two videos are named {doubled}; rename one")
    if masks is not None:
        strange = [path for path in _visible(masks) if path.is_dir() and path.name not in names]
        if strange:
            raise ValueError(f"{strange[0]}: masks of a video that is not in {source}")
        if not any(video.masks for video in videos):
            raise ValueError(f"{masks}: no masks in it; expected {masks}/VIDEO/FRAME.png")
    return videos


def list_images(folder: Path) -> tuple[Path, ...]:
    """Lists the image files of a folder in natural order (2 before 10)."""
    return tuple(path for path in _visible(folder) if path.suffix.lower() in IMAGE_ENDINGS)


def natural_order(path: Path) -> list[Any]:
    """Returns a sorting key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part for part in parts] + [path.name]


def _video(path: Path, masks: Path | None) -> FrameSource:
    name = path.name if path.is_dir() else path.stem
    folder = masks / name if masks is not None else None
    truth = {}
    if folder is not None and folder.is_dir():
        found = list_images(folder)
        numbered = _is_numbered(found)
        truth = {mask.stem: MaskFile(mask, numbered) for mask in found}
    if path.is_dir():
        return ImageFiles(name, path, list_images(path), truth)
    return VideoFile(name, path, truth)


def _is_numbered(masks: tuple[Path, ...]) -> bool:
    try:
        return is_numbered_sequence(masks)
    except (ValueError, OSError):
        return False  # said when the mask itself is read


def _visible(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(paths, key=natural_order)


def list_folders(folder: Path) -> list[Path]:
    """Lists the folders in a folder in natural order, without hidden ones."""
    return [path for path in _visible(folder) if path.is_dir()]
