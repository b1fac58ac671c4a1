"""Algorithm 1: dynamic-static bootstrapping. Phases as data, one loop."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import jax
import jax.numpy as jnp
from tqdm import tqdm

from dystab_jax import parallel, pipeline, records
from dystab_jax.build import Run, unpack
from dystab_jax.checkpoints import Checkpoints
from dystab_jax.monitor import Guard, Log
from dystab_jax.pseudo_labels import PseudoLabels, make_pseudo_labels
from dystab_jax.state import State
from dystab_jax.steps import Steps


@dataclass(frozen=True)
class Bootstrap:
    """Section ``bootstrap`` of a config: how long each part of Algorithm 1 takes.

    An epoch visits every training frame once.

    Attributes:
      rounds: repetitions of the loop (3 in the paper).
      warm_up_epochs: ψ on random regions, before the game.
      dynamic_epochs: initial game of φ and ψ, Eq. (5).
      static_epochs: χ on its pseudo-labels, Eq. (7), each round.
      joint_epochs: game with χ's advice, Eq. (8), each round.
      label_flows: flows over which φ is averaged for a pseudo-label, at most.
      label_vote: one decision per video on which region is the object, instead of one per frame.
      phi_updates, psi_updates: in one round of the game (3 and 1 in the paper).
      smallest_mask: share of the image; a run whose masks stay below is stopped.
      patience: logged measurements for which they may stay below.
    """

    rounds: int
    warm_up_epochs: float
    dynamic_epochs: float
    static_epochs: float
    joint_epochs: float
    label_flows: int
    label_vote: bool
    phi_updates: int
    psi_updates: int
    smallest_mask: float
    patience: int

    def __post_init__(self):
        for field in fields(self):
            smallest = 1 if field.name in ("phi_updates", "label_flows") else 0
            value = getattr(self, field.name)
            if value < smallest:
                raise ValueError(f"bootstrap.{field.name} is {value}; expected {smallest} or more")


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same step repeats.

    Attributes:
      name: for logs and files, e.g. "2-static".
      kind: "warm_up", "dynamic", "static" or "joint".
      start, end: of ``State.step``; the phase takes end − start steps.
      updates: minibatches that one step takes.
      first: whether χ learns for the first time.
    """

    name: str
    kind: str
    start: int
    end: int
    updates: int
    first: bool


def schedule(options: Bootstrap, frames: int, batch_size: int) -> tuple[Phase, ...]:
    """Algorithm 1 as a list.

    Initialise φ, ψ by Eq. (5); then, ``rounds`` times, update χ by Eq. (7) and φ, ψ by Eq. (8).

    Args:
      options: the durations.
      frames: in an epoch.
      batch_size: examples in a minibatch.
    """
    game = options.phi_updates + options.psi_updates
    plan = [
        ("0-warm_up", "warm_up", options.warm_up_epochs),
        ("0-dynamic", "dynamic", options.dynamic_epochs),
    ]
    for number in range(1, options.rounds + 1):
        plan.append((f"{number}-static", "static", options.static_epochs))
        plan.append((f"{number}-joint", "joint", options.joint_epochs))
    phases, start = [], 0
    for name, kind, epochs in plan:
        in_game = kind in ("dynamic", "joint")
        learner_updates = options.phi_updates if in_game else 1
        end = start + round(epochs * frames / batch_size / learner_updates)
        updates = game if in_game else 1
        phases.append(Phase(name, kind, start, end, updates, name == "1-static"))
        start = end
    return tuple(phase for phase in phases if phase.end > phase.start)


def train(run: Run) -> State:
    """Algorithm 1, from the newest checkpoint if there is one.

    Returns:
      The state at the end of the schedule.

    Raises:
      TrainingStopped: see ``monitor.Guard``.
      ValueError, FileNotFoundError: the config, the data or a checkpoint is not usable.
    """
    with Training(run) as training:
        for phase in training.phases:
            if training.step < phase.end:
                training.run_phase(phase)
        return training.state


