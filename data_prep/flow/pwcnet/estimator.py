"""Estimates flow by PWC-Net: pyramid, warping, cost volume (Sun et al., CVPR 2018), dense decoders.

Parameters are those of the official PyTorch release and of its common re-implementation: the same
network under other names.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data_prep.flow import FlowOptions
from data_prep.flow.kernels.layers import Convolution, Maps, make_layer
from data_prep.flow.network import NetworkEstimator, variable_shapes
from data_prep.flow.published import Place, fill
from data_prep.flow.pwcnet.cost_volume import cost_volume, warp_inside
from dystab_jax.array_types import Flow
from dystab_jax.networks.torch_files import read_checkpoint

Images = Float[Array, "B H W 3"]
Pyramid = tuple[Maps, ...]
"""Features of levels 1 to 6; at level l, one position for 2ˡ frame pixels each way."""
Parts = Sequence[Maps]
"""Maps of one size that stand for their concatenation. See `_convolve_parts`."""
WIDTHS = (16, 32, 64, 96, 128, 196)
"""Channels of the levels."""
DENSE = (128, 128, 96, 64, 32)
"""Channels that the convolutions of a decoder add."""
REFINER = (128, 128, 128, 96, 64, 32)
"""Channels of the refiner's convolutions but the last."""
LEVELS = (6, 5, 4, 3, 2)
"""Those with a decoder, in their order."""
RADIUS = 4
"""Of the cost volumes, positions of their level."""
UNIT = 20
"""Frame pixels that the network calls 1."""
MULTIPLE = 64


class PwcNet(nn.Module):
    """Estimates flow of encoded frames; see `data_prep.flow.network.NetworkEstimator`.

    Attributes:
      dtype: in which convolutions compute; cost volumes, warping and flow are float32.
    """

    dtype: Any = jnp.float32

    def setup(self):
        self.extractor = Extractor(self.dtype)
        self.decoders = [Decoder(level, self.dtype, name=f"level{level}") for level in LEVELS]
        self.refiner = Refiner(self.dtype)

    def __call__(self, first: Images, second: Images) -> Flow:
        """Estimates flow between two images, as `encode` takes them."""
        return self.match(self.encode(first), self.encode(second))

    def encode(self, images: Images) -> Pyramid:
        """Returns features of RGB images, 0 to 255, H and W multiples of 64."""
        return self.extractor(images[..., ::-1] / 255)  # trained on BGR, 0 to 1

    def match(self, first: Pyramid, second: Pyramid) -> Flow:
        """Returns the flow [B, H, W, 2] from the first frames to the second, pixels."""
        flow = features = None
        for level, decoder in zip(LEVELS, self.decoders, strict=True):
            flow, features = decoder(first[level - 1], second[level - 1], flow, features)
        flow = UNIT * (flow + self.refiner(features))
        batch, height, width, _ = flow.shape
        return jax.image.resize(flow, (batch, 4 * height, 4 * width, 2), "linear")


class Extractor(nn.Module):
    """Applies three convolutions for each level; the first halves the resolution."""

    dtype: Any

    @nn.compact
    def __call__(self, maps: Images) -> Pyramid:
        pyramid = []
        for level, width in enumerate(WIDTHS, 1):
            for index, stride in enumerate((2, 1, 1)):
                name = f"conv{level}_{index}"
                layer = Convolution(width, 3, stride, self.dtype, name=name)
                maps = _leaky(layer(maps))
            pyramid.append(maps)
        return tuple(pyramid)


