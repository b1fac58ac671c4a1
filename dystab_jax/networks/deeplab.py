"""φ and χ: DeepLab on a backbone; from optical flow or an image to two logits per pixel."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array, Flow, Image
from dystab_jax.networks.backbones import BACKBONES, DEFAULT_WIDTH
from dystab_jax.networks.kernels.convolution import conv
from dystab_jax.networks.kernels.sum_of_shifts import sum_of_shifts
from dystab_jax.networks.layers import (
    NORMS,
    Conv,
    Features,
    average_cells,
    make_norm,
    refill_cells,
    upsample,
)
from dystab_jax.networks.motion_models import MOTION_TERMS, without_motion

INPUTS = ("flow", "image")
DTYPES = ("float32", "bfloat16")
SMALLEST_SIDE = 32
# Flow is stored in sixteenths of a pixel; a field that varies by less than this is noise, and
# must not be blown up to unit variance.
FLOW_NOISE = 0.05


def standardise_flow(flow: Flow, noise: float = FLOW_NOISE) -> Flow:
    """Gives each component zero mean and both together unit variance, per sample.

        (u - mean u) / sqrt(var u + noise²)

    One scale for both components keeps the directions of motion.

    Args:
      flow: u, pixels per frame gap at this array's resolution.
      noise: standard deviation below which a field counts as constant, pixels.

    Returns:
      The standardised field, without unit; zero for a constant field.
    """
    centred = flow - flow.mean((1, 2), keepdims=True)
    variance = jnp.square(centred).mean((1, 2, 3), keepdims=True)
    return centred * jax.lax.rsqrt(variance + noise**2)


def without_camera(flow: Flow, terms: int, noise: float = FLOW_NOISE) -> Flow:
    """Returns the flow that a parametric motion of the camera leaves over, compressed.

        r log(1 + |r| / s) / |r|,  r = u − fit(u),  s = mean |r| + noise, per sample

    The robust fit follows what most of the image does. Without it a network has to learn from the
    few cameras it has seen that motion towards the image's corners is no object. The logarithm
    keeps a fast object from hiding a slow one.

    Args:
      flow: u, pixels per frame gap at this array's resolution.
      terms: of the motion, see ``motion_models``.
      noise: length below which a residual counts as nothing, pixels.

    Returns:
      The field, without unit; constant in the flow, no gradient passes.
    """
    residual = without_motion(flow, terms)
    length = jnp.sqrt(jnp.sum(residual**2, -1, keepdims=True) + 1e-12)
    scale = jnp.mean(length, (1, 2, 3), keepdims=True) + noise
    return residual / length * jnp.log1p(length / scale)


def with_length(vectors: Flow) -> Float[Array, "B H W 3"]:
    """Adds the length as a third channel, which is the same for u and −u.

    L_A does not tell a region from its complement. A network of the two components alone may call
    what moves right the object and what moves left the background.
    """
    length = jnp.sqrt(jnp.sum(vectors**2, -1, keepdims=True) + 1e-12)
    return jnp.concatenate([vectors, length], -1)


class AtrousHeads(nn.Module):
    """Sums dilated 3×3 convolutions of the same features, as in DeepLab v2.

    Attributes:
      features: channels of the result.
      rates: dilation of each of the convolutions.
      scale: variance of the initial result per mean square of the input.
      dtype: compute dtype.
    """

    features: int
    rates: tuple[int, ...]
    scale: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w D"]:
        channels = x.shape[-1]
        init = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        shape = (len(self.rates), 3, 3, channels, self.features)
        kernels = self.param("kernel", init, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        few = len(self.rates) * 9 * self.features <= channels
        total = (sum_of_shifts if few else sum_of_convolutions)(x, kernels, self.rates)
        return total + bias[None, None, None, :]


def sum_of_convolutions(
    x: Float[Array, "B h w C"], kernels: Float[Array, "N 3 3 C D"], rates: Sequence[int]
) -> Float[Array, "B h w D"]:
    """Returns Σ over n of x convolved with kernel n, dilated by rate n and zero-padded."""
    return sum(conv(x, kernels[n], dilation=rate) for n, rate in enumerate(rates))


class DeepLab(nn.Module):
    """Holds a dilated backbone, atrous heads, and bilinear upsampling to the input's size.

    ``softmax(logits)[..., 1:2]`` is the mask. Where the backbone hands out fine features, the
    heads' sum and they meet in a small decoder.

    Attributes:
      backbone: a key of ``BACKBONES``.
      inputs: "flow": two channels, scaled per sample inside, where their length joins them as a
        third; "image": RGB in [0, 1], standardised inside by what the backbone's published
        weights expect.
      output_stride: input pixels between the samples of the deepest features.
      camera: of "flow", the parametric motion that is taken out first, "none", "affine" or
        "quadratic".
      shrink: side of the cells, in input pixels, whose means the network sees; 2 quarters its cost
        where another network needs a larger input.
      norm: "batch", "frozen" or "group"; see ``layers.make_norm``. Only "group" has no state.
      axis_name: the mapped axis over which "batch" synchronises its moments, or None.
      width: channels of the deepest stage of "small", a multiple of 16; None is its default.
        Other backbones have a fixed width.
      dtype: compute dtype, "float32" or "bfloat16"; parameters, moments and logits are float32.
      remat: recompute the activations inside the backbone's blocks in the backward pass.

    Raises:
      ValueError: at construction, for a name or number that is not accepted.
    """

    backbone: str
    inputs: str
    output_stride: int = 8
    camera: str = "none"
    shrink: int = 1
    norm: str = "batch"
    axis_name: str | None = None
    width: int | None = None
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self):
        _choose("backbone", self.backbone, BACKBONES)
        _choose("inputs", self.inputs, INPUTS)
        _choose("camera", self.camera, MOTION_TERMS)
        _choose("norm", self.norm, NORMS)
        _choose("dtype", self.dtype, DTYPES)
        if self.shrink < 1:
            raise ValueError(f"shrink is {self.shrink}, expected 1 or more")
        spec = BACKBONES[self.backbone]
        _choose(f"output_stride of {self.backbone}", self.output_stride, spec.output_strides)
        if self.width is not None:
            if not spec.scalable:
                raise ValueError(
                    f"width={self.width} was given, but the width of backbone {self.backbone!r} "
                    "is fixed; leave width at None"
                )
            if self.width < 16 or self.width % 16:
                raise ValueError(f"width is {self.width}, expected a positive multiple of 16")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Flow | Image, train: bool = False) -> Float[Array, "B H W 2"]:
        """Returns logits of background (channel 0) and object (channel 1).

        Args:
          x: flow in pixels per frame gap, or an image in [0, 1]; at least 32 cells each way.
          train: whether "batch" normalisation uses this batch's moments (and updates the
            running ones in the mutable collection "batch_stats").

        Returns:
          float32 logits at the size of ``x``.

        Raises:
          ValueError: for another number of channels, a smaller size, or one that is not a multiple
            of ``shrink``.
        """
        spec, dtype = BACKBONES[self.backbone], jnp.dtype(self.dtype)
        _check_input(x, self.inputs, self.shrink)
        whole = x.shape[1:3]
        x = average_cells(jnp.asarray(x, jnp.float32), self.shrink)
        height, width = x.shape[1:3]
        if self.inputs == "flow":
            terms = MOTION_TERMS[self.camera]
            x = with_length(without_camera(x, terms) if terms else standardise_flow(x))
        else:
            x = (x - _per_channel(spec.mean)) / _per_channel(spec.std)
        norm = make_norm(self.norm, train=train, axis_name=self.axis_name, dtype=dtype)
        kwargs = {"width": self.width or DEFAULT_WIDTH} if spec.scalable else {}
        features: Features = spec.build(
            output_stride=self.output_stride,
            norm=norm,
            dtype=dtype,
            remat=self.remat,
            name="backbone",
            **kwargs,
        )(x.astype(dtype))
        rates = tuple(max(1, rate * 8 // self.output_stride) for rate in spec.rates)
        # The last layer starts small, so that every initial mask is near 1/2 everywhere.
        small = 0.01
        if features.fine is None:
            logits = AtrousHeads(2, rates, small, dtype, name="heads")(features.deep)
            stride = self.output_stride
        else:
            fine, stride = features.fine, features.fine_stride
            y = AtrousHeads(2 * fine.shape[-1], rates, 1.0, dtype, name="heads")(features.deep)
            y = upsample(y, *fine.shape[1:3], self.output_stride // stride)
            y += Conv(y.shape[-1], 1, dtype=dtype, name="skip")(fine)
            y = nn.relu(norm(name="skip_bn")(y))
            y = Conv(y.shape[-1], 3, dtype=dtype, name="refine")(y)
            y = nn.relu(norm(name="refine_bn")(y))
            init = nn.initializers.variance_scaling(small, "fan_in", "normal")
            logits = nn.Dense(2, kernel_init=init, dtype=dtype, name="logits")(y)
        return refill_cells(upsample(logits.astype(jnp.float32), height, width, stride), *whole)


def _choose(what: str, value: object, accepted: object) -> None:
    if value not in accepted:
        names = ", ".join(str(name) for name in accepted)
        raise ValueError(f"{what} is {value!r}, expected one of: {names}")


def _check_input(x: Array, inputs: str, shrink: int) -> None:
    channels, smallest = 2 if inputs == "flow" else 3, SMALLEST_SIDE * shrink
    if x.ndim != 4 or x.shape[-1] != channels or min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"{inputs} of shape {x.shape}, expected (B, H, W, {channels}) with H and W of at "
            f"least {smallest} pixels"
        )


def _per_channel(values: tuple[float, float, float]) -> Float[Array, "1 1 1 3"]:
    return jnp.asarray(values, jnp.float32)[None, None, None, :]
