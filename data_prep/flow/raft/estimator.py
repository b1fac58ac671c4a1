"""Estimates flow by RAFT: recurrent all-pairs field transforms (Teed and Deng, ECCV 2020).

Section numbers are the paper's. Parameters are those of the original release and of torchvision.
"""

from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from data_prep.flow import FlowOptions
from data_prep.flow.kernels.layers import Maps
from data_prep.flow.network import NetworkEstimator, variable_shapes
from data_prep.flow.raft.all_pairs import correlate, look_up
from data_prep.flow.raft.layers import (
    LARGE,
    LEVELS,
    SMALL,
    STRIDE,
    Encoder,
    Size,
    Update,
    UpsamplingMask,
    enlarge,
    enlarge_convexly,
)
from data_prep.flow.raft.names import convert
from dystab_jax.array_types import Flow
from dystab_jax.networks.torch_files import read_checkpoint

Images = Float[Array, "B H W 3"]
SIZES = {"raft_small": SMALL, "raft_large": LARGE}


class Raft(nn.Module):
    """Estimates flow of encoded frames; see `data_prep.flow.network.NetworkEstimator`.

    Attributes:
      size: `SMALL` or `LARGE`.
      iterations: of the recurrent update.
      dtype: in which convolutions compute; correlations, positions and flow are float32.
      minimal: convolve with fewer products, see `data_prep.flow.kernels.layers`.
    """

    size: Size
    iterations: int = 12
    dtype: Any = jnp.float32
    minimal: bool = False

    def setup(self):
        size, how = self.size, {"dtype": self.dtype, "minimal": self.minimal}
        self.fnet = Encoder(size, size.features, "instance", **how)
        self.cnet = Encoder(size, size.hidden + size.context, size.context_norm, **how)
        self.update_block = Update(size, **how)
        if not size.bottleneck:
            self.mask = UpsamplingMask(**how)

    def __call__(self, first: Images, second: Images) -> Flow:
        """Estimates flow between two images, as `encode` takes them."""
        return self.match(self.encode(first), self.encode(second))

    def encode(self, images: Images) -> dict[str, Maps]:
        """Encodes RGB images, 0 to 255, H and W multiples of 8: features and context (Sec. 3.1)."""
        images = 2 * (images / 255) - 1
        hidden, context = jnp.split(self.cnet(images), [self.size.hidden], axis=-1)
        return {
            "features": self.fnet(images),
            "hidden": jnp.tanh(hidden),
            "context": nn.relu(context),
        }

    def match(self, first: dict[str, Maps], second: dict[str, Maps]) -> Flow:
        """Estimates flow [B, H, W, 2] from first to second frames, pixels (Secs. 3.2, 3.3)."""
        radius = self.size.radius
        pyramid = correlate(first["features"], second["features"], LEVELS, radius)
        batch, height, width, _ = first["features"].shape
        rows, columns = jnp.mgrid[:height, :width]
        positions = jnp.stack([columns, rows], -1)[None].astype(jnp.float32)
        update = self.update_block(first["context"])

        def step(carry, _):
            hidden, flow = carry
            windows = look_up(pyramid, positions + flow, radius)
            hidden, change = update(hidden, windows, flow)
            return (hidden, flow + change), None

        start = first["hidden"], jnp.zeros((batch, height, width, 2))
        (hidden, flow), _ = jax.lax.scan(step, start, length=self.iterations)
        if self.size.bottleneck:
            return enlarge(flow * STRIDE)
        return enlarge_convexly(flow * STRIDE, self.mask(hidden))


def make(options: FlowOptions, video: str) -> NetworkEstimator:
    """Makes RAFT with the checkpoint's parameters; see `data_prep.flow.make_estimator`."""
    return _make(options)


@lru_cache(maxsize=1)
def _make(options: FlowOptions) -> NetworkEstimator:
    module = Raft(
        SIZES[options.estimator],
        options.iterations,
        jnp.dtype(options.precision),
        minimal=jax.default_backend() == "cpu",
    )
    arrays = read_checkpoint(options.weights)
    variables = convert(variable_shapes(module), arrays, options.weights)
    return NetworkEstimator(module, variables, multiple=STRIDE, fit="pad")
