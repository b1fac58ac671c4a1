"""The benchmark of the protocols runs, on drawn masks and on files."""

import re

import pytest
from PIL import Image

from benchmarks import evaluation


@pytest.fixture
def few_frames(monkeypatch):
    monkeypatch.setattr(evaluation, "FRAMES", 5)
    monkeypatch.setattr(evaluation, "SEQUENCES", 2)


def test_drawn_masks(few_frames, capsys):
    evaluation.main(["--jobs=2"])
    first, merged, objects = capsys.readouterr().out.splitlines()
    assert first.startswith("2 threads")
    for line, name in ((merged, "all_frames"), (objects, "davis2017")):
        found = re.fullmatch(rf"{name}: 5 frames in .* s, (.*) frames/s; .* (.*)", line)
        # A few pixels off, and faster than 1,376 frames in three minutes.
        assert 0.7 < float(found[2]) < 1
        assert float(found[1]) > 1376 / 180


def test_files(few_frames, tmp_path, capsys):
    for kind, shift in (("truth", 0), ("masks", 4)):
        (tmp_path / kind / "a").mkdir(parents=True)
        for frame in range(3):
            image = evaluation.drawn_frame(0, frame, shift)
            Image.fromarray(image).save(tmp_path / kind / "a" / f"{frame}.png")
    folders = [f"--{kind}={tmp_path / kind}" for kind in ("masks", "truth")]
    evaluation.main([*folders, "--jobs=1", "--protocols=davis2016"])
    assert "davis2016: 1 frames in" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluation.main(folders[:1])
    assert "--masks and --truth belong together" in capsys.readouterr().err
