"""Overlaps and assignments by hand."""

import numpy as np

from dystab_jax.evaluation.protocols import regions
from tests.support.object_rows import row


def test_overlap_by_hand():
    predicted, true = row(0, 0, 2, 2, 2), row(0, 1, 1, 1, 3)
    expected = np.zeros((3, 4), int)
    expected[0, 0] = expected[0, 1] = expected[2, 3] = 1
    expected[2, 1] = 2
    np.testing.assert_array_equal(regions.overlap(predicted, true), expected)


def test_numbers_beyond_eight_bits_do_not_wrap_around():
    predicted, true = row(200, 0), row(254, 0)
    assert regions.overlap(predicted, true)[200, 254] == 1
    assert regions.overlap(predicted, true).shape == (201, 255)


def test_assignment_takes_the_best_sum_and_not_the_best_pair():
    scores = np.array([[0.9, 0.8], [0.8, 0.1], [0.0, 0.0]])
    assert regions.assign(scores) == {0: 1, 1: 0}
    assert regions.assign(scores.T) == {0: 1, 1: 0}
