"""Defines the parts of RAFT: encoders, the recurrent update, and what enlarges the flow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data_prep.flow.kernels.layers import Convolution, Layer, Maps, make_layer
from dystab_jax.array_types import Flow

LEVELS = 4
"""Resolutions of the correlation pyramid."""
STRIDE = 8
"""Frame pixels per position of the feature maps."""


@dataclass(frozen=True)
class Size:
    """Describes in what the small network differs from the large one.

    Attributes:
      bottleneck: residual blocks of three convolutions, not two; flow is enlarged bilinearly.
      widths: channels of the first convolution and of the three pairs of residual blocks.
      features: channels that are correlated.
      hidden, context: channels of the recurrent state, and of what it gets from the frame.
      context_norm: of the context network.
      radius: of the correlation windows.
      correlation: channels of the convolutions over correlations, the first 1x1, the second 3x3.
      flow: channels of the two convolutions over flow.
      motion: channels of correlations and flow together.
      head: channels of the convolution before the flow's update.
    """

    bottleneck: bool
    widths: tuple[int, int, int, int]
    features: int
    hidden: int
    context: int
    context_norm: str
    radius: int
    correlation: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    head: int

    @property
    def windows(self) -> int:
        """Counts the channels of all correlation windows."""
        return LEVELS * (2 * self.radius + 1) ** 2

    @property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Returns the kernels of the recurrent cells by name, in their order."""
        return {"gru": (3, 3)} if self.bottleneck else {"gru1": (1, 5), "gru2": (5, 1)}


SMALL = Size(True, (32, 32, 64, 96), 128, 96, 64, "none", 3, (96,), (64, 32), 80, 128)
LARGE = Size(False, (64, 64, 96, 128), 256, 128, 128, "batch", 4, (256, 192), (128, 64), 126, 256)


class Encoder(nn.Module):
    """Encodes images at an eighth of the resolution, residually; as features or context."""

    size: Size
    channels: int
    norm: str
    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self, images: Maps) -> Maps:
        maps = Convolution(self.size.widths[0], 7, 2, self.dtype, name="conv1")(images)
        maps = nn.relu(_normalise(maps, self.norm, "norm1"))
        for layer, width in enumerate(self.size.widths[1:], 1):
            for block in range(2):
                stride = 2 if layer > 1 and block == 0 else 1
                maps = Residual(
                    width,
                    stride,
                    self.size.bottleneck,
                    self.norm,
                    self.dtype,
                    self.minimal,
                    name=f"layer{layer}_{block}",
                )(maps)
        return Convolution(self.channels, 1, 1, self.dtype, name="conv2")(maps)


class Residual(nn.Module):
    """Adds to its input two convolutions of it, or three with fewer channels inside."""

    width: int
    stride: int
    bottleneck: bool
    norm: str
    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        width, stride = self.width, self.stride
        if self.bottleneck:
            steps = [(width // 4, 1, 1), (width // 4, 3, stride), (width, 1, 1)]
        else:
            steps = [(width, 3, stride), (width, 3, 1)]
        inside = maps
        for i, step in enumerate(steps, 1):
            layer = Convolution(*step, self.dtype, self.minimal, name=f"conv{i}")
            inside = nn.relu(_normalise(layer(inside), self.norm, f"norm{i}"))
        if stride > 1:
            maps = Convolution(width, 1, stride, self.dtype, name="downsample")(maps)
            maps = _normalise(maps, self.norm, "downsample_norm")
        return nn.relu(maps + inside)


def _normalise(maps: Maps, norm: str, name: str) -> Maps:
    if norm == "batch":
        layer = nn.BatchNorm(use_running_average=True, epsilon=1e-5, dtype=maps.dtype, name=name)
        return layer(maps)
    if norm == "instance":  # without parameters
        values = maps.astype(jnp.float32)
        centred = values - values.mean((1, 2), keepdims=True)
        variance = jnp.square(centred).mean((1, 2), keepdims=True)
        return (centred * jax.lax.rsqrt(variance + 1e-5)).astype(maps.dtype)
    return maps


class Update(nn.Module):
    """Makes the recurrent update (Sec. 3.3): called with a context, the function of a step."""

    size: Size
    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self, context: Maps) -> Callable[[Maps, Maps, Flow], tuple[Maps, Flow]]:
        """Computes all that iterations share: kernels, and the context's part of gates.

        Returns:
          (hidden state, correlation windows, flow) to the next hidden state and the change of the
          flow, in positions of the feature maps.
        """
        size, how = self.size, {"dtype": self.dtype, "minimal": self.minimal}
        encode = MotionEncoder(size, **how, name="encoder")()
        cells = [
            RecurrentCell(size, kernel, **how, name=name)(context)
            for name, kernel in size.cells.items()
        ]
        head1 = Convolution(size.head, 3, **how, name="head1").layer(size.hidden)
        head2 = Convolution(2, 3, **how, name="head2").layer(size.head)

        def step(hidden, windows, flow):
            motion = encode(windows, flow)
            for cell in cells:
                hidden = cell(hidden, motion)
            change = head2(nn.relu(head1(hidden)))
            return hidden, change.astype(jnp.float32)

        return step


class MotionEncoder(nn.Module):
    """Encodes correlation windows and flow as what the recurrent cells see."""

    size: Size
    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self) -> Callable[[Maps, Flow], Maps]:
        size = self.size
        correlation = self._row("convc", size.windows, size.correlation, (1, 3))
        flow_layers = self._row("convf", 2, size.flow, (7, 3))
        together = Convolution(size.motion, 3, dtype=self.dtype, minimal=self.minimal, name="conv")
        together = together.layer(size.correlation[-1] + size.flow[-1])

        def encode(windows, flow):
            inside = flow
            for layer in correlation:
                windows = nn.relu(layer(windows))
            for layer in flow_layers:
                inside = nn.relu(layer(inside))
            motion = nn.relu(together(jnp.concatenate([windows, inside], -1)))
            return jnp.concatenate([motion, flow.astype(motion.dtype)], -1)

        return encode

    def _row(self, name: str, entering: int, channels: tuple, kernels: tuple) -> list[Layer]:
        """Applies convolutions one after another, as many as there are channels."""
        row = []
        for i, (leaving, kernel) in enumerate(zip(channels, kernels, strict=False), 1):
            layer = Convolution(leaving, kernel, 1, self.dtype, self.minimal, name=f"{name}{i}")
            row.append(layer.layer(entering))
            entering = leaving
        return row


