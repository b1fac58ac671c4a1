"""Tiny data sets in their original layouts, and preparing them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep import workers
from data_prep.prepare import prepare
from data_prep.video import prepare_video
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks


def prepare_in(root: Path, **options) -> Path:
    """Prepares into root / "data" in this process, without noise."""
    return prepare(data_dir=root / "data", jobs=1, progress=False, **options)


def prepare_here(source: Path, data_dir: Path, **options) -> Path:
    """Prepares folder/set in this process, without noise."""
    options = {"dataset": "folder", "name": "set", "jobs": 1, "progress": False} | options
    return prepare(source=source, data_dir=data_dir, **options)


def prepare_mixed(root: Path, frames: int = 4, **sizes: tuple[int, int]) -> Path:
    """Prepares folder/mixed, splits train and val, of textures that move by (2, 1) pixels.

    Args:
      root: of the source; the data get into root / "data".
      frames: of each video.
      sizes: (height, width) by name of the video.
    """
    for seed, (name, (height, width)) in enumerate(sizes.items()):
        images = sliding_texture(frames, height, width, seed=seed)
        write_frames(root / "videos" / name, images)
        masks = {str(t): np.uint8(image[..., 0] > 128) * 255 for t, image in enumerate(images)}
        write_masks(root / "masks" / name, masks)
    prepare_in(
        root,
        dataset="folder",
        name="mixed",
        source=root / "videos",
        masks=root / "masks",
        max_gap=2,
        flow_size="64x48",
    )
    return root / "data"


def count_videos(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that receives the name of each video as it is worked on."""
    names = []

    def counted(source, *args):
        names.append(source.name)
        return prepare_video(source, *args)

    monkeypatch.setattr(workers, "prepare_video", counted)
    return names


def write_davis(
    root: Path,
    train: tuple[str, ...] = ("bear",),
    val: tuple[str, ...] = ("dog", "goat"),
    length: int = 3,
) -> Path:
    """Writes a tiny DAVIS-2016 in its original layout."""
    for split, names in {"train": train, "val": val}.items():
        lines = []
        for name in names:
            images = root / "JPEGImages" / "480p" / name
            masks = root / "Annotations" / "480p" / name
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for t, frame in enumerate(sliding_texture(length)):
                cv2.imwrite(str(images / f"{t:05d}.jpg"), frame[..., ::-1])
                cv2.imwrite(str(masks / f"{t:05d}.png"), np.uint8(frame[..., 0] > 128) * 255)
                place = f"480p/{name}/{t:05d}"
                lines.append(f"/JPEGImages/{place}.jpg /Annotations/{place}.png")
        lists = root / "ImageSets" / "480p"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root
