"""Defines convolutions as PyTorch has them, with a formulation of its own for the CPU."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float

from data_prep.flow.kernels import winograd
from dystab_jax.array_types import Array

Maps = Float[Array, "B _h _w _C"]
"""Feature maps; layers may change all but the batch."""


@flax.struct.dataclass
class Layer:
    """Holds a convolution that is ready to be applied, once or in every iteration.

    Half the kernel is padded with zeros on every side, whatever the stride.
    """

    kernel: jax.Array
    bias: jax.Array
    stride: int = flax.struct.field(pytree_node=False)
    minimal: bool = flax.struct.field(pytree_node=False)

    def __call__(self, maps: Maps) -> Maps:
        maps = maps.astype(self.kernel.dtype)
        if self.minimal:
            return winograd.convolve(maps, self.kernel) + self.bias
        result = jax.lax.conv_general_dilated(
            maps,
            self.kernel,
            (self.stride, self.stride),
            [(side // 2, side // 2) for side in self.kernel.shape[:2]],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return result + self.bias


def make_layer(
    kernel: Float[Array, "k l C D"],
    bias: Float[Array, " D"],
    stride: int = 1,
    dtype: Any = jnp.float32,
    minimal: bool = False,
) -> Layer:
    """Makes a layer from its parameters.

    Args:
      kernel, bias: the parameters; odd sides.
      stride: positions between the outputs.
      dtype: in which it computes.
      minimal: multiply less where that pays (`winograd`), which it does on a CPU.
    """
    pays = min(kernel.shape[2:]) >= winograd.FEWEST_CHANNELS and dtype == jnp.float32
    minimal = minimal and pays and kernel.shape[:2] == (3, 3) and stride == 1
    kernel = winograd.transform(kernel) if minimal else kernel.astype(dtype)
    return Layer(kernel, bias.astype(dtype)[None, None, None], stride, minimal)


class Convolution(nn.Module):
    """Holds the parameters of a `Layer`; called with maps, it is one."""

    channels: int
    kernel: int | tuple[int, int]
    stride: int = 1
    dtype: Any = jnp.float32
    minimal: bool = False

    @nn.compact
    def parameters(self, entering: int) -> tuple[jax.Array, jax.Array]:
        """Returns (kernel, bias) for maps of ``entering`` channels."""
        sides = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        shape = (*sides, entering, self.channels)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.channels,))

    def layer(self, entering: int) -> Layer:
        """Makes the layer for maps of ``entering`` channels."""
        return make_layer(*self.parameters(entering), self.stride, self.dtype, self.minimal)

    def __call__(self, maps: Maps) -> Maps:
        return self.layer(maps.shape[-1])(maps)
