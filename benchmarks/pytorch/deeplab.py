"""φ and χ in PyTorch, as `dystab_jax.networks.deeplab` has them."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.backbones import Small
from benchmarks.pytorch.efficientnet import EfficientNetLite
from benchmarks.pytorch.layers import (
    average_cells,
    computing_in,
    convolution,
    normalisation,
    resize,
    upsample,
)
from benchmarks.pytorch.motion_models import without_motion
from benchmarks.pytorch.resnet import ResNet
from dystab_jax.networks import deeplab
from dystab_jax.networks.backbones import BACKBONES, DEFAULT_WIDTH
from dystab_jax.networks.motion_models import MOTION_TERMS


class AtrousHeads(nn.ModuleList):
    """Sums dilated 3×3 convolutions of the same features."""

    def __init__(self, entering: int, leaving: int, rates: Sequence[int]):
        super().__init__(
            nn.Conv2d(entering, leaving, 3, padding=rate, dilation=rate, bias=n == 0)
            for n, rate in enumerate(rates)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return reduce(torch.add, [head(x) for head in self])


class DeepLab(nn.Module):
    """Holds φ or χ: two logits per pixel from flow, or from an image in [0, 1]."""

    def __init__(self, ours: deeplab.DeepLab, layout: torch.memory_format):
        super().__init__()
        if ours.remat:
            raise ValueError("the PyTorch networks keep all activations; got remat=True")
        spec = BACKBONES[ours.backbone]
        self.dtype = getattr(torch, ours.dtype)
        self.layout, self.shrink, self.stride = layout, ours.shrink, ours.output_stride
        self.inputs, self.terms = ours.inputs, MOTION_TERMS[ours.camera]
        for name in ("mean", "std"):
            values = torch.tensor(getattr(spec, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)
        options = {"output_stride": ours.output_stride, "norm": ours.norm}
        if ours.backbone == "small":
            self.backbone = Small(width=ours.width or DEFAULT_WIDTH, **options)
        elif ours.backbone.startswith("efficientnet"):
            self.backbone = EfficientNetLite(**spec.build.keywords, **options)
        else:
            self.backbone = ResNet(**spec.build.keywords, **options)
        rates = [max(1, rate * 8 // ours.output_stride) for rate in spec.rates]
        deep, fine = self.backbone.channels, self.backbone.fine_channels
        self.heads = AtrousHeads(deep, 2 * fine if fine else 2, rates)
        if fine:
            self.skip = convolution(fine, 2 * fine, 1)
            self.skip_bn = normalisation(ours.norm, 2 * fine)
            self.refine = convolution(2 * fine, 2 * fine, 3)
            self.refine_bn = normalisation(ours.norm, 2 * fine)
            self.logits = nn.Conv2d(2 * fine, 2, 1)
        self.to(memory_format=layout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole = x.shape[2:]
        x = average_cells(x, self.shrink)
        height, width = x.shape[2:]
        if self.inputs == "flow":
            with torch.no_grad():
                x = with_length(without_camera(x, self.terms) if self.terms else standardise(x))
        else:
            x = (x - self.mean) / self.std
        with computing_in(self.dtype, x):
            y, stride = self._logits(x.contiguous(memory_format=self.layout))
        return resize(upsample(y.float(), height, width, stride), whole)

    def _logits(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Returns logits, and the stride that they are at."""
        deep, fine = self.backbone(x)
        y, stride = self.heads(deep), self.stride
        if fine is not None:
            stride = self.backbone.fine_stride
            y = upsample(y, *fine.shape[2:], self.stride // stride) + self.skip(fine)
            y = functional.relu(self.skip_bn(y), inplace=True)
            y = functional.relu(self.refine_bn(self.refine(y)), inplace=True)
            y = self.logits(y)
        return y, stride


def standardise(flow: torch.Tensor) -> torch.Tensor:
    """Gives zero mean and unit variance."""
    centred = flow - flow.mean((2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3), keepdim=True)
    return centred * torch.rsqrt(variance + deeplab.FLOW_NOISE**2)


def without_camera(flow: torch.Tensor, terms: int) -> torch.Tensor:
    """Returns what a parametric motion leaves over, compressed."""
    residual = without_motion(flow, terms)
    length = torch.sqrt(residual.square().sum(1, keepdim=True) + 1e-12)
    scale = length.mean((1, 2, 3), keepdim=True) + deeplab.FLOW_NOISE
    return residual / length * torch.log1p(length / scale)


def with_length(vectors: torch.Tensor) -> torch.Tensor:
    """Adds the length as a third channel."""
    length = torch.sqrt(vectors.square().sum(1, keepdim=True) + 1e-12)
    return torch.cat([vectors, length], 1)
