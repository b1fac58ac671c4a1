"""ResNets in PyTorch, as `dystab_jax.networks.resnet` has them."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import convolution, normalisation
from dystab_jax.networks.layers import dilate
from dystab_jax.networks.resnet import STAGE_FEATURES


class Block(nn.Module):
    """Holds two 3×3 convolutions, or 1×1, 3×3, 1×1 around a bottleneck, and a shortcut."""

    def __init__(
        self,
        entering: int,
        features: int,
        bottleneck: bool,
        stride: int,
        dilations: tuple[int, int],
        project: bool,
        norm: str,
    ):
        super().__init__()
        before, behind = dilations
        if bottleneck:
            self.leaving = 4 * features
            plan = [
                (features, 1, 1, 1),
                (features, 3, stride, before),
                (self.leaving, 1, 1, 1),
            ]
        else:
            self.leaving = features
            plan = [(features, 3, stride, before), (features, 3, 1, behind)]
        self.count, inner = len(plan), entering
        for i, (leaving, kernel, step, dilation) in enumerate(plan, 1):
            setattr(self, f"conv{i}", convolution(inner, leaving, kernel, step, dilation))
            setattr(self, f"bn{i}", normalisation(norm, leaving))
            inner = leaving
        self.project = project
        if project:
            self.downsample_0 = convolution(entering, self.leaving, 1, stride)
            self.downsample_1 = normalisation(norm, self.leaving)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = functional.relu(y, inplace=True)
        if self.project:
            x = self.downsample_1(self.downsample_0(x))
        return functional.relu(x + y, inplace=True)


class ResNet(nn.Module):
    """Mirrors `dystab_jax.networks.resnet.ResNet`."""

    def __init__(self, blocks: Sequence[int], bottleneck: bool, output_stride: int, norm: str):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2), normalisation(norm, 64)
        self.fine_channels, self.blocks, entering = None, [], 64
        for stage, (stride, dilations) in enumerate(dilate((1, 2, 2, 2), 4, output_stride)):
            for index in range(blocks[stage]):
                first = index == 0
                block = Block(
                    entering,
                    STAGE_FEATURES[stage],
                    bottleneck,
                    stride if first else 1,
                    dilations if first else (dilations[1], dilations[1]),
                    first and (stage > 0 or bottleneck),
                    norm,
                )
                self.blocks.append(f"layer{stage + 1}_{index}")
                setattr(self, self.blocks[-1], block)
                entering = block.leaving
        self.channels = entering

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x, None