class Decoder(nn.Module):
    """Estimates one level's flow, from its features and flow and features of the level above."""

    level: int
    dtype: Any

    @nn.compact
    def __call__(
        self,
        first: Maps,
        second: Maps,
        flow: Float[Array, "B _h _w 2"] | None,
        features: Parts | None,
    ) -> tuple[Flow, Parts]:
        """Returns flow in units of 20 frame pixels, float32, and the features it was read from.

        Args:
          first, second: features of the frames at this level.
          flow, features: what this returned at half the resolution; None at the coarsest.
        """
        first, second = first.astype(jnp.float32), second.astype(jnp.float32)
        if flow is None:
            maps = _leaky(cost_volume(first, second, RADIUS))
        else:
            flow = Enlarging(name="up_flow")([flow])
            features = Enlarging(self.dtype, name="up_features")(features).astype(jnp.float32)
            second = warp_inside(second, flow * (UNIT / 2**self.level))
            costs = _leaky(cost_volume(first, second, RADIUS))
            maps = jnp.concatenate([costs, first, flow, features], -1)
        parts = [maps.astype(self.dtype)]
        for index, width in enumerate(DENSE):
            layer = Convolution(width, 3, 1, self.dtype, name=f"conv{index}")
            parts = [_leaky(_apply(layer, parts)), *parts]
        return _apply(Convolution(2, 3, name="flow"), parts), parts


class Enlarging(nn.Module):
    """Applies PyTorch's transposed convolution to two channels: 4x4, stride 2, padding 1.

    Computed as a 3x3 convolution whose channels are the four pixels of each position, so that
    nothing is multiplied with inserted zeros.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, parts: Parts) -> Maps:
        batch, height, width, _ = parts[0].shape
        entering = sum(maps.shape[-1] for maps in parts)
        kernel = self.param("kernel", nn.initializers.he_normal(), (4, 4, 2, entering))
        bias = self.param("bias", nn.initializers.zeros, (2,))
        # The taps that weigh the position before, itself and the one after, for the first and for
        # the second pixel of a position; tap 4 is zero.
        taps = np.array([[3, 1, 4], [4, 2, 0]])
        kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
        kernel = kernel[taps[:, :, None, None], taps]  # [pixel y, row, pixel x, column, out, in]
        kernel = kernel.transpose(1, 3, 5, 0, 2, 4).reshape(3, 3, entering, 8)
        pixels = _convolve_parts(parts, kernel, jnp.tile(bias, 4), self.dtype)
        pixels = pixels.reshape(batch, height, width, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5)
        return pixels.reshape(batch, 2 * height, 2 * width, 2)


class Refiner(nn.Module):
    """Corrects the flow: the context network, convolutions dilated 1 2 4 8 16 1 1.

    A convolution of dilation 2 is an ordinary one of the four images that hold every second pixel
    of every second row; these become four again for each doubling.
    """

    dtype: Any

    @nn.compact
    def __call__(self, parts: Parts) -> Flow:
        """Returns the correction, float32; height and width are multiples of 16."""
        for index, width in enumerate(REFINER, 1):
            if 2 <= index <= 5:
                parts = [take_apart(*parts)]
            if index == 6:
                for _ in range(4):
                    parts = [put_together(*parts)]
            layer = Convolution(width, 3, 1, self.dtype, name=f"conv{index}")
            parts = [_leaky(_apply(layer, parts))]
        return Convolution(2, 3, name="conv7")(*parts)


def take_apart(maps: Float[Array, "B h w C"]) -> Float[Array, "4*B h/2 w/2 C"]:
    """Returns even and odd rows and columns as images of their own."""
    batch, height, width, channels = maps.shape
    parts = maps.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return parts.transpose(2, 4, 0, 1, 3, 5).reshape(-1, height // 2, width // 2, channels)


def put_together(parts: Float[Array, "B4 h w C"]) -> Float[Array, "B4/4 2*h 2*w C"]:
    """Undoes `take_apart`."""
    _, height, width, channels = parts.shape
    parts = parts.reshape(2, 2, -1, height, width, channels)
    return parts.transpose(2, 3, 0, 4, 1, 5).reshape(-1, 2 * height, 2 * width, channels)


def _apply(layer: Convolution, parts: Parts) -> Maps:
    kernel, bias = layer.parameters(sum(maps.shape[-1] for maps in parts))
    return _convolve_parts(parts, kernel, bias, layer.dtype)


def _convolve_parts(parts: Parts, kernel: jax.Array, bias: jax.Array, dtype: Any) -> Maps:
    """Convolves the concatenated parts, as the sum of one convolution for each.

    Nothing is copied into ever longer concatenations. On a CPU the level-2 decoder with the
    refiner's first convolution takes about a fifth less time so.
    """
    ends = np.cumsum([maps.shape[-1] for maps in parts])[:-1]
    kernels = jnp.split(kernel, ends, axis=2)
    biases = [bias, *[jnp.zeros_like(bias)] * len(ends)]
    pairs = zip(parts, kernels, biases, strict=True)
    return sum(make_layer(kernel, bias, dtype=dtype)(maps) for maps, kernel, bias in pairs)


def _leaky(maps: Maps) -> Maps:
    return nn.leaky_relu(maps, 0.1)


def make(options: FlowOptions, video: str) -> NetworkEstimator:
    """Makes PWC-Net with the checkpoint's parameters; see `data_prep.flow.make_estimator`."""
    return _make(options)


