"""Dense convolution whose kernel has a gradient of its own for CPUs and for GPUs.

XLA's CPU backend computes the gradient of a convolution's kernel on one core where channels are
few, and slowly where they are many. There, the same numbers come from one product of matrices for
each tap, up to twenty times as fast. On NVIDIA GPUs XLA asks cuDNN for that gradient, but not where
the convolution is dilated: then it runs as a convolution whose kernel is the image, on an H200 in
up to five times the time. There, every grid of pixels that a dilated kernel reads together becomes
an image of its own, whose convolution is not dilated. TPUs get the plain convolution's gradient.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k l C D"], stride: int = 1, dilation: int = 1
) -> Float[Array, "B h w D"]:
    """Convolves with symmetric zero padding.

    Args:
      x: the input.
      kernel: odd-sized, in the dtype of ``x``.
      stride: pixels between the outputs, whose centres lie on ``stride * i``.
      dilation: pixels between the taps.

    Returns:
      The filtered channels, ceil(H / stride) × ceil(W / stride).
    """
    top, left = (dilation * (side - 1) // 2 for side in kernel.shape[:2])
    return _conv(x, kernel, (stride, stride), ((top, top), (left, left)), (dilation, dilation))


def for_flax(
    x: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int],
    **_,
) -> Array:
    """Stands in for ``conv_general_dilated`` of a two-dimensional ``flax.linen.Conv``."""
    if isinstance(padding, str):
        sides = [(n - 1) * d + 1 for n, d in zip(kernel.shape[:2], rhs_dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(x.shape[1:3], sides, window_strides, padding)
    padding = tuple(tuple(pair) for pair in padding)
    return _conv(x, kernel, tuple(window_strides), padding, tuple(rhs_dilation))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(
    x: Array,
    kernel: Array,
    strides: tuple[int, int],
    padding: Padding,
    dilations: tuple[int, int],
) -> Array:
    return _plain(x, kernel, strides, padding, dilations)


def _plain(x, kernel, strides, padding, dilations):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilations, dimension_numbers=_LAYOUT
    )


def _forward(x, kernel, *window):
    return _plain(x, kernel, *window), (x, kernel)


def _backward(strides, padding, dilations, saved: tuple[Array, Array], gradient: Array):
    window = (strides, padding, dilations)
    x, kernel = saved

    def default(x, kernel, gradient):
        return jax.vjp(lambda kernel: _plain(x, kernel, *window), kernel)[1](gradient)[0]

    def cpu(x, kernel, gradient):
        return _gradient_by_products(x, kernel, gradient, *window)

    def cuda(x, kernel, gradient):
        if dilations == (1, 1) or strides != (1, 1):
            return default(x, kernel, gradient)
        return _gradient_by_grids(x, kernel, gradient, padding, dilations)

    (of_input,) = jax.vjp(lambda x: _plain(x, kernel, *window), x)[1](gradient)
    of_kernel = jax.lax.platform_dependent(x, kernel, gradient, cpu=cpu, cuda=cuda, default=default)
    return of_input, of_kernel


_conv.defvjp(_forward, _backward)


def _gradient_by_products(
    x: Array,
    kernel: Array,
    gradient: Array,
    strides: tuple[int, int],
    padding: Padding,
    dilations: tuple[int, int],
) -> Array:
    """Multiplies the pixels that each tap reads, [B h w, C], by the gradient, [B h w, D]."""
    batch, rows, columns, features = gradient.shape
    height, width, channels, _ = kernel.shape
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    span = ((rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1)
    gradient = gradient.reshape(-1, features)
    # XLA's products read a matrix that they transpose on the way at half their speed, where its
    # rows are long. So the smaller one is transposed before, which XLA would undo.
    transposed_gradient = jax.lax.optimization_barrier(gradient.T)

    def of_tap(corner: Array) -> Array:
        read = jax.lax.dynamic_slice(padded, (0, *corner, 0), (batch, *span, channels))
        pixels = read[:, :: strides[0], :: strides[1]].reshape(-1, channels)
        product = partial(jnp.dot, preferred_element_type=jnp.float32)
        if features <= channels:
            return product(transposed_gradient, pixels)
        if channels >= 256:
            return product(jax.lax.optimization_barrier(pixels.T), gradient)
        return product(pixels.T, gradient)

    # One by one: side by side, all pixels of all taps of all layers would be in memory.
    corners = [(i * dilations[0], j * dilations[1]) for i in range(height) for j in range(width)]
    of_kernel = jax.lax.map(of_tap, jnp.array(corners))
    if features <= channels:
        of_kernel = of_kernel.transpose(0, 2, 1)
    return of_kernel.reshape(kernel.shape).astype(kernel.dtype)


def _gradient_by_grids(
    x: Array, kernel: Array, gradient: Array, padding: Padding, dilations: tuple[int, int]
) -> Array:
    """Takes the gradient of an undilated convolution of the grids that a dilated one reads."""
    padded = _split_grids(jnp.pad(x, ((0, 0), *padding, (0, 0))), dilations)
    gradient = _split_grids(gradient, dilations)
    undilated = ((1, 1), ((0, 0), (0, 0)), (1, 1))
    return jax.vjp(lambda kernel: _plain(padded, kernel, *undilated), kernel)[1](gradient)[0]


def _split_grids(x: Array, sides: tuple[int, int]) -> Array:
    """Makes every side-th row and column an image, [B * sides, H / sides, W / sides, C].

    Last rows and columns are filled up with zeros.
    """
    down, right = sides
    filled = ((0, -x.shape[1] % down), (0, -x.shape[2] % right))
    x = jnp.pad(x, ((0, 0), *filled, (0, 0)))
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // down, down, width // right, right, channels)
    x = x.transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, height // down, width // right, channels)
