"""RAFT in PyTorch, for comparison: the modules of the original release under their names.

Tests compare `data_prep.flow.raft` with it, `benchmarks.flow` its speed. Nothing else uses it.
"""

import torch
from torch import nn
from torch.nn import functional

from data_prep.flow.raft.estimator import LEVELS, STRIDE, Size


class Raft(nn.Module):
    """Estimates flow between encoded frames; tensors are [B, C, H, W]."""

    def __init__(self, size: Size, iterations: int = 12):
        super().__init__()
        self.size, self.iterations = size, iterations
        self.fnet = Encoder(size, size.features, "instance")
        self.cnet = Encoder(size, size.hidden + size.context, size.context_norm)
        self.update_block = Update(size)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Estimates flow between two batches of RGB images, 0 to 255."""
        return self.match(self.encode(first), self.encode(second))

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns features, hidden state and context."""
        images = 2 * (images / 255) - 1
        hidden, context = self.cnet(images).split([self.size.hidden, self.size.context], 1)
        return self.fnet(images), torch.tanh(hidden), torch.relu(context)

    def match(self, first: tuple, second: tuple) -> torch.Tensor:
        """Returns flow [B, 2, H, W], pixels."""
        features, hidden, context = first
        pyramid = correlate(features, second[0])
        start = positions(features)
        centres = start.clone()
        for _ in range(self.iterations):
            windows = look_up(pyramid, centres, self.size.radius)
            hidden, change = self.update_block(hidden, context, windows, centres - start)
            centres = centres + change
        flow = centres - start
        if self.size.bottleneck:
            return STRIDE * functional.interpolate(
                flow, scale_factor=STRIDE, mode="bilinear", align_corners=True
            )
        return enlarge_convexly(STRIDE * flow, 0.25 * self.update_block.mask(hidden))


def positions(features: torch.Tensor) -> torch.Tensor:
    """Returns (x, y) of each position, [B, 2, H, W]."""
    batch, _, height, width = features.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float()[None].repeat(batch, 1, 1, 1)


def correlate(first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
    """Correlates all pairs of positions, [B·H·W, 1, h, w] at each level."""
    batch, channels, height, width = first.shape
    volume = torch.einsum("bcn,bcm->bnm", first.flatten(2), second.flatten(2)) / channels**0.5
    levels = [volume.reshape(batch * height * width, 1, height, width)]
    for _ in range(LEVELS - 1):
        levels.append(functional.avg_pool2d(levels[-1], 2, stride=2))
    return levels


def look_up(pyramid: list[torch.Tensor], centres: torch.Tensor, radius: int) -> torch.Tensor:
    """Returns windows [B, levels·(2r + 1)², H, W] around ``centres``, bilinear."""
    batch, _, height, width = centres.shape
    points = centres.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    steps = torch.arange(-radius, radius + 1).float()
    window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1)[None]
    found = []
    for level, volume in enumerate(pyramid):
        high, wide = volume.shape[2:]
        places = points / 2**level + window
        places = 2 * places / torch.tensor([wide - 1, high - 1]) - 1
        sampled = functional.grid_sample(volume, places, align_corners=True)
        found.append(sampled.reshape(batch, height, width, -1))
    return torch.cat(found, -1).permute(0, 3, 1, 2).contiguous()