@lru_cache(maxsize=1)
def _make(options: FlowOptions) -> NetworkEstimator:
    module = PwcNet(jnp.dtype(options.precision))
    arrays = read_checkpoint(options.weights)
    variables = convert(variable_shapes(module), arrays, options.weights)
    return NetworkEstimator(module, variables, multiple=MULTIPLE, fit="resize")


def convert(
    shapes: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: str | Path
) -> dict[str, Any]:
    """Returns a checkpoint's parameters as variables of the network.

    Args:
      shapes: the network's variables, or their shapes.
      arrays: with the names of the official release ("conv1a.0.weight") or of the re-implementation
        ("netExtractor.netOne.0.weight", in its files "moduleExtractor.moduleOne.0.weight").
      path: of the checkpoint, for messages.

    Raises:
      ValueError: it is of another network, see `published.fill`.
    """
    words = ("net", "module")
    spelled = next((w for w in words if any(n.startswith(f"{w}Extractor.") for n in arrays)), None)
    names: dict[str, Place] = {}
    for official, other, place in _layers():
        name = official if spelled is None else other.replace("net", spelled)
        names[f"{name}.weight"] = ("params", *place, "kernel")
        names[f"{name}.bias"] = ("params", *place, "bias")
    # The official release has an enlargement of its finest flow, too, which it does not use.
    kept = {name: array for name, array in arrays.items() if not name.startswith("deconv2.")}
    return fill(shapes, kept, names, path)


def _layers() -> Iterator[tuple[str, str, Place]]:
    """Lists each layer's official name, its name in the re-implementation, its place here."""
    words = ("", "One", "Two", "Thr", "Fou", "Fiv", "Six")
    for level in range(1, 7):
        # Officially the strided convolution is a, then come aa and b; but aa and a at level 6.
        for index, letters in enumerate(("aa", "a", "b") if level == 6 else ("a", "aa", "b")):
            other = f"netExtractor.net{words[level]}.{2 * index}"
            yield f"conv{level}{letters}.0", other, ("extractor", f"conv{level}_{index}")
    for level in LEVELS:
        decoder, place = f"net{words[level]}", f"level{level}"
        if level < 6:  # officially by the level that they enlarge
            yield f"deconv{level + 1}", f"{decoder}.netUpflow", (place, "up_flow")
            yield f"upfeat{level + 1}", f"{decoder}.netUpfeat", (place, "up_features")
        for index in range(5):
            other = f"{decoder}.net{words[index + 1]}.0"
            yield f"conv{level}_{index}.0", other, (place, f"conv{index}")
        yield f"predict_flow{level}", f"{decoder}.netSix.0", (place, "flow")
    for index in range(1, 8):
        official = f"dc_conv{index}.0" if index < 7 else "dc_conv7"
        yield official, f"netRefiner.netMain.{2 * index - 2}", ("refiner", f"conv{index}")
