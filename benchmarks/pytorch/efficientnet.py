"""EfficientNet-Lite in PyTorch, as `dystab_jax.networks.efficientnet` has it."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import convolution, normalisation
from dystab_jax.networks.efficientnet import EPSILON, FINE_STRIDE, STEM_FEATURES, scale_stages
from dystab_jax.networks.layers import dilate


class InvertedResidual(nn.Module):
    """Holds expansion, depthwise convolution, projection."""

    def __init__(
        self,
        entering: int,
        leaving: int,
        kernel: int,
        stride: int,
        dilation: int,
        expansion: int,
        shortcut: bool,
        norm: str,
    ):
        super().__init__()
        inner = entering * expansion
        self.expands, self.shortcut = expansion > 1, shortcut
        if self.expands:
            self.expand_conv = convolution(entering, inner, 1)
            self.bn0 = normalisation(norm, inner, EPSILON)
        self.depthwise_conv = convolution(inner, inner, kernel, stride, dilation, groups=inner)
        self.bn1 = normalisation(norm, inner, EPSILON)
        self.project_conv = convolution(inner, leaving, 1)
        self.bn2 = normalisation(norm, leaving, EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.expands:
            y = functional.relu6(self.bn0(self.expand_conv(y)), inplace=True)
        y = functional.relu6(self.bn1(self.depthwise_conv(y)), inplace=True)
        y = self.bn2(self.project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Mirrors `dystab_jax.networks.efficientnet.EfficientNetLite`."""

    def __init__(self, variant: str, output_stride: int, norm: str):
        super().__init__()
        self.conv_stem = convolution(3, STEM_FEATURES, 3, 2)
        self.bn0 = normalisation(norm, STEM_FEATURES, EPSILON)
        self.fine_stride, self.blocks = FINE_STRIDE, []
        stages = scale_stages(variant)
        strides = dilate([stage.stride for stage in stages], 2, output_stride)
        entering, reached = STEM_FEATURES, 2
        for (count, kernel, _, expansion, leaving), (stride, (before, behind)) in zip(
            stages, strides, strict=True
        ):
            for number in range(count):
                first = number == 0
                block = InvertedResidual(
                    entering,
                    leaving,
                    kernel,
                    stride if first else 1,
                    before if first else behind,
                    expansion,
                    not first,
                    norm,
                )
                self.blocks.append(f"blocks_{len(self.blocks)}")
                setattr(self, self.blocks[-1], block)
                entering = leaving
            reached *= stride
            if reached == FINE_STRIDE:
                self.fine_after, self.fine_channels = self.blocks[-1], leaving
        self.channels = entering

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = functional.relu6(self.bn0(self.conv_stem(x)), inplace=True)
        for name in self.blocks:
            x = getattr(self, name)(x)
            if name == self.fine_after:
                fine = x
        return x, fine
