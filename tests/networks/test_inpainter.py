"""ψ: what its robust fit recovers, and what it may and may not see."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.inpainter import Inpainter
from dystab_jax.networks.motion_models import MOTION_TERMS, parametric_motion
from tests.support.tiny_motion import HEIGHT, WIDTH, box, motion

fit = jax.jit(parametric_motion, static_argnums=(2, 3, 4))


def learned(module, batch=2, seed=0, last=0.3):
    """Inputs and variables as after some training: the last layer is no longer zero."""
    rng = np.random.default_rng(seed)
    image = np.float32(rng.random((batch, HEIGHT, WIDTH, 3)))
    mask = box(8, 24, 12, 40, batch)
    flow = motion(6, seed, batch)
    # Drawn here, since compiling Flax's own initialisation takes ten times as long.
    shapes = jax.eval_shape(module.init, jax.random.key(0), mask, flow, image)
    drawn = {
        path: (last if path[1] == "Conv_0" else 0.1) * rng.standard_normal(leaf.shape, np.float32)
        for path, leaf in flax.traverse_util.flatten_dict(dict(shapes)).items()
    }
    return flax.traverse_util.unflatten_dict(drawn), mask, flow, image


@pytest.fixture(scope="module")
def full():
    """An affine ψ with a residual that says something."""
    module = Inpainter("affine", (4, 8))
    return jax.jit(module.apply), *learned(module)


def test_the_answer_covers_the_whole_image(full):
    # Eq. (3) takes what lies in the mask; its gradient asks what lies beside it.
    apply, variables, mask, flow, image = full
    guess = np.asarray(apply(variables, mask, (1 - mask) * flow, image))
    for region in (0, 1):
        assert (guess[:, mask[0, ..., 0] == region] != 0).mean() > 0.99


def test_output_is_zero_without_context(full):
    apply, variables, mask, flow, image = full
    assert not apply(variables, np.ones_like(mask), 0 * flow, image).any()
    # A single visible pixel is context.
    nearly = np.ones_like(mask)
    nearly[:, 0, 0] = 0
    assert apply(variables, nearly, (1 - nearly) * flow, image).any()


def test_flow_inside_a_hard_mask_cannot_be_seen(full):
    apply, variables, mask, flow, image = full
    other = np.where(mask == 1, 100 * flow[::-1] - 7, flow)
    assert np.abs(other - flow).max() > 50
    guess = apply(variables, mask, (1 - mask) * flow, image)
    np.testing.assert_array_equal(apply(variables, mask, (1 - mask) * other, image), guess)


def test_flow_inside_a_soft_mask_can_be_seen(full):
    # Why L_A cuts the masks, see docs/method.md: a soft mask leaks.
    apply, variables, mask, flow, image = full
    soft = 0.7 * mask + 0.15
    other = np.where(mask == 1, flow + 1, flow)
    guess = apply(variables, soft, (1 - soft) * flow, image)
    leaked = np.abs(apply(variables, soft, (1 - soft) * other, image) - guess)
    assert leaked[:, 10:22, 14:38].mean() > 0.01


def test_flow_outside_and_the_image_are_seen(full):
    apply, variables, mask, flow, image = full
    guess = apply(variables, mask, (1 - mask) * flow, image)
    for context, scene in (((1 - mask) * (flow + 1), image), ((1 - mask) * flow, image[::-1])):
        assert np.abs(apply(variables, mask, context, scene) - guess).max() > 0.01


def test_the_residual_sees_the_whole_image():
    module = Inpainter("none", (4, 8))
    variables, _, _, _ = learned(module)
    apply = jax.jit(module.apply)
    # Context on the right edge only; the flow there is the only difference.
    everywhere = np.ones((1, HEIGHT, 160, 1), np.float32)
    everywhere[:, :, -4:] = 0
    image = np.zeros((1, HEIGHT, 160, 3), np.float32)
    still, moved = (
        np.asarray(apply(variables, everywhere, speed * (1 - everywhere) * [1, 2], image))
        for speed in np.float32([0, 30])
    )
    # The far left corner has changed, 150 pixels away.
    assert (np.abs(moved - still)[:, :4, :4].max(-1) > 1e-6).all()


def test_the_correction_is_told_what_the_fit_says(full):
    # All of an added translation goes into the fit, and what is added to it depends on it.
    apply, variables, mask, flow, image = full
    camera = np.float32([7, -5])
    guess = apply(variables, mask, (1 - mask) * flow, image)
    moved = apply(variables, mask, (1 - mask) * (flow + camera), image)
    assert np.abs(np.asarray(moved - guess) - camera).max() > 0.1
    # Beyond the bound, a faster camera is no news: both corrections are gain times fit plus one r.
    fast, faster, fastest = (
        apply(variables, mask, (1 - mask) * (flow + np.float32([speed, 0])), image)
        for speed in (200, 300, 400)
    )
    np.testing.assert_allclose(fastest - faster, faster - fast, rtol=1e-3, atol=0.1)


def test_the_gain_can_take_the_fit_back():
    module = Inpainter("affine", (4,))
    variables, mask, flow, image = learned(module, last=0)
    last = variables["params"]["Conv_0"]
    variables["params"]["Conv_0"] = last | {"bias": np.float32([-1, 0.25, -0.5])}
    guess = jax.jit(module.apply)(variables, mask, (1 - mask) * flow, image)
    np.testing.assert_allclose(guess, 0 * flow + np.float32([0.25, -0.5]), atol=1e-4)


@pytest.mark.parametrize("parametric", MOTION_TERMS)
def test_a_residual_of_zero_leaves_the_fit_alone(parametric):
    module = Inpainter(parametric, (4,))
    variables, mask, flow, image = learned(module, last=0)
    guess = jax.jit(module.apply)(variables, mask, (1 - mask) * flow, image)
    if parametric == "none":
        assert not guess.any()
    else:
        expected = fit((1 - mask) * flow, 1 - mask, MOTION_TERMS[parametric], 4)
        np.testing.assert_allclose(guess, expected, atol=1e-4)
        assert np.abs(guess).max() > 1


def test_the_residual_starts_at_zero():
    module = Inpainter("none", (4,))
    mask, flow = box(8, 24, 12, 40, 1), motion(3, 0, 1)
    guess, variables = module.init_with_output(
        # This generator compiles ten times as fast as the default one.
        jax.random.key(0, impl="rbg"),
        mask,
        (1 - mask) * flow,
        np.ones((1, HEIGHT, WIDTH, 3), np.float32),
    )
    assert not guess.any()
    # The layers before it are ready to learn.
    assert variables["params"]["flow_encoder"]["_Block_0"]["Conv_0"]["kernel"].std() > 0.1


def test_masks_follow_each_other_image_by_image(full):
    apply, variables, mask, flow, image = full
    regions = np.concatenate([mask, 1 - mask])
    contexts = np.concatenate([(1 - mask) * flow, mask * flow])
    both = apply(variables, regions, contexts, image)
    inside = apply(variables, mask, (1 - mask) * flow, image)
    outside = apply(variables, 1 - mask, mask * flow, image)
    np.testing.assert_allclose(both, np.concatenate([inside, outside]), atol=1e-4)


def test_samples_are_filled_apart(full):
    apply, variables, mask, flow, image = full
    guess = apply(variables, mask, (1 - mask) * flow, image)
    swapped = apply(variables, mask, (1 - mask) * flow[::-1], image[::-1])
    np.testing.assert_allclose(swapped, guess[::-1], atol=1e-4)
    # Nothing of the second sample is seen in the first.
    other = np.concatenate([(1 - mask[:1]) * flow[:1], 9 - 0 * flow[1:]])
    alone = apply(variables, np.concatenate([mask[:1], 0 * mask[1:]]), other, image)
    np.testing.assert_allclose(alone[0], guess[0], atol=1e-4)


def test_reweightings_are_those_asked_for():
    mask, flow = box(8, 24, 12, 40, 1), motion(3, 0, 1)
    seen = np.where(box(0, 8, 0, WIDTH, 1) == 1, 9, flow)
    image = np.zeros((1, HEIGHT, WIDTH, 3), np.float32)
    for reweightings in (0, 4):
        alone = Inpainter("affine", (), reweightings)
        guess = jax.jit(alone.apply)({}, mask, (1 - mask) * seen, image)
        expected = fit((1 - mask) * seen, 1 - mask, 3, reweightings)
        np.testing.assert_allclose(guess, expected, atol=1e-4)


def test_sizes_that_no_stride_divides_and_half_precision():
    module = Inpainter("quadratic", (4, 4, 4), reweightings=0, dtype="bfloat16")
    mask, flow = np.zeros((1, 33, 45, 1), np.float32), np.ones((1, 33, 45, 2), np.float32)
    mask[:, 5:20, 7:30] = 1
    image = np.ones((1, 33, 45, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), mask, flow, image)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 1e-3, leaf.dtype), shapes)
    guess = jax.jit(module.apply)(variables, mask, (1 - mask) * flow, image)
    assert guess.dtype == jnp.float32
    np.testing.assert_allclose(guess, flow, atol=1e-2)


def test_wrong_names_stop():
    with pytest.raises(ValueError, match=r"parametric is 'cubic'.*none.*affine.*quadratic"):
        Inpainter("cubic")
    with pytest.raises(ValueError, match="needs widths"):
        Inpainter("none", ())


def test_a_psi_that_shrinks_answers_from_means_of_cells():
    plain, shrinking = Inpainter("affine", (8, 16)), Inpainter("affine", (8, 16), shrink=2)
    variables, mask, flow, image = learned(plain)
    context = (1 - mask) * flow
    guess = shrinking.apply(variables, mask, context, image)
    cells = [
        x.reshape(2, HEIGHT // 2, 2, WIDTH // 2, 2, -1).mean((2, 4)) for x in (mask, context, image)
    ]
    # The edges of this mask are edges of cells: away from them both answers are the same.
    coarse = np.repeat(np.repeat(plain.apply(variables, *cells), 2, 1), 2, 2)
    inner = (slice(None), slice(10, 22), slice(14, 38))
    assert np.abs(guess[inner] - coarse[inner]).mean() < 0.1 * np.abs(coarse[inner]).mean()
    assert not np.any(shrinking.apply(variables, np.ones_like(mask), 0 * flow, image))
    with pytest.raises(ValueError, match="psi.model.shrink is 0"):
        Inpainter(shrink=0)
