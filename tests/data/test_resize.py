"""Sizes at which networks see videos; soft maps at other sizes."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dystab_jax import inference
from dystab_jax.data import resize

SIDES = st.integers(1, 12).map(lambda cells: 32 * cells)
"""Of what networks see; frames have any sides."""


def stretch(frame, size):
    """Factor by which resizing changes the ratio of the sides, 1 or more."""
    ratio = Fraction(frame[0] * size[1], frame[1] * size[0])
    return max(ratio, 1 / ratio)


@pytest.mark.parametrize(
    ("frame", "image_size", "expected"),
    [
        ((480, 854), (192, 352), (192, 352)),  # DAVIS
        ((480, 640), (192, 352), (192, 352)),  # 4:3
        ((480, 640), (192, 384), (192, 384)),  # 4:3, stretched by 1.5 exactly
        ((1080, 2520), (192, 352), (192, 352)),
        ((480, 480), (192, 352), (256, 256)),
        ((640, 480), (192, 352), (256, 256)),
        ((854, 480), (192, 352), (352, 192)),
        ((1920, 1080), (192, 384), (384, 192)),
        ((1920, 1080), (96, 160), (160, 96)),
        ((500, 500), (96, 176), (128, 128)),
        ((480, 854), (352, 192), (192, 352)),  # networks for portrait videos
        ((480, 854), (256, 256), (256, 256)),  # squares turn into themselves
        ((64, 48), (33, 48), (48, 33)),
        ((64, 64), (33, 63), (45, 45)),
    ],
)
def test_sizes_of_networks_by_hand(frame, image_size, expected):
    assert resize.network_size(frame, image_size) == expected


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.tuples(SIDES, SIDES))
def test_networks_see_proportions_as_they_are(frame, image_size):
    size = resize.network_size(frame, image_size)
    assert stretch(frame, size) <= stretch(frame, image_size)
    assert size[0] % 32 == size[1] % 32 == 0
    assert 0.5 <= size[0] * size[1] / (image_size[0] * image_size[1]) <= 1.5
    assert resize.network_size(frame[::-1], image_size[::-1]) == size[::-1]
    ratio = stretch((1, 1), image_size)
    # Panoramas alone are stretched further: no size is nearer to them than image_size.
    if ratio <= Fraction(9, 4) and stretch((1, 1), frame) <= ratio * Fraction(3, 2):
        assert stretch(frame, size) <= Fraction(3, 2)


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