class RecurrentCell(nn.Module):
    """Applies a convolutional gated recurrent unit.

    Its gates are sums over state, context and motion. The context's share is computed once for all
    iterations: a quarter of the work of the small network's cell.
    """

    size: Size
    kernel: tuple[int, int]
    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self, context: Maps) -> Callable[[Maps, Maps], Maps]:
        """Returns the step from (hidden state, motion) to the next state."""
        size = self.size
        entering = size.hidden + size.context + size.motion + 2
        (kernel_z, bias_z), (kernel_r, bias_r), (kernel_q, bias_q) = (
            Convolution(size.hidden, self.kernel, name=f"conv{gate}").parameters(entering)
            for gate in "zrq"
        )
        of_zr, gates_zr = self._split(
            jnp.concatenate([kernel_z, kernel_r], -1), jnp.concatenate([bias_z, bias_r]), context
        )
        of_q, gates_q = self._split(kernel_q, bias_q, context)

        def step(hidden, motion):
            zr = nn.sigmoid(of_zr(jnp.concatenate([hidden, motion], -1)) + gates_zr)
            z, r = jnp.split(zr, 2, axis=-1)
            q = jnp.tanh(of_q(jnp.concatenate([r * hidden, motion], -1)) + gates_q)
            return (1 - z) * hidden + z * q

        return step

    def _split(self, kernel: jax.Array, bias: jax.Array, context: Maps) -> tuple[Layer, Maps]:
        """Returns the layer over state and motion, and what the context and bias add to it."""
        start, stop = self.size.hidden, self.size.hidden + self.size.context
        how = {"dtype": self.dtype, "minimal": self.minimal}
        others = jnp.delete(kernel, slice(start, stop), 2)
        layer = make_layer(others, jnp.zeros_like(bias), **how)
        return layer, make_layer(kernel[:, :, start:stop], bias, **how)(context)


class UpsamplingMask(nn.Module):
    """Computes weights of `enlarge_convexly`: 9 for each of the 64 pixels of a position."""

    dtype: Any
    minimal: bool

    @nn.compact
    def __call__(self, hidden: Maps) -> Maps:
        hidden = nn.relu(Convolution(256, 3, 1, self.dtype, self.minimal, name="conv1")(hidden))
        logits = Convolution(9 * STRIDE**2, 1, 1, self.dtype, name="conv2")(hidden)
        return logits.astype(jnp.float32) / 4


def enlarge(flow: Flow) -> Float[Array, "B 8*H 8*W 2"]:
    """Enlarges eight times, bilinearly; the corner pixels stay in the corners."""
    for axis in (1, 2):
        count = flow.shape[axis]
        places = np.linspace(0, count - 1, STRIDE * count)
        weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count)))
        moved = jnp.tensordot(weights.astype(np.float32), flow, (1, axis))
        flow = jnp.moveaxis(moved, 0, axis)
    return flow


def enlarge_convexly(flow: Flow, logits: Maps) -> Float[Array, "B 8*H 8*W 2"]:
    """Enlarges eight times: each pixel a convex combination of the 9 positions around it.

    Args:
      flow: [B, h, w, 2]; zero beyond its border.
      logits: [B, h, w, 9 * 64], of position, row and column in the position.
    """
    batch, height, width, _ = flow.shape
    weights = nn.softmax(logits.reshape(batch, height, width, 9, STRIDE, STRIDE), axis=3)
    padded = jnp.pad(flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = [
        padded[:, row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]
    fine = jnp.einsum("bhwkij,kbhwc->bhiwjc", weights, jnp.stack(around))
    return fine.reshape(batch, STRIDE * height, STRIDE * width, 2)
