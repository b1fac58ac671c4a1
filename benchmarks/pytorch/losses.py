"""DyStaB's losses and masks in PyTorch, as `losses` and `object_choice` have them."""

import torch
from torch.nn import functional

PIXELS = (1, 2, 3)


def to_image(image: torch.Tensor) -> torch.Tensor:
    """Returns RGB in [0, 1] from 0 to 255."""
    return image.float() / 255


def object_probability(logits: torch.Tensor) -> torch.Tensor:
    """Returns the softmax's second channel."""
    return torch.sigmoid(logits[:, 1:] - logits[:, :1])


def mean_speed(flow: torch.Tensor, slowest: float) -> torch.Tensor:
    """Returns the mean length, at least ``slowest`` pixels, one number per sample."""
    return torch.linalg.vector_norm(flow, dim=1).mean((1, 2)).clamp(min=slowest)


def normalise_flow(flow: torch.Tensor, slowest: float) -> torch.Tensor:
    """Divides by the mean length, by at least ``slowest`` pixels."""
    return flow / mean_speed(flow, slowest)[:, None, None, None]


def centre(mask: torch.Tensor) -> torch.Tensor:
    """Shifts the middle between a mask's extremes to one half."""
    low, high = mask.detach().amin(PIXELS, True), mask.detach().amax(PIXELS, True)
    return mask - (low + high) / 2 + 0.5


def straight_through(mask: torch.Tensor) -> torch.Tensor:
    """Cuts at one half; the gradient is that of the mask."""
    hard = (mask > 0.5).to(mask.dtype)
    return mask + (hard - mask).detach()


def size(mask: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Returns the mean of m·|v| over the pixels, one number per sample."""
    lengths = torch.sqrt(vectors.square().sum(1) + 1e-12) - 1e-6
    return (mask[:, 0] * lengths).mean((1, 2))


def both_regions(
    mask: torch.Tensor,
    flow: torch.Tensor,
    inpainted_inside: torch.Tensor,
    inpainted_outside: torch.Tensor,
    denominator: str,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns numerators and denominators of Eq. (3)."""
    sums = []
    for region, guess in ((mask, inpainted_inside), (1 - mask, inpainted_outside)):
        motion = size(region, flow)
        if denominator == "both":
            motion = motion + size(region, guess)
        sums.append((size(region, flow - guess), motion))
    return sums


def evidence(
    mask: torch.Tensor,
    flow: torch.Tensor,
    inpainted_inside: torch.Tensor,
    inpainted_outside: torch.Tensor,
    slowest: torch.Tensor,
    denominator: str,
) -> torch.Tensor:
    """Returns what a confidence is made of, [B, 4]."""
    sums = both_regions(mask, flow, inpainted_inside, inpainted_outside, denominator)
    areas = [region.mean(PIXELS) for region in (mask, 1 - mask)]
    sizes = [motion + slowest * area for (_, motion), area in zip(sums, areas, strict=True)]
    return torch.stack([error for error, _ in sums] + sizes, -1)


def confidence(evidence: torch.Tensor, clip: float | None) -> torch.Tensor:
    """Computes L_A as the trust in a mask, one number per sample."""
    errors, sizes = evidence[:, :2], evidence[:, 2:]
    ratios = errors / (sizes + 1e-12)
    ratios = ratios if clip is None else ratios.clamp(max=clip)
    return torch.where((sizes > 0).all(1), ratios.sum(1), 0.0)


def adversarial(
    mask: torch.Tensor,
    flow: torch.Tensor,
    inpainted_inside: torch.Tensor,
    inpainted_outside: torch.Tensor,
    epsilon: float,
    clip: float | None,
    denominator: str,
) -> torch.Tensor:
    """Scores L_A, Eqs. (2) and (3)."""
    ratios = []
    for error, motion in both_regions(mask, flow, inpainted_inside, inpainted_outside, denominator):
        ratio = error / (motion + epsilon)
        ratios.append(ratio if clip is None else ratio.clamp(max=clip))
    return ratios[0] + ratios[1]


def inpainting_error(
    mask: torch.Tensor,
    flow: torch.Tensor,
    inpainted_inside: torch.Tensor,
    inpainted_outside: torch.Tensor,
) -> torch.Tensor:
    """Returns the numerators of Eq. (3) alone."""
    return size(mask, flow - inpainted_inside) + size(1 - mask, flow - inpainted_outside)


def warp(values: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Samples bilinearly at x + flow(x); the border is replicated."""
    height, width = flow.shape[2:]
    y, x = _targets(flow)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return functional.grid_sample(values, grid, padding_mode="border", align_corners=True)


def _targets(flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = flow.shape[2:]
    rows = torch.arange(height, device=flow.device)[:, None]
    columns = torch.arange(width, device=flow.device)
    return rows + flow[:, 1], columns + flow[:, 0]


@torch.no_grad()
def visibility(flow: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:
    """Returns 1 where the second frame shows the point, else 0."""
    returned = warp(backward, flow)
    mismatch = (flow + returned).square().sum(1)
    lengths = flow.square().sum(1) + returned.square().sum(1)
    height, width = flow.shape[2:]
    y, x = _targets(flow)
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    return ((mismatch <= 0.01 * lengths + 0.5) & inside)[:, None].to(flow.dtype)


def temporal_consistency(
    mask1: torch.Tensor, mask2: torch.Tensor, flow12: torch.Tensor, flow21: torch.Tensor
) -> torch.Tensor:
    """Returns L_TC, Eq. (4); both directions in one go."""
    masks, others = torch.cat([mask1, mask2]), torch.cat([mask2, mask1])
    flow, backward = torch.cat([flow12, flow21]), torch.cat([flow21, flow12])
    visible = visibility(flow, backward)
    difference = (masks - warp(others, flow)).abs() * visible
    one_way = difference.sum(PIXELS) / visible.sum(PIXELS).clamp(min=1)
    return one_way[: len(mask1)] + one_way[len(mask1) :]


def f_measure(prediction: torch.Tensor, target: torch.Tensor, alpha2: float) -> torch.Tensor:
    """Scores F_α, Eq. (6)."""
    target = (target > 0.5).to(prediction.dtype)
    hits = (prediction * target).sum(PIXELS)
    sizes = alpha2 * target.sum(PIXELS) + prediction.sum(PIXELS)
    return (1 + alpha2) * hits / sizes.clamp(min=1e-6)


def disagreement(prediction: torch.Tensor, target: torch.Tensor, alpha2: float) -> torch.Tensor:
    """Returns 1 − F_α; 0 where the target is empty."""
    return unless_empty(1 - f_measure(prediction, target, alpha2), target)


def unless_empty(loss: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns the loss; 0 where the target is empty."""
    return torch.where((target > 0.5).flatten(1).any(1), loss, 0.0)


def canonicalise(mask: torch.Tensor, vote: bool = False, border: int = 2) -> torch.Tensor:
    """Returns the region that touches less border, decided for all frames at once or for each."""
    hard = (mask.detach() > 0.5).float()
    total = hard.sum(PIXELS)
    inner = hard[..., border:-border, border:-border]
    pixels = hard[0].numel() - inner[0].numel()
    share = (total - inner.sum(PIXELS)) / pixels
    flipped = (share.mean(0, keepdim=True) if vote else share) > 0.5
    return torch.where(flipped[:, None, None, None], 1 - mask, mask)
