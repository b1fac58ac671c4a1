"""ψ in PyTorch, as `dystab_jax.networks.inpainter` has it."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import average_cells, computing_in, resize
from benchmarks.pytorch.motion_models import parametric_motion
from dystab_jax.networks import inpainter
from dystab_jax.networks.motion_models import MOTION_TERMS


class LeakyConvolution(nn.Module):
    """Holds a 3×3 convolution and a leaky rectifier."""

    def __init__(self, entering: int, leaving: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.strided = stride > 1
        padding = 0 if self.strided else dilation
        self.conv = nn.Conv2d(entering, leaving, 3, stride, padding, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.strided:
            # Flax's "SAME": what an even side lacks is padded at its end.
            height, width = x.shape[2:]
            x = functional.pad(x, (width % 2, 1, height % 2, 1))
        return functional.leaky_relu(self.conv(x), 0.1, inplace=True)


class Encoder(nn.Module):
    """Returns features at 1/2, 1/4, ... of the input's resolution."""

    def __init__(self, entering: int, widths: Sequence[int]):
        super().__init__()
        self.blocks = nn.ModuleList()
        for width in widths:
            self.blocks += [LeakyConvolution(entering, width, 2), LeakyConvolution(width, width)]
            entering = width

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for down, flat in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = flat(down(x))
            features.append(x)
        return features


class Inpainter(nn.Module):
    """Holds ψ: a robust parametric fit of the context's flow, corrected by a network."""

    def __init__(self, ours: inpainter.Inpainter, layout: torch.memory_format):
        super().__init__()
        self.layout, self.shrink, self.dtype = layout, ours.shrink, getattr(torch, ours.dtype)
        self.terms, self.reweightings = MOTION_TERMS[ours.parametric], ours.reweightings
        widths = self.widths = tuple(ours.widths)
        if widths:
            self.flow_encoder = Encoder(5 if self.terms else 3, widths)
            self.image_encoder = Encoder(3, widths)
            deepest = widths[-1]
            entering = [2 * deepest, deepest, deepest]
            self.blocks = nn.ModuleList(
                LeakyConvolution(width, deepest, dilation=dilation)
                for width, dilation in zip(entering, (1, 2, 4), strict=True)
            )
            entering = 2 * deepest
            for width in widths[-2::-1]:
                self.blocks.append(LeakyConvolution(entering + 2 * width, width))
                entering = width
            self.conv = nn.Conv2d(entering, 3, 3, padding=1)
        self.to(memory_format=layout)

    def forward(
        self, mask: torch.Tensor, context: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        size = mask.shape[2:]
        mask, context = (average_cells(x, self.shrink) for x in (mask, context))
        known = 1 - mask
        guess = torch.zeros_like(context)
        if self.terms:
            guess = parametric_motion(context, known, self.terms, self.reweightings)
        if self.widths:
            image = average_cells(image, self.shrink)
            with computing_in(self.dtype, image):
                correction = self._correction(mask, context - known * guess, mask * guess, image)
            guess = (1 + correction[:, :1]) * guess + correction[:, 1:]
        has_context = (known > 0).flatten(1).any(1)[:, None, None, None]
        return torch.where(has_context, resize(guess, size), 0.0)

    def _correction(
        self,
        mask: torch.Tensor,
        unexplained: torch.Tensor,
        fit: torch.Tensor,
        image: torch.Tensor,
    ) -> torch.Tensor:
        """Returns gain and residual, [B, 3, H, W]."""
        inputs = [unexplained, mask]
        if self.terms:
            inputs.append(fit.clamp(-inpainter.LONGEST_FIT, inpainter.LONGEST_FIT))
        flow_features = self.flow_encoder(
            torch.cat(inputs, 1).contiguous(memory_format=self.layout)
        )
        repeats = (len(mask) // len(image), 1, 1, 1)
        image = (image - 0.5).contiguous(memory_format=self.layout)
        image_features = [features.repeat(repeats) for features in self.image_encoder(image)]
        x = torch.cat([flow_features[-1], image_features[-1]], 1)
        for block in self.blocks[:3]:
            x = block(x)
        x = torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1)
        skips = list(zip(flow_features[:-1], image_features[:-1], strict=True))[::-1]
        for block, skip in zip(self.blocks[3:], skips, strict=True):
            x = block(torch.cat([resize(x, skip[0].shape[2:]), *skip], 1))
        return resize(self.conv(x).float().contiguous(), mask.shape[2:])
