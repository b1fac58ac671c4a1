"""Layers that backbones share: pointwise convolutions and exact upsampling."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.layers import Conv, upsample
from tests.support.tiny_networks import draw


@pytest.mark.parametrize(("stride", "product"), [(1, True), (2, False)])
def test_pointwise_convolutions(stride, product):
    module, x = Conv(5, 1, stride=stride), draw(2, 7, 9, 3)
    kernel = draw(1, 1, 3, 5, seed=1)
    apply = partial(module.apply, {"params": {"kernel": kernel}})
    expected = x[:, ::stride, ::stride] @ kernel[0, 0]
    np.testing.assert_allclose(apply(x), expected, rtol=1e-5, atol=1e-5)
    # XLA's GPU compiler aborts on some products of every other pixel.
    assert ("dot_general" in str(jax.make_jaxpr(apply)(x))) == product


def test_upsampling_puts_samples_on_the_pixels_they_came_from():
    pixels = np.arange(17, dtype=np.float32)
    ramp = jnp.asarray(pixels[None, :, None, None] + 10 * pixels[None, None, :, None])
    result = upsample(ramp[:, ::8, ::8], 17, 17, 8)
    np.testing.assert_allclose(result, ramp, rtol=1e-6, atol=1e-5)


def test_upsampling_repeats_the_last_sample_at_the_far_border():
    x = jnp.asarray([1.0, 3.0])[None, None, :, None]
    result = upsample(x, 1, 7, 4)[0, 0, :, 0]
    np.testing.assert_allclose(result, [1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0], rtol=1e-6)
