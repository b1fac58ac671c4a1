"""Backbones: strides that become dilations change no feature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.backbones import Small
from dystab_jax.networks.efficientnet import EfficientNetLite0
from dystab_jax.networks.layers import make_norm
from dystab_jax.networks.resnet import ResNet
from tests.support.tiny_networks import draw, fill_variables


def _backbone(kind, output_stride):
    norm = make_norm("batch", train=False, axis_name=None, dtype=jnp.float32)
    common = {"output_stride": output_stride, "norm": norm, "dtype": jnp.float32}
    if kind == "basic":
        return ResNet(blocks=(1, 1, 2, 2), bottleneck=False, **common)
    if kind == "bottleneck":
        return ResNet(blocks=(1, 1, 2, 2), bottleneck=True, **common)
    if kind == "small":
        return Small(width=16, **common)
    return EfficientNetLite0(**common)


@pytest.mark.parametrize(
    ("kind", "coarse", "fine"),
    [
        ("basic", 32, 8),
        ("basic", 32, 16),
        ("bottleneck", 32, 8),
        ("efficientnet", 32, 8),
        ("small", 16, 4),
    ],
)
def test_dilation_computes_the_same_features_more_densely(kind, coarse, fine):
    x = draw(1, 71, 96, 3)
    variables = fill_variables(_backbone(kind, coarse), x)
    sparse = jax.jit(_backbone(kind, coarse).apply)(variables, x).deep
    dense = jax.jit(_backbone(kind, fine).apply)(variables, x).deep
    assert dense.shape[1:3] == (-(-71 // fine), -(-96 // fine))
    step = coarse // fine
    np.testing.assert_allclose(dense[:, ::step, ::step], sparse, rtol=1e-3, atol=1e-4)
