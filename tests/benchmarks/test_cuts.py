"""The benchmark of cuts, on drawn shots."""

import numpy as np

from benchmarks import cuts
from tests.support.tiny_videos import sliding_texture, write_frames


def test_distances_within_shots_and_over_cuts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cuts, "STEPS", (1,))
    for number, tint in enumerate([(255, 60, 60), (60, 255, 60), (60, 60, 255)]):
        frames = sliding_texture(4, seed=number) * (np.array(tint) / 255)
        write_frames(tmp_path / f"shot{number}", np.uint8(frames))
    within, over = cuts.measure(tmp_path)
    assert [len(within), len(over)] == [9, 3]
    assert within[-1][0] < cuts.DIFFERENT < over[0][0] <= 1
    assert {name for _, name in over} == {"shot0 to shot1", "shot1 to shot2", "shot2 to shot0"}
    cuts.main([f"--source={tmp_path}"])
    assert "9 pairs within shots" in capsys.readouterr().out
