"""The small backbone in PyTorch, as `dystab_jax.networks.backbones` has it."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import convolution, normalisation
from benchmarks.pytorch.resnet import Block
from dystab_jax.networks.layers import dilate


class Small(nn.Module):
    """Mirrors `dystab_jax.networks.backbones.Small`."""

    def __init__(self, width: int, output_stride: int, norm: str):
        super().__init__()
        narrow, half, full = width // 4, width // 2, width
        self.conv1, self.bn1 = convolution(3, narrow, 3, 2), normalisation(norm, narrow)
        self.conv2, self.bn2 = convolution(narrow, half, 3, 2), normalisation(norm, half)
        self.fine_stride, self.fine_channels, self.channels = 2, narrow, full
        self.blocks, entering = [], half
        features = (half, full, full)
        for stage, (stride, dilations) in enumerate(dilate((1, 2, 2), 4, output_stride)):
            block = Block(entering, features[stage], False, stride, dilations, stage > 0, norm)
            self.blocks.append(f"block{stage + 1}")
            setattr(self, self.blocks[-1], block)
            entering = features[stage]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        fine = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(fine)), inplace=True)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x, fine
