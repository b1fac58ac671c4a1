"""Frames for pictures: which are chosen."""

from dystab_jax.evaluation.samples import spread


def test_strips_are_of_some_frames_of_long_videos():
    assert spread(range(100), 5) == [0, 25, 50, 74, 99]
    assert spread("ab", 5) == ["a", "b"]
