"""Pieces of a video: cuts, lengths, and flow that stays within a shot."""

import numpy as np
import pytest

from data_prep.video import Recipe
from dystab_jax.prediction import shots
from dystab_jax.prediction.sources import ArrayFrames
from tests.support.tiny_videos import sliding_texture

SIZE = (24, 32)


def read(frames, max_gap=1, **known):
    source = ArrayFrames("video", frames)
    return list(shots.read_pieces(source, Recipe(max_gap=max_gap), SIZE, **known))


def tinted(count, tint, seed=0):
    return np.uint8(sliding_texture(count, seed=seed) * (np.array(tint) / 255))


RED, GREEN = (255, 60, 60), (60, 255, 60)


def test_a_cut_begins_a_shot_and_no_flow_reaches_over_it():
    frames = np.concatenate([tinted(4, RED), tinted(3, GREEN), tinted(2, RED)])
    counted = []
    pieces = read(frames, max_gap=3, on_frame=counted.append)
    assert [(piece.shot, len(piece.names)) for piece in pieces] == [(0, 4), (1, 3), (2, 2)]
    assert [name for piece in pieces for name in piece.names] == [f"{t:05d}" for t in range(9)]
    assert counted == [SIZE] * 9
    for piece in pieces:
        length = len(piece.names)
        for t, flows in enumerate(piece.flows):
            gaps = sorted(gap for gap, _ in flows)
            assert gaps == [g for g in (-3, -2, -1, 1, 2, 3) if 0 <= t + g < length]
            for gap, flow in flows:
                # (2, 1) pixels a frame, at half the size.
                middle = np.median(flow[6:-6, 6:-6], (0, 1))
                np.testing.assert_allclose(middle, [gap, gap / 2], atol=0.3)


def test_a_frame_between_two_cuts_is_a_shot_without_flow():
    frames = np.concatenate([tinted(2, RED), tinted(1, GREEN), tinted(2, RED)])
    pieces = read(frames)
    assert [len(piece.names) for piece in pieces] == [2, 1, 2]
    assert pieces[1].flows == [[]] and all(pieces[2].flows)


def test_motion_light_and_noise_are_no_cuts():
    frames = sliding_texture(8, shift=(9, 4)).astype(float)
    frames += np.random.default_rng(0).normal(0, 8, frames.shape)
    frames *= np.linspace(1, 0.7, 8)[:, None, None, None]
    assert len(read(np.uint8(frames.clip(0, 255)))) == 1


def test_a_long_shot_comes_in_pieces_that_flow_reaches_across(monkeypatch):
    monkeypatch.setattr(shots, "PIECE", 3)
    pieces = read(sliding_texture(8), max_gap=2)
    assert [(piece.shot, len(piece.names)) for piece in pieces] == [(0, 3), (0, 5)]
    assert sorted(gap for gap, _ in pieces[0].flows[-1]) == [-2, -1, 1, 2]
    assert sorted(gap for gap, _ in pieces[1].flows[0]) == [-2, -1, 1, 2]


def test_pairs_are_those_of_the_smallest_gaps():
    (piece,) = read(sliding_texture(4), max_gap=3)
    pairs = piece.pairs(2)
    assert [(pair.frame, pair.gap) for pair in pairs] == [
        (0, 1), (0, 2), (1, -1), (1, 1), (2, -1), (2, 1), (3, -1), (3, -2),
    ]  # fmt: skip
    (flow,) = (flow for gap, flow in piece.flows[3] if gap == -2)
    np.testing.assert_array_equal(pairs[-1].flow, flow)


def test_the_distance_of_colours():
    red, green = (np.zeros((20, 30, 3), np.uint8) for _ in range(2))
    red[..., 0], green[..., 1] = 255, 255
    half = red.copy()
    half[:, 15:] = green[:, 15:]
    assert shots.colour_distance(red, red) == 0
    assert shots.colour_distance(red, green) == pytest.approx(1)
    assert shots.colour_distance(red, half) == pytest.approx(0.5, abs=0.03)
    assert shots.colour_distance(half, half[:, ::-1]) < 0.03
