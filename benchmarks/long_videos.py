"""Measures whether the memory of a prediction grows with the length of the video.

    python -m benchmarks.long_videos --input=VIDEO [--frames=200,2000] [--height=480] [--crf=medium]

A clip is played forwards and backwards, without a cut, until there are as many frames as asked for,
and `run.py predict` makes masks and the page of it with the networks that come with the program, in
a process of its own. Reports the largest resident memory and the time of each length.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep.sources.video_files import decode_video
from dystab_jax.prediction.overlay_video import OverlayVideo

ROOT = Path(__file__).resolve().parents[1]
RATE = 25.0
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process of its own: the largest memory of a process counts that of its parent."""


def there_and_back(clip: list[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Yields ``length`` frames of the clip, played forwards, backwards, forwards, ..."""
    whole = [*clip, *clip[-2:0:-1]]
    return itertools.islice(itertools.cycle(whole), length)


def read_clip(path: Path, height: int) -> list[np.ndarray]:
    """Reads at most 100 frames of a video, scaled to a height in pixels."""
    frames = [image for image, _ in itertools.islice(decode_video(path), 100)]
    width = round(frames[0].shape[1] * height / frames[0].shape[0])
    size = width, height
    return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]


def measure(command: list[str]) -> tuple[float, float]:
    """Runs a command.

    Returns:
      Its largest resident memory, MB, and its time, seconds.

    Raises:
      RuntimeError: it failed.
    """
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    return kilobytes / 1000, time.monotonic() - start


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="a video file")
    parser.add_argument("--frames", default="200,2000", help="lengths, with commas between")
    parser.add_argument("--height", type=int, default=480, help="pixels")
    parser.add_argument("--crf", default="medium", help="eval.crf")
    parser.add_argument("--format", default="png,video", help="what is written")
    asked = parser.parse_args(arguments)
    clip = read_clip(asked.input, asked.height)
    print(f"{'frames':>8}{'memory, MB':>12}{'seconds':>10}")
    for length in map(int, asked.frames.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "long.mp4"
            with OverlayVideo(video, RATE) as writer:
                for frame in there_and_back(clip, length):
                    writer.write(frame)
            places = [f"--input={video}", f"--output={folder}/masks", f"--format={asked.format}"]
            command = [sys.executable, "run.py", "predict", *places]
            memory, seconds = measure([*command, f"--config.eval.crf={asked.crf}"])
            masks = len(list(Path(folder).glob("masks/masks/*.png")))
        if "png" in asked.format and masks != length:
            raise RuntimeError(f"{masks} masks of {length} frames")
        print(f"{length:8}{memory:12.0f}{seconds:10.0f}", flush=True)


if __name__ == "__main__":
    main()
