"""Eqs. (2)-(8): hand-computed 2x2 cases, edges, symmetries, gradients, and what is held still."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dystab_jax import losses


def plane(*rows):
    """One mask [1, H, W, 1] from rows of numbers."""
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def vectors(*rows):
    """One flow [1, H, W, 2] from rows of pairs."""
    return jnp.asarray(rows, jnp.float32)[None]


ZERO = vectors([(0, 0), (0, 0)], [(0, 0), (0, 0)])
LEFT = plane([1, 0], [1, 0])
# Lengths 5 and 0 on the left, 0 and 10 on the right.
FLOW = vectors([(3, 4), (0, 0)], [(0, 0), (6, 8)])
# Off by lengths 4 and 1 on the left, 1 and 0 on the right.
INSIDE = vectors([(3, 0), (0, 0)], [(0, 1), (0, 0)])
OUTSIDE = vectors([(0, 0), (1, 0)], [(0, 0), (6, 8)])


def draw(seed, batch=4, height=5, width=6):
    """Random masks, flow and what a mediocre ψ makes of it."""
    rng = np.random.default_rng(seed)
    shape = (batch, height, width)
    mask, other = np.float32(rng.uniform(0, 1, (2, *shape, 1)))
    flow, inside, outside, backward = np.float32(rng.standard_normal((4, *shape, 2)))
    drawn = {
        "mask": mask,
        "other": other,
        "flow": flow,
        "backward": backward,
        "inside": flow + 0.6 * inside,
        "outside": flow + 0.6 * outside,
    }
    return {name: jnp.asarray(array) for name, array in drawn.items()}


temporal_consistency = jax.jit(losses.temporal_consistency)
adversarial = jax.jit(losses.adversarial, static_argnames="clip")


# -- the two operations on masks ------------------------------------------------------------------


def test_centre_by_hand():
    # The middle of 0.1 and 0.5 is 0.3, which moves to 0.5.
    centred = losses.centre(plane([0.1, 0.5], [0.3, 0.2]))
    np.testing.assert_allclose(centred, plane([0.3, 0.7], [0.5, 0.4]), atol=1e-6)


def test_centre_changes_nothing_between_zero_and_one():
    mask = plane([0, 1], [0.3, 0.2])
    np.testing.assert_allclose(losses.centre(mask), mask, atol=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_centre_of_a_constant_is_one_half(level):
    np.testing.assert_array_equal(losses.centre(jnp.full((1, 2, 2, 1), level)), 0.5)


def test_centre_stays_in_range_and_treats_samples_apart():
    low = np.linspace(0, 1, 30, dtype=np.float32).reshape(30, 1, 1, 1)
    draws = np.float32(np.random.default_rng(0).uniform(0, 1, (30, 4, 4, 1)))
    centred = np.asarray(losses.centre(low + (1 - low) * draws**3))
    assert centred.min() >= 0 and centred.max() <= 1
    middle = (centred.min((1, 2, 3)) + centred.max((1, 2, 3))) / 2
    np.testing.assert_allclose(middle, 0.5, atol=1e-6)


def test_centre_and_straight_through_pass_gradients_unchanged():
    weights = plane([1, -2], [3, 4])
    mask = plane([0.1, 0.9], [0.5, 0.2])
    for operation in (losses.centre, losses.straight_through):
        gradient = jax.grad(lambda m, o=operation: jnp.sum(weights * o(m)))(mask)
        np.testing.assert_array_equal(gradient, weights)


def test_straight_through_is_hard():
    mask = plane([0.1, 0.51], [0.5, 0.9])
    np.testing.assert_array_equal(losses.straight_through(mask), plane([0, 1], [0, 1]))


# -- Eqs. (2) and (3) -----------------------------------------------------------------------------


def test_separation_by_hand():
    one = jnp.ones(1)
    # 3 / (4 + 1) + 2 / (7 + 1)
    score = losses.separation(3 * one, 4 * one, 2 * one, 7 * one, epsilon=1)
    np.testing.assert_allclose(score, 0.85)
    # Each ratio is bounded on its own: 0.5 + 0.25
    clipped = losses.separation(3 * one, 4 * one, 2 * one, 7 * one, epsilon=1, clip=0.5)
    np.testing.assert_allclose(clipped, 0.75)
    lower = losses.separation(3 * one, 4 * one, 2 * one, 7 * one, epsilon=1, clip=0.2)
    np.testing.assert_allclose(lower, 0.4)


def test_a_clipped_ratio_gives_no_gradient():
    one = jnp.ones(1)

    def score(conditional):
        return losses.separation(conditional, one, 0.5 * one, one, 0.0, clip=1.0)[0]

    assert jax.grad(score)(2 * one) == 0
    assert jax.grad(score)(0.9 * one) == 1


def test_adversarial_by_hand():
    # Means over four pixels. Inside: (4 + 1)/4 over (5 + 0)/4 + ε; outside: (1 + 0)/4 over
    # (0 + 10)/4 + ε. With ε = 1/4: 1.25/1.5 + 0.25/2.75.
    score = adversarial(LEFT, FLOW, INSIDE, OUTSIDE, epsilon=0.25)
    np.testing.assert_allclose(score, 1.25 / 1.5 + 0.25 / 2.75, rtol=1e-5)
    clipped = adversarial(LEFT, FLOW, INSIDE, OUTSIDE, epsilon=0.25, clip=0.5)
    np.testing.assert_allclose(clipped, 0.5 + 0.25 / 2.75, rtol=1e-5)
    error = losses.inpainting_error(LEFT, FLOW, INSIDE, OUTSIDE)
    np.testing.assert_allclose(error, 1.25 + 0.25, rtol=1e-5)


def test_adversarial_with_both_sizes_in_the_denominator_by_hand():
    # The guesses' sizes join: inside ‖INSIDE‖, outside ‖OUTSIDE‖, per pixel and over four of them.
    def size(field):
        return np.linalg.norm(np.asarray(field), axis=-1).sum() / 4

    score = losses.adversarial(LEFT, FLOW, INSIDE, OUTSIDE, 0.25, denominator="both")
    expected = 1.25 / (1.25 + size(INSIDE) + 0.25) + 0.25 / (2.5 + size(OUTSIDE) + 0.25)
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_both_sizes_bound_the_ratios_and_keep_masks_of_resting_regions_tight():
    # The camera follows a square: the square rests and the rest moves. ψ says so for the rest, and
    # that the square moves with the rest.
    square, ring = np.zeros((1, 12, 12, 1), np.float32), np.zeros((1, 12, 12, 1), np.float32)
    square[:, 4:8, 4:8], ring[:, 3:9, 3:9] = 1, 1
    camera = np.float32([2, -1])
    flow = (1 - square) * camera

    def score(mask, **options):
        guesses = mask * camera, 0 * flow
        return float(losses.adversarial(mask, flow, *guesses, 1e-3, **options)[0])

    assert score(square, denominator="both") > score(ring, denominator="both") + 0.3
    assert score(square, clip=1.0) == pytest.approx(score(ring, clip=1.0), rel=0.25)
    guesses = 50 * square * camera, -9 * flow
    wild = losses.adversarial(square, flow, *guesses, 1e-3, denominator="both")
    assert 1.9 < float(wild[0]) <= 2


def test_adversarial_of_a_soft_mask_by_hand():
    # m = ¼ everywhere and nothing inpainted: (¼·15/4)/(¼·15/4 + ε) + (¾·15/4)/(¾·15/4 + ε)
    quarter = jnp.full_like(LEFT, 0.25)
    score = adversarial(quarter, FLOW, ZERO, ZERO, epsilon=1.0)
    np.testing.assert_allclose(score, 0.9375 / 1.9375 + 2.8125 / 3.8125, rtol=1e-5)


def test_a_perfect_inpainter_leaves_nothing_and_a_silent_one_everything():
    flow = draw(0)["flow"]
    mask = np.zeros((4, 5, 6, 1), np.float32)
    mask[:, 1:4, 2:4] = 1
    told = adversarial(mask, flow, mask * flow, (1 - mask) * flow, 1e-3)
    np.testing.assert_allclose(told, 0, atol=1e-6)
    silent = adversarial(mask, flow, 0 * flow, 0 * flow, 1e-6)
    np.testing.assert_allclose(silent, 2, rtol=1e-4)


@pytest.mark.parametrize("denominator", ["observed", "both"])
def test_adversarial_asks_each_pixel_to_join_or_to_leave(denominator):
    # At hard masks, where the game is played, the gradient must say what flipping a pixel does.
    x = draw(8, batch=1, height=12, width=16)
    mask = jnp.float32(x["mask"] > 0.6)

    def score(mask):
        arguments = mask, x["flow"], x["inside"], x["outside"], 1e-2
        return losses.adversarial(*arguments, denominator=denominator)[0]

    def flipped(number):
        at = jnp.arange(mask.size) == number
        return score(jnp.where(at.reshape(mask.shape), 1 - mask, mask))

    gains = np.asarray(jax.lax.map(flipped, jnp.arange(mask.size)) - score(mask))
    slopes = np.asarray(jax.grad(score)(mask) * (1 - 2 * mask)).ravel()
    for region in (0, 1):
        there = np.asarray(mask == region).ravel()
        assert 0.1 < (gains[there] > 0).mean() < 0.9
        assert (np.sign(gains) == np.sign(slopes))[there].mean() > 0.95
        np.testing.assert_allclose(slopes[there], gains[there], rtol=0.2, atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("speed", [0.0, 1.0, 1e4])
def test_adversarial_is_finite_at_the_edges(level, speed):
    mask, flow = jnp.full((1, 4, 4, 1), level), speed * draw(1, 1, 4, 4)["flow"]

    def score(mask, guess):
        return adversarial(mask, flow, mask * guess, (1 - mask) * guess, 1e-2)[0]

    for guess in (jnp.zeros_like(flow), flow, jnp.ones_like(flow)):
        value, gradients = jax.value_and_grad(score, (0, 1))(mask, guess)
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    if speed == 0:
        assert score(mask, jnp.zeros_like(flow)) == 0


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_empty_and_full_masks_have_one_ratio_only(level):
    mask, flow = jnp.full((1, 4, 4, 1), level), draw(1, 1, 4, 4)["flow"]
    score = adversarial(mask, flow, jnp.zeros_like(flow), jnp.zeros_like(flow), 1e-5)
    np.testing.assert_allclose(score, 1, rtol=1e-4)


def test_adversarial_does_not_tell_a_mask_from_its_complement():
    x = draw(2)
    score = adversarial(x["mask"], x["flow"], x["inside"], x["outside"], 0.1, 0.6)
    swapped = adversarial(1 - x["mask"], x["flow"], x["outside"], x["inside"], 0.1, 0.6)
    np.testing.assert_allclose(score, swapped, rtol=1e-6)


def test_adversarial_does_not_depend_on_the_unit_of_flow():
    x = draw(3)
    score = adversarial(x["mask"], x["flow"], x["inside"], x["outside"], 0.1)
    scaled = adversarial(x["mask"], 7 * x["flow"], 7 * x["inside"], 7 * x["outside"], epsilon=0.7)
    np.testing.assert_allclose(score, scaled, rtol=1e-5)


def test_adversarial_does_not_depend_on_the_direction_of_motion():
    x = draw(4)
    turn = jnp.array([[0.6, 0.8], [-0.8, 0.6]])
    score = adversarial(x["mask"], x["flow"], x["inside"], x["outside"], 0.1)
    turned = (x[name] @ turn for name in ("flow", "inside", "outside"))
    np.testing.assert_allclose(score, adversarial(x["mask"], *turned, 0.1), rtol=1e-5)


def test_adversarial_does_not_depend_on_the_size_of_the_image():
    x = draw(5)
    big = [jnp.tile(x[name], (1, 2, 3, 1)) for name in ("mask", "flow", "inside", "outside")]
    score = adversarial(x["mask"], x["flow"], x["inside"], x["outside"], 0.1)
    np.testing.assert_allclose(adversarial(*big, 0.1), score, rtol=1e-5)


# -- Eq. (4) --------------------------------------------------------------------------------------


def test_temporal_consistency_without_motion_by_hand():
    # Differences 0, 1, ½, 0: mean 0.375, in both directions.
    first, second = plane([1, 0], [0.5, 0]), plane([1, 1], [0, 0])
    np.testing.assert_allclose(temporal_consistency(first, second, ZERO, ZERO), 0.75)


def test_temporal_consistency_follows_the_motion():
    right = vectors([(1, 0)] * 4)
    second = plane([0, 0, 1, 1])
    # Pixels 0-2 land on 1-3, pixel 3 leaves the image; back, pixels 1-3 come from 0-2.
    follows = temporal_consistency(plane([0, 1, 1, 0]), second, right, -right)
    np.testing.assert_allclose(follows, 0)
    # Only pixel 0 is wrong, among three visible ones, in both directions.
    wrong = temporal_consistency(plane([1, 1, 1, 0]), second, right, -right)
    np.testing.assert_allclose(wrong, 1 / 3 + 1 / 3)
    # Both terms ask for less of it, seen from frame 1 and from frame 2.
    gradient = jax.grad(lambda m: temporal_consistency(m, second, right, -right)[0])
    np.testing.assert_allclose(gradient(plane([1, 1, 1, 0])), plane([2 / 3, 0, 0, 0]))


def test_temporal_consistency_ignores_occluded_pixels():
    # Frame 1 moves right by 1; frame 2 says that its pixel 1 came from pixel 1: 1 > 0.01·1 + 0.5,
    # so pixel 0 of frame 1 is occluded and so is pixel 1 of frame 2.
    right = vectors([(1, 0)] * 4)
    back = vectors([(-1, 0), (0, 0), (-1, 0), (-1, 0)])
    first, second = plane([1, 1, 1, 0]), plane([0, 0, 1, 1])
    np.testing.assert_allclose(temporal_consistency(first, second, right, back), 0)


def test_temporal_consistency_is_symmetric_in_the_frames():
    x = draw(6)
    score = temporal_consistency(x["mask"], x["other"], x["flow"], x["backward"])
    swapped = temporal_consistency(x["other"], x["mask"], x["backward"], x["flow"])
    np.testing.assert_allclose(score, swapped, rtol=1e-6)
    assert (score > 0).all()


def test_temporal_consistency_does_not_tell_masks_from_their_complements():
    x = draw(7)
    score = temporal_consistency(x["mask"], x["other"], x["flow"], x["backward"])
    both = temporal_consistency(1 - x["mask"], 1 - x["other"], x["flow"], x["backward"])
    np.testing.assert_allclose(score, both, rtol=1e-5)


def test_temporal_consistency_of_what_leaves_the_image_is_zero():
    far = vectors([(9, 0)] * 4)
    mask = plane([0.2, 0.4, 0.6, 0.8])
    value, gradient = jax.value_and_grad(lambda m: temporal_consistency(m, 1 - m, far, far)[0])(
        mask
    )
    assert value == 0 and not gradient.any()


def test_both_frames_masks_learn_from_temporal_consistency():
    x = draw(8)
    gradients = jax.grad(
        lambda a, b: jnp.sum(temporal_consistency(a, b, x["flow"], -x["flow"])), (0, 1)
    )(x["mask"], x["other"])
    assert all((jnp.abs(gradient).sum((1, 2, 3)) > 0).all() for gradient in gradients)


# -- Eqs. (5) to (8) ------------------------------------------------------------------------------


def test_dynamic_by_hand():
    # −1.5 + 0.1·0.4
    score, inconsistency = jnp.array([1.5]), jnp.array([0.4])
    np.testing.assert_allclose(losses.dynamic(score, inconsistency, 0.1), -1.46)


TARGET = plane([1, 1], [0, 0])
ALPHA2 = 1.5
PREDICTION = plane([0.5, 1], [0, 0.25])


def test_f_measure_by_hand():
    # Σpt = 1.5, Σt = 2, Σp = 1.75: 2.5·1.5 / (1.5·2 + 1.75)
    np.testing.assert_allclose(losses.f_measure(PREDICTION, TARGET, ALPHA2), 3.75 / 4.75, rtol=1e-6)
    # As the paper writes it.
    precision, recall, alpha2 = 1.5 / 1.75, 1.5 / 2, 0.3
    expected = (1 + alpha2) * precision * recall / (alpha2 * precision + recall)
    np.testing.assert_allclose(losses.f_measure(PREDICTION, TARGET, alpha2), expected, rtol=1e-6)


def test_f_measure_at_the_edges():
    empty, full = jnp.zeros_like(TARGET), jnp.ones_like(TARGET)
    for prediction in (empty, full, PREDICTION):
        for target in (empty, full, TARGET):
            value, gradient = jax.value_and_grad(
                lambda p, target=target: losses.f_measure(p, target, ALPHA2)[0]
            )(prediction)
            assert 0 <= value <= 1 and np.isfinite(gradient).all()
    assert losses.f_measure(TARGET, TARGET, ALPHA2) == 1
    assert losses.f_measure(1 - TARGET, TARGET, ALPHA2) == 0
    assert losses.f_measure(full, empty, ALPHA2) == 0


def test_f_measure_cuts_and_stops_its_target():
    soft = 0.2 + 0.4 * TARGET  # 0.6 and 0.2
    hard = losses.f_measure(PREDICTION, TARGET, ALPHA2)
    assert losses.f_measure(PREDICTION, soft, ALPHA2) == hard
    gradient = jax.grad(lambda t: losses.f_measure(PREDICTION, t, ALPHA2)[0])(soft)
    assert not gradient.any()


def static_of(confidence, previous_confidence, previous=TARGET, motion=TARGET, **options):
    return losses.static(
        PREDICTION,
        motion,
        previous,
        jnp.array([confidence], jnp.float32),
        jnp.array([previous_confidence], jnp.float32),
        **{"margin": 0.2, "consistency_weight": 1.0, "alpha2": ALPHA2, **options},
    )


def test_static_by_hand():
    # F with TARGET is 3.75/4.75; with its complement Σpt = 0.25: 2.5·0.25 / (1.5·2 + 1.75).
    lack, other_lack = 1 - 3.75 / 4.75, 1 - 0.625 / 4.75
    # Trust 1.5 − 1.0 − 0.2 = 0.3 in m, weight 1 on χ′.
    np.testing.assert_allclose(
        static_of(1.5, 1.0, motion=1 - TARGET), lack + 0.3 * other_lack, rtol=1e-5
    )
    # χ′ is the more confident one: only the wish to stay remains.
    np.testing.assert_allclose(static_of(1.0, 0.9, motion=1 - TARGET), lack, rtol=1e-5)
    # The first time: no χ′ to stay with; trust 1.5 − 0 − 0.5.
    first = static_of(1.5, 0.0, 1 - TARGET, consistency_weight=0.0, margin=0.5)
    np.testing.assert_allclose(first, lack, rtol=1e-5)


def test_empty_targets_teach_chi_nothing():
    empty = jnp.zeros_like(TARGET)
    np.testing.assert_array_equal(static_of(1.5, 0.0, previous=empty, motion=empty), 0)
    np.testing.assert_allclose(
        static_of(1.5, 0.0, previous=empty), 1.3 * (1 - 3.75 / 4.75), rtol=1e-5
    )


def test_only_the_prediction_of_chi_learns():
    arguments = (PREDICTION, 0.7 * TARGET, 0.8 * TARGET, jnp.ones(1), jnp.full(1, 0.3))
    gradients = jax.grad(lambda *a: losses.static(*a, 0.2, 1.0, ALPHA2)[0], range(5))(*arguments)
    assert gradients[0].any()
    assert not any(gradient.any() for gradient in gradients[1:])


def test_joint_by_hand():
    # −1.2 + 2·(1 − 3.75/4.75)
    loss = losses.joint(jnp.array([-1.2]), PREDICTION, TARGET, 2.0, ALPHA2)
    np.testing.assert_allclose(loss, -1.2 + 2 / 4.75, rtol=1e-6)
    # χ sees no object: nothing to agree with.
    alone = losses.joint(jnp.array([-1.2]), PREDICTION, 0.4 * TARGET, 1.0, ALPHA2)
    np.testing.assert_allclose(alone, -1.2)


def test_joint_holds_chi_still():
    gradients = jax.grad(lambda *a: losses.joint(*a, 1.0, ALPHA2)[0], range(3))(
        jnp.array([-1.2]), PREDICTION, 0.8 * TARGET
    )
    assert gradients[0] == 1 and gradients[1].any() and not gradients[2].any()


# -- all of them ----------------------------------------------------------------------------------

BATCHED = {
    "adversarial": lambda x: adversarial(x["mask"], x["flow"], x["inside"], x["outside"], 0.1),
    "inpainting_error": lambda x: losses.inpainting_error(
        x["mask"], x["flow"], x["inside"], x["outside"]
    ),
    "temporal_consistency": lambda x: temporal_consistency(
        x["mask"], x["other"], x["flow"], x["backward"]
    ),
    "f_measure": lambda x: losses.f_measure(x["mask"], x["other"], ALPHA2),
    "static": lambda x: losses.static(
        x["mask"],
        x["other"],
        1 - x["other"],
        x["mask"][:, 0, 0, 0],
        x["mask"][:, 1, 0, 0],
        0.0,
        1.0,
        ALPHA2,
    ),
    "joint": lambda x: losses.joint(x["mask"][:, 0, 0, 0], x["mask"], x["other"], 1.0, ALPHA2),
}


@pytest.mark.parametrize("name", BATCHED)
def test_samples_are_scored_apart(name):
    x, score = draw(9), jax.jit(BATCHED[name])
    scores = score(x)
    assert scores.shape == (4,)
    order = np.array([2, 0, 3, 1])
    permuted = score({key: array[order] for key, array in x.items()})
    np.testing.assert_allclose(permuted, scores[order], rtol=1e-6)
    others = draw(10)
    mixed = score({key: array.at[1:].set(others[key][1:]) for key, array in x.items()})
    np.testing.assert_allclose(mixed[0], scores[0], rtol=1e-6)
    assert (mixed[1:] != scores[1:]).all()


SPLIT = np.zeros((4, 5, 6, 1), np.float32)
SPLIT[:, 2:] = 1
RIGHT = np.zeros((4, 5, 6, 2), np.float32)
RIGHT[..., 0] = 1


def smooth_game(x):
    """Arguments of Eq. (3) away from vectors of length zero."""
    mask, flow = 0.3 + 0.4 * x["mask"], 3 + 0.5 * x["flow"]
    return mask, flow, mask * (flow + 1), (1 - mask) * (flow - 1)


SMOOTH = {
    "separation": (
        partial(losses.separation, epsilon=0.1),
        lambda x: [0.5 + x["mask"][:, i, 0, 0] for i in range(4)],
    ),
    "adversarial": (partial(losses.adversarial, epsilon=0.1), smooth_game),
    "inpainting_error": (losses.inpainting_error, smooth_game),
    # Away from m1 = m2.
    "temporal_consistency": (
        lambda m1, m2: temporal_consistency(m1, m2, 0.3 * RIGHT, -0.3 * RIGHT),
        lambda x: (0.6 + 0.4 * x["mask"], 0.4 * x["other"]),
    ),
    "dynamic": (
        partial(losses.dynamic, weight=0.1),
        lambda x: (x["mask"][:, 0, 0, 0], x["other"][:, 0, 0, 0]),
    ),
    "f_measure": (lambda p: losses.f_measure(p, SPLIT, ALPHA2), lambda x: (x["mask"],)),
    "static": (
        lambda p: losses.static(
            p, SPLIT, 1 - SPLIT, jnp.full(4, 1.5), jnp.full(4, 0.9), 0.2, 1.0, ALPHA2
        ),
        lambda x: (x["mask"],),
    ),
    "joint": (
        lambda d, m: losses.joint(d, m, SPLIT, 0.7, ALPHA2),
        lambda x: (x["mask"][:, 0, 0, 0], x["mask"]),
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_finite_differences(name):
    function, arguments = SMOOTH[name]
    arguments = arguments(draw(11))
    check_grads(
        jax.jit(function), arguments, order=1, modes=["rev"], eps=1e-2, atol=2e-3, rtol=2e-3
    )
