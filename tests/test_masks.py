"""The border rule, fusion, and the way from soft maps to hard masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax import masks

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
    assert masks.border_share(library.asarray(mask)) == pytest.approx(share)


def test_border_share_of_other_borders():
    assert masks.border_share(rectangle(0, 1, 0, 6), border=1) == pytest.approx(6 / 24)
    # Wider than the image: all of it is border.
    assert masks.border_share(CENTRE, border=9) == pytest.approx(8 / 48)
    assert masks.border_share(np.ones((1, 1, 1, 1), np.float32)) == 1


@either_library
def test_canonicalise_makes_the_object_the_region_off_the_border(library):
    batch = library.asarray(np.concatenate([CENTRE, 1 - CENTRE, LEFT_MOST, LEFT_HALF]))
    canonical, flipped = masks.canonicalise(batch)
    assert isinstance(canonical, type(batch))
    assert flipped.tolist() == [False, True, True, False]
    expected = np.concatenate([CENTRE, CENTRE, 1 - LEFT_MOST, LEFT_HALF])
    np.testing.assert_array_equal(canonical, expected)


def test_canonicalise_does_not_see_which_channel_it_gets():
    soft = np.random.default_rng(0).random((20, *SIZE, 1)).astype(np.float32)
    share = masks.border_share(soft)
    soft = soft[share != 0.5]
    one, flipped = masks.canonicalise(soft)
    other, flipped_other = masks.canonicalise(1 - soft)
    np.testing.assert_allclose(one, other, atol=1e-7)
    assert 0 < flipped.sum() < len(soft)
    np.testing.assert_array_equal(flipped, ~flipped_other)
    again, flipped_again = masks.canonicalise(one)
    np.testing.assert_array_equal(again, one)
    assert not flipped_again.any()


def test_canonicalise_inside_a_jitted_gradient():
    weights = np.random.default_rng(1).random((2, *SIZE, 1)).astype(np.float32)
    batch = jnp.concatenate([CENTRE, 1 - CENTRE]) * 0.6 + 0.2

    @jax.jit
    @jax.grad
    def gradient(mask):
        return (masks.canonicalise(mask)[0] * weights).sum()

    # The identity for the first sample, the complement for the second; nothing of the decision.
    np.testing.assert_allclose(gradient(batch), weights * np.array([1, -1])[:, None, None, None])


@either_library
def test_a_sequence_votes_once(library):
    # Border shares 0.6, 0.6, 0: two frames of three say flip, the sum says keep.
    sequence = library.asarray(np.concatenate([LEFT_MOST, LEFT_MOST, CENTRE]))
    canonical, flipped = masks.canonicalise_sequence(sequence)
    assert not flipped and flipped.shape == ()
    np.testing.assert_array_equal(canonical, sequence)
    # 0.6, 0.6, 0.5: all frames flip, the undecided one too.
    sequence = library.asarray(np.concatenate([LEFT_MOST, LEFT_MOST, LEFT_HALF]))
    canonical, flipped = masks.canonicalise_sequence(sequence)
    assert flipped
    assert isinstance(canonical, type(sequence))
    np.testing.assert_array_equal(canonical, 1 - sequence)


PHI = np.array([0.9, 0.25, 0.0, 0.64], np.float32).reshape(1, 2, 2, 1)
CHI = np.array([0.4, 0.25, 1.0, 0.36], np.float32).reshape(1, 2, 2, 1)


@either_library
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("geometric", [0.6, 0.25, 0.0, 0.48]),
        ("product", [0.36, 0.0625, 0.0, 0.2304]),
        ("mean", [0.65, 0.25, 0.5, 0.5]),
        ("dynamic", [0.9, 0.25, 0.0, 0.64]),
        ("static", [0.4, 0.25, 1.0, 0.36]),
    ],
)
def test_fuse_by_hand(library, mode, expected):
    fused = masks.fuse(library.asarray(PHI), library.asarray(CHI), mode=mode, trust="none")
    np.testing.assert_allclose(np.ravel(fused), expected, rtol=1e-6)


@either_library
def test_weighted_fusion_listens_to_the_model_that_explains_the_flow(library):
    phi, chi = (library.asarray(np.repeat(mask, 3, axis=0)) for mask in (PHI, CHI))
    # Beyond the margin of 0.2, 0.2 ln 3, 0 and -0.2 ln 3 give φ the weights 3/4, 1/2 and 1/4.
    step = 0.2 * np.log(3)
    losses = library.asarray([1.2 + step, 1.2, 1.2]), library.asarray([1.0, 1.0, 1.0 + step])
    fused = masks.fuse(phi, chi, *losses)
    expected = np.concatenate([w * PHI + (1 - w) * CHI for w in (0.75, 0.5, 0.25)])
    np.testing.assert_allclose(fused, expected, rtol=1e-6)
    assert isinstance(fused, type(phi))


@either_library
def test_weighted_fusion_without_a_margin(library):
    phi, chi = (library.asarray(np.repeat(mask, 3, axis=0)) for mask in (PHI, CHI))
    losses = library.asarray([1.2, 1.0, 1.0]), library.asarray([1.0, 1.0, 1.2])
    losses = [loss.astype(np.float32) for loss in losses]
    fused = masks.fuse(phi, chi, *losses, margin=0)
    weights = (1, 1 / (1 + np.e), 0)
    expected = np.concatenate([w * PHI + (1 - w) * CHI for w in weights])
    np.testing.assert_allclose(fused, expected, rtol=1e-6)
    assert fused.dtype == np.float32
    # It is what small margins come to.
    np.testing.assert_allclose(masks.fuse(phi, chi, *losses, margin=0.01), expected, rtol=1e-6)


def test_an_undecided_model_leaves_the_decision_to_the_other():
    phi = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11, 1, 1)
    for pair in ((phi, np.full_like(phi, 0.5)), (np.full_like(phi, 0.5), phi)):
        fused = masks.fuse(*pair, mode="geometric", trust="none")
        np.testing.assert_array_equal(masks.threshold(fused), masks.threshold(phi))


@either_library
def test_chi_alone_where_its_masks_are_harder_to_inpaint(library):
    phi, chi = (library.asarray(np.repeat(mask, 3, axis=0)) for mask in (PHI, CHI))
    losses = library.asarray([1.5, 1.0, 0.5]), library.asarray([1.0, 1.0, 0.6])
    for mode in ("geometric", "product", "mean"):
        fused = masks.fuse(phi, chi, *losses, mode=mode)
        assert isinstance(fused, type(phi))
        combined = masks.fuse(PHI, CHI, mode=mode, trust="none")
        # A tie is no reason to drop φ.
        np.testing.assert_allclose(fused, np.concatenate([combined, combined, CHI]), rtol=1e-6)
    for mode, alone in (("dynamic", phi), ("static", chi)):
        np.testing.assert_array_equal(masks.fuse(phi, chi, *losses, mode=mode), alone)


def test_fuse_refuses_what_it_cannot_do(unchecked):
    with pytest.raises(ValueError, match="mode 'best' is unknown; there are geometric, product"):
        masks.fuse(PHI, CHI, mode="best")
    with pytest.raises(ValueError, match="trust 'truth' is unknown; there are loss_a, none"):
        masks.fuse(PHI, CHI, trust="truth")
    with pytest.raises(ValueError, match="needs loss_a_phi and loss_a_chi"):
        masks.fuse(PHI, CHI, np.ones(1))
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 1\) and chi \(1, 1, 2, 1\) differ"):
        masks.fuse(PHI, CHI[:, :1], trust="none")


@either_library
def test_oracle_chooses_the_greater_jaccard_per_sample(library):
    empty, full = np.zeros_like(CENTRE), np.ones_like(CENTRE)
    batch = np.concatenate([CENTRE, 1 - CENTRE, LEFT_HALF, full])
    truth = np.concatenate([CENTRE, CENTRE, 1 - LEFT_HALF, empty])
    chosen, flipped = masks.oracle_channel(library.asarray(batch), library.asarray(truth))
    assert flipped.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(chosen, truth)
    # The border rule has nothing to choose by here, and keeps.
    assert not masks.canonicalise(LEFT_HALF)[1].any()


def test_oracle_keeps_at_a_tie():
    quarters = rectangle(0, 3, 0, 4) + rectangle(3, 6, 4, 8)
    assert masks.oracle_channel(quarters, LEFT_HALF)[1].tolist() == [False]


def test_upsample_by_hand():
    # Centres of 2 pixels stretched to 4 lie at -1/4, 1/4, 3/4, 5/4.
    soft = np.array([0, 1], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(masks.upsample(soft, (1, 4)).ravel(), [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(
        masks.upsample(soft.reshape(2, 1, 1), (4, 1)).ravel(), [0, 0.25, 0.75, 1]
    )


def test_upsample_keeps_shapes_and_frames_apart():
    soft = np.random.default_rng(2).random((3, 12, 16, 1)).astype(np.float32)
    large = masks.upsample(soft, (47, 85))
    assert large.shape == (3, 47, 85, 1) and large.dtype == np.float32
    np.testing.assert_array_equal(large[1], masks.upsample(soft[1], (47, 85)))
    expected = jax.image.resize(soft, large.shape, "linear")
    np.testing.assert_allclose(large, expected, atol=2e-6)
    np.testing.assert_array_equal(masks.upsample(soft, (12, 16)), soft)


def test_threshold_after_upsampling_cuts_between_the_pixels():
    soft = np.array([0.9, 0.2], np.float32).reshape(1, 2, 1)
    hard = masks.threshold(masks.upsample(soft, (1, 20)))
    assert hard.dtype == np.uint8
    # 0.9 falls to 0.5 at 4/7 of the way between the centres 4.5 and 14.5: after pixel 10.
    assert hard.ravel().tolist() == [1] * 11 + [0] * 9
    assert masks.threshold(np.array([0.5, 0.50001])).tolist() == [0, 1]
