"""PWC-Net in PyTorch, for comparison: the layers of the official release under their names.

Tests compare `data_prep.flow.pwcnet` with it, `benchmarks.flow` its speed. Nothing else uses it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 96, 128, 196)
DENSE = (128, 128, 96, 64, 32)
RADIUS = 4


class PwcNet(nn.Module):
    """Estimates flow between encoded frames; tensors are [B, C, H, W]."""

    def __init__(self):
        super().__init__()
        entering = 3
        for level, width in enumerate(WIDTHS, 1):
            for name, stride in zip(_pyramid_names(level), (2, 1, 1), strict=True):
                setattr(self, name, _convolution(entering, width, stride))
                entering = width
        for level in (6, 5, 4, 3, 2):
            channels = (2 * RADIUS + 1) ** 2
            if level < 6:
                channels += WIDTHS[level - 1] + 4
            for index, width in enumerate(DENSE):
                setattr(self, f"conv{level}_{index}", _convolution(channels, width))
                channels += width
            setattr(self, f"predict_flow{level}", nn.Conv2d(channels, 2, 3, padding=1))
            setattr(self, f"deconv{level}", nn.ConvTranspose2d(2, 2, 4, 2, 1))
            if level > 2:
                setattr(self, f"upfeat{level}", nn.ConvTranspose2d(channels, 2, 4, 2, 1))
        widths = (channels, 128, 128, 128, 96, 64, 32)
        for index, dilation in enumerate((1, 2, 4, 8, 16, 1), 1):
            layer = _convolution(*widths[index - 1 : index + 1], dilation=dilation)
            setattr(self, f"dc_conv{index}", layer)
        self.dc_conv7 = nn.Conv2d(32, 2, 3, padding=1)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Estimates flow between two batches of RGB images, 0 to 255, sides multiples of 64."""
        return self.match(self.encode(first), self.encode(second))

    def encode(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Returns features of levels 1 to 6."""
        maps = images.flip(1) / 255
        pyramid = []
        for level in range(1, 7):
            for name in _pyramid_names(level):
                maps = getattr(self, name)(maps)
            pyramid.append(maps)
        return pyramid

    def match(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        """Returns flow [B, 2, H, W], pixels."""
        flow = maps = None
        for level in (6, 5, 4, 3, 2):
            one, other = first[level - 1], second[level - 1]
            if level == 6:
                maps = functional.leaky_relu(correlate(one, other), 0.1)
            else:
                flow = getattr(self, f"deconv{level + 1}")(flow)
                features = getattr(self, f"upfeat{level + 1}")(maps)
                costs = correlate(one, warp(other, flow * (20 / 2**level)))
                maps = torch.cat([functional.leaky_relu(costs, 0.1), one, flow, features], 1)
            for index in range(5):
                maps = torch.cat([getattr(self, f"conv{level}_{index}")(maps), maps], 1)
            flow = getattr(self, f"predict_flow{level}")(maps)
        for index in range(1, 8):
            maps = getattr(self, f"dc_conv{index}")(maps)
        return functional.interpolate(20 * (flow + maps), scale_factor=4, mode="bilinear")


def _pyramid_names(level: int) -> list[str]:
    letters = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
    return [f"conv{level}{each}" for each in letters]


def _convolution(entering: int, leaving: int, stride: int = 1, dilation: int = 1) -> nn.Module:
    layer = nn.Conv2d(entering, leaving, 3, stride, dilation, dilation)
    return nn.Sequential(layer, nn.LeakyReLU(0.1))


def correlate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Returns the cost volume [B, 81, H, W], one product of the maps for each displacement."""
    height, width = first.shape[2:]
    padded = functional.pad(second, (RADIUS,) * 4)
    costs = [
        (first * padded[:, :, y : y + height, x : x + width]).mean(1)
        for y in range(2 * RADIUS + 1)
        for x in range(2 * RADIUS + 1)
    ]
    return torch.stack(costs, 1)


def warp(maps: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Samples at x + flow(x): zero where a thousandth or more of their weight lies outside."""
    height, width = maps.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([x, y], -1) + flow.permute(0, 2, 3, 1)
    places = 2 * places / torch.tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    sampled = functional.grid_sample(maps, places, align_corners=True)
    inside = functional.grid_sample(torch.ones_like(maps[:, :1]), places, align_corners=True)
    return sampled * (inside > 0.999)


def rename(arrays: Mapping[str, Any], spelled: str = "net") -> dict[str, Any]:
    """Turns official names into those of the re-implementation, which has no ``deconv2``.

    Args:
      arrays: state dict of `PwcNet`.
      spelled: "net", or "module" as its files have it.
    """
    words = ("Zero", "One", "Two", "Thr", "Fou", "Fiv", "Six")

    def translate(name: str) -> str:
        stem, leaf = name.removesuffix(".0.weight").removesuffix(".0.bias"), name.split(".")[-1]
        stem = stem.removesuffix(f".{leaf}")
        if found := re.fullmatch(r"conv(\d)_(\d)", stem):
            layer = f"net{words[int(found[1])]}.net{words[int(found[2]) + 1]}.0"
        elif found := re.fullmatch(r"conv(\d)(a|aa|b)", stem):
            level = int(found[1])
            place = _pyramid_names(level).index(stem)
            layer = f"netExtractor.net{words[level]}.{2 * place}"
        elif found := re.fullmatch(r"predict_flow(\d)", stem):
            layer = f"net{words[int(found[1])]}.netSix.0"
        elif found := re.fullmatch(r"dc_conv(\d)", stem):
            layer = f"netRefiner.netMain.{2 * int(found[1]) - 2}"
        else:
            kind, level = stem[:-1], int(stem[-1])
            kind = {"deconv": "netUpflow", "upfeat": "netUpfeat"}[kind]
            layer = f"net{words[level - 1]}.{kind}"
        return f"{layer}.{leaf}".replace("net", spelled)

    return {
        translate(name): array for name, array in arrays.items() if not name.startswith("deconv2.")
    }
