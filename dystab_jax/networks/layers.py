"""Building blocks that every backbone shares: convolution, normalisation, exact upsampling."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from dystab_jax.array_types import Array
from dystab_jax.networks.kernels.convolution import conv

Norm = Callable[..., nn.Module]
"""A constructor of normalisation layers; accepts ``name`` and ``epsilon``."""

NORMS = ("batch", "frozen", "group")
_GROUPS = 32
_CHANNELS_PER_GROUP = 8


class Conv(nn.Module):
    """Holds a bias-free square convolution with PyTorch's symmetric padding.

    The centre of output pixel i lies on input pixel ``stride * i``, for every size. A 1×1
    convolution of all pixels is a product of matrices, and written as one: on CPUs XLA computes its
    gradients several times faster so. One with a stride is not: with many channels the product is
    slower there, and XLA's GPU compiler (jaxlib 0.10.2 and 0.11.2) aborts on some.

    Attributes:
      features: channels of the output.
      kernel: side of the kernel, odd.
      stride: input pixels between outputs.
      dilation: input pixels between taps.
      dtype: compute dtype.
    """

    features: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w D"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.kernel == self.stride == 1:
            return x @ kernel[0, 0]
        return conv(x, kernel, self.stride, self.dilation)


class GroupNorm(nn.Module):
    """Normalises groups of channels, which always divide them; keeps no state.

    About eight channels share a group, and there are at most 32 groups.
    """

    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        most = max(1, min(_GROUPS, channels // _CHANNELS_PER_GROUP))
        groups = next(count for count in range(most, 0, -1) if channels % count == 0)
        return nn.GroupNorm(groups, epsilon=self.epsilon, dtype=self.dtype, name="group")(x)


def make_norm(norm: str, *, train: bool, axis_name: str | None, dtype: DTypeLike) -> Norm:
    """Returns the constructor of normalisation layers that ``norm`` names.

    Args:
      norm: "batch": moments of the batch while training, synchronised over ``axis_name``, and
        running averages otherwise; "frozen": the stored averages always, as in fine-tuning with
        small batches (scale and bias are still trained); "group": group normalisation.
      train: whether "batch" uses, and updates the averages by, the moments of this batch.
      axis_name: the mapped axis over which "batch" takes its moments, or None.
      dtype: of the output; moments are always float32.
    """
    if norm == "group":
        return partial(GroupNorm, dtype=dtype)
    return partial(
        nn.BatchNorm,
        use_running_average=norm == "frozen" or not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=dtype,
        axis_name=axis_name if norm == "batch" else None,
    )


def _interpolation(size: int, samples: int, stride: int) -> np.ndarray:
    """Returns linear weights [size, samples]: pixel p reads the samples around p / stride."""
    position = np.minimum(np.arange(size) / stride, samples - 1)
    distance = np.abs(position[:, None] - np.arange(samples)[None, :])
    return np.maximum(1 - distance, 0).astype(np.float32)


def upsample(
    x: Float[Array, "B h w C"], height: int, width: int, stride: int
) -> Float[Array, "B H W C"]:
    """Upsamples bilinearly so that sample i lies exactly on pixel ``stride * i``.

    That is where symmetric padding puts the centres of a strided convolution's outputs; the
    usual half-pixel rule would shift masks by (stride - 1) / 2 pixels against the image. What
    lies beyond the last sample repeats it.

    Args:
      x: samples, ``stride`` pixels apart.
      height: H of the result, pixels.
      width: W of the result, pixels.
      stride: pixels between samples.

    Returns:
      The values at each of the H × W pixels, in the dtype of ``x``.
    """
    rows = jnp.asarray(_interpolation(height, x.shape[1], stride), x.dtype)
    columns = jnp.asarray(_interpolation(width, x.shape[2], stride), x.dtype)
    precision = jax.lax.Precision.HIGHEST
    x = jnp.einsum("bhwc,Hh->bHwc", x, rows, precision=precision)
    return jnp.einsum("bhwc,Ww->bhWc", x, columns, precision=precision)


def average_cells(x: Float[Array, "B H W C"], side: int) -> Float[Array, "B h w C"]:
    """Returns means over square cells of ``side`` pixels.

    Raises:
      ValueError: H or W is not a multiple of ``side``.
    """
    height, width = x.shape[1:3]
    if height % side or width % side:
        raise ValueError(
            f"an array of {height}x{width} pixels does not divide into cells of shrink={side} "
            "pixels; choose another data.image_size or another shrink"
        )
    return nn.avg_pool(x, (side, side), (side, side)) if side > 1 else x


def refill_cells(x: Float[Array, "B h w C"], height: int, width: int) -> Float[Array, "B H W C"]:
    """Undoes ``average_cells``: bilinear between the centres of the cells.

    Cells of one pixel stay as they are: nothing is computed.
    """
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[3]), "bilinear")


class Features(NamedTuple):
    """Holds what a backbone hands to the heads.

    Attributes:
      deep: the last feature map, ``output_stride`` input pixels between its samples.
      fine: an early feature map for sharp borders, or None where the backbone has none.
      fine_stride: input pixels between the samples of ``fine``.
    """

    deep: Float[Array, "B h w C"]
    fine: Float[Array, "B p q D"] | None = None
    fine_stride: int = 1


def dilate(
    strides: Sequence[int], reached: int, output_stride: int
) -> list[tuple[int, tuple[int, int]]]:
    """Turns the strides beyond ``output_stride`` into dilations ("à trous").

    Args:
      strides: of the stages, in order.
      reached: product of all strides before the first stage.
      output_stride: the greatest product of strides allowed.

    Returns:
      For every stage its stride and the dilations before and behind the place of that stride.
    """
    stages, dilation = [], 1
    for stride in strides:
        before = dilation
        if reached * stride > output_stride:
            dilation *= stride
            stride = 1
        reached *= stride
        stages.append((stride, (before, dilation)))
    return stages
