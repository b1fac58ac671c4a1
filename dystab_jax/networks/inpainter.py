"""ψ: fills in the flow inside a mask from the flow outside it and the image."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array, Flow, Mask
from dystab_jax.networks.kernels.convolution import for_flax
from dystab_jax.networks.layers import average_cells, refill_cells
from dystab_jax.networks.motion_models import MOTION_TERMS, parametric_motion

LONGEST_FIT = 10.0
"""Bound of the fit as the correcting network sees it; in units of the flow, its mean length."""


_Conv = partial(nn.Conv, kernel_size=(3, 3), conv_general_dilated=for_flax)


class _Block(nn.Module):
    """Convolution and leaky rectifier."""

    features: int
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        x = _Conv(
            self.features,
            strides=self.stride,
            kernel_dilation=self.dilation,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
        )(x)
        return nn.leaky_relu(x, 0.1)


class _Encoder(nn.Module):
    """Features at 1/2, 1/4, ... of the input's resolution."""

    widths: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, x) -> list[Array]:
        features = []
        for width in self.widths:
            x = _Block(width, stride=2, dtype=self.dtype)(x)
            x = _Block(width, dtype=self.dtype)(x)
            features.append(x)
        return features


class Inpainter(nn.Module):
    """Holds ψ: a robust parametric fit of the context's flow, corrected by a network.

        ψ̃ = (1 + g) ⊙ fit + r

    The network sees what the fit leaves of the context, the fit inside the mask and the image, and
    answers with the gain g (one channel) and the residual r, both zero at the start. The gain lets
    ψ take back a fit that extrapolates badly, so that it need not be worse than predicting zero.
    Separate encoders for the image and for the flow, a bottleneck that sees the whole image, and a
    decoder with skips from both.

    Attributes:
      parametric: "none" (purely convolutional), "affine" or "quadratic".
      widths: features of the encoders by level; empty for the parametric fit alone.
      reweightings: of the robust fit.
      shrink: side of the cells, in pixels, whose means the fit and the network see.
      dtype: of the convolutions; the fit is always float32.
    """

    parametric: str = "affine"
    widths: tuple[int, ...] = (16, 32, 48, 64)
    reweightings: int = 4
    shrink: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        if self.parametric not in MOTION_TERMS:
            raise ValueError(
                f"psi.model.parametric is {self.parametric!r}; choose one of {list(MOTION_TERMS)}"
            )
        if self.shrink < 1:
            raise ValueError(f"psi.model.shrink is {self.shrink}, expected 1 or more")
        if self.parametric == "none" and not self.widths:
            raise ValueError("psi.model needs widths when parametric is 'none'")
        super().__post_init__()

    @nn.compact
    def __call__(self, mask: Mask, context: Flow, image: Float[Array, "N H W 3"]) -> Flow:
        """Guesses the flow inside the mask.

        Args:
          mask: m, the region to fill.
          context: (1 − m) ⊙ u.
          image: I; where there are n times as many masks as images, they follow each other image by
            image, n times over (as ``jnp.concatenate([masks, 1 - masks])`` gives them).

        Returns:
          ψ̃(m, (1 − m) ⊙ u, I), everywhere; Eq. (3) takes what lies in the mask. Zero where the
          context is empty.
        """
        height, width = mask.shape[1:3]
        mask, context, image = (average_cells(x, self.shrink) for x in (mask, context, image))
        known = 1 - mask
        guess = jnp.zeros_like(context)
        if self.parametric != "none":
            terms = MOTION_TERMS[self.parametric]
            guess = parametric_motion(context, known, terms, self.reweightings)
        if self.widths:
            gain, residual = self._correction(mask, context - known * guess, mask * guess, image)
            guess = (1 + gain) * guess + residual
        guess = refill_cells(guess, height, width)
        has_context = jnp.any(known > 0, axis=(1, 2, 3), keepdims=True)
        return jnp.where(has_context, guess, 0)

    def _correction(self, mask, unexplained, fit, image) -> tuple[Array, Flow]:
        inputs = [unexplained, mask]
        if self.parametric != "none":
            # An affine fit to a small context can be hundreds of flow lengths off at the far end.
            inputs.append(jnp.clip(fit, -LONGEST_FIT, LONGEST_FIT))
        flow_features = _Encoder(self.widths, self.dtype, name="flow_encoder")(
            jnp.concatenate(inputs, -1)
        )
        repeats = (mask.shape[0] // image.shape[0], 1, 1, 1)
        image_features = [
            jnp.tile(features, repeats)
            for features in _Encoder(self.widths, self.dtype, name="image_encoder")(image - 0.5)
        ]
        x = jnp.concatenate([flow_features[-1], image_features[-1]], -1)
        for dilation in (1, 2, 4):
            x = _Block(self.widths[-1], dilation=dilation, dtype=self.dtype)(x)
        # What the whole image says, for every place.
        x = jnp.concatenate([x, jnp.broadcast_to(jnp.mean(x, (1, 2), keepdims=True), x.shape)], -1)
        skips = list(zip(flow_features[:-1], image_features[:-1], strict=True))
        for width, (flow_skip, image_skip) in zip(self.widths[-2::-1], skips[::-1], strict=True):
            x = jax.image.resize(x, (*flow_skip.shape[:3], x.shape[-1]), "bilinear")
            x = _Block(width, dtype=self.dtype)(jnp.concatenate([x, flow_skip, image_skip], -1))
        last = _Conv(3, kernel_init=nn.initializers.zeros, dtype=jnp.float32)(x)
        last = jax.image.resize(last, (*mask.shape[:3], 3), "bilinear")
        return last[..., :1], last[..., 1:]


def draw_ellipses(
    ellipse: Float[jax.Array, "B 5"], height: int, width: int
) -> Float[jax.Array, "B H W 1"]:
    """Draws filled ellipses, masks of 0 and 1.

    Args:
      ellipse: centre row and column and two radii, as shares of the image's sides, and the angle.
      height, width: pixels.
    """
    row, column, radius1, radius2, angle = (ellipse[:, i, None, None] for i in range(5))
    y = jnp.linspace(0, 1, height)[None, :, None] - row
    x = jnp.linspace(0, 1, width)[None, None, :] - column
    along = (x * jnp.cos(angle) + y * jnp.sin(angle)) / radius1
    across = (y * jnp.cos(angle) - x * jnp.sin(angle)) / radius2
    return (along**2 + across**2 < 1).astype(jnp.float32)[..., None]
