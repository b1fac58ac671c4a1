"""Who learns in which step. Pure functions of one device's share of the batch.

Means over the batch and gradients cross the devices along the named axis ``AXIS``, the programming
model of ``jax.pmap``; ``parallel.py`` maps these functions over the devices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dystab_jax import losses
from dystab_jax.array_types import Flow, Image, Mask, PerSample
from dystab_jax.flow_ops import mean_speed, normalise_flow
from dystab_jax.losses import LossOptions
from dystab_jax.networks.inpainter import draw_ellipses
from dystab_jax.networks.motion_models import MOTION_TERMS, without_motion
from dystab_jax.object_choice import canonicalise
from dystab_jax.runtime.parallel import AXIS
from dystab_jax.state import Learner, State, Trainable, Variables

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def to_image(array: jax.Array) -> Image:
    """Converts uint8 to [0, 1]."""
    return array.astype(jnp.float32) / 255


def object_probability(logits: jax.Array) -> Mask:
    """Returns channel 1 of the two-channel softmax."""
    return jax.nn.softmax(logits, axis=-1)[..., 1:]


@dataclass(frozen=True)
class Steps:
    """Holds the updates of Algorithm 1 and the predictions, for given networks and losses.

    Attributes:
      phi, psi, chi: the networks and how they learn.
      options: section ``loss`` of a config.
      unrolled: whether the updates of a round follow one another in the program, or are a loop in
        it. A loop compiles several times as fast; XLA's CPU backend runs convolutions in it nine
        times as slowly.
    """

    phi: Trainable
    psi: Trainable
    chi: Trainable
    options: LossOptions
    unrolled: bool = True

    # -- predictions ------------------------------------------------------------------------------

    def dynamic_mask(self, variables: Variables, flow: Flow) -> Mask:
        """Predicts φ(u), not yet canonical."""
        return self._regions(self.phi.network.apply(variables, flow))

    def _regions(self, logits: jax.Array) -> Mask:
        """Returns the soft masks that φ's logits stand for."""
        mask = object_probability(logits)
        return mask if self.options.mask_mode == "soft" else losses.centre(mask)

    def static_mask(self, variables: Variables, image: Image) -> Mask:
        """Predicts χ(I)."""
        return object_probability(self.chi.network.apply(variables, image))

    def inpaint(
        self, psi: Variables, mask: Mask, flow: Flow, image: Image
    ) -> tuple[Flow, Flow, Flow]:
        """Returns scaled flow and ψ's guesses inside and outside the mask, by one call of ψ."""
        scaled = normalise_flow(flow, self.options.slowest_flow)
        regions = jnp.concatenate([mask, 1 - mask])
        contexts = jnp.concatenate([(1 - mask) * scaled, mask * scaled])
        inside, outside = jnp.split(self.psi.network.apply(psi, regions, contexts, image), 2)
        return scaled, inside, outside

    def separation(self, psi: Variables, mask: Mask, flow: Flow, image: Image) -> PerSample:
        """Returns L_A for φ: Eq. (3), bounded by ``ratio_clip`` where given."""
        guesses = self.inpaint(psi, mask, flow, image)
        return self._score(mask, guesses, self.options.ratio_clip)

    def _score(self, mask: Mask, guesses: tuple[Flow, Flow, Flow], clip: float | None) -> PerSample:
        options = self.options
        return losses.adversarial(mask, *guesses, options.epsilon, clip, options.denominator)

    def predict_dynamic(self, phi: Variables, batch: Batch) -> Mask:
        """Predicts φ(u) of ``flow``, not yet canonical."""
        return self.dynamic_mask(phi, batch["flow"].astype(jnp.float32))

    def predict_static(self, chi: Variables, batch: Batch) -> Mask:
        """Predicts χ(I) of ``image``."""
        return self.static_mask(chi, to_image(batch["image"]))

    def measure_evidence(self, psi: Variables, batch: Batch) -> losses.Evidence:
        """Returns the sums by which ``losses.confidence`` trusts in the hard ``mask``."""
        options = self.options
        mask, flow = batch["mask"].astype(jnp.float32), batch["flow"].astype(jnp.float32)
        flow = without_motion(flow, MOTION_TERMS[options.confidence_camera])
        slowest = options.slowest_flow / mean_speed(flow, options.slowest_flow)
        guesses = self.inpaint(psi, mask, flow, to_image(batch["image"]))
        return losses.evidence(mask, *guesses, slowest, options.denominator)

    # -- updates ----------------------------------------------------------------------------------

    def warm_up_psi(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Teaches ψ to fill in random ellipses, before φ has any mask to offer.

        Args:
          state: only ψ changes.
          batch: image, flow_forward and ``ellipse``, see ``draw_ellipses``.
        """
        image, flow = to_image(batch["image"]), batch["flow_forward"].astype(jnp.float32)
        mask = draw_ellipses(batch["ellipse"], flow.shape[1], flow.shape[2])
        return self._psi_learns(state, mask, flow, image)

    def update_psi(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Updates ψ, which minimises Eq. (3) on φ's masks.

        Args:
          state: only ψ changes.
          batch: image, flow_forward.
        """
        image, flow = to_image(batch["image"]), batch["flow_forward"].astype(jnp.float32)
        mask = self._inside_game(self.dynamic_mask(state.phi.variables, flow))
        return self._psi_learns(state, mask, flow, image)

    def _psi_learns(self, state, mask, flow, image):
        def loss(variables):
            guesses = self.inpaint(variables, mask, flow, image)
            if self.options.psi_objective == "error":
                score = losses.inpainting_error(mask, *guesses)
            else:
                score = self._score(mask, guesses, clip=None)
            return jnp.mean(score), ({}, {"psi/loss": jnp.mean(score)})

        psi, metrics = _learn(self.psi, state.psi, loss)
        return state.replace(psi=psi), metrics

    def update_phi(self, state: State, batch: Batch, with_static: bool) -> tuple[State, Metrics]:
        """Updates φ, which minimises Eq. (5), or Eq. (8) once χ has learned something.

        Args:
          state: only φ changes.
          batch: image, flow_forward, flow_backward.
          with_static: whether χ takes part (Eq. (8)).
        """
        image = to_image(batch["image"])
        forward = batch["flow_forward"].astype(jnp.float32)
        backward = batch["flow_backward"].astype(jnp.float32)
        options = self.options

        def loss(variables):
            logits, batch_stats = self.phi.network.apply(
                variables, jnp.concatenate([forward, backward]), train=True, mutable=["batch_stats"]
            )
            mask1, mask2 = jnp.split(self._regions(logits), 2)
            score = self.separation(state.psi.variables, self._inside_game(mask1), forward, image)
            inconsistency = losses.temporal_consistency(mask1, mask2, forward, backward)
            value = losses.dynamic(score, inconsistency, options.temporal_weight)
            canonical, _ = canonicalise(mask1)
            metrics = {
                "phi/separation": jnp.mean(score),
                "phi/inconsistency": jnp.mean(inconsistency),
                "phi/mask_area": jnp.mean(canonical > 0.5),
            }
            if with_static:
                static_mask = self.static_mask(state.chi.average, image)
                value = losses.joint(
                    value, canonical, static_mask, options.object_weight, options.alpha2
                )
                metrics["phi/agreement"] = jnp.mean(
                    losses.f_measure(canonical, static_mask, options.alpha2)
                )
            return jnp.mean(value), (batch_stats, metrics | {"phi/loss": jnp.mean(value)})

        phi, metrics = _learn(self.phi, state.phi, loss)
        return state.replace(phi=phi), metrics

    def _inside_game(self, mask: Mask) -> Mask:
        """Returns the mask as L_A sees it while φ and ψ learn."""
        return losses.straight_through(mask) if self.options.mask_mode != "soft" else mask

    def update_chi(self, state: State, batch: Batch, first: bool) -> tuple[State, Metrics]:
        """Updates χ, which minimises Eq. (7), or 1 − Eq. (6), on cached pseudo-labels.

        Args:
          state: only χ changes.
          batch: image; motion_mask (m) and static_mask (χ′(I)), both cut at one half; their
            confidences confidence_phi and confidence_chi.
          first: whether χ learns for the first time, from φ alone.
        """
        image = to_image(batch["image"])
        motion_mask = batch["motion_mask"].astype(jnp.float32)
        static_mask = batch["static_mask"].astype(jnp.float32)
        previous_confidence = jnp.where(first, 0.0, batch["confidence_chi"])
        options = self.options

        def loss(variables):
            prediction, batch_stats = self._learning_chi(variables, image)
            if options.static == "f_measure":
                value = losses.disagreement(prediction, motion_mask, options.alpha2)
            else:
                value = losses.static(
                    prediction,
                    motion_mask,
                    static_mask,
                    batch["confidence_phi"],
                    previous_confidence,
                    options.margin,
                    0.0 if first else options.consistency_weight,
                    options.alpha2,
                )
            trusted = batch["confidence_phi"] - previous_confidence > options.margin
            metrics = {
                "chi/loss": jnp.mean(value),
                "chi/agreement": jnp.mean(
                    losses.f_measure(prediction, motion_mask, options.alpha2)
                ),
                "chi/trusted": jnp.mean(trusted),
                "chi/mask_area": jnp.mean(prediction > 0.5),
            }
            return jnp.mean(value), (batch_stats, metrics)

        chi, metrics = _learn(self.chi, state.chi, loss)
        return state.replace(chi=chi), metrics

    def _learning_chi(self, variables: Variables, image: Image) -> tuple[Mask, dict[str, Any]]:
        """Predicts χ(I) by the statistics of the batch; returns these as well."""
        logits, batch_stats = self.chi.network.apply(
            variables, image, train=True, mutable=["batch_stats"]
        )
        return object_probability(logits), batch_stats

    def self_train_chi(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Teaches χ its own refined predictions, by 1 − Eq. (6) (Sec. 5.6).

        Args:
          state: only χ changes.
          batch: image and target, 0 or 1.
        """
        image, target = to_image(batch["image"]), batch["target"].astype(jnp.float32)

        def loss(variables):
            prediction, batch_stats = self._learning_chi(variables, image)
            value = jnp.mean(losses.disagreement(prediction, target, self.options.alpha2))
            metrics = {"chi/loss": value, "chi/mask_area": jnp.mean(prediction > 0.5)}
            return value, (batch_stats, metrics)

        chi, metrics = _learn(self.chi, state.chi, loss)
        return state.replace(chi=chi), metrics

    def supervise(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Teaches φ and χ from annotations: the supervised rows of Table 3, and nothing else.

        Args:
          state: φ and χ change.
          batch: image, flow_forward, and truth, 0 or 1.
        """
        image, flow = to_image(batch["image"]), batch["flow_forward"].astype(jnp.float32)
        truth, alpha2 = batch["truth"].astype(jnp.float32), self.options.alpha2

        def loss_phi(variables):
            logits, batch_stats = self.phi.network.apply(
                variables, flow, train=True, mutable=["batch_stats"]
            )
            mask, _ = canonicalise(self._regions(logits))
            value = jnp.mean(losses.supervised(mask, truth, alpha2))
            return value, (batch_stats, {"phi/loss": value})

        def loss_chi(variables):
            prediction, batch_stats = self._learning_chi(variables, image)
            value = jnp.mean(losses.supervised(prediction, truth, alpha2))
            return value, (batch_stats, {"chi/loss": value})

        phi, metrics = _learn(self.phi, state.phi, loss_phi)
        chi, more = _learn(self.chi, state.chi, loss_chi)
        return state.replace(phi=phi, chi=chi), metrics | more

    # -- what one dispatch does -------------------------------------------------------------------

    def dynamic_round(
        self, state: State, batch: Batch, phi_updates: int, psi_updates: int, with_static: bool
    ) -> tuple[State, Metrics]:
        """Plays one round of the game: updates of φ, then of ψ, a minibatch each.

        Args:
          state: φ and ψ change.
          batch: arrays [phi_updates + psi_updates, B, ...].
          phi_updates, psi_updates: the paper's 3 and 1.
          with_static: see ``update_phi``.

        Returns:
          The state and the metrics of the last update of each.
        """
        update_phi = partial(self.update_phi, with_static=with_static)
        metrics = {}
        for update, part in (
            (update_phi, slice(0, phi_updates)),
            (self.update_psi, slice(phi_updates, phi_updates + psi_updates)),
        ):
            if part.stop > part.start:
                minibatches = jax.tree.map(lambda array, part=part: array[part], batch)
                state, measured = self._repeat(update, state, minibatches)
                metrics |= measured
        return state.replace(step=state.step + 1), metrics

    def _repeat(self, update: Callable, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Updates once for each part of arrays [updates, B, ...]; returns the last metrics."""
        count = len(jax.tree.leaves(batch)[0])
        if count > 1 and not self.unrolled:
            state, measured = jax.lax.scan(update, state, batch)
            return state, jax.tree.map(lambda values: values[-1], measured)
        for index in range(count):
            minibatch = jax.tree.map(lambda array, i=index: array[i], batch)
            state, measured = update(state, minibatch)
        return state, measured

    def single_round(
        self, state: State, batch: Batch, update: str, **fixed
    ) -> tuple[State, Metrics]:
        """Makes one update after the other, of one kind; returns the metrics of the last.

        Args:
          state: what changes is up to the update.
          batch: arrays [updates, B, ...].
          update: name of the method.
          **fixed: its further arguments.
        """
        state, metrics = self._repeat(partial(getattr(self, update), **fixed), state, batch)
        return state.replace(step=state.step + 1), metrics


Loss = Callable[[Variables], tuple[jax.Array, tuple[dict[str, Any], Metrics]]]


def _learn(trained: Trainable, learner: Learner, loss: Loss) -> tuple[Learner, Metrics]:
    """Takes one optimizer step on a loss of the learner's variables; devices meet only here."""

    def of_parameters(parameters):
        return loss({**learner.variables, "params": parameters})

    gradient = jax.grad(of_parameters, has_aux=True)
    gradients, (batch_stats, metrics) = gradient(learner.variables["params"])
    gradients, metrics = jax.lax.pmean((gradients, metrics), AXIS)
    return trained.update(learner, gradients, batch_stats), metrics
