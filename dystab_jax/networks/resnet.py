"""ResNet-18, -34 and -50 as published weights expect them, dilated to a chosen output stride."""

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array
from dystab_jax.networks.layers import Conv, Features, Norm, dilate

STAGE_FEATURES = (64, 128, 256, 512)


class Block(nn.Module):
    """Holds a residual block: two 3×3 convolutions, or 1×1, 3×3, 1×1 around a bottleneck.

    Attributes:
      features: channels of the 3×3 convolutions; a bottleneck puts out four times as many.
      bottleneck: which of the two kinds.
      stride: of the block, spent in its first 3×3 convolution.
      dilations: spacing of the taps before and behind the place of the stride.
      project: whether the shortcut is a 1×1 convolution.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
    """

    features: int
    bottleneck: bool
    stride: int
    dilations: tuple[int, int]
    project: bool
    norm: Norm
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        before, behind = self.dilations
        if self.bottleneck:
            outputs = 4 * self.features
            layers = [
                (self.features, 1, 1, 1),
                (self.features, 3, self.stride, before),
                (outputs, 1, 1, 1),
            ]
        else:
            outputs = self.features
            layers = [(outputs, 3, self.stride, before), (outputs, 3, 1, behind)]
        y = x
        for i, (features, kernel, stride, dilation) in enumerate(layers, start=1):
            if i > 1:
                y = nn.relu(y)
            y = Conv(
                features,
                kernel,
                stride=stride,
                dilation=dilation,
                dtype=self.dtype,
                name=f"conv{i}",
            )(y)
            y = self.norm(name=f"bn{i}")(y)
        if self.project:
            x = Conv(outputs, 1, stride=self.stride, dtype=self.dtype, name="downsample_0")(x)
            x = self.norm(name="downsample_1")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Holds the convolutional part of a residual network, without pooling and classifier.

    Parameters carry torchvision's names, with ``_`` for the dots inside a block's path.

    Attributes:
      blocks: number of blocks of the four stages.
      bottleneck: which kind of block.
      output_stride: 8, 16 or 32; strides beyond it become dilations, so that the result at
        every (32 / output_stride)-th pixel is that of the undilated network.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
      remat: recompute the activations inside blocks in the backward pass.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    output_stride: int
    norm: Norm
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Features:
        x = Conv(64, 7, stride=2, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        block = nn.remat(Block) if self.remat else Block
        strides = dilate((1, 2, 2, 2), 4, self.output_stride)
        for stage, count in enumerate(self.blocks):
            stride, dilations = strides[stage]
            for index in range(count):
                first = index == 0
                x = block(
                    features=STAGE_FEATURES[stage],
                    bottleneck=self.bottleneck,
                    stride=stride if first else 1,
                    dilations=dilations if first else (dilations[1], dilations[1]),
                    project=first and (stage > 0 or self.bottleneck),
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x)
        return Features(deep=x)
