"""Soft maps: the oracle."""

from types import SimpleNamespace

import numpy as np

from dystab_jax.evaluation import soft_maps
from dystab_jax.inference import VideoPrediction


def test_the_oracle_takes_the_better_region():
    truth = np.zeros((8, 8), np.uint8)
    truth[:, :3] = 1
    phi = np.where(truth, 0.2, 0.9).astype(np.float32)[None, ..., None]
    prediction = VideoPrediction(
        "a", ("0",), ("",), phi, phi, np.ones(1), np.ones(1),
        images=np.zeros((1, 8, 8, 3), np.uint8), pairs=(), borders=np.zeros(0),
    )  # fmt: skip
    asked = soft_maps._ask_the_truth(prediction, SimpleNamespace(mask=lambda t: truth), [0])
    np.testing.assert_allclose(asked.phi, 1 - phi)
    assert asked.chi is prediction.chi
