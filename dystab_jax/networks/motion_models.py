"""Parametric motion: what a moving camera does to the whole image."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array, Flow, Mask

MOTION_TERMS = {"none": 0, "affine": 3, "quadratic": 6}
"""Parametric motion models and their number of terms per component."""
CAMERA_REWEIGHTINGS = 8
"""Of the fit to a whole image; many, since objects may fill a good part of it."""


def _basis(height: int, width: int, terms: int) -> Float[Array, "H W K"]:
    """Returns 1, x, y, (x², xy, y²) on coordinates in [-1, 1]."""
    y, x = jnp.meshgrid(jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing="ij")
    return jnp.stack([jnp.ones_like(x), x, y, x * x, x * y, y * y][:terms], -1)


def parametric_motion(
    context: Flow, weight: Mask, terms: int = 3, reweightings: int = 4, stiffness: float = 2e-3
) -> Flow:
    """Fits the motion that most of the context follows, and evaluates it at every pixel.

    Iteratively reweighted least squares: the first fit trusts all of the context, each later one
    divides a pixel's weight by 1 + (residual / mean residual)². Differentiable in both arguments;
    the reweighting itself is taken as constant.

    Args:
      context: (1 − m) ⊙ u.
      weight: 1 − m; pixels with weight 0 do not count.
      terms: 3 for affine, 6 for quadratic motion.
      reweightings: number of fits after the first.
      stiffness: pull towards pure translation, as if this share of the image spoke for it; keeps
        what a small context says from growing without bound away from it.

    Returns:
      The fitted flow; 0 where the context is empty.
    """
    _, height, width, _ = context.shape
    basis = _basis(height, width, terms)
    # The constant term alone is (nearly) free; an empty context gives zero.
    penalty = height * width * jnp.diag(jnp.full(terms, stiffness).at[0].set(1e-6))[None]

    # By default, TPUs and some GPUs multiply float32 in fewer bits; normal equations need all.
    einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

    def fit(trust):
        gram = einsum("bhw,hwi,hwj->bij", trust * weight[..., 0] ** 2, basis, basis)
        moments = einsum("bhw,hwi,bhwc->bic", trust * weight[..., 0], basis, context)
        solution = jnp.linalg.solve(gram + penalty, moments)
        return einsum("hwi,bic->bhwc", basis, solution)

    trust = jnp.ones(context.shape[:3], context.dtype)
    flow = fit(trust)
    for _ in range(reweightings):
        residual = jnp.linalg.norm(jax.lax.stop_gradient(context - weight * flow), axis=-1)
        known = jax.lax.stop_gradient(weight[..., 0])
        scale = jnp.sum(residual, (1, 2)) / jnp.maximum(jnp.sum(known, (1, 2)), 1e-6)
        trust = 1 / (1 + (residual / (scale[:, None, None] + 1e-3)) ** 2)
        flow = fit(trust)
    return flow


def without_motion(flow: Flow, terms: int) -> Flow:
    """Takes out of the flow what most of the image follows: u − fit(u), the camera's motion.

    Args:
      flow: u, any unit.
      terms: see ``parametric_motion``; 0 leaves the flow as it is.

    Returns:
      The residual; constant in the flow, no gradient passes.
    """
    if not terms:
        return flow
    everywhere = jnp.ones((*flow.shape[:3], 1), flow.dtype)
    fit = parametric_motion(flow, everywhere, terms, CAMERA_REWEIGHTINGS)
    return jax.lax.stop_gradient(flow - fit)
