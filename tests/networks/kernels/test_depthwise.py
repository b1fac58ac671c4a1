"""Depthwise convolution: formulations that must agree, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.kernels.depthwise import depthwise_conv, grouped_conv, shifted_products
from tests.support.tiny_networks import draw


@pytest.mark.parametrize(
    ("size", "stride", "dilation", "width"),
    [(3, 1, 1, 13), (3, 2, 1, 13), (5, 2, 1, 14), (5, 1, 2, 14), (3, 1, 4, 13)],
)
def test_depthwise_agrees_with_the_grouped_convolution(size, stride, dilation, width):
    x, kernel = draw(2, 9, width, 6), draw(size, size, 1, 6, seed=1)
    expected, pull = jax.vjp(partial(grouped_conv, stride=stride, dilation=dilation), x, kernel)
    shifted = shifted_products(x, kernel, stride, dilation)
    np.testing.assert_allclose(shifted, expected, rtol=1e-5, atol=1e-5)
    result, pull_back = jax.vjp(lambda x, k: depthwise_conv(x, k, stride, dilation), x, kernel)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    gradient = draw(*expected.shape, seed=2)
    for ours, theirs in zip(pull_back(gradient), pull(gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_depthwise_kernel_gradient_adds_up_over_many_stretches():
    # 9 · 4096 entries a pixel: stretches of one pixel, each row in several.
    x, kernel, gradient = (
        draw(1, 3, 5, 4096),
        draw(3, 3, 1, 4096),
        draw(1, 3, 5, 4096, seed=3),
    )
    expected = jax.vjp(lambda k: grouped_conv(x, k, 1, 1), kernel)[1](gradient)[0]
    result = jax.vjp(lambda k: depthwise_conv(x, k, 1, 1), kernel)[1](gradient)[0]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_depthwise_gradients_pass_shard_map_with_its_checks():
    x, kernel = draw(2, 6, 7, 4), draw(3, 3, 1, 4, seed=1)

    def gradient(conv):
        return jax.grad(lambda kernel, x: jnp.square(conv(x, kernel, 1, 1)).sum())

    mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    spec = jax.sharding.PartitionSpec
    mapped = jax.shard_map(
        gradient(depthwise_conv), mesh=mesh, in_specs=(spec(), spec("data")), out_specs=spec()
    )
    expected = gradient(grouped_conv)(kernel, x)
    np.testing.assert_allclose(jax.jit(mapped)(kernel, x), expected, rtol=1e-4, atol=1e-4)


def test_depthwise_lowers_to_shifts_on_cpu_and_to_a_convolution_elsewhere():
    def text(platform):
        x, kernel = draw(1, 8, 8, 4), draw(3, 3, 1, 4)
        traced = jax.jit(lambda x, k: depthwise_conv(x, k, 1, 1)).trace(x, kernel)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.convolution" not in text("cpu")
    assert "stablehlo.convolution" in text("tpu")
