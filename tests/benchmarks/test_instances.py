"""The benchmark of objects puts sequences together so that it is known what is whose."""

import sys

import cv2
import numpy as np
import pytest

from benchmarks import instances
from dystab_jax.data import mask_files

SIZE = (48, 80)


@pytest.fixture
def davis(tmp_path):
    """Two sequences, of which one has four frames: a disc on the right, and one in the middle."""
    for name, color, place in (("a", 200, (62, 36)), ("b", 90, (40, 24))):
        for t in range(4 + (name == "a")):
            image, mask = np.full((*SIZE, 3), 20, np.uint8), np.zeros(SIZE, np.uint8)
            cv2.circle(image, place, 10, (color, 30, 120), -1)
            cv2.circle(mask, place, 10, 1, -1)
            for kind, ending, data in (
                ("JPEGImages", "jpg", cv2.imencode(".jpg", image)[1].tobytes()),
                ("Annotations", "png", mask_files.encode_mask(mask)),
            ):
                path = tmp_path / kind / "480p" / name / f"{t:05d}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return tmp_path


def test_one_crosses_the_other(davis):
    scenes = list(instances.compose(davis, "a", "b"))
    assert len(scenes) == 4
    lefts = [np.flatnonzero((scene.truth == 2).any(0))[0] for scene in scenes]
    assert lefts[-1] - lefts[0] == pytest.approx(instances.TRAVEL * SIZE[1], abs=2)
    assert (scenes[0].truth == 1).sum() > (scenes[-1].truth == 1).sum()  # it is in front
    first = scenes[0]
    for number, level in ((1, 200), (2, 90)):
        core = cv2.erode((first.truth == number).astype(np.uint8), np.ones((5, 5)))
        assert np.abs(first.image[core > 0][:, 2].astype(int) - level).mean() < 20
    assert len(list(instances.compose(davis, "a"))) == 5


def test_scores(davis):
    scenes = list(instances.compose(davis, "a", "b"))[:1] * 3
    swapped = [np.choose(scene.truth, [0, 2, 1]).astype(np.uint8) for scene in scenes]
    assert instances.score(scenes, swapped) == 1
    assert instances.score(scenes, [(scene.truth > 0).astype(np.uint8) for scene in scenes]) < 0.8


def test_table(davis, tmp_path, capsys, monkeypatch):
    arguments = ["instances", "--davis", str(davis), "--save", str(tmp_path / "saved")]
    threads = cv2.getNumThreads()
    try:
        monkeypatch.setattr(sys, "argv", arguments)
        instances.main()
        monkeypatch.setattr(sys, "argv", [*arguments[:3], "--single"])
        instances.main()
    finally:
        cv2.setNumThreads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a + b") and lines[2].startswith("mean of 1")
    assert [line.split()[0] for line in lines[4:]] == ["behind", "a", "b", "mean", "tracker:"]
    assert lines[5].split()[1:] == ["1.000", "1.000", "1.000", "1"]
    assert len(list((tmp_path / "saved" / "a-b").iterdir())) == 8
