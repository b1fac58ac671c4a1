"""Colours of regions, and what they and flow decide."""

import numpy as np

from dystab_jax.prediction.appearance import BINS, color_distance, color_histogram, divide
from tests.support.drawn_objects import BLUE, RED

HALVES = np.zeros((20, 40, 3), np.uint8)
HALVES[:, :20], HALVES[:, 20:] = RED, BLUE
LEFT = np.arange(40)[None].repeat(20, 0) < 20
COLORS = {3: color_histogram(HALVES, LEFT), 7: color_histogram(HALVES, ~LEFT)}


def test_histogram():
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    histogram = color_histogram(noise, np.ones((50, 60)))
    assert histogram.shape == (BINS,) and abs(histogram.sum() - 1) < 1e-5
    assert (histogram > 0).sum() > BINS / 2
    assert not color_histogram(noise, np.zeros((50, 60))).any()
    assert COLORS[3].max() == 1


def test_distance():
    assert color_distance(COLORS[3], COLORS[3]) == 0
    assert color_distance(COLORS[3], COLORS[7]) == 1
    mixed = color_histogram(HALVES, np.ones((20, 40)))
    assert np.isclose(color_distance(mixed, COLORS[3]), np.sqrt(1 - np.sqrt(0.5)))


def test_colors_decide_where_flow_says_nothing():
    for nothing in (0, 9):
        found = divide(HALVES, np.full((20, 40), nothing, np.uint8), COLORS)
        np.testing.assert_array_equal(found == 3, LEFT)


def test_flow_decides_where_colors_are_alike():
    same = {3: COLORS[3], 7: COLORS[3]}
    brought = np.where(LEFT.T[:20, :20].repeat(2, 1), 3, 7).astype(np.uint8)
    brought[:, 30:] = 7
    np.testing.assert_array_equal(divide(HALVES, brought, same), brought)


def test_colors_outweigh_flow_that_leads_astray_and_not_the_other_way_round():
    brought = np.full((20, 40), 3, np.uint8)
    found = divide(HALVES, brought, COLORS)
    np.testing.assert_array_equal(found[:, 26:], 7)
    np.testing.assert_array_equal(found[:, :20], 3)
