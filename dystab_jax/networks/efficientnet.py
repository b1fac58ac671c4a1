"""EfficientNet-Lite: inverted residuals without squeeze-and-excitation, ReLU6 throughout."""

import math
from functools import partial
from typing import NamedTuple

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array
from dystab_jax.networks.kernels.depthwise import depthwise_conv
from dystab_jax.networks.layers import Conv, Features, Norm, dilate


class Stage(NamedTuple):
    """Describes blocks that follow each other at one resolution.

    Attributes:
      count: number of blocks.
      kernel: side of the depthwise kernels.
      stride: of the first block.
      expansion: channels inside a block per channel of its input.
      features: channels of the output.
    """

    count: int
    kernel: int
    stride: int
    expansion: int
    features: int


# Of Lite0, from which the larger variants are scaled.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# Of every variant: factors of the channels and of the blocks.
VARIANTS = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
# The same in all variants.
STEM_FEATURES = 32
# The last features at this stride go along, for the masks' borders.
FINE_STRIDE = 4
# The published weights were trained with this epsilon in the normalisations.
EPSILON = 1e-3


def scale_stages(variant: str) -> tuple[Stage, ...]:
    """Returns the stages of a variant, a key of ``VARIANTS``.

    Channels go to the nearest multiple of 8. Blocks are rounded up; the first and the last stage
    keep their one.
    """
    width, depth = VARIANTS[variant]
    counts = [math.ceil(depth * stage.count) for stage in STAGES]
    counts[0], counts[-1] = STAGES[0].count, STAGES[-1].count
    return tuple(
        stage._replace(count=count, features=8 * int(width * stage.features / 8 + 0.5))
        for stage, count in zip(STAGES, counts, strict=True)
    )


class DepthwiseConv(nn.Module):
    """Holds a bias-free depthwise convolution with symmetric padding."""

    kernel: int
    stride: int
    dilation: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        # The fan-in of one channel: all inputs of an output are its own k × k window.
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        kernel = self.param("kernel", init, shape)
        return depthwise_conv(x, kernel.astype(self.dtype), self.stride, self.dilation)


class InvertedResidual(nn.Module):
    """Holds 1×1 expansion, depthwise convolution, linear 1×1 projection, and maybe a shortcut.

    Attributes:
      features: channels of the output.
      kernel: side of the depthwise kernel.
      stride: of the depthwise convolution.
      dilation: of the depthwise convolution.
      expansion: channels inside per channel of the input; 1 leaves the expansion out.
      shortcut: whether the input is added; not in the first block of a stage.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
    """

    features: int
    kernel: int
    stride: int
    dilation: int
    expansion: int
    shortcut: bool
    norm: Norm
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        norm = partial(self.norm, epsilon=EPSILON)
        y = x
        if self.expansion > 1:
            inside = self.expansion * x.shape[-1]
            y = Conv(inside, 1, dtype=self.dtype, name="expand_conv")(y)
            y = nn.relu6(norm(name="bn0")(y))
        y = DepthwiseConv(
            self.kernel, self.stride, self.dilation, self.dtype, name="depthwise_conv"
        )(y)
        y = nn.relu6(norm(name="bn1")(y))
        y = Conv(self.features, 1, dtype=self.dtype, name="project_conv")(y)
        y = norm(name="bn2")(y)
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Holds the convolutional part of an EfficientNet-Lite up to its last block.

    That has 320 channels, 352 in Lite2. The widening to 1280 channels that follows belongs to the
    ImageNet classifier and is left out. Padding is symmetric. The published weights were trained
    with padding at the right and bottom only, which samples the same filters one pixel further on;
    symmetric padding keeps features and pixels aligned at every size, and the ImageNet answers stay
    (see the tests).

    Attributes:
      variant: a key of ``VARIANTS``.
      output_stride: 8, 16 or 32; strides beyond it become dilations.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
      remat: recompute the activations inside blocks in the backward pass.
    """

    variant: str
    output_stride: int
    norm: Norm
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Features:
        x = Conv(STEM_FEATURES, 3, stride=2, dtype=self.dtype, name="conv_stem")(x)
        x = nn.relu6(self.norm(name="bn0", epsilon=EPSILON)(x))
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        stages = scale_stages(self.variant)
        strides = dilate([stage.stride for stage in stages], 2, self.output_stride)
        index, reached, fine = 0, 2, None
        for (count, kernel, _, expansion, features), (stride, (before, behind)) in zip(
            stages, strides, strict=True
        ):
            for number in range(count):
                first = number == 0
                x = block(
                    features=features,
                    kernel=kernel,
                    stride=stride if first else 1,
                    dilation=before if first else behind,
                    expansion=expansion,
                    shortcut=not first,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"blocks_{index}",
                )(x)
                index += 1
            reached *= stride
            if reached == FINE_STRIDE:
                fine = x
        return Features(deep=x, fine=fine, fine_stride=FINE_STRIDE)
