"""The benchmark of sizes at which a CRF works, on a video in DAVIS's folders."""

import shutil
from types import SimpleNamespace

import cv2
import jax
import pytest

from benchmarks import crf_sizes, rules
from dystab_jax.build import Run, initial_state
from tests.support.tiny_runs import Compiled


@pytest.fixture
def run(tiny_config, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        yield Run.of(tiny_config, tmp_path)


def test_sizes_are_compared(run, tiny_data, tmp_path, monkeypatch, capsys):
    root = tmp_path / "DAVIS"
    shutil.copytree(tiny_data.parent / "masks", root / "Annotations" / "480p")
    frames = root / "JPEGImages" / "480p" / "video0"
    frames.mkdir(parents=True)
    for path in (tiny_data.parent / "videos" / "video0").iterdir():
        assert cv2.imwrite(str(frames / f"{path.stem}.jpg"), cv2.imread(str(path)))
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    state = SimpleNamespace(variables=variables, phase="1-joint")
    monkeypatch.setattr(rules, "open_run", lambda options: (run, state, ["video0"]))
    monkeypatch.setattr(crf_sizes, "SIZES", (40,))
    monkeypatch.setattr(crf_sizes, "RADII", (2,))
    crf_sizes.main(
        ["--workdir=x", "--data=folder/tiny:train", f"--truth={root}", "--frames=1"],
    )
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "1 frames of 1 videos, 1-joint"
    assert [line.split("  ")[3].split(",")[0] for line in said[2:]] == [
        "no CRF",
        "medium",
        "medium",
    ]
    whole, small = crf_sizes.variants("medium").values()
    assert (whole.longest, small.longest, small.edge) == (None, 40, 2)
