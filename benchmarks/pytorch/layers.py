"""Layers that the PyTorch networks share, as `dystab_jax.networks.layers` has them."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def convolution(
    entering: int, leaving: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Returns a layer without bias; the centre of output i lies on input ``stride * i``."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(
        entering, leaving, kernel, stride, padding, dilation, groups=groups, bias=False
    )


class FrozenBatchNorm(nn.BatchNorm2d):
    """Normalises by the stored averages always; scale and bias are trained."""

    def train(self, mode: bool = True) -> "FrozenBatchNorm":
        return super().train(False)


def normalisation(norm: str, channels: int, epsilon: float = 1e-5) -> nn.Module:
    """Returns a layer by the names of `dystab_jax.networks.layers.make_norm`."""
    if norm == "group":
        most = max(1, min(32, channels // 8))
        groups = next(count for count in range(most, 0, -1) if channels % count == 0)
        return nn.GroupNorm(groups, channels, epsilon)
    return {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm}[norm](channels, epsilon)


def upsample(x: torch.Tensor, height: int, width: int, stride: int) -> torch.Tensor:
    """Puts sample i on pixel ``stride * i``, bilinear between; the last sample repeats."""
    # Repeated before it is enlarged, where it is small.
    x = torch.cat([x, x[:, :, -1:]], 2)
    x = torch.cat([x, x[:, :, :, -1:]], 3)
    size = [stride * (samples - 1) + 1 for samples in x.shape[2:]]
    x = functional.interpolate(x, size, mode="bilinear", align_corners=True)
    return x[:, :, :height, :width]


def average_cells(x: torch.Tensor, side: int) -> torch.Tensor:
    """Returns means over square cells."""
    return functional.avg_pool2d(x, side) if side > 1 else x


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Enlarges bilinearly; pixels are squares."""
    return x if x.shape[2:] == tuple(size) else functional.interpolate(x, size, mode="bilinear")


def computing_in(dtype: torch.dtype, x: torch.Tensor) -> torch.autocast:
    """Has convolutions computed in that type, on the device of x."""
    return torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32)
