"""The paper's equations in the paper's order: arrays in, one value per sample out.

Each function differentiates its first argument; what plays the part of a target is stopped here.
What enters as a *score* is maximised in the paper (L_A, F); what is called a *loss* is minimised.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dystab_jax.array_types import Array, Flow, Mask, PerSample, Scalar
from dystab_jax.flow_ops import occlusion, warp_together
from dystab_jax.networks.motion_models import MOTION_TERMS

Evidence = Float[Array, "B 4"]
"""Numerators and denominators of Eq. (3), inside and outside the mask."""

PIXEL_AXES = (1, 2, 3)


def centre(mask: Mask) -> Mask:
    """Shifts the mask so that the middle between its extremes lies at one half.

    m − (max m + min m)/2 + ½ per sample; stays in [0, 1], and changes nothing once a mask reaches
    both 0 and 1. L_A only asks which of two regions a pixel belongs to; this keeps one half the
    level that separates them, from the first undecided masks on.
    """
    low = jnp.min(mask, PIXEL_AXES, keepdims=True)
    high = jnp.max(mask, PIXEL_AXES, keepdims=True)
    return mask - jax.lax.stop_gradient((low + high) / 2) + 0.5


def straight_through(mask: Mask) -> Mask:
    """Cuts the mask at one half, with the gradient of the soft mask.

    Forward 1[m > ½], backward identity. Soft masks let ψ read the flow that they should hide; see
    docs/method.md.
    """
    hard = (mask > 0.5).astype(mask.dtype)
    return mask + jax.lax.stop_gradient(hard - mask)


def separation(
    conditional_inside: PerSample,
    inside: PerSample,
    conditional_outside: PerSample,
    outside: PerSample,
    epsilon: Scalar,
    clip: float | None = None,
) -> PerSample:
    """Eq. (2): how little each region's motion tells about the other's.

        H(m⊙u | (1−m)⊙u, I) / H(m⊙u | I)  +  the same with m and 1−m exchanged

    Args:
      conditional_inside: entropy of the motion inside the mask, given the motion outside.
      inside: entropy of the motion inside the mask.
      conditional_outside, outside: the same for the complement.
      epsilon: added to both denominators.
      clip: upper bound of each ratio (1 in theory); None leaves them free. A clipped ratio gives no
        gradient, so nothing is gained by regions on which ψ is worse than predicting no motion.

    Returns:
      A score in [0, 2] when ψ is at least as good as predicting no motion.
    """
    first = conditional_inside / (inside + epsilon)
    second = conditional_outside / (outside + epsilon)
    if clip is not None:
        first, second = jnp.minimum(first, clip), jnp.minimum(second, clip)
    return first + second


def _size(mask: Mask, vectors: Flow) -> PerSample:
    """Computes ‖m⊙v‖, the mean over the pixels of m·|v|."""
    # With m inside the norm the derivative at m = 0 is 0 in place of |v|, and no pixel outside the
    # mask is asked to join it. The offset keeps it finite where v is 0.
    lengths = jnp.sqrt(jnp.sum(vectors**2, -1) + 1e-12) - 1e-6
    return jnp.mean(mask[..., 0] * lengths, (1, 2))


def adversarial(
    mask: Mask,
    flow: Flow,
    inpainted_inside: Flow,
    inpainted_outside: Flow,
    epsilon: Scalar,
    clip: float | None = None,
    denominator: str = "observed",
) -> PerSample:
    """Eq. (3): L_A, the share of each region's flow that ψ cannot tell from the other region's.

        ‖m⊙u − ψ(m, (1−m)⊙u, I)‖ / (‖m⊙u‖ + ε)  +  ‖(1−m)⊙u − ψ(1−m, m⊙u, I)‖ / (‖(1−m)⊙u‖ + ε)

    φ maximises it, ψ minimises it. ‖·‖ is the mean over the image's pixels of the vector's length.

    Args:
      mask: m.
      flow: u, in any unit that ``epsilon`` shares.
      inpainted_inside: ψ̃(m, (1−m)⊙u, I); ψ is m⊙ψ̃, so that only what lies in the mask counts.
      inpainted_outside: ψ̃(1−m, m⊙u, I), which counts outside the mask.
      epsilon: ε, in the unit of the flow.
      clip: upper bound of each ratio, see ``separation``.
      denominator: "observed", ‖m⊙u‖ as above, or "both", ‖m⊙u‖ + ‖ψ(m, ·)‖. The latter bounds each
        ratio by 1, by the triangle inequality and whatever ψ says. A region that rests in the image
        while the camera follows it has ‖m⊙u‖ ≈ 0: "observed" then saturates, for masks of any size
        around it, and "both" does not.
    """
    sums = _both_regions(mask, flow, inpainted_inside, inpainted_outside, denominator)
    return separation(*sums[0], *sums[1], epsilon, clip)


def _both_regions(
    mask: Mask, flow: Flow, inpainted_inside: Flow, inpainted_outside: Flow, denominator: str
) -> list[tuple[PerSample, PerSample]]:
    """Returns numerator and denominator of Eq. (3), without ε, inside and outside the mask."""
    sums = []
    for region, guess in ((mask, inpainted_inside), (1 - mask, inpainted_outside)):
        size = _size(region, flow)
        if denominator == "both":
            size += _size(region, guess)
        sums.append((_size(region, flow - guess), size))
    return sums


def evidence(
    mask: Mask,
    flow: Flow,
    inpainted_inside: Flow,
    inpainted_outside: Flow,
    slowest: PerSample,
    denominator: str,
) -> Evidence:
    """Returns the sums of Eq. (3) for a hard mask; those of a frame's flows may be added up.

    Args:
      mask, inpainted_inside, inpainted_outside, denominator: as in ``adversarial``.
      flow: u without the camera's motion.
      slowest: in the unit of the flow; added to the denominator for every pixel of a region, in
        place of ε, so that what moves at this speed convinces by half.
    """
    sums = _both_regions(mask, flow, inpainted_inside, inpainted_outside, denominator)
    areas = (jnp.mean(region, PIXEL_AXES) for region in (mask, 1 - mask))
    sizes = [size + slowest * area for (_, size), area in zip(sums, areas, strict=True)]
    return jnp.stack([error for error, _ in sums] + sizes, -1)


def confidence(evidence: Evidence, clip: float | None = None) -> PerSample:
    """Computes L_A as the trust of Eq. (7) in a mask: in [0, 2], 0 for an empty or a full one.

    Args:
      evidence: of all flows of a frame, added up.
      clip: upper bound of each ratio, see ``separation``.
    """
    errors, sizes = evidence[:, :2].T, evidence[:, 2:].T
    score = separation(errors[0], sizes[0], errors[1], sizes[1], 1e-12, clip)
    return jnp.where(jnp.all(sizes > 0, 0), score, 0.0)


def inpainting_error(
    mask: Mask, flow: Flow, inpainted_inside: Flow, inpainted_outside: Flow
) -> PerSample:
    """Returns the numerators of Eq. (3) alone: an un-normalised objective for ψ.

    Arguments as in ``adversarial``.
    """
    sums = _both_regions(mask, flow, inpainted_inside, inpainted_outside, "observed")
    return sums[0][0] + sums[1][0]


def temporal_consistency(mask1: Mask, mask2: Mask, flow12: Flow, flow21: Flow) -> PerSample:
    """Eq. (4): L_TC, how much two frames' masks disagree where both frames show the same point.

        mean |m1 − m2(x + u12)| over x ∉ o1  +  mean |m2 − m1(x + u21)| over x ∉ o2

    The paper sums over the pixels; means keep the weight independent of the image size. Each term
    has its own occlusion mask; a term without any co-visible pixel is 0.

    Args:
      mask1, mask2: φ(u12) and φ(u21).
      flow12, flow21: pixels at the masks' resolution.

    Returns:
      A loss in [0, 2].
    """

    def one_way(mask, other, flow, backward):
        seen, returned = warp_together(other, backward, flow)
        visible = 1 - occlusion(flow, returned)
        difference = jnp.abs(mask - seen) * visible
        return jnp.sum(difference, PIXEL_AXES) / jnp.maximum(jnp.sum(visible, PIXEL_AXES), 1)

    return one_way(mask1, mask2, flow12, flow21) + one_way(mask2, mask1, flow21, flow12)


def dynamic(separation_score: PerSample, inconsistency: PerSample, weight: float) -> PerSample:
    """Eq. (5): loss of φ in the initial training, −L_A + λ_TC·L_TC.

    Args:
      separation_score: L_A, Eq. (3).
      inconsistency: L_TC, Eq. (4).
      weight: λ_TC ≥ 0 (the paper writes −0.1 since it maximises).
    """
    return weight * inconsistency - separation_score


def f_measure(prediction: Mask, target: Mask, alpha2: float) -> PerSample:
    """Eq. (6): F_α, agreement of a soft prediction with a hard target.

        (1 + α²) ρ γ / (α² ρ + γ)  =  (1 + α²) Σ p t / (α² Σ t + Σ p)

    with precision ρ = Σ p t / Σ p and recall γ = Σ p t / Σ t.

    Args:
      prediction: p, in [0, 1].
      target: t, cut at one half and stopped here.
      alpha2: α², weight of recall against precision.

    Returns:
      A score in [0, 1]; 0 for an empty target, whose samples should get weight 0.
    """
    target = jax.lax.stop_gradient((target > 0.5).astype(prediction.dtype))
    hits = jnp.sum(prediction * target, PIXEL_AXES)
    sizes = alpha2 * jnp.sum(target, PIXEL_AXES) + jnp.sum(prediction, PIXEL_AXES)
    return (1 + alpha2) * hits / jnp.maximum(sizes, 1e-6)


def static(
    prediction: Mask,
    motion_mask: Mask,
    previous: Mask,
    confidence: PerSample,
    previous_confidence: PerSample,
    margin: float,
    consistency_weight: float,
    alpha2: float,
) -> PerSample:
    """Eq. (7): L_χ, learn from φ where its mask is the more confident one, else stay.

        λ_F (1 − F(χ, χ′)) + max(L_A(m) − L_A(χ′) − δ, 0) · (1 − F(χ, m))

    The paper writes F where a loss is meant; 1 − F is minimised. Empty targets get weight 0.

    Args:
      prediction: χ(I).
      motion_mask: m, φ's canonical mask.
      previous: χ′(I), from χ frozen at the start of the phase.
      confidence: L_A(m), Eq. (3).
      previous_confidence: L_A(χ′(I)); 0 the first time.
      margin: δ.
      consistency_weight: λ_F; 0 the first time.
      alpha2: α² of Eq. (6).
    """
    trust = jax.lax.stop_gradient(jnp.maximum(confidence - previous_confidence - margin, 0))
    stay = consistency_weight * disagreement(prediction, previous, alpha2)
    return stay + trust * disagreement(prediction, motion_mask, alpha2)


def joint(
    dynamic_loss: PerSample, mask: Mask, static_mask: Mask, weight: float, alpha2: float
) -> PerSample:
    """Eq. (8): loss of φ in the loop, the loss of Eq. (5) + λ_obj (1 − F(φ(u), χ(I))).

    Args:
      dynamic_loss: Eq. (5).
      mask: φ(u), canonical.
      static_mask: χ(I), cut at one half and stopped here; an empty one has weight 0.
      weight: λ_obj.
      alpha2: α² of Eq. (6).
    """
    return dynamic_loss + weight * disagreement(mask, static_mask, alpha2)


def disagreement(prediction: Mask, target: Mask, alpha2: float) -> PerSample:
    """Returns 1 − F_α of Eq. (6), the loss of χ in Table 2; 0 where the target is empty.

    Arguments as in ``f_measure``.
    """
    present = jnp.any(target > 0.5, PIXEL_AXES)
    return jnp.where(present, 1 - f_measure(prediction, target, alpha2), 0.0)


def supervised(prediction: Mask, truth: Mask, alpha2: float) -> PerSample:
    """Returns the loss of Table 3's supervised rows (ours): 1 − F_α plus the mean cross entropy.

    Args:
      prediction: p, in [0, 1].
      truth: 0 or 1; an empty one leaves the cross entropy alone.
      alpha2: α² of Eq. (6).
    """
    # Clipped, so that a mask that is exactly 0 or 1 and wrong has a finite loss.
    sure = jnp.clip(prediction, 1e-6, 1 - 1e-6)
    entropy = -jnp.mean(truth * jnp.log(sure) + (1 - truth) * jnp.log1p(-sure), PIXEL_AXES)
    return disagreement(prediction, truth, alpha2) + entropy


@dataclass(frozen=True)
class LossOptions:
    """Holds section ``loss`` of a config.

    Attributes:
      mask_mode: "straight_through" or "soft", the masks inside L_A while φ learns.
      epsilon: ε of Eq. (3), in units of the sample's mean flow length.
      slowest_flow: pixels; flow is scaled by its mean length, but by no less than this. See
        ``evidence`` for what it means to confidences.
      confidence_camera: motion that is taken out before L_A is a confidence, see ``MOTION_TERMS``.
      denominator: "observed" or "both", see ``losses.adversarial``.
      ratio_clip: bound of each ratio of Eq. (3) for φ and for confidences; None for no bound.
      psi_objective: "ratio", L_A as in the paper's min max, or "error", the numerators alone.
      static: what χ learns by: "confidence", Eq. (7), or "f_measure", Eq. (6) with every
        pseudo-label of φ, whatever its confidence (Table 2).
      temporal_weight: λ_TC of Eq. (5), positive.
      alpha2: α² of Eq. (6).
      margin: δ of Eq. (7).
      consistency_weight: λ_F of Eq. (7) from the second round on.
      object_weight: λ_obj of Eq. (8).
    """

    mask_mode: str
    epsilon: float
    slowest_flow: float
    confidence_camera: str
    denominator: str
    ratio_clip: float | None
    psi_objective: str
    static: str
    temporal_weight: float
    alpha2: float
    margin: float
    consistency_weight: float
    object_weight: float

    def __post_init__(self):
        accepted = {
            "mask_mode": ("straight_through", "soft"),
            "confidence_camera": tuple(MOTION_TERMS),
            "denominator": ("observed", "both"),
            "psi_objective": ("ratio", "error"),
            "static": ("confidence", "f_measure"),
        }
        for name, values in accepted.items():
            if (value := getattr(self, name)) not in values:
                raise ValueError(f"loss.{name} is {value!r}; choose {' or '.join(values)}")
        if not self.slowest_flow > 0:
            raise ValueError(f"loss.slowest_flow is {self.slowest_flow} pixels; it must be > 0")
        # The paper's λ_TC of −0.1 is written 0.1: losses are minimised here.
        for name in ("margin", "temporal_weight"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"loss.{name} is {value}; it must be ≥ 0")
