"""Parametric motion in PyTorch, as `dystab_jax.networks.motion_models` fits it."""

from functools import lru_cache
from typing import Any

import torch

from dystab_jax.networks.motion_models import CAMERA_REWEIGHTINGS


@lru_cache
@torch.inference_mode(False)
def _make_basis(
    height: int, width: int, terms: int, stiffness: float, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Terms at each pixel [N, K], their products with each other [N, K²], the penalty [K, K]."""
    rows, columns = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y][:terms], -1).flatten(0, 1)
    penalty = torch.full((terms,), stiffness, device=device)
    penalty[0] = 1e-6
    products = (basis[:, :, None] * basis[:, None]).flatten(1)
    return basis, products, height * width * torch.diag(penalty)


@torch.compiler.assume_constant_result  # as for JAX: computed when it compiles, or the first time
def _basis(*arguments: Any) -> tuple[torch.Tensor, ...]:
    return _make_basis(*arguments)


def parametric_motion(
    context: torch.Tensor,
    weight: torch.Tensor,
    terms: int,
    reweightings: int,
    stiffness: float = 2e-3,
) -> torch.Tensor:
    """Fits by iteratively reweighted least squares, as the function of `dystab_jax` does."""
    height, width = context.shape[2:]
    basis, products, penalty = _basis(height, width, terms, stiffness, context.device)
    context, weight = context.flatten(2), weight.flatten(1)
    squares = weight**2

    def fit(trust: torch.Tensor) -> torch.Tensor:
        gram = ((trust * squares) @ products).unflatten(1, (terms, terms)) + penalty
        moments = ((trust * weight)[:, None] * context) @ basis
        return torch.linalg.solve(gram, moments.mT).mT @ basis.T

    flow = fit(torch.ones_like(weight))
    for _ in range(reweightings):
        with torch.no_grad():
            residual = torch.linalg.vector_norm(context - weight[:, None] * flow, dim=1)
            scale = residual.sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-6)
            trust = 1 / (1 + (residual / (scale + 1e-3)) ** 2)
        flow = fit(trust)
    return flow.unflatten(2, (height, width))


def without_motion(flow: torch.Tensor, terms: int) -> torch.Tensor:
    """Takes out what most of the image follows; 0 terms leave the flow as it is."""
    if not terms:
        return flow
    return flow - parametric_motion(flow, torch.ones_like(flow[:, :1]), terms, CAMERA_REWEIGHTINGS)
