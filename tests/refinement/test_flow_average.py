"""Averages along the flow: weights, directions, and what no flow leads to."""

import numpy as np
import pytest

from dystab_jax.refinement.flow_average import FramePair, average_along_flow

HEIGHT, WIDTH = 12, 20


def square_at(column, value=1.0):
    """A map with a 4x4 square whose left side is at the column."""
    soft = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    soft[4:8, column : column + 4] = value
    return soft


def moving(columns_per_frame, frames, gaps=(-1, 1)):
    """All pairs of neighbours of a video in which everything moves to the right."""
    return [
        FramePair(t, gap, np.full((HEIGHT, WIDTH, 2), (gap * columns_per_frame, 0), np.float16))
        for t in range(frames)
        for gap in gaps
        if 0 <= t + gap < frames
    ]


def test_what_moves_with_the_flow_stays_as_it_is():
    maps = np.stack([square_at(2 + 3 * t) for t in range(5)])
    averaged = average_along_flow(maps, moving(3, 5), weight=0.5)
    assert averaged.shape == maps.shape and averaged.dtype == np.float32
    np.testing.assert_allclose(averaged, maps, atol=1e-6)


@pytest.mark.parametrize("weight", [0.3, 0.5])
def test_a_frame_at_a_distance_has_a_share_that_falls_by_the_weight(weight):
    frames, lit = 41, 20
    maps = np.stack([square_at(8, float(t == lit)) for t in range(frames)])
    averaged = average_along_flow(maps, moving(0, frames), weight)[:, 5, 9, 0]
    shares = weight ** np.abs(np.arange(frames) - lit) * (1 - weight) / (1 + weight)
    np.testing.assert_allclose(averaged, shares, atol=1e-6)
    assert averaged.sum() == pytest.approx(1, abs=1e-5)


def test_a_frame_without_a_mask_is_helped_by_its_neighbours():
    maps = np.stack([square_at(2 + 3 * t, float(t != 2)) for t in range(5)])
    averaged = average_along_flow(maps, moving(3, 5), weight=0.6)
    np.testing.assert_array_equal(averaged[2] > 0.5, square_at(8) > 0.5)


def test_nothing_is_averaged_where_no_flow_leads():
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 1, (4, HEIGHT, WIDTH, 1)).astype(np.float32)
    for pairs in ((), moving(3, 4, gaps=(-2, 2))):
        np.testing.assert_allclose(average_along_flow(maps, pairs, 0.5), maps, atol=1e-6)
    assert average_along_flow(maps, moving(3, 4), 0.0) is maps
    # From the first frame to the second alone: the others have no neighbour.
    one = [FramePair(0, 1, np.zeros((HEIGHT, WIDTH, 2), np.float16))]
    averaged = average_along_flow(maps, one, 0.5)
    np.testing.assert_allclose(averaged[1:], maps[1:], atol=1e-6)
    expected = (maps[0] + (maps[0] + maps[1]) / 2 - maps[0] / 2) / 1.5
    np.testing.assert_allclose(averaged[0], expected, atol=1e-6)


def test_a_pair_that_leaves_the_video_is_not_used():
    # Of a piece of a longer video: its last frame has a flow to one that is not there.
    maps = np.stack([square_at(4), square_at(4)])
    pairs = [*moving(0, 2), FramePair(1, 1, np.zeros((HEIGHT, WIDTH, 2), np.float16))]
    np.testing.assert_allclose(average_along_flow(maps, pairs, 0.5), maps, atol=1e-6)
