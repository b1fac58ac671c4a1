"""Measures whether the memory of labels and scores grows with the length of a prepared video.

    python -m benchmarks.long_sequences --input=VIDEO [--frames=200,2000] [--height=240]

A clip is played forwards and backwards until there are as many frames as asked for, and prepared
with flow of DIS. A run of ``davis.py:small``, with as few steps as there can be, labels all frames
and scores all of them, in a process of its own; truth is a square, since scores do not matter.
Reports the largest resident memory and the time of that process for each length.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.long_videos import RATE, measure, read_clip, there_and_back
from data_prep.prepare import prepare
from dystab_jax.prediction.overlay_video import OverlayVideo

FIELDS = (
    "data.train=folder/long:train eval.data=folder/long:val eval.protocol=all_frames eval.crf=none "
    "bootstrap.rounds=1 bootstrap.dynamic_epochs=0 bootstrap.joint_epochs=0 "
    "bootstrap.static_epochs=0.001 bootstrap.least_updates=1 data.keep_in_memory=False "
    "data.batch_size=2"  # a step of χ with more would need more than all that is measured
).split()


def prepare_long(clip: list[np.ndarray], length: int, folder: Path) -> Path:
    """Prepares a video of so many frames, all of them with truth; returns the data directory."""
    (folder / "videos").mkdir()
    height, width = (side // 2 * 2 for side in clip[0].shape[:2])  # as video files have them
    clip = [frame[:height, :width] for frame in clip]
    with OverlayVideo(folder / "videos" / "long.mp4", RATE) as writer:
        for frame in there_and_back(clip, length):
            writer.write(frame)
    truth = np.zeros(clip[0].shape[:2], np.uint8)
    truth[truth.shape[0] // 3 : 2 * truth.shape[0] // 3, truth.shape[1] // 3 :] = 255
    (folder / "masks" / "long").mkdir(parents=True)
    encoded = cv2.imencode(".png", truth)[1].tobytes()
    for t in range(length):
        (folder / "masks" / "long" / f"{t:05d}.png").write_bytes(encoded)
    prepare(
        dataset="folder",
        source=folder / "videos",
        masks=folder / "masks",
        name="long",
        data_dir=folder / "data",
        max_gap=1,
    )
    return folder / "data"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, required=True, help="a video file")
    parser.add_argument("--frames", default="200,2000", help="lengths, with commas between")
    parser.add_argument("--height", type=int, default=240, help="pixels")
    parser.add_argument("--set", action="append", default=[], help="SECTION.FIELD=VALUE")
    asked = parser.parse_args(arguments)
    clip = read_clip(asked.input, asked.height)
    print(f"{'frames':>8}{'memory, MB':>12}{'seconds':>10}")
    for length in map(int, asked.frames.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            data = prepare_long(clip, length, Path(folder))
            fields = [f"--config.{field}" for field in (*FIELDS, *asked.set)]
            command = [sys.executable, "run.py", "--config=configs/davis.py:small"]
            places = [f"--workdir={folder}/run", f"--config.data.dir={data}"]
            memory, seconds = measure([*command, *places, *fields])
            masks = len(list(Path(folder).glob("run/masks/*/fused/long/*.png")))
        if masks != length:
            raise RuntimeError(f"{masks} masks of {length} frames")
        print(f"{length:8}{memory:12.0f}{seconds:10.0f}", flush=True)


if __name__ == "__main__":
    main()
