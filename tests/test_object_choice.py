"""The border rule, and truth in its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax import object_choice

# 6x8 with a border of 2: 40 border pixels, 2x4 inner ones.
SIZE = (6, 8)


def rectangle(top, bottom, left, right, inside=1.0, outside=0.0):
    mask = np.full((1, *SIZE, 1), outside, np.float32)
    mask[:, top:bottom, left:right] = inside
    return mask


CENTRE = rectangle(2, 4, 2, 6)
LEFT_HALF = rectangle(0, 6, 0, 4)
LEFT_MOST = rectangle(0, 6, 0, 5)

either_library = pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])


@either_library
@pytest.mark.parametrize(
    ("mask", "share"),
    [
        (CENTRE, 0),
        (1 - CENTRE, 1),
        (LEFT_HALF, 20 / 40),
        # Five of eight columns: 30 pixels, 6 of them inside.
        (LEFT_MOST, 24 / 40),
        (rectangle(0, 1, 0, 3), 3 / 40),
        (rectangle(0, 2, 0, 2, inside=0.6, outside=0.4), 4 / 40),
        (rectangle(0, 6, 0, 8, inside=0.5), 0),
    ],
)
def test_border_share_by_hand(library, mask, share):
    assert object_choice.border_share(library.asarray(mask)) == pytest.approx(share)


def test_border_share_of_other_borders():
    assert object_choice.border_share(rectangle(0, 1, 0, 6), border=1) == pytest.approx(6 / 24)
    # Wider than the image: all of it is border.
    assert object_choice.border_share(CENTRE, border=9) == pytest.approx(8 / 48)
    assert object_choice.border_share(np.ones((1, 1, 1, 1), np.float32)) == 1


@either_library
def test_canonicalise_makes_the_object_the_region_off_the_border(library):
    batch = library.asarray(np.concatenate([CENTRE, 1 - CENTRE, LEFT_MOST, LEFT_HALF]))
    canonical, flipped = object_choice.canonicalise(batch)
    assert isinstance(canonical, type(batch))
    assert flipped.tolist() == [False, True, True, False]
    expected = np.concatenate([CENTRE, CENTRE, 1 - LEFT_MOST, LEFT_HALF])
    np.testing.assert_array_equal(canonical, expected)


def test_canonicalise_does_not_see_which_channel_it_gets():
    soft = np.random.default_rng(0).random((20, *SIZE, 1)).astype(np.float32)
    share = object_choice.border_share(soft)
    soft = soft[share != 0.5]
    one, flipped = object_choice.canonicalise(soft)
    other, flipped_other = object_choice.canonicalise(1 - soft)
    np.testing.assert_allclose(one, other, atol=1e-7)
    assert 0 < flipped.sum() < len(soft)
    np.testing.assert_array_equal(flipped, ~flipped_other)
    again, flipped_again = object_choice.canonicalise(one)
    np.testing.assert_array_equal(again, one)
    assert not flipped_again.any()


def test_canonicalise_inside_a_jitted_gradient():
    weights = np.random.default_rng(1).random((2, *SIZE, 1)).astype(np.float32)
    batch = jnp.concatenate([CENTRE, 1 - CENTRE]) * 0.6 + 0.2

    @jax.jit
    @jax.grad
    def gradient(mask):
        return (object_choice.canonicalise(mask)[0] * weights).sum()

    # The identity for the first sample, the complement for the second; nothing of the decision.
    np.testing.assert_allclose(gradient(batch), weights * np.array([1, -1])[:, None, None, None])


@either_library
def test_a_sequence_votes_once(library):
    # Border shares 0.6, 0.6, 0: two frames of three say flip, the sum says keep.
    sequence = library.asarray(np.concatenate([LEFT_MOST, LEFT_MOST, CENTRE]))
    canonical, flipped = object_choice.canonicalise_sequence(sequence)
    assert not flipped and flipped.shape == ()
    np.testing.assert_array_equal(canonical, sequence)
    # 0.6, 0.6, 0.5: all frames flip, the undecided one too.
    sequence = library.asarray(np.concatenate([LEFT_MOST, LEFT_MOST, LEFT_HALF]))
    canonical, flipped = object_choice.canonicalise_sequence(sequence)
    assert flipped
    assert isinstance(canonical, type(sequence))
    np.testing.assert_array_equal(canonical, 1 - sequence)


def test_a_sequence_in_pieces_votes_with_all_that_was_seen():
    # 0.6, 0.6 say flip, and so do 0.6, 0.6, 0.5; that and 0, 0 says keep.
    first, second, third = [LEFT_MOST, LEFT_MOST], [LEFT_HALF], [CENTRE, CENTRE]
    seen = object_choice.NOTHING
    for piece, expected in ((first, True), (second, True), (third, False)):
        masks = np.concatenate(piece)
        canonical, flipped = object_choice.canonicalise_sequence(masks, earlier=seen)
        assert flipped == expected
        np.testing.assert_array_equal(canonical, 1 - masks if expected else masks)
        border = seen.border + float(object_choice.border_share(masks).sum())
        seen = object_choice.Earlier(border, seen.masks + len(masks))


@either_library
def test_oracle_chooses_the_greater_jaccard_per_sample(library):
    empty, full = np.zeros_like(CENTRE), np.ones_like(CENTRE)
    batch = np.concatenate([CENTRE, 1 - CENTRE, LEFT_HALF, full])
    truth = np.concatenate([CENTRE, CENTRE, 1 - LEFT_HALF, empty])
    chosen, flipped = object_choice.oracle_channel(library.asarray(batch), library.asarray(truth))
    assert flipped.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(chosen, truth)
    # The border rule has nothing to choose by here, and keeps.
    assert not object_choice.canonicalise(LEFT_HALF)[1].any()


def test_oracle_keeps_at_a_tie():
    quarters = rectangle(0, 3, 0, 4) + rectangle(3, 6, 4, 8)
    assert object_choice.oracle_channel(quarters, LEFT_HALF)[1].tolist() == [False]


@either_library
def test_a_lower_cut_takes_in_what_stands_out_a_little(library):
    # Background, a part of the object that the game has lost, and its core.
    levels = np.array([0.25, 0.35, 0.75], np.float32)
    mask = np.stack([np.repeat(levels, 16).reshape(6, 8, 1), np.full((6, 8, 1), 0.4, np.float32)])
    moved = np.asarray(object_choice.move_cut(library.asarray(mask), 0.33))
    np.testing.assert_allclose(np.unique(moved[0]), [0.42, 0.52, 0.92], atol=1e-6)
    # A mask without extremes has no object; it is not made one.
    assert (moved[1] <= 0.5).all()
    # All of the mask is above the level: 15 % of its range of ½ are background, to .325.
    lowest = np.asarray(object_choice.move_cut(library.asarray(mask[:1]), 0.1))
    np.testing.assert_allclose(np.unique(lowest), [0.425, 0.525, 0.925], atol=1e-6)
    middle = np.asarray(object_choice.move_cut(library.asarray(mask[:1]), 0.5))
    np.testing.assert_allclose(middle, mask[:1], atol=1e-6)
