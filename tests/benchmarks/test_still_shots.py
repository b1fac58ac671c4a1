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


def test_shots_differ_in_noise_alone():
    clean, truth = still_shots.draw_shot(0, noise=0.0)
    assert 0 < truth.mean() < 1 and (clean == clean[0]).all()
    noisy, same = still_shots.draw_shot(0, noise=3.0)
    np.testing.assert_array_equal(truth, same)
    assert 2 < (noisy[1:].astype(float) - noisy[:-1]).std() / 2**0.5 < 3.5
