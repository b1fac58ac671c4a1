"""Depthwise convolution with a formulation of its own for the CPU.

XLA's CPU backend runs ``feature_group_count = C`` convolutions through a scalar loop, and their
gradients slower still. There, the same numbers come from sums of shifted products, which it
vectorises: 15 to 60 times faster forward and for the input's gradient, 5 to 20 times for the
kernel's. GPUs and TPUs get the plain convolution.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array

# The sums of the kernel's gradient should stay in a core's cache: entries of all taps together.
_CACHED_ENTRIES = 65536


def depthwise_conv(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k 1 C"], stride: int = 1, dilation: int = 1
) -> Float[Array, "B h w C"]:
    """Filters every channel by a kernel of its own, with symmetric zero padding.

    Args:
      x: the input.
      kernel: one odd-sized square kernel per channel, in the dtype of ``x``.
      stride: pixels between the outputs, whose centres lie on ``stride * i``.
      dilation: pixels between the taps; not together with a stride.

    Returns:
      The filtered channels, ceil(H / stride) × ceil(W / stride).
    """
    # Under shard_map the weights are the same on all devices and the input is not. A selection
    # that never chooses the input gives the weights its type, and JAX then sums their gradient
    # over the devices, which a hand-written gradient cannot do. The compiler removes it.
    never = jax.lax.stop_gradient(x[0, 0, 0, 0])
    return _depthwise_conv(x, jnp.where(False, never, kernel), stride, dilation)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_conv(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(shifted_products, stride=stride, dilation=dilation),
        default=partial(grouped_conv, stride=stride, dilation=dilation),
    )


def grouped_conv(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Computes ``depthwise_conv`` as one XLA convolution."""
    pad = dilation * (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def shifted_products(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Computes ``depthwise_conv`` as a sum over the taps of shifted input times weight."""
    size = kernel.shape[0]
    pad = dilation * (size - 1) // 2
    batch, height, width, channels = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = jnp.pad(x.astype(jnp.float32), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    weights = kernel.astype(jnp.float32).reshape(size, size, 1, 1, 1, channels)
    total = jnp.zeros((), jnp.float32)
    for i in range(size):
        for j in range(size):
            top, left = i * dilation, j * dilation
            shifted = jax.lax.slice(
                padded,
                (0, top, left, 0),
                (
                    batch,
                    top + (rows - 1) * stride + 1,
                    left + (columns - 1) * stride + 1,
                    channels,
                ),
                (1, stride, stride, 1),
            )
            total += shifted * weights[i, j]
    return total.astype(x.dtype)


def _forward(x: Array, kernel: Array, stride: int, dilation: int):
    return _depthwise_conv(x, kernel, stride, dilation), (x, kernel)


def _backward(stride: int, dilation: int, saved: tuple[Array, Array], gradient: Array):
    def default(x, kernel, gradient):
        def primal(x, kernel):
            return grouped_conv(x, kernel, stride, dilation)

        return jax.vjp(primal, x, kernel)[1](gradient)

    def cpu(x, kernel, gradient):
        return (
            _input_gradient(x.shape, kernel, gradient, stride, dilation),
            _kernel_gradient(x, kernel, gradient, stride, dilation),
        )

    return jax.lax.platform_dependent(*saved, gradient, cpu=cpu, default=default)


_depthwise_conv.defvjp(_forward, _backward)


def _input_gradient(
    shape: tuple[int, ...], kernel: Array, gradient: Array, stride: int, dilation: int
) -> Array:
    """Spreads the gradient to the input's pixels and filters it by the mirrored kernel."""
    spread = [(0, 0, 0)]
    for size, samples in zip(shape[1:3], gradient.shape[1:3], strict=True):
        spread.append((0, size - 1 - (samples - 1) * stride, stride - 1))
    spread = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), [*spread, (0, 0, 0)])
    return shifted_products(spread, kernel[::-1, ::-1], 1, dilation)


def _kernel_gradient(x: Array, kernel: Array, gradient: Array, stride: int, dilation: int) -> Array:
    """Sums gradient times shifted input over all pixels, for every tap.

    A reduction fused with its product would be a scalar loop on the CPU. So a loop goes over
    short stretches of image rows and adds to one set of sums per pixel of the stretch.
    """
    size = kernel.shape[0]
    pad = dilation * (size - 1) // 2
    batch, rows, columns, channels = gradient.shape
    stretch = max(1, min(columns, _CACHED_ENTRIES // (size * size * channels)))
    stretches = -(-columns // stretch)
    stretch = -(-columns // stretches)
    excess = stretches * stretch - columns
    gradient = jnp.pad(gradient, ((0, 0), (0, 0), (0, excess), (0, 0)))
    reach = (columns + excess - 1) * stride + (size - 1) * dilation + 1
    right = max(0, reach - pad - x.shape[2])
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, right), (0, 0)))
    window = (1, (size - 1) * dilation + 1, (stretch - 1) * stride + 1, channels)

    def add(index: Array | int, sums: list[Array]) -> list[Array]:
        column = index % stretches * stretch
        row = index // stretches % rows
        sample = index // (stretches * rows)
        factor = jax.lax.dynamic_slice(
            gradient, (sample, row, column, 0), (1, 1, stretch, channels)
        )
        result = []
        for j, total in enumerate(sums):
            start = (sample, row * stride, column * stride + j * dilation, 0)
            shifted = jax.lax.dynamic_slice(padded, start, window)[:, ::dilation, ::stride]
            result.append(total + shifted.astype(jnp.float32) * factor.astype(jnp.float32))
        return result

    # The first stretch outside the loop gives the sums the type (under shard_map: the varying
    # axes) that they keep inside.
    sums = add(0, [jnp.zeros((1, size, stretch, channels), jnp.float32)] * size)
    sums = jax.lax.fori_loop(1, batch * rows * stretches, add, sums)
    taps = jnp.stack([total.sum((0, 2)) for total in sums], axis=1)
    return taps[:, :, None].astype(kernel.dtype)
