"""Convolutions whose gradients have formulations of their own on CPUs and GPUs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.kernels.convolution import conv, for_flax

LAYOUT = ("NHWC", "HWIO", "NHWC")


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def plain(x, kernel, stride, dilation):
    pad = dilation * (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=LAYOUT,
    )


@pytest.fixture(params=["cpu", "cuda"])
def platform(request, monkeypatch):
    """Has gradients computed here as they are there."""
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *arrays, **ways: ways[request.param](*arrays)
    )


@pytest.mark.parametrize(
    ("side", "stride", "dilation", "height", "width"),
    [
        (3, 1, 1, 6, 9),
        (3, 2, 1, 7, 10),  # odd and even sides
        (7, 2, 1, 12, 9),
        (3, 1, 2, 6, 9),
        (3, 1, 2, 7, 9),  # grids of several sizes
        (3, 1, 4, 8, 12),
        (3, 1, 8, 6, 9),  # most taps read nothing but padding
        (3, 2, 2, 6, 9),
        (1, 1, 1, 4, 5),
        (1, 2, 1, 5, 4),
    ],
)
@pytest.mark.parametrize(("channels", "features"), [(5, 4), (4, 5), (256, 258)])
def test_values_and_gradients_are_those_of_the_plain_convolution(
    side, stride, dilation, height, width, channels, features, platform
):
    x, kernel = draw(3, height, width, channels), draw(side, side, channels, features, seed=1)
    expected, back = jax.vjp(lambda *a: plain(*a, stride, dilation), x, kernel)
    found, own_back = jax.vjp(lambda *a: conv(*a, stride, dilation), x, kernel)
    np.testing.assert_array_equal(found, expected)
    gradient = draw(*expected.shape, seed=2)
    for one, other in zip(own_back(gradient), back(gradient), strict=True):
        # Sums in another order.
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("platform", "strided"), [("tpu", True), ("cuda", False)])
def test_gpus_get_gradients_that_cudnn_computes(platform, strided):
    def total(kernel, x):
        return conv(x, kernel, dilation=4).sum()

    traced = jax.jit(jax.grad(total)).trace(draw(3, 3, 5, 4), draw(2, 8, 12, 5))
    lowered = traced.lower(lowering_platforms=(platform,)).as_text()
    # XLA's usual gradient of a dilated kernel is a strided convolution, which it leaves as it is.
    assert ("stride = [4, 4]" in lowered) == strided


@pytest.mark.parametrize(("channels", "features"), [(2, 2), (2, 3), (256, 257)])
def test_gradients_of_bfloat16_are_summed_in_float32(channels, features):
    x = draw(8, 16, 16, channels).astype(jnp.bfloat16)
    kernel = draw(3, 3, channels, features).astype(jnp.bfloat16)

    def total(kernel, x):
        return conv(x, kernel).astype(jnp.float32).sum()

    found = jax.grad(total)(kernel, x)
    exact = jax.grad(total)(kernel.astype(jnp.float32), x.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2},
        {"kernel_dilation": 3},
        {"padding": "VALID", "strides": 2},
        {"padding": ((0, 2), (1, 0))},
        {"padding": ((0, 2), (3, 1)), "kernel_dilation": (1, 2)},
    ],
)
def test_layers_of_flax_are_the_same(options, platform):
    x = draw(2, 9, 8, 3)
    own, usual = (
        nn.Conv(4, (3, 3), **options, **more) for more in ({"conv_general_dilated": for_flax}, {})
    )
    variables = usual.init(jax.random.key(0), x)
    results = []
    for layer in (own, usual):
        results.append(
            jax.value_and_grad(lambda v, x, layer=layer: (layer.apply(v, x) ** 2).sum(), (0, 1))(
                variables, x
            )
        )
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
