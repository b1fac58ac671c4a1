"""Seconds per frame of each way to refine a soft mask.

    python -m benchmarks.crf [--image FRAME.jpg] [--size 480 854] [--repeats 3]

Prints one line for each preset and backend: one frame after another, and two at once. NumPy runs
on one core per frame; JAX may use all cores of a CPU for one frame.
"""

import argparse
import os
import time
from pathlib import Path

import cv2
import jax
import numpy as np

from dystab_jax.refinement.crf import BACKENDS, PRESETS, DenseCRF, refine_frames


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="a frame; default: a drawn, textured one")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3, help="frames timed in a row")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    height, width = arguments.size
    image = _textured(height, width) if arguments.image is None else _read(arguments.image)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    soft = _blob(height, width)

    print(f"{height} x {width}, {os.cpu_count()} cores, JAX on {jax.default_backend()}")
    print(f"{'preset':10} {'backend':8} {'s/frame':>8} {'two at once':>12}")
    for preset, steps in PRESETS.items():
        for backend in BACKENDS if isinstance(steps, DenseCRF) else BACKENDS[:1]:
            list(refine_frames([(image, soft)], preset, 1, backend))  # compiles
            seconds = []
            for jobs in (1, 2):
                frames = [(image, soft)] * (jobs * arguments.repeats)
                start = time.perf_counter()
                for _ in refine_frames(frames, preset, jobs, backend):
                    pass
                seconds.append((time.perf_counter() - start) / len(frames))
            print(f"{preset:10} {backend:8} {seconds[0]:8.3f} {seconds[1]:12.3f}", flush=True)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FileNotFoundError(f"{path}: expected an image file")
    return image


def _textured(height: int, width: int) -> np.ndarray:
    """Draws noise on three scales: as many lattice points as a natural frame of much texture."""
    generator = np.random.default_rng(0)
    image = np.full((height, width, 3), 128, np.float32)
    for cell, strength in ((64, 50), (8, 5), (1, 0.7)):
        noise = generator.normal(size=(height // cell + 1, width // cell + 1, 3))
        noise = cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image += strength * noise
    return np.clip(image, 0, 255).astype(np.uint8)


def _blob(height: int, width: int) -> np.ndarray:
    """Draws a blurred ellipse in the middle."""
    soft = np.zeros((height, width), np.float32)
    cv2.ellipse(soft, (width // 2, height // 2), (width // 5, height // 4), 0, 0, 360, 1.0, -1)
    return np.clip(cv2.GaussianBlur(soft, (0, 0), width / 60), 0, 1)


if __name__ == "__main__":
    main()
