"""The benchmark of still shots runs through prediction, as users do."""

import jax
import numpy as np

from benchmarks import still_shots
from dystab_jax.build import Run, initial_state


def test_masks_of_noisy_stills_are_scored(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(still_shots, "FRAMES", 2)
    monkeypatch.setattr(still_shots, "HEIGHT", 64)
    monkeypatch.setattr(still_shots, "WIDTH", 96)
    run = Run.of(tiny_config, tmp_path)
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    j = still_shots.score_shots(run, variables, noise=3.0, shots=2)
    assert j.shape == (2, 2) and (j >= 0).all() and (j <= 1).all()
    run.config.eval.fusion = "static"
    same = still_shots.score_shots(run, variables, noise=3.0, shots=1)
    # Shot by shot the same noise; and where both rows are of χ alone, they are equal.
    np.testing.assert_array_equal(same[0], j[0, 1])


def test_shots_differ_in_noise_alone(tmp_path):
    truth = still_shots.write_shot(tmp_path / "clean", 0, noise=0.0)
    assert set(np.unique(truth)) == {0, 1}
    frames = [path.read_bytes() for path in sorted((tmp_path / "clean").glob("*.png"))]
    assert len(frames) == still_shots.FRAMES and len(set(frames)) == 1
    still_shots.write_shot(tmp_path / "noisy", 0, noise=3.0)
    noisy = {path.read_bytes() for path in (tmp_path / "noisy").glob("*.png")}
    assert len(noisy) == still_shots.FRAMES
