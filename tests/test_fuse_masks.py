"""Combining φ and χ: by hand, at the edges, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax import inference, object_choice

either_library = pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])


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
    fused = object_choice.fuse_masks(
        library.asarray(PHI), library.asarray(CHI), mode=mode, trust="none"
    )
    np.testing.assert_allclose(np.ravel(fused), expected, rtol=1e-6)


def squares(*sides):
    """Decided masks [T, 20, 20, 1] of squares of these sides."""
    masks = np.zeros((len(sides), 20, 20, 1), np.float32)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = 1
    return masks


@either_library
def test_weighted_fusion_by_hand(library):
    # φ covers a quarter of two frames, χ a tenth, most of it within φ's.
    phi, chi = squares(10, 10) * 0.9, np.concatenate([squares(8), squares(4)]) * 0.8
    chi[1] = np.roll(chi[1], 10, axis=0)
    chi[0, :2, :2] = 0
    losses = np.array([2.0, 1.0], np.float32), np.array([0.5, 1.0], np.float32)
    fused = object_choice.fuse_masks(
        *(library.asarray(one) for one in (phi, chi, *losses)), sharpness=2.0, floor=0.5
    )
    areas = 0.25 + object_choice.TINY_AREA, (60 + 16) / 800 + object_choice.TINY_AREA
    exponent = (1 - 60 / 800 / areas[1]) / 2
    better = 1.5 / 0.75 * (areas[1] / areas[0]) ** exponent
    moves, other = (one**4 / (one**4 + 1 / 16) for one in losses)
    weight = (moves * better**2 / (better**2 + other)).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(fused, weight * phi + (1 - weight) * chi, rtol=1e-5)
    assert isinstance(fused, type(library.asarray(phi)))


def test_the_pieces_of_a_video_are_weighed_with_all_that_was_seen():
    phi, chi = squares(10, 12, 9, 7) * np.float32(0.9), squares(6, 2, 8, 9)
    losses = np.float32([2.0, 1.2, 1.5, 0.6]), np.float32([0.7, 1.3, 0.4, 0.9])
    whole = object_choice.trust_in_phi((phi, chi), losses, 4.0, 0.5)
    seen = object_choice.NOTHING
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        masks = phi[start:stop], chi[start:stop]
        piece = masks, tuple(one[start:stop] for one in losses)
        weight = object_choice.trust_in_phi(*piece, 4.0, 0.5, seen)
        means = (stop - start) * np.array(object_choice.evidence_for_phi(*piece))
        seen = object_choice.Earlier(0.0, 0, seen.evidence + means, seen.frames + stop - start)
    np.testing.assert_allclose(weight, whole[3:], rtol=1e-5)
    alone = object_choice.trust_in_phi(*piece, 4.0, 0.5)
    assert np.abs(alone - whole[3:]).max() > 0.05


@either_library
def test_where_nothing_moves_chi_is_kept_and_where_chi_sees_nothing_phi_is(library):
    phi, chi = squares(8, 8, 8, 0), squares(10, 0, 8, 0)
    # Noise, beside frames that move; a mask of φ beside an empty one of χ; both alike; both empty.
    losses = np.array([0.1, 1.4, 1.4, 0.0]), np.array([0.1, 0.0, 1.4, 0.0])
    fused = object_choice.fuse_masks(
        *(library.asarray(one) for one in (phi, chi)),
        *(library.asarray(loss.astype(np.float32)) for loss in losses),
    )
    np.testing.assert_allclose(fused, squares(10, 8, 8, 0), atol=0.02)
    assert fused.dtype == np.float32


@either_library
def test_of_masks_in_different_places_the_smaller_is_taken(library):
    small, large = squares(4, 4), np.roll(squares(12, 12), 8, axis=(1, 2))
    losses = [library.asarray(np.full(2, 1.2, np.float32))] * 2
    for phi, chi in ((small, large), (large, small)):
        fused = object_choice.fuse_masks(library.asarray(phi), library.asarray(chi), *losses)
        np.testing.assert_array_equal(inference.threshold(np.asarray(fused)), small > 0.5)


@either_library
def test_of_a_mask_within_the_other_the_area_says_nothing(library):
    # A speck on the object explains its part of the flow as well as the whole does.
    speck, whole = squares(3, 3), squares(12, 12)
    losses = [library.asarray(np.float32([one, one])) for one in (1.3, 1.2)]
    fused = object_choice.fuse_masks(library.asarray(whole), library.asarray(speck), *losses)
    np.testing.assert_array_equal(inference.threshold(np.asarray(fused)), whole > 0.5)


@either_library
@pytest.mark.parametrize("which", ["both", "phi", "chi"])
def test_empty_masks_are_fused_without_a_trace_of_nan(library, which):
    empty, full = squares(0, 0), squares(6, 6)
    phi, chi = (empty if which in ("both", name) else full for name in ("phi", "chi"))
    losses = [library.asarray(mask.mean((1, 2, 3)) * 20) for mask in (phi, chi)]
    fused = object_choice.fuse_masks(library.asarray(phi), library.asarray(chi), *losses)
    np.testing.assert_allclose(fused, empty if which == "both" else full, atol=0.05)


def test_an_undecided_model_leaves_the_decision_to_the_other():
    phi = np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11, 1, 1)
    for pair in ((phi, np.full_like(phi, 0.5)), (np.full_like(phi, 0.5), phi)):
        fused = object_choice.fuse_masks(*pair, mode="geometric", trust="none")
        np.testing.assert_array_equal(inference.threshold(fused), inference.threshold(phi))


@either_library
def test_chi_alone_where_its_masks_are_harder_to_inpaint(library):
    phi, chi = (library.asarray(np.repeat(mask, 3, axis=0)) for mask in (PHI, CHI))
    losses = library.asarray([1.5, 1.0, 0.5]), library.asarray([1.0, 1.0, 0.6])
    for mode in ("geometric", "product", "mean"):
        fused = object_choice.fuse_masks(phi, chi, *losses, mode=mode)
        assert isinstance(fused, type(phi))
        combined = object_choice.fuse_masks(PHI, CHI, mode=mode, trust="none")
        # A tie is no reason to drop φ.
        np.testing.assert_allclose(fused, np.concatenate([combined, combined, CHI]), rtol=1e-6)
    for mode, alone in (("dynamic", phi), ("static", chi)):
        np.testing.assert_array_equal(object_choice.fuse_masks(phi, chi, *losses, mode=mode), alone)


def test_fuse_refuses_what_it_cannot_do(unchecked):
    with pytest.raises(ValueError, match="mode 'best' is unknown; there are geometric, product"):
        object_choice.fuse_masks(PHI, CHI, mode="best")
    with pytest.raises(ValueError, match="trust 'truth' is unknown; there are loss_a, none"):
        object_choice.fuse_masks(PHI, CHI, trust="truth")
    with pytest.raises(ValueError, match="needs loss_a_phi and loss_a_chi"):
        object_choice.fuse_masks(PHI, CHI, np.ones(1))
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 1\) and chi \(1, 1, 2, 1\) differ"):
        object_choice.fuse_masks(PHI, CHI[:, :1], trust="none")
