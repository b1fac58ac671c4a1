"""Measures how fast masks are scored: J and boundary F of as many frames as DAVIS-2016 val has.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --masks=DIR --truth=DAVIS

Without flags the masks are drawn: 1,376 frames of 480x854 with one to three moving blobs, the
predictions a few pixels off. With them real files are read and scored, as dystab_jax.evaluate does.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dystab_jax.commands import score_masks
from dystab_jax.evaluation import truth_source
from dystab_jax.evaluation.protocols import registry

FRAMES = 1376
SIZE = (480, 854)
SEQUENCES = 20


def drawn_frame(seed: int, frame: int, shift: int = 0) -> np.ndarray:
    """Draws object numbers, uint8 [480, 854]: ragged disks on straight paths.

    Args:
      seed: of the disks and their paths.
      frame: number of the frame.
      shift: moves all disks right and down, pixels.
    """
    random = np.random.default_rng(seed)
    image = np.zeros(SIZE, np.uint8)
    for number in range(1, 2 + seed % 3):
        centre, speed = random.uniform((100, 100), (754, 380)), random.uniform(-2, 2, 2)
        angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        radius = random.uniform(40, 110) * (1 + 0.1 * random.standard_normal(120))
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
        points = outline + centre + speed * frame + shift
        cv2.fillPoly(image, [points.astype(np.int32)], number)
    return image


def drawn_videos() -> dict[str, registry.Video]:
    """Returns videos whose frames are drawn when they are scored."""
    counts = np.diff(np.linspace(0, FRAMES, SEQUENCES + 1).astype(int))
    return {
        f"drawn{seed:02d}": registry.Video(
            regions=[partial(drawn_frame, seed, frame) for frame in range(count)],
            objects=[partial(drawn_frame, seed, frame, shift=4) for frame in range(count)],
        )
        for seed, count in enumerate(counts)
    }


def measure(protocol: str, videos: dict[str, registry.Video], jobs: int) -> str:
    """Scores the videos; returns one line with the time it took."""
    score = registry.protocol(protocol)
    start = time.perf_counter()
    result = score(videos, jobs=jobs)
    seconds = time.perf_counter() - start
    return (
        f"{protocol}: {result['frames']} frames in {seconds:.1f} s, "
        f"{result['frames'] / seconds:.1f} frames/s; {score.main} {result[score.main]:.4f}"
    )


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--masks", type=Path, metavar="DIR", help="predictions, SEQUENCE/FRAME.png")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="their truth")
    parser.add_argument("--protocols", default="all_frames,davis2017", metavar="a,b")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args(argv)
    if (options.masks is None) != (options.truth is None):
        parser.error("--masks and --truth belong together")
    load = os.getloadavg()[0]
    print(f"{options.jobs} threads, {os.cpu_count()} processors, load {load:.2f} before the start")
    for name in options.protocols.split(","):
        if options.masks is None:
            videos = drawn_videos()
        else:
            prediction = registry.protocol(name).prediction
            truth = truth_source.from_folder(options.truth)
            videos = score_masks.load_videos(options.masks, truth, prediction)[0]
        print(measure(name, videos, options.jobs))


if __name__ == "__main__":
    main()
