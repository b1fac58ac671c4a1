"""φ, ψ and χ in PyTorch, for comparison: the networks of `dystab_jax`, with its weights.

`torch_dystab` trains them; tests compare results, `benchmarks.training` speed. Each module is built
from the Flax module that it mirrors, and `convert` carries the weights over. Tensors are
[B, C, H, W]; what is convolved lies in memory as ``layout`` says, flow and masks plane by plane.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import flax.traverse_util
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dystab_jax.networks import deeplab, inpainter
from dystab_jax.networks.backbones import BACKBONES, DEFAULT_WIDTH
from dystab_jax.networks.efficientnet import EPSILON, FINE_STRIDE, STAGES, STEM_FEATURES
from dystab_jax.networks.layers import dilate
from dystab_jax.networks.motion_models import MOTION_TERMS
from dystab_jax.networks.resnet import STAGE_FEATURES

# -- layers ---------------------------------------------------------------------------------------


def convolution(
    entering: int, leaving: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Without bias; the centre of output i lies on input ``stride * i``."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(
        entering, leaving, kernel, stride, padding, dilation, groups=groups, bias=False
    )


class FrozenBatchNorm(nn.BatchNorm2d):
    """The stored averages always; scale and bias are trained."""

    def train(self, mode: bool = True) -> "FrozenBatchNorm":
        return super().train(False)


def normalisation(norm: str, channels: int, epsilon: float = 1e-5) -> nn.Module:
    """As `dystab_jax.networks.layers.make_norm` names them."""
    if norm == "group":
        most = max(1, min(32, channels // 8))
        groups = next(count for count in range(most, 0, -1) if channels % count == 0)
        return nn.GroupNorm(groups, channels, epsilon)
    return {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm}[norm](channels, epsilon)


def upsample(x: torch.Tensor, height: int, width: int, stride: int) -> torch.Tensor:
    """Sample i on pixel ``stride * i``, bilinear between; the last sample repeats."""
    # Repeated before it is enlarged, where it is small.
    x = torch.cat([x, x[:, :, -1:]], 2)
    x = torch.cat([x, x[:, :, :, -1:]], 3)
    size = [stride * (samples - 1) + 1 for samples in x.shape[2:]]
    x = functional.interpolate(x, size, mode="bilinear", align_corners=True)
    return x[:, :, :height, :width]


def average_cells(x: torch.Tensor, side: int) -> torch.Tensor:
    """Means over square cells."""
    return functional.avg_pool2d(x, side) if side > 1 else x


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear enlargement of pixels that are squares."""
    return x if x.shape[2:] == tuple(size) else functional.interpolate(x, size, mode="bilinear")


# -- parametric motion ----------------------------------------------------------------------------


