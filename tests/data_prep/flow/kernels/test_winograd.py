"""Convolutions by minimal filtering, and as PyTorch pads them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.flow.kernels import layers, winograd
from data_prep.flow.kernels.layers import Convolution, make_layer


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def convolve_slowly(maps, kernel, stride=1):
    """Sums over the taps, in float64."""
    high, wide = kernel.shape[:2]
    margins = ((0, 0), (high // 2, high // 2), (wide // 2, wide // 2), (0, 0))
    padded = np.pad(np.float64(maps), margins)
    rows = range(0, padded.shape[1] - high + 1, stride)
    columns = range(0, padded.shape[2] - wide + 1, stride)
    result = np.zeros((len(maps), len(rows), len(columns), kernel.shape[3]))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            window = padded[:, y : y + high, x : x + wide]
            result[:, i, j] = np.tensordot(window, kernel, 3)
    return result


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (1, 1), (4, 3), (9, 2)])
def test_minimal_filtering_is_the_convolution(size):
    maps, kernel = draw(2, *size, 5), draw(3, 3, 5, 3)
    found = winograd.convolve(jnp.asarray(maps), winograd.transform(jnp.asarray(kernel)))
    np.testing.assert_allclose(found, convolve_slowly(maps, kernel), atol=5e-5)


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((1, 5), 1), ((5, 1), 1), ((7, 7), 2)]
)
@pytest.mark.parametrize("minimal", [False, True])
def test_layers_pad_half_the_kernel_on_every_side(kernel, stride, minimal):
    kernel, bias = draw(*kernel, 32, 40) / 32, draw(40)
    for size in ((8, 10), (7, 9)):
        maps = draw(1, *size, 32)
        layer = make_layer(jnp.asarray(kernel), jnp.asarray(bias), stride, minimal=minimal)
        expected = convolve_slowly(maps, kernel, stride) + bias
        np.testing.assert_allclose(layer(jnp.asarray(maps)), expected, atol=5e-5)


@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "minimal"),
    [
        ((3, 3, 32, 32), 1, jnp.float32, True),
        ((3, 3, 31, 32), 1, jnp.float32, False),
        ((3, 3, 32, 2), 1, jnp.float32, False),
        ((3, 3, 32, 32), 2, jnp.float32, False),
        ((5, 1, 32, 32), 1, jnp.float32, False),
        ((3, 3, 32, 32), 1, jnp.bfloat16, False),
    ],
)
def test_minimal_filtering_only_where_it_pays(shape, stride, dtype, minimal):
    kernel, bias = jnp.zeros(shape), jnp.zeros(shape[-1])
    assert make_layer(kernel, bias, stride, dtype, minimal=True).minimal == minimal
    assert not make_layer(kernel, bias, stride, dtype).minimal


def test_layers_compute_in_their_dtype():
    layer = Convolution(4, 3, dtype=jnp.bfloat16)
    maps = jnp.ones((1, 4, 4, 2))
    variables = layer.init(jax.random.key(0), maps)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, maps).dtype == jnp.bfloat16


def test_one_layer_serves_many_iterations():
    # A layer is a pytree, so that it can be carried into loops.
    layer = make_layer(jnp.full((3, 3, 32, 32), 0.01), jnp.zeros(32), minimal=True)
    maps = jnp.ones((1, 4, 4, 32))
    looped, _ = jax.lax.scan(lambda maps, _: (layer(maps), None), maps, length=3)
    np.testing.assert_allclose(looped, layer(layer(layer(maps))), rtol=1e-5)
    assert isinstance(jax.tree.map(lambda leaf: leaf, layer), layers.Layer)
