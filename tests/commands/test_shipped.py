"""The networks that come with the program: what they are, and masks without training."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from absl.testing import flagsaver

from data_prep.datasets.drawing import draw_video
from dystab_jax.commands import main, masks, overrides
from dystab_jax.data import network_file
from tests.support.tiny_videos import write_frames

ROOT = Path(__file__).resolve().parents[2]
FOLDER = overrides.SHIPPED


def run_py(*arguments):
    command = [sys.executable, "run.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_they_are_small_and_of_no_machine():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15e6
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["data"]["dir"] == "data" and config["data"]["train"] == "davis2016:train"
    assert not config["supervised"]["data"]
    flow = json.loads((FOLDER / "preparation.json").read_text())["davis2016:train"]
    assert (flow["flow"], flow["max_gap"]) == ("raft_small", 1)
    with zipfile.ZipFile(FOLDER / network_file.FILE) as archive:
        assert json.loads(archive.read("position.json"))["phase"] == "2-joint"
    assert "## Limits" in (FOLDER / "README.md").read_text()


def test_masks_without_training(tmp_path):
    video = draw_video("val", 0, frames=6)
    write_frames(tmp_path / "video", video.frames)
    done = run_py("--mode=predict", f"--input={tmp_path / 'video'}", f"--output={tmp_path / 'out'}")
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines()[0].startswith("networks that come with the program")
    assert "trained on flow by raft_small, predicting from flow by dis" in done.stdout
    masks = [cv2.imread(str(tmp_path / "out" / "masks" / f"{t}.png"), 0) > 0 for t in range(6)]
    j = [
        (mask & truth).sum() / (mask | truth).sum()
        for mask, truth in zip(masks, video.masks > 0, strict=True)
    ]
    # They have never seen drawn videos; no mask, all of the image and its complement have less.
    assert np.mean(j) > 0.5


@pytest.mark.parametrize(
    ("given", "flow"),
    [({}, "dis"), ({"flow": "raft_small"}, "raft_small"), ({"flow_weights": "w.pth"}, None)],
)
def test_flow_is_dis_unless_weights_are_given(monkeypatch, given, flow):
    arrived = []
    monkeypatch.setattr(masks, "predict_masks", lambda *a: arrived.append(a[4].flow))
    with flagsaver.flagsaver(mode="predict", input="in", output="out", **given):
        main._work(FOLDER)
    assert arrived == [flow]


def test_a_run_of_ones_own_keeps_its_flow(monkeypatch, tmp_path):
    arrived = []
    monkeypatch.setattr(masks, "predict_masks", lambda *a: arrived.append(a[4].flow))
    with flagsaver.flagsaver(mode="predict", input="in", output="out"):
        main._work(tmp_path)
    assert arrived == [None]


def test_only_predictions_without_a_config_are_by_them():
    named = overrides.name_workdir(["run.py", "--mode=predict", "--input=v", "--output=o"])
    assert named[1] == f"--workdir={FOLDER}"
    named = overrides.name_workdir(["run.py", "--mode=predict", "--config=configs/demo.py"])
    assert named[1] == "--workdir=runs/demo"
    for words in (
        ["run.py"],
        ["run.py", "--mode=eval"],
        ["run.py", "--mode=predict", "--workdir=w"],
    ):
        assert overrides.name_workdir(words) == words