@lru_cache
@torch.inference_mode(False)
def _make_basis(
    height: int, width: int, terms: int, stiffness: float, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Terms at each pixel [N, K], their products with each other [N, K²], the penalty [K, K]."""
    rows, columns = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y][:terms], -1).flatten(0, 1)
    penalty = torch.full((terms,), stiffness, device=device)
    penalty[0] = 1e-6
    products = (basis[:, :, None] * basis[:, None]).flatten(1)
    return basis, products, height * width * torch.diag(penalty)


@torch.compiler.assume_constant_result  # as for JAX: computed when it compiles, or the first time
def _basis(*arguments: Any) -> tuple[torch.Tensor, ...]:
    return _make_basis(*arguments)


def parametric_motion(
    context: torch.Tensor,
    weight: torch.Tensor,
    terms: int,
    reweightings: int,
    stiffness: float = 2e-3,
) -> torch.Tensor:
    """Iteratively reweighted least squares, as `networks.motion_models.parametric_motion`."""
    height, width = context.shape[2:]
    basis, products, penalty = _basis(height, width, terms, stiffness, context.device)
    context, weight = context.flatten(2), weight.flatten(1)
    squares = weight**2

    def fit(trust: torch.Tensor) -> torch.Tensor:
        gram = ((trust * squares) @ products).unflatten(1, (terms, terms)) + penalty
        moments = ((trust * weight)[:, None] * context) @ basis
        return torch.linalg.solve(gram, moments.mT).mT @ basis.T

    flow = fit(torch.ones_like(weight))
    for _ in range(reweightings):
        with torch.no_grad():
            residual = torch.linalg.vector_norm(context - weight[:, None] * flow, dim=1)
            scale = residual.sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-6)
            trust = 1 / (1 + (residual / (scale + 1e-3)) ** 2)
        flow = fit(trust)
    return flow.unflatten(2, (height, width))


# -- backbones ------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1 around a bottleneck, and a way around them."""

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


class Small(nn.Module):
    """As `dystab_jax.networks.backbones.Small`."""

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


class ResNet(nn.Module):
    """As `dystab_jax.networks.resnet.ResNet`."""

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


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection."""

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


class EfficientNetLite0(nn.Module):
    """As `dystab_jax.networks.efficientnet.EfficientNetLite0`."""

    def __init__(self, output_stride: int, norm: str):
        super().__init__()
        self.conv_stem = convolution(3, STEM_FEATURES, 3, 2)
        self.bn0 = normalisation(norm, STEM_FEATURES, EPSILON)
        self.fine_stride, self.blocks = FINE_STRIDE, []
        strides = dilate([stage[2] for stage in STAGES], 2, output_stride)
        entering, reached = STEM_FEATURES, 2
        for (count, kernel, _, expansion, leaving), (stride, (before, behind)) in zip(
            STAGES, strides, strict=True
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


# -- DeepLab --------------------------------------------------------------------------------------


class AtrousHeads(nn.ModuleList):
    """Dilated 3×3 convolutions of the same features, summed."""

    def __init__(self, entering: int, leaving: int, rates: Sequence[int]):
        super().__init__(
            nn.Conv2d(entering, leaving, 3, padding=rate, dilation=rate, bias=n == 0)
            for n, rate in enumerate(rates)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return reduce(torch.add, [head(x) for head in self])


class DeepLab(nn.Module):
    """φ or χ: two logits per pixel from flow, or from an image in [0, 1]."""

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
        elif ours.backbone == "efficientnet_lite0":
            self.backbone = EfficientNetLite0(**options)
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
        """Logits, and the stride that they are at."""
        deep, fine = self.backbone(x)
        y, stride = self.heads(deep), self.stride
        if fine is not None:
            stride = self.backbone.fine_stride
            y = upsample(y, *fine.shape[2:], self.stride // stride) + self.skip(fine)
            y = functional.relu(self.skip_bn(y), inplace=True)
            y = functional.relu(self.refine_bn(self.refine(y)), inplace=True)
            y = self.logits(y)
        return y, stride


def computing_in(dtype: torch.dtype, x: torch.Tensor) -> torch.autocast:
    """Convolutions in that type, on the device of x."""
    return torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32)


def standardise(flow: torch.Tensor) -> torch.Tensor:
    """Zero mean, unit variance."""
    centred = flow - flow.mean((2, 3), keepdim=True)
    variance = centred.square().mean((1, 2, 3), keepdim=True)
    return centred * torch.rsqrt(variance + deeplab.FLOW_NOISE**2)


def without_camera(flow: torch.Tensor, terms: int) -> torch.Tensor:
    """What a parametric motion leaves over, compressed."""
    everywhere = torch.ones_like(flow[:, :1])
    residual = flow - parametric_motion(flow, everywhere, terms, deeplab.FIT_STEPS)
    length = torch.sqrt(residual.square().sum(1, keepdim=True) + 1e-12)
    scale = length.mean((1, 2, 3), keepdim=True) + deeplab.FLOW_NOISE
    return residual / length * torch.log1p(length / scale)


def with_length(vectors: torch.Tensor) -> torch.Tensor:
    """The length as a third channel."""
    length = torch.sqrt(vectors.square().sum(1, keepdim=True) + 1e-12)
    return torch.cat([vectors, length], 1)


# -- ψ --------------------------------------------------------------------------------------------


class LeakyConvolution(nn.Module):
    """3×3 convolution and leaky rectifier."""

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
    """Features at 1/2, 1/4, ... of the input's resolution."""

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
    """ψ: a robust parametric fit of the context's flow, corrected by a network."""

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
        whole = mask
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
        return torch.where(has_context, whole * resize(guess, whole.shape[2:]), 0.0)

    def _correction(
        self,
        mask: torch.Tensor,
        unexplained: torch.Tensor,
        fit: torch.Tensor,
        image: torch.Tensor,
    ) -> torch.Tensor:
        """Gain and residual, [B, 3, H, W]."""
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


# -- weights --------------------------------------------------------------------------------------

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def convert(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Flax variables, or gradients of them, under the names and in the order of these modules."""
    converted = {}
    for path, leaf in flax.traverse_util.flatten_dict(dict(variables)).items():
        array = np.asarray(leaf)
        *modules, name = path[1:]
        place = ".".join(module for module in modules if module != "group")
        place = re.sub(r"_Block_(\d+)\.Conv_0", r"blocks.\1.conv", place)
        place = re.sub(r"Conv_0$", "conv", place)
        if place == "heads":
            if name == "bias":
                converted["heads.0.bias"] = array
            else:
                for n, kernel in enumerate(array):
                    converted[f"heads.{n}.weight"] = kernel.transpose(3, 2, 0, 1)
            continue
        if place == "logits" and name == "kernel":
            array = array[None, None]
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        converted[f"{place}.{_LEAVES.get(name, name)}"] = array
    return converted


def load(network: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copies Flax variables into a network.

    Raises:
      RuntimeError: one is missing, or one too many.
    """
    state = {name: torch.tensor(array) for name, array in convert(variables).items()}
    counters = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    network.load_state_dict(counters | state)
