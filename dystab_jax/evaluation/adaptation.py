"""Adapts trained networks to a single video before its masks are predicted; no truth is read.

Algorithm 1 once more, on the video itself: χ learns the masks that both models make together, then
φ plays on with χ's advice, Eq. (8). What χ has never seen it learns from what moves here. Scores of
it are transductive: the networks have seen the frames that they are scored on.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dystab_jax import inference
from dystab_jax.build import Run, unpack
from dystab_jax.data.augmentation import Augmentation, Example, augment
from dystab_jax.inference import VideoPrediction
from dystab_jax.refinement import crf
from dystab_jax.runtime import parallel
from dystab_jax.state import State, Variables

SMALLEST_MASK = 0.002
"""Share of a frame; a frame whose mask covers less shows no object to learn."""


@dataclass(frozen=True)
class Adaptation:
    """Holds section ``eval.adaptation`` of a config.

    Attributes:
      rounds: of χ and φ after one another; 0 leaves the networks as they are.
      chi_updates: of χ in a round.
      phi_rounds: of the game, Eq. (8), in a round; 0: φ stays as it is.
      crf: a name of ``crf.PRESETS``, by which the masks are refined before χ learns them.
    """

    rounds: int
    chi_updates: int
    phi_rounds: int
    crf: str

    def __post_init__(self):
        for name in ("rounds", "chi_updates", "phi_rounds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.crf not in crf.PRESETS:
            raise ValueError(f"crf is {self.crf!r}; there are {', '.join(crf.PRESETS)}")


class Adapter:
    """Adapts networks to one video after the other, each time from those that it is given.

    Args:
      run: gives networks, optimizers and config.
    """

    def __init__(self, run: Run):
        self._run = run
        self._options = unpack(Adaptation, run.config.eval.adaptation, "eval.adaptation")
        self._augmentation = unpack(Augmentation, run.config.data.augmentation, "data.augmentation")
        game = run.config.bootstrap
        self._updates = game.phi_updates + game.psi_updates
        learn = partial(run.steps.single_round, update="self_train_chi")
        play = partial(
            run.steps.dynamic_round,
            phi_updates=game.phi_updates,
            psi_updates=game.psi_updates,
            with_static=True,
        )
        self._learn = parallel.map_step(learn, run.predictor.mesh)
        self._play = parallel.map_step(play, run.predictor.mesh)

    def adapt(
        self, variables: dict[str, Variables], prediction: VideoPrediction
    ) -> VideoPrediction:
        """Returns what the networks predict of a video once they have adapted to it.

        Args:
          variables: of the networks, by name; they stay as they are.
          prediction: what these predict.
        """
        for adapted in self.rounds(variables, prediction):
            prediction = adapted
        return prediction

    def rounds(
        self, variables: dict[str, Variables], prediction: VideoPrediction
    ) -> Iterator[VideoPrediction]:
        """Yields what the networks predict after each round; for arguments see ``adapt``.

        Ends early where no frame shows an object to learn.
        """
        options = self._options
        # The same whatever other videos there are, and in whichever order they come.
        rng = np.random.default_rng([self._run.config.seed, zlib.crc32(prediction.video.encode())])
        variables = dict(variables)
        # Decided before φ learns: it learns to raise the L_A that the fusion goes by.
        weight = inference.weigh(prediction, self._run.config.eval)
        prediction = replace(prediction, weight=weight)
        for _ in range(options.rounds):
            targets = self._targets(prediction)
            shown = np.flatnonzero(targets.mean((1, 2, 3)) > SMALLEST_MASK)
            if not len(shown):
                return
            variables["chi"] = self._adapt_chi(variables, prediction, targets, shown, rng)
            if options.phi_rounds:
                variables |= self._adapt_phi(variables, prediction, rng)
                prediction = self._predict(variables, prediction)
            else:
                prediction = self._run.predictor.with_chi(
                    prediction, variables, self._run.config.eval.mirror
                )
            yield prediction

    def _targets(self, prediction: VideoPrediction) -> np.ndarray:
        """Returns what χ learns, uint8 [T, H, W, 1] of 0 and 1: both models' masks, refined."""
        options = self._run.config.eval
        soft = inference.fuse(prediction, options)["fused"][..., 0].astype(np.float32)
        pairs = zip(prediction.images, soft, strict=True)
        refined = crf.refine_frames(pairs, self._options.crf, options.jobs, options.crf_backend)
        return inference.threshold(np.stack(list(refined)))[..., None]

    def _adapt_chi(
        self,
        variables: dict[str, Variables],
        prediction: VideoPrediction,
        targets: np.ndarray,
        shown: np.ndarray,
        rng: np.random.Generator,
    ) -> Variables:
        """Returns χ once it has learned the targets of the frames that show an object."""
        confidence = np.maximum(prediction.confidence_phi, prediction.confidence_chi)[shown]
        chances = np.maximum(confidence, self._run.config.eval.fusion_floor)
        chances = chances / chances.sum()
        state = self._state(variables, "chi")

        def example() -> Example:
            t = rng.choice(shown, p=chances)
            return {"image": prediction.images[t], "target": targets[t]}

        for _ in range(self._options.chi_updates):
            state, _ = self._learn(state, self._batch(example, 1, rng))
        return state.chi.average

    def _adapt_phi(
        self,
        variables: dict[str, Variables],
        prediction: VideoPrediction,
        rng: np.random.Generator,
    ) -> dict[str, Variables]:
        """Returns φ and ψ once they have played on, with χ's advice."""
        flows = {(pair.frame, pair.gap): pair.flow for pair in prediction.pairs}
        both_ways = [(t, gap) for t, gap in flows if (t + gap, -gap) in flows]
        if not both_ways:
            return {}
        state = self._state(variables, "phi", "psi", "chi")

        def example() -> Example:
            t, gap = both_ways[rng.integers(len(both_ways))]
            return {
                "image": prediction.images[t],
                "flow_forward": flows[t, gap],
                "flow_backward": flows[t + gap, -gap],
            }

        for _ in range(self._options.phi_rounds):
            state, _ = self._play(state, self._batch(example, self._updates, rng))
        return {name: getattr(state, name).average for name in ("phi", "psi")}

    def _state(self, variables: dict[str, Variables], *names: str) -> State:
        """Returns a state in which these networks begin to learn from their averages."""
        # Copies: a step takes its state over.
        learners = {
            name: getattr(self._run.steps, name).start(jax.tree.map(jnp.copy, variables[name]))
            for name in names
        }
        others = dict.fromkeys(("phi", "psi", "chi", "chi_previous"))
        state = State(step=jnp.zeros((), jnp.int32), **others | learners)
        return parallel.replicate(state, self._run.predictor.mesh)

    def _batch(
        self, example: Callable[[], Example], updates: int, rng: np.random.Generator
    ) -> dict[str, jax.Array]:
        """Returns arrays [updates, B, ...] of augmented examples, on the devices."""
        size = self._run.config.eval.batch_size
        drawn = [augment(example(), self._augmentation, rng) for _ in range(updates * size)]
        batch = {
            name: np.stack([one[name] for one in drawn]).reshape(
                updates, size, *drawn[0][name].shape
            )
            for name in drawn[0]
        }
        return parallel.shard(batch, self._run.predictor.mesh)

    def _predict(
        self, variables: dict[str, Variables], prediction: VideoPrediction
    ) -> VideoPrediction:
        """Predicts a video anew; the weight of its fusion stays."""
        anew = self._run.predictor.video(
            variables,
            prediction.video,
            list(zip(prediction.frames, prediction.groups, strict=True)),
            prediction.images,
            prediction.pairs,
            inference.Reading.of(self._run.config.eval),
            prediction.earlier,
        )
        return replace(anew, weight=prediction.weight)
