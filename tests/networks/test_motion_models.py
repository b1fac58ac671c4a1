"""The robust parametric fit of flow: what it recovers, and what it does with little."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.motion_models import parametric_motion
from tests.support.tiny_motion import BOX, HEIGHT, WIDTH, box, motion

fit = jax.jit(parametric_motion, static_argnums=(2, 3, 4))


@pytest.mark.parametrize(("terms", "largest"), [(3, 0.05), (6, 0.2)])
def test_plain_fit_recovers_motion(terms, largest):
    flow = motion(terms, seed=0)
    np.testing.assert_allclose(fit((1 - BOX) * flow, 1 - BOX, terms, 0), flow, atol=largest)


@pytest.mark.parametrize(("terms", "largest"), [(3, 0.25), (6, 0.5)])
def test_robust_fit_recovers_motion_under_outliers(terms, largest):
    flow, rng = motion(terms, seed=0), np.random.default_rng(1)
    elsewhere = rng.random((*flow.shape[:3], 1)) < 0.3
    seen = np.where(elsewhere, flow + 5 + rng.uniform(-10, 10, flow.shape), flow)
    context = np.float32((1 - BOX) * seen)
    robust, plain = (
        np.abs(fit(context, 1 - BOX, terms, reweightings) - flow) for reweightings in (4, 0)
    )
    assert robust.max() < largest
    assert robust.mean() < 0.15 < 1 < plain.mean()


def test_fit_with_soft_weights_still_recovers_motion():
    # The context of a soft mask is (1 − m) ⊙ u: its vectors are shorter than those of u.
    weight = np.float32(np.random.default_rng(0).uniform(0.1, 1, (4, HEIGHT, WIDTH, 1)))
    flow = motion(3, seed=2)
    np.testing.assert_allclose(fit(weight * flow, weight, 3, 4), flow, atol=0.25)


def test_a_model_with_fewer_terms_cannot_follow():
    flow = motion(6, seed=3)
    affine = np.abs(fit((1 - BOX) * flow, 1 - BOX, 3, 0) - flow)
    assert affine.mean() > 0.5


@pytest.mark.parametrize("terms", [3, 6])
def test_a_small_context_says_translation_only(terms):
    # 3x3 pixels in a corner, noisy: a slope of half a pixel per pixel.
    context = np.zeros((1, HEIGHT, WIDTH, 2), np.float32)
    context[0, 2:5, 2:5, 0] = np.array([1.5, 2, 2.5])
    weight = box(2, 5, 2, 5, batch=1)
    guess = np.asarray(fit(context, weight, terms, 4))
    np.testing.assert_allclose(guess[..., 0], 2, atol=0.05)
    # Without the pull towards translation it would grow to 18 px and more across the image.
    assert np.abs(fit(context, weight, terms, 4, 1e-9)).max() > 5


def test_fit_is_zero_without_context():
    nothing = np.zeros((1, HEIGHT, WIDTH, 2), np.float32)
    assert not fit(nothing, nothing[..., :1], 3, 4).any()


def test_fit_scales_with_flow():
    flow = motion(3, seed=4) + np.float32(np.random.default_rng(0).normal(0, 0.3, (1, 1, 1, 2)))
    context = (1 - BOX) * flow
    once, tenfold = fit(context, 1 - BOX, 3, 4), fit(10 * context, 1 - BOX, 3, 4)
    np.testing.assert_allclose(10 * once, tenfold, atol=0.1)


@jax.jit
def length_of_fit(context, weight):
    return jnp.sum(parametric_motion(context, weight) ** 2)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_fit_has_finite_gradients(share, speed):
    weight = np.full((4, HEIGHT, WIDTH, 1), share, np.float32)
    gradients = jax.grad(length_of_fit, (0, 1))(weight * speed * motion(3, seed=5), weight)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_gradient_towards_the_mask_tells_what_does_not_fit():
    # Camera motion zero; a region that moves by 4 px, half of it still in the context. Taking a
    # pixel of it out of the context (smaller weight) brings the guess nearer to zero.
    flow = np.zeros((4, HEIGHT, WIDTH, 2), np.float32)
    flow[:, 8:24, 12:40, 0] = 4
    weight = 1 - box(8, 16, 12, 40)
    gradient = jax.grad(lambda weight: length_of_fit(weight * flow, weight))(weight)[0, ..., 0]
    assert (gradient[17:23, 14:38] > 0).all()
    assert gradient[0].mean() < 0


def test_products_of_the_fit_keep_all_bits_of_float32():
    context, weight = jnp.zeros((1, 8, 8, 2)), jnp.ones((1, 8, 8, 1))
    program = str(jax.make_jaxpr(parametric_motion)(context, weight))
    products = re.findall(r"dot_general\[.*?\]\s", program, flags=re.DOTALL)
    assert len(products) > 10
    assert all("HIGHEST" in product for product in products)
