"""EfficientNet-Lite0: inverted residuals without squeeze-and-excitation, ReLU6 throughout."""

from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array
from dystab_jax.networks.kernels.depthwise import depthwise_conv
from dystab_jax.networks.layers import Conv, Features, Norm, dilate

# Of every stage: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_FEATURES = 32
# The last features at this stride go along, for the masks' borders.
FINE_STRIDE = 4
# The published weights were trained with this epsilon in the normalisations.
EPSILON = 1e-3


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


class EfficientNetLite0(nn.Module):
    """Holds the convolutional part of EfficientNet-Lite0 up to its last block (320 channels).

    The widening to 1280 channels that follows belongs to the ImageNet classifier and is left out.
    Padding is symmetric. The published weights were trained with padding at the right and
    bottom only, which samples the same filters one pixel further on; symmetric padding keeps
    features and pixels aligned at every size, and the ImageNet answers stay (see the tests).

    Attributes:
      output_stride: 8, 16 or 32; strides beyond it become dilations.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
      remat: recompute the activations inside blocks in the backward pass.
    """

    output_stride: int
    norm: Norm
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Features:
        x = Conv(STEM_FEATURES, 3, stride=2, dtype=self.dtype, name="conv_stem")(x)
        x = nn.relu6(self.norm(name="bn0", epsilon=EPSILON)(x))
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        strides = dilate([stage[2] for stage in STAGES], 2, self.output_stride)
        index, reached, fine = 0, 2, None
        for (count, kernel, _, expansion, features), (stride, (before, behind)) in zip(
            STAGES, strides, strict=True
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
