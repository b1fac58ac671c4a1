"""The clip that is made long, and how a process's memory is read."""

import sys

import numpy as np
import pytest

from benchmarks.long_videos import measure, read_clip, there_and_back
from tests.support.tiny_videos import sliding_texture, write_video


def test_a_clip_is_played_there_and_back():
    clip = [np.full((2, 2, 3), t, np.uint8) for t in range(3)]
    played = [int(frame[0, 0, 0]) for frame in there_and_back(clip, 9)]
    assert played == [0, 1, 2, 1, 0, 1, 2, 1, 0]


def test_a_clip_is_scaled(tmp_path):
    path = write_video(tmp_path / "a.mp4", sliding_texture(6, height=64, width=96), "libx264")
    clip = read_clip(path, 32)
    assert [frame.shape for frame in clip] == [(32, 48, 3)] * 6


def test_memory_is_that_of_the_process():
    # Whatever this process takes.
    memory, seconds = measure([sys.executable, "-c", "x = b'a' * 300_000_000"])
    assert 290 < memory < 350 and seconds < 60


def test_a_failure_is_told():
    with pytest.raises(RuntimeError, match="ended with 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"])
