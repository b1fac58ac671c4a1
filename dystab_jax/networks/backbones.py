"""The feature extractors that DeepLab can stand on, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array
from dystab_jax.networks.efficientnet import VARIANTS, EfficientNetLite
from dystab_jax.networks.layers import Conv, Features, Norm, dilate
from dystab_jax.networks.resnet import Block, ResNet

DEFAULT_WIDTH = 64


class Small(nn.Module):
    """Extracts features by a small residual network, for training from scratch on a CPU.

    Dense 3×3 convolutions only, which is what XLA's CPU backend runs fast. The early features
    at stride 2 go along, because a mask of a small image lives from its borders.

    Attributes:
      width: channels of the deepest stage; a quarter and a half of it before.
      output_stride: 4, 8 or 16.
      norm: constructor of normalisation layers.
      dtype: compute dtype.
      remat: recompute the activations inside blocks in the backward pass.
    """

    width: int
    output_stride: int
    norm: Norm
    dtype: DTypeLike
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Features:
        narrow, half, full = self.width // 4, self.width // 2, self.width
        x = Conv(narrow, 3, stride=2, dtype=self.dtype, name="conv1")(x)
        x = fine = nn.relu(self.norm(name="bn1")(x))
        x = Conv(half, 3, stride=2, dtype=self.dtype, name="conv2")(x)
        x = nn.relu(self.norm(name="bn2")(x))
        block = nn.remat(Block) if self.remat else Block
        features = (half, full, full)
        for stage, (stride, dilations) in enumerate(dilate((1, 2, 2), 4, self.output_stride)):
            x = block(
                features=features[stage],
                bottleneck=False,
                stride=stride,
                dilations=dilations,
                project=stage > 0,
                norm=self.norm,
                dtype=self.dtype,
                name=f"block{stage + 1}",
            )(x)
        return Features(deep=x, fine=fine, fine_stride=2)


@dataclass(frozen=True)
class Backbone:
    """Describes a backbone to DeepLab.

    Attributes:
      build: constructor; takes output_stride, norm, dtype, remat (and width, if ``scalable``).
      output_strides: the ones accepted.
      rates: dilations of the atrous heads at output stride 8, in pixels of the feature map;
        they shrink and grow so that they span the same input pixels at other strides.
      mean: of each RGB channel of the images that the published weights were trained on, [0, 1].
      std: likewise.
      scalable: whether the width can be chosen.
    """

    build: Callable[..., nn.Module]
    output_strides: tuple[int, ...] = (8, 16)
    rates: tuple[int, int, int, int] = (6, 12, 18, 24)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scalable: bool = False


BACKBONES = {
    "resnet50": Backbone(partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=True)),
    "resnet34": Backbone(partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=False)),
    "resnet18": Backbone(partial(ResNet, blocks=(2, 2, 2, 2), bottleneck=False)),
    **{
        f"efficientnet_{variant}": Backbone(
            partial(EfficientNetLite, variant=variant), mean=(127 / 255,) * 3, std=(128 / 255,) * 3
        )
        for variant in VARIANTS
    },
    "small": Backbone(Small, output_strides=(4, 8, 16), rates=(1, 2, 4, 8), scalable=True),
}
