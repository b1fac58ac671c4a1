"""Soft maps at other sizes."""

import jax
import numpy as np

from dystab_jax import inference
from dystab_jax.data import resize


def test_upsample_by_hand():
    # Centres of 2 pixels stretched to 4 lie at -1/4, 1/4, 3/4, 5/4.
    soft = np.array([0, 1], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize.upsample(soft, (1, 4)).ravel(), [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(
        resize.upsample(soft.reshape(2, 1, 1), (4, 1)).ravel(), [0, 0.25, 0.75, 1]
    )


def test_upsample_keeps_shapes_and_frames_apart():
    soft = np.random.default_rng(2).random((3, 12, 16, 1)).astype(np.float32)
    large = resize.upsample(soft, (47, 85))
    assert large.shape == (3, 47, 85, 1) and large.dtype == np.float32
    np.testing.assert_array_equal(large[1], resize.upsample(soft[1], (47, 85)))
    expected = jax.image.resize(soft, large.shape, "linear")
    np.testing.assert_allclose(large, expected, atol=2e-6)
    np.testing.assert_array_equal(resize.upsample(soft, (12, 16)), soft)


def test_threshold_after_upsampling_cuts_between_the_pixels():
    soft = np.array([0.9, 0.2], np.float32).reshape(1, 2, 1)
    hard = inference.threshold(resize.upsample(soft, (1, 20)))
    assert hard.dtype == np.uint8
    # 0.9 falls to 0.5 at 4/7 of the way between the centres 4.5 and 14.5: after pixel 10.
    assert hard.ravel().tolist() == [1] * 11 + [0] * 9
    assert inference.threshold(np.array([0.5, 0.50001])).tolist() == [0, 1]