def enlarge_convexly(flow: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Makes each pixel a convex combination of the nine positions around it."""
    batch, _, height, width = flow.shape
    weights = torch.softmax(logits.view(batch, 1, 9, STRIDE, STRIDE, height, width), 2)
    around = functional.unfold(flow, 3, padding=1).view(batch, 2, 9, 1, 1, height, width)
    fine = (weights * around).sum(2).permute(0, 1, 4, 2, 5, 3)
    return fine.reshape(batch, 2, STRIDE * height, STRIDE * width)


def _norm(kind: str, channels: int) -> nn.Module:
    kinds = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
    return kinds[kind](channels) if kind in kinds else nn.Sequential()


class Encoder(nn.Module):
    """Encodes by a residual network to one eighth of the resolution."""

    def __init__(self, size: Size, channels: int, norm: str):
        super().__init__()
        widths = size.widths
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3)
        self.norm1 = _norm(norm, widths[0])
        for layer in (1, 2, 3):
            before, width = widths[layer - 1 : layer + 1]
            stride = 1 if layer == 1 else 2
            blocks = [
                Residual(before, width, stride, size.bottleneck, norm),
                Residual(width, width, 1, size.bottleneck, norm),
            ]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
        self.conv2 = nn.Conv2d(widths[3], channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.norm1(self.conv1(images)))
        return self.conv2(self.layer3(self.layer2(self.layer1(maps))))


class Residual(nn.Module):
    """Holds two or three convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool, norm: str):
        super().__init__()
        inner = width // 4
        if bottleneck:
            plan = [(before, inner, 1, 1), (inner, inner, 3, stride), (inner, width, 1, 1)]
        else:
            plan = [(before, width, 3, stride), (width, width, 3, 1)]
        self.count = len(plan)
        for i, (entering, leaving, kernel, step) in enumerate(plan, 1):
            setattr(self, f"conv{i}", nn.Conv2d(entering, leaving, kernel, step, kernel // 2))
            setattr(self, f"norm{i}", _norm(norm, leaving))
        self.downsample = None
        if stride > 1:
            last = _norm(norm, width)
            setattr(self, f"norm{self.count + 1}", last)
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride), last)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inside = maps
        for i in range(1, self.count + 1):
            inside = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(inside))
            inside = torch.relu(inside)
        return torch.relu(inside + (maps if self.downsample is None else self.downsample(maps)))


class Update(nn.Module):
    """Takes one iteration."""

    def __init__(self, size: Size):
        super().__init__()
        inputs = size.context + size.motion + 2
        self.encoder = MotionEncoder(size)
        kernels = {"": (3, 3)} if size.bottleneck else {"1": (1, 5), "2": (5, 1)}
        self.gru = RecurrentCell(size.hidden, inputs, kernels)
        self.flow_head = FlowHead(size.hidden, size.head)
        if not size.bottleneck:
            self.mask = nn.Sequential(
                nn.Conv2d(size.hidden, 256, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(256, 9 * STRIDE**2, 1),
            )

    def forward(self, hidden, context, windows, flow):
        motion = self.encoder(windows, flow)
        hidden = self.gru(hidden, torch.cat([context, motion], 1))
        return hidden, self.flow_head(hidden)


class MotionEncoder(nn.Module):
    """Encodes correlations and flow together."""

    def __init__(self, size: Size):
        super().__init__()
        channels = LEVELS * (2 * size.radius + 1) ** 2
        for i, leaving in enumerate(size.correlation, 1):
            kernel = 1 if i == 1 else 3
            setattr(self, f"convc{i}", nn.Conv2d(channels, leaving, kernel, padding=kernel // 2))
            channels = leaving
        self.correlations = len(size.correlation)
        self.convf1 = nn.Conv2d(2, size.flow[0], 7, padding=3)
        self.convf2 = nn.Conv2d(size.flow[0], size.flow[1], 3, padding=1)
        self.conv = nn.Conv2d(channels + size.flow[1], size.motion, 3, padding=1)

    def forward(self, windows: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        for i in range(1, self.correlations + 1):
            windows = torch.relu(getattr(self, f"convc{i}")(windows))
        inside = torch.relu(self.convf2(torch.relu(self.convf1(flow))))
        motion = torch.relu(self.conv(torch.cat([windows, inside], 1)))
        return torch.cat([motion, flow], 1)


class RecurrentCell(nn.Module):
    """Holds a convolutional gated recurrent unit; of the large network, of rows and of columns."""

    def __init__(self, hidden: int, inputs: int, kernels: dict[str, tuple[int, int]]):
        super().__init__()
        self.parts = tuple(kernels)
        for part, kernel in kernels.items():
            padding = kernel[0] // 2, kernel[1] // 2
            for gate in "zrq":
                layer = nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding)
                setattr(self, f"conv{gate}{part}", layer)

    def forward(self, hidden: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            both = torch.cat([hidden, inputs], 1)
            z = torch.sigmoid(getattr(self, f"convz{part}")(both))
            r = torch.sigmoid(getattr(self, f"convr{part}")(both))
            q = getattr(self, f"convq{part}")(torch.cat([r * hidden, inputs], 1))
            hidden = (1 - z) * hidden + z * torch.tanh(q)
        return hidden


class FlowHead(nn.Module):
    """Turns the hidden state into a change of the flow."""

    def __init__(self, hidden: int, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(hidden, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.conv2(torch.relu(self.conv1(hidden)))
