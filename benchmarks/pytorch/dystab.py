"""DyStaB's updates and predictions in PyTorch, for comparison.

As `dystab_jax.steps` has them, with the losses and networks of this folder. Each network is built
from the Flax module that it mirrors, and `weights.convert` carries the weights over. Tensors are
[B, C, H, W]; what is convolved lies in memory as ``layout`` says, flow and masks plane by plane.
Tests compare the results, `benchmarks.training` the speed. Nothing else uses it.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.pytorch.deeplab import DeepLab
from benchmarks.pytorch.inpainter import Inpainter
from benchmarks.pytorch.losses import (
    adversarial,
    canonicalise,
    centre,
    confidence,
    disagreement,
    evidence,
    f_measure,
    inpainting_error,
    mean_speed,
    normalise_flow,
    object_probability,
    straight_through,
    temporal_consistency,
    to_image,
    unless_empty,
)
from benchmarks.pytorch.motion_models import without_motion
from benchmarks.pytorch.weights import load
from dystab_jax import state, steps
from dystab_jax.inference import TINY_AREA, TINY_WEIGHT
from dystab_jax.networks.motion_models import MOTION_TERMS

Batch = Mapping[str, torch.Tensor]
Metrics = dict[str, torch.Tensor]
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def make_optimizer(
    name: str,
    learning_rate: float,
    schedule: str = "constant",
    schedule_steps: int = 0,
    warmup_steps: int = 0,
    **arguments: Any,
) -> Optimizer:
    """Returns the constructor of what a config section names.

    Arguments as of `dystab_jax.networks.optimizers.make_optimizer`.

    Raises:
      ValueError: an optimizer, a schedule or an argument that has no counterpart here.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    accepted = {"adam": {"b1", "b2", "eps"}, "sgd": {"momentum", "nesterov"}}
    if schedule != "constant" or name not in accepted or set(given) - accepted[name]:
        known = " and ".join(f"{key} ({', '.join(sorted(accepted[key]))})" for key in accepted)
        raise ValueError(
            f"optimizer {name!r} with schedule {schedule!r} and {given} has no counterpart on the "
            f"PyTorch side; there are {known}, at a constant rate"
        )
    if name == "sgd":
        return lambda parameters: torch.optim.SGD(parameters, learning_rate, **given)
    betas, eps = (given.get("b1", 0.9), given.get("b2", 0.999)), given.get("eps", 1e-8)
    return lambda parameters: torch.optim.Adam(parameters, learning_rate, betas, eps, fused=True)


def to_tensor(array: np.ndarray, layout: torch.memory_format) -> torch.Tensor:
    """Returns [..., H, W, C] as [..., C, H, W]; RGB in the given layout, the rest in planes."""
    tensor = torch.from_numpy(np.array(array))
    if array.ndim < 4:
        return tensor
    tensor = tensor.movedim(-1, -3)
    rgb = tensor.shape[-3] == 3
    return tensor if rgb and layout == torch.channels_last else tensor.contiguous()


class Learner:
    """Holds one network in training, and the average of it that predicts."""

    def __init__(self, network: nn.Module, optimizer: Optimizer, average_decay: float):
        self.network, self.average = network, copy.deepcopy(network)
        parameters = list(network.parameters())
        self.optimizer = optimizer(parameters) if parameters else None
        self.decay, self.updates = average_decay, 0
        for each in (self.network, self.average):
            each.eval().requires_grad_(False)
        self._numbers, self._averages = _numbers(self.network), _numbers(self.average)

    def learn(self, loss: Callable[[], tuple[torch.Tensor, Metrics]]) -> Metrics:
        """Takes one step of the optimizer, and averages after it."""
        # Only who learns wants gradients: the others' weights are not differentiated.
        self.network.train().requires_grad_(True)
        value, metrics = loss()
        if self.optimizer is not None:
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
        self.network.eval().requires_grad_(False)
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if self._averages:
            torch._foreach_lerp_(self._averages, self._numbers, 1 - decay)
        self.updates += 1
        return metrics


def _numbers(network: nn.Module) -> list[torch.Tensor]:
    """Lists parameters and moments, without gradients."""
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


