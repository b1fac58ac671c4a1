"""Measures what the index of a large split takes: on disk, in memory, in seconds.

    python -m benchmarks.index [--videos=4453] [--frames=109] [--max_gap=3]

Writes the index of a split of so many videos, without any record, and opens it as training does.
The defaults are YouTube-VOS: 2.9 million pairs.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from dystab_jax.data import pipeline
from dystab_jax.data.record_keys import describe_video
from dystab_jax.data.records import RecordSource


def write_index(folder: Path, videos: int, frames: int, max_gap: int) -> Path:
    """Writes the index of videos with a pair of every frame and gap."""
    names = [f"{t:05d}" for t in range(frames)]
    gaps = [gap for gap in range(-max_gap, max_gap + 1) if gap]
    pairs = [(t, gap) for t in range(frames) for gap in gaps if 0 <= t + gap < frames]
    entries = []
    for number in range(videos):
        details = {"video": f"{number:010x}", "frame_names": names, "groups": [""] * frames}
        entries.append(describe_video(details, pairs, f"{number:016x}"))
    path = folder / "index-train.json"
    path.write_text(json.dumps(entries))
    return path


def resident() -> float:
    """Returns the memory of this process, MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=4453)
    parser.add_argument("--frames", type=int, default=109, help="of each video")
    parser.add_argument("--max_gap", type=int, default=3)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = write_index(Path(folder), asked.videos, asked.frames, asked.max_gap)
        print(f"on disk      {path.stat().st_size / 1e6:8.1f} MB")
        before, start = resident(), time.monotonic()
        source = RecordSource("large:train", Path(folder), "train")
        print(
            f"{len(source)} pairs {resident() - before:8.1f} MB {time.monotonic() - start:6.1f} s"
        )
        start = time.monotonic()
        frames = pipeline.frames_of(source)
        taken = resident() - before
        print(f"{len(frames)} frames {taken:8.1f} MB {time.monotonic() - start:6.1f} s, together")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"at most      {most - before:8.1f} MB")


if __name__ == "__main__":
    main()