class Training:
    """One run of ``train``: the data, the state, and where they are saved."""

    def __init__(self, run: Run):
        config = run.config
        self._run = run
        self._options = unpack(Bootstrap, config.bootstrap, "bootstrap")
        self._augmentation = unpack(
            pipeline.Augmentation, config.data.augmentation, "data.augmentation"
        )
        source = records.open_source(config.data.dir, config.data.train)
        self._frames = pipeline.frames_of(source)
        size = tuple(config.data.image_size)
        self._decoded = pipeline.Decoded(source, size, config.data.keep_in_memory)
        self.phases = schedule(self._options, len(self._frames), config.data.batch_size)

        for field in ("every", "checkpoint_every", "keep_checkpoints"):
            if config.log[field] < 1:
                raise ValueError(f"log.{field} is {config.log[field]}; expected 1 or more")
        self._checkpoints = Checkpoints(run.workdir / "checkpoints", config.log.keep_checkpoints)
        restored = self._checkpoints.restore(run.abstract_state())
        self.state, self._position = restored or (run.new_state(), None)
        self.step = int(self.state.step)
        self._log = Log(run.workdir / "metrics.jsonl", self.step)
        self._compiled: dict[tuple[str, bool], Callable] = {}
        self._guard = Guard(self._options.smallest_mask, self._options.patience)
        print(
            f"{config.data.train}: {len(self._frames)} frames, {len(source)} pairs; "
            f"step {self.step} of {self.phases[-1].end if self.phases else 0}"
        )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_) -> None:
        self._checkpoints.close()
        self._log.close()

    def run_phase(self, phase: Phase) -> None:
        """Goes on to the end of the phase."""
        begins = self.step == phase.start
        if begins and phase.kind == "static":
            chi_previous = jax.tree.map(jnp.copy, self.state.chi.average)
            self.state = self.state.replace(chi_previous=chi_previous)
        config = self._run.config
        batches = pipeline.training_batches(
            self._decoded,
            self._frames,
            seed=config.seed * 1000 + self.phases.index(phase),
            updates=phase.updates,
            batch_size=config.data.batch_size,
            augmentation=self._augmentation,
            threads=config.data.threads,
            labels=self._labels(phase) if phase.kind == "static" else None,
        )
        if not begins:
            batches.set_state(self._position)
        step_function = self._step_function(phase)
        every, save_every = config.log.every, config.log.checkpoint_every
        waiting = None
        with tqdm(total=phase.end, initial=self.step, desc=phase.name, unit="step") as bar:
            for batch in batches:
                shards = parallel.shard(batch, self._run.mesh)
                self.state, metrics = step_function(self.state, shards)
                self.step += 1
                bar.update()
                # Read a step later, when the device has moved on: nothing waits for it.
                if waiting is not None:
                    self._report(*waiting, phase, bar)
                    waiting = None
                ends = self.step == phase.end
                if ends or self.step % save_every == 0:
                    self._report(self.step, metrics, phase, bar)
                    self._guard.check_state(phase.name, self.state)
                    self._checkpoints.save(self.step, self.state, batches.get_state())
                elif self.step % every == 0:
                    waiting = (self.step, metrics)
                if ends:
                    return

    def _report(self, step: int, metrics: dict[str, jax.Array], phase: Phase, bar: tqdm) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._log.write(step, phase.name, values)
        short = {name: f"{value:.3f}" for name, value in values.items() if "loss" in name}
        bar.set_postfix(short)
        self._guard.check(phase.name, values)

    def _step_function(self, phase: Phase) -> Callable:
        """Compiled once for all phases that repeat the same step."""
        key = (phase.kind, phase.first)
        if key not in self._compiled:
            self._compiled[key] = self._map_step(phase)
        return self._compiled[key]

    def _map_step(self, phase: Phase) -> Callable:
        steps: Steps = self._run.steps
        game = {
            "phi_updates": self._options.phi_updates,
            "psi_updates": self._options.psi_updates,
        }
        step = {
            "warm_up": steps.warm_up_round,
            "dynamic": partial(steps.dynamic_round, with_static=False, **game),
            "static": partial(steps.static_round, first=phase.first),
            "joint": partial(steps.dynamic_round, with_static=True, **game),
        }[phase.kind]
        return parallel.map_step(step, self._run.mesh)

    def _labels(self, phase: Phase) -> PseudoLabels:
        """From the file, where this phase has already made them."""
        path = self._run.workdir / "pseudo_labels" / f"{phase.name}.npz"
        if self.step > phase.start and path.exists():
            return PseudoLabels.load(path)
        labels = make_pseudo_labels(
            self._run.predictor,
            self.state,
            self._decoded,
            self._frames,
            self._options.label_vote,
            self._options.label_flows,
        )
        labels.save(path)
        return labels