class Steps:
    """Holds the updates of Algorithm 1 and the predictions; what learns is changed in place."""

    def __init__(
        self,
        ours: steps.Steps,
        optimizers: Mapping[str, Optimizer],
        layout: torch.memory_format = torch.channels_last,
        device: str = "cpu",
    ):
        kinds = {"phi": DeepLab, "psi": Inpainter, "chi": DeepLab}
        self.phi, self.psi, self.chi = (
            Learner(
                kind(getattr(ours, name).network, layout).to(device),
                optimizers[name],
                getattr(ours, name).average_decay,
            )
            for name, kind in kinds.items()
        )
        self.options = ours.options

    def load(self, given: state.State) -> None:
        """Takes the weights and averages of our state."""
        for name in ("phi", "psi", "chi"):
            learner, other = getattr(self, name), getattr(given, name)
            load(learner.network, other.variables)
            load(learner.average, other.average)

    def compile(self) -> None:
        """Has losses and predictions compiled when they are first called."""
        for name in ("loss_phi", "loss_psi", "loss_chi", "_dynamic", "_static", "_separation"):
            setattr(self, name, torch.compile(getattr(self, name)))

    # -- predictions ------------------------------------------------------------------------------

    @torch.inference_mode()
    def predict_dynamic(self, flow: torch.Tensor) -> torch.Tensor:
        """Returns masks of the averaged φ."""
        return self._dynamic(self.phi.average, flow)

    @torch.inference_mode()
    def predict_static(self, image: torch.Tensor) -> torch.Tensor:
        """Returns masks of the averaged χ."""
        return self._static(self.chi.average, image)

    @torch.inference_mode()
    def measure_confidence(
        self, mask: torch.Tensor, flow: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        """Returns the trust in masks by the averaged ψ, one number per sample."""
        options, mask = self.options, mask.float()
        flow = without_motion(flow.float(), MOTION_TERMS[options.confidence_camera])
        slowest = options.slowest_flow / mean_speed(flow, options.slowest_flow)
        guesses = self._inpaint(self.psi.average, mask, flow, to_image(image))
        return confidence(
            evidence(mask, *guesses, slowest, options.denominator), options.ratio_clip
        )

    @torch.inference_mode()
    def predict_fused(
        self,
        flow: torch.Tensor,
        image: torch.Tensor,
        vote: bool,
        sharpness: float,
        floor: float,
    ) -> torch.Tensor:
        """Weighs both models' masks by their confidences, for frames with one flow each."""
        phi = canonicalise(self.predict_dynamic(flow), vote)
        chi = self.predict_static(image)
        trust_phi, trust_chi = (
            self.measure_confidence(mask > 0.5, flow, image) for mask in (phi, chi)
        )
        moves = [one**4 / (one**4 + floor**4) for one in (trust_phi, trust_chi)]
        hard = [(mask > 0.5).float() for mask in (phi, chi)]
        areas = [mask.mean() + TINY_AREA for mask in hard]
        exponent = (1 - (hard[0] * hard[1]).mean() / min(areas)) / 2
        strengths = [
            one.mean() / area**exponent
            for one, area in zip((trust_phi, trust_chi), areas, strict=True)
        ]
        total = strengths[0] + strengths[1] + TINY_WEIGHT
        phis, chis = ((strength / total) ** sharpness for strength in strengths)
        weight = moves[0] * phis / (phis + moves[1] * chis + TINY_WEIGHT)
        weight = weight[:, None, None, None]
        return weight * phi + (1 - weight) * chi

    def _dynamic(self, network: nn.Module, flow: torch.Tensor) -> torch.Tensor:
        return self._regions(network(flow.float()))

    def _static(self, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
        return object_probability(network(to_image(image)))

    def _regions(self, logits: torch.Tensor) -> torch.Tensor:
        mask = object_probability(logits)
        return mask if self.options.mask_mode == "soft" else centre(mask)

    def _inside_game(self, mask: torch.Tensor) -> torch.Tensor:
        return mask if self.options.mask_mode == "soft" else straight_through(mask)

    def _inpaint(
        self, psi: nn.Module, mask: torch.Tensor, flow: torch.Tensor, image: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        scaled = normalise_flow(flow, self.options.slowest_flow)
        regions = torch.cat([mask, 1 - mask])
        contexts = torch.cat([(1 - mask) * scaled, mask * scaled])
        return scaled, *psi(regions, contexts, image).chunk(2)

    def _separation(
        self, psi: nn.Module, mask: torch.Tensor, flow: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        guesses = self._inpaint(psi, mask, flow, image)
        return self._score(mask, guesses, self.options.ratio_clip)

    def _score(
        self, mask: torch.Tensor, guesses: tuple[torch.Tensor, ...], clip: float | None
    ) -> torch.Tensor:
        options = self.options
        return adversarial(mask, *guesses, options.epsilon, clip, options.denominator)

    # -- updates ----------------------------------------------------------------------------------

    def update_phi(self, batch: Batch, with_static: bool) -> Metrics:
        """Updates φ by Eq. (5), or by Eq. (8) with χ's advice."""
        return self.phi.learn(lambda: self.loss_phi(batch, with_static))

    def update_psi(self, batch: Batch) -> Metrics:
        """Updates ψ by Eq. (3) on φ's masks."""
        return self.psi.learn(lambda: self.loss_psi(batch))

    def update_chi(self, batch: Batch, first: bool) -> Metrics:
        """Updates χ by Eq. (7), or by 1 − Eq. (6)."""
        return self.chi.learn(lambda: self.loss_chi(batch, first))

    def dynamic_round(
        self, batch: Batch, phi_updates: int, psi_updates: int, with_static: bool
    ) -> Metrics:
        """Updates φ, then ψ, some times each; tensors [phi_updates + psi_updates, B, ...]."""
        metrics = {}
        for index in range(phi_updates + psi_updates):
            minibatch = {name: tensor[index] for name, tensor in batch.items()}
            if index < phi_updates:
                metrics |= self.update_phi(minibatch, with_static)
            else:
                metrics |= self.update_psi(minibatch)
        return metrics

    def loss_phi(self, batch: Batch, with_static: bool) -> tuple[torch.Tensor, Metrics]:
        """Returns the mean loss of Eq. (5) or (8), and metrics."""
        options, image = self.options, to_image(batch["image"])
        forward, backward = (batch[f"flow_{way}"].float() for way in ("forward", "backward"))
        logits = self.phi.network(torch.cat([forward, backward]))
        mask1, mask2 = self._regions(logits).chunk(2)
        score = self._separation(self.psi.network, self._inside_game(mask1), forward, image)
        inconsistency = temporal_consistency(mask1, mask2, forward, backward)
        value = options.temporal_weight * inconsistency - score
        canonical = canonicalise(mask1)
        metrics = {
            "phi/separation": score,
            "phi/inconsistency": inconsistency,
            "phi/mask_area": (canonical > 0.5).float(),
        }
        if with_static:
            with torch.no_grad():
                static_mask = object_probability(self.chi.average(image))
            agreement = f_measure(canonical, static_mask, options.alpha2)
            value = value + options.object_weight * unless_empty(1 - agreement, static_mask)
            metrics["phi/agreement"] = agreement
        return _means(value, metrics, "phi")

    def loss_psi(self, batch: Batch) -> tuple[torch.Tensor, Metrics]:
        """Returns the mean of what ψ minimises, and metrics."""
        image, flow = to_image(batch["image"]), batch["flow_forward"].float()
        with torch.no_grad():
            mask = self._inside_game(self._regions(self.phi.network(flow)))
        guesses = self._inpaint(self.psi.network, mask, flow, image)
        if self.options.psi_objective == "error":
            value = inpainting_error(mask, *guesses)
        else:
            value = self._score(mask, guesses, clip=None)
        return _means(value, {}, "psi")

    def loss_chi(self, batch: Batch, first: bool) -> tuple[torch.Tensor, Metrics]:
        """Returns the mean loss of Eq. (7) or 1 − Eq. (6), and metrics."""
        options = self.options
        motion_mask, static_mask = (batch[f"{kind}_mask"].float() for kind in ("motion", "static"))
        previous = torch.zeros_like(batch["confidence_chi"]) if first else batch["confidence_chi"]
        surplus = batch["confidence_phi"] - previous - options.margin
        prediction = object_probability(self.chi.network(to_image(batch["image"])))
        value = disagreement(prediction, motion_mask, options.alpha2)
        if options.static == "confidence":
            value = surplus.clamp(min=0) * value
            if not first:
                stay = disagreement(prediction, static_mask, options.alpha2)
                value = value + options.consistency_weight * stay
        with torch.no_grad():
            metrics = {
                "chi/agreement": f_measure(prediction, motion_mask, options.alpha2),
                "chi/trusted": (surplus > 0).float(),
                "chi/mask_area": (prediction > 0.5).float(),
            }
        return _means(value, metrics, "chi")


def _means(value: torch.Tensor, metrics: Metrics, name: str) -> tuple[torch.Tensor, Metrics]:
    """Returns the mean loss, and the means of what is reported with it."""
    loss = value.mean()
    reported = {key: each.detach().mean() for key, each in metrics.items()}
    return loss, reported | {f"{name}/loss": loss.detach()}
