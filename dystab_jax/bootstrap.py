"""Algorithm 1: dynamic-static bootstrapping. Phases as data, one loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from tqdm import tqdm

from dystab_jax.build import Run, unpack
from dystab_jax.data import pipeline, records
from dystab_jax.pseudo_labels import PseudoLabels, make_pseudo_labels, refine_predictions
from dystab_jax.refinement.crf import PRESETS, refine_frames
from dystab_jax.runtime import parallel, processes
from dystab_jax.runtime.checkpoints import PHASES, Checkpoints
from dystab_jax.runtime.interruption import Interruption
from dystab_jax.runtime.monitor import Guard, Log
from dystab_jax.state import State
from dystab_jax.steps import ARRAYS, USES, Batch, Metrics, Steps


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
class SelfTraining:
    """Section ``self_training`` of a config: one round after the loop (Sec. 5.6, Table 4).

    χ learns what a conditional random field makes of its own predictions.

    Attributes:
      data: images or videos, such as "msra_b:all"; no truth is read. "" for none.
      crf: see ``crf.PRESETS``.
      epochs: over these images.
    """

    data: str
    crf: str
    epochs: float

    def __post_init__(self):
        if self.crf not in PRESETS:
            raise ValueError(f"self_training.crf is {self.crf!r}; there are {', '.join(PRESETS)}")


@dataclass(frozen=True)
class Supervised:
    """Section ``supervised`` of a config: fine-tuning with labels after the loop (Table 3).

    The only place where truth trains anything; results of it say so.

    Attributes:
      data: annotated frames, such as "davis2016_labelled:fit". "" for none.
      select: annotated frames that choose among the checks, such as "davis2016_labelled:select".
      epochs: over these frames.
      checks: states, evenly spread over the epochs, of which the best on ``select`` is taken.
    """

    data: str
    select: str
    epochs: float
    checks: int

    def __post_init__(self):
        if self.data and self.checks < 1:
            raise ValueError(f"supervised.checks is {self.checks}; expected 1 or more")
        if self.data and not self.select:
            raise ValueError(
                "supervised.select is empty; name held-out frames with truth, such as "
                "davis2016_labelled:select"
            )


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same step repeats.

    Attributes:
      name: for logs and files, e.g. "2-static".
      kind: "warm_up", "dynamic", "static", "joint", "self_training" or "supervised".
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


def schedule(
    options: Bootstrap,
    frames: int,
    batch_size: int,
    refinements: Sequence[tuple[str, str, float]] = (),
) -> tuple[Phase, ...]:
    """Algorithm 1 as a list.

    Initialise φ, ψ by Eq. (5); then, ``rounds`` times, update χ by Eq. (7) and φ, ψ by Eq. (8).

    Args:
      options: the durations.
      frames: in an epoch.
      batch_size: examples in a minibatch.
      refinements: what follows the loop: name, kind and examples of each phase.

    Raises:
      ValueError: a refinement has too few examples for a single step.
    """
    game = options.phi_updates + options.psi_updates
    plan = [
        ("0-warm_up", "warm_up", options.warm_up_epochs * frames),
        ("0-dynamic", "dynamic", options.dynamic_epochs * frames),
    ]
    for number in range(1, options.rounds + 1):
        plan.append((f"{number}-static", "static", options.static_epochs * frames))
        plan.append((f"{number}-joint", "joint", options.joint_epochs * frames))
    phases, start = [], 0
    for name, kind, examples in (*plan, *refinements):
        in_game = kind in ("dynamic", "joint")
        learner_updates = options.phi_updates if in_game else 1
        end = start + round(examples / batch_size / learner_updates)
        updates = game if in_game else 1
        if kind in ("self_training", "supervised") and end == start:
            raise ValueError(
                f"{kind}.epochs is too small: {examples:g} examples in phase {name}, in batches of "
                f"{batch_size}"
            )
        phases.append(Phase(name, kind, start, end, updates, name == "1-static"))
        start = end
    return tuple(phase for phase in phases if phase.end > phase.start)


def step_of(phase: Phase, steps: Steps, options: Bootstrap) -> Callable:
    """What a phase repeats: ``step(state, batch) -> (state, metrics)``, for one device."""
    game = {"phi_updates": options.phi_updates, "psi_updates": options.psi_updates}
    return {
        "warm_up": steps.warm_up_round,
        "dynamic": partial(steps.dynamic_round, with_static=False, **game),
        "static": partial(steps.static_round, first=phase.first),
        "joint": partial(steps.dynamic_round, with_static=True, **game),
        "self_training": steps.self_training_round,
        "supervised": steps.supervised_round,
    }[phase.kind]


def map_phase(phase: Phase, steps: Steps, options: Bootstrap, mesh: Mesh) -> Callable:
    """What a phase repeats, on all devices: ``step(state, batch) -> (state, metrics)``.

    The networks that it has nothing to do with stay out of the call: handing over an array takes
    microseconds on each device, and there are near two thousand of them in ``configs/davis.py``.
    """
    step = parallel.map_step(step_of(phase, steps, options), mesh)

    def run(state: State, batch: Batch) -> tuple[State, Metrics]:
        own, others = state.split(USES[phase.kind])
        own, metrics = step(own, batch)
        return own.replace(**others), metrics

    return run


def train(run: Run, interruption: Interruption | None = None) -> State:
    """Algorithm 1, from the newest checkpoint if there is one.

    Args:
      run: what to train.
      interruption: entered; asks to save and to stop after the step under way.

    Returns:
      The state at the end of the schedule.

    Raises:
      TrainingStopped: see ``monitor.Guard``.
      Interrupted: see ``interruption``; the state is saved.
      ValueError, FileNotFoundError: the config, the data or a checkpoint is not usable.
    """
    with Training(run, interruption or Interruption()) as training:
        for phase in training.phases:
            if training.step < phase.end:
                training.run_phase(phase)
        return training.state


@dataclass(frozen=True)
class _Data:
    """What a phase visits."""

    decoded: pipeline.Decoded
    frames: list[pipeline.TrainingFrame]


class Training:
    """One run of ``train``: the data, the state, and where they are saved."""

    def __init__(self, run: Run, interruption: Interruption):
        config = run.config
        self._run = run
        self._interruption = interruption
        self._options = unpack(Bootstrap, config.bootstrap, "bootstrap")
        self._self_training = unpack(SelfTraining, config.self_training, "self_training")
        self._supervised = unpack(Supervised, config.supervised, "supervised")
        self._augmentation = unpack(
            pipeline.Augmentation, config.data.augmentation, "data.augmentation"
        )
        for field in ("every", "checkpoint_every", "keep_checkpoints"):
            if config.log[field] < 1:
                raise ValueError(f"log.{field} is {config.log[field]}; expected 1 or more")
        videos = self._open(config.data.train, config.data.videos)
        self._data, refinements = self._open_refinements()
        for kind in ("warm_up", "dynamic", "static", "joint"):
            self._data[kind] = videos
        self.phases = schedule(
            self._options, len(videos.frames), config.data.batch_size, refinements
        )

        self._checkpoints = Checkpoints(run.workdir / "checkpoints", config.log.keep_checkpoints)
        self._snapshots = (
            Checkpoints(run.workdir / PHASES, None) if config.log.keep_phases else None
        )
        restored = self._checkpoints.restore(run.abstract_state())
        self.state, position = restored or (run.new_state(), {"iterator": None})
        self._position = position["iterator"]
        self.step = int(self.state.step)
        self._log = Log(run.workdir / "metrics.jsonl", self.step)
        self._compiled: dict[tuple[str, bool], Callable] = {}
        self._guard = Guard(self._options.smallest_mask, self._options.patience)
        pairs = sum(len(frame.positions) for frame in videos.frames)
        print(
            f"{config.data.train}: {len({frame.video for frame in videos.frames})} videos, "
            f"{len(videos.frames)} frames, {pairs} pairs; "
            f"step {self.step} of {self.phases[-1].end if self.phases else 0}"
        )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_) -> None:
        self._checkpoints.close()
        if self._snapshots is not None:
            self._snapshots.close()
        self._log.close()

    def _open(self, spec: str, videos: int = 0, truth: bool = False) -> _Data:
        data = self._run.config.data
        source = records.open_source(data.dir, spec)
        size = data.image_size if source.has_flow else data.still_size
        decoded = pipeline.Decoded(source, tuple(size), data.keep_in_memory, truth)
        frames = pipeline.frames_of(source)
        if videos:
            frames = pipeline.choose_videos(frames, videos, self._run.config.seed)
        return _Data(decoded, frames)

    def _open_refinements(self) -> tuple[dict[str, _Data], list[tuple[str, str, float]]]:
        """Data of the phases after the loop by kind, and what ``schedule`` wants to know."""
        own, labelled = self._self_training, self._supervised
        if own.data and labelled.data:
            raise ValueError(
                "self_training.data and supervised.data are both given; both start from the end "
                "of the loop, so train them in two workdirs"
            )
        if own.data:
            data = self._open(own.data)
            name = "self_training"
            return {name: data}, [(name, name, own.epochs * len(data.frames))]
        if labelled.data:
            if not self._run.config.log.keep_phases:
                raise ValueError(
                    "supervised.data needs log.keep_phases=True: the best of its checks is taken"
                )
            for field in ("data", "select"):
                source = records.open_source(self._run.config.data.dir, getattr(labelled, field))
                if not source.has_flow or "mask" not in source[0]:
                    raise ValueError(
                        f"supervised.{field} is {getattr(labelled, field)}, which has no videos "
                        "with truth; name annotated ones, such as davis2016_labelled:fit"
                    )
            data = self._open(labelled.data, truth=True)
            share = labelled.epochs * len(data.frames) / labelled.checks
            checks = range(1, labelled.checks + 1)
            return {"supervised": data}, [(f"supervised-{k}", "supervised", share) for k in checks]
        return {}, []

    def run_phase(self, phase: Phase) -> None:
        """Goes on to the end of the phase."""
        begins = self.step == phase.start
        if begins and phase.kind == "static":
            chi_previous = jax.tree.map(jnp.copy, self.state.chi.average)
            self.state = self.state.replace(chi_previous=chi_previous)
        batches = self.batches(phase, self.labels(phase))
        if not begins:
            batches.set_state(self._position)
        step_function = self.step_function(phase)
        every, save_every = self._run.config.log.every, self._run.config.log.checkpoint_every
        waiting = None
        bar = processes.bar(total=phase.end, initial=self.step, desc=phase.name, unit="step")
        with bar, self._interruption.deferred():
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
                stops = self._interruption.requested_at(self.step)
                if ends or stops or self.step % save_every == 0:
                    self._report(self.step, metrics, phase, bar)
                    self._guard.check_state(phase.name, self.state)
                    self._save(phase, ends, batches.get_state())
                elif self.step % every == 0:
                    waiting = (self.step, metrics)
                if stops:
                    self._checkpoints.wait()
                    self._interruption.end(
                        f"saved at step {self.step} of {self.phases[-1].end}; the same command "
                        "goes on there"
                    )
                if ends:
                    return

    def batches(self, phase: Phase, labels: PseudoLabels | None) -> grain.DatasetIterator:
        """What the phase trains on, from its start; see ``pipeline.training_batches``."""
        config, data = self._run.config, self._data[phase.kind]
        return pipeline.training_batches(
            data.decoded,
            data.frames,
            seed=config.seed * 1000 + self.phases.index(phase),
            updates=phase.updates,
            batch_size=config.data.batch_size,
            augmentation=self._augmentation,
            threads=config.data.threads,
            labels=labels,
            arrays=ARRAYS[phase.kind],
        )

    def _save(self, phase: Phase, ends: bool, iterator: dict) -> None:
        position = {"phase": phase.name, "complete": ends}
        if ends and self._snapshots is not None and phase.kind != "warm_up":
            # On disk before the checkpoint: a run that goes on behind it never comes back here.
            self._snapshots.save(self.step, self._run.averages(self.state), position)
            self._snapshots.wait()
        self._checkpoints.save(self.step, self.state, position | {"iterator": iterator})

    def _report(self, step: int, metrics: dict[str, jax.Array], phase: Phase, bar: tqdm) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._log.write(step, phase.name, values)
        short = {name: f"{value:.3f}" for name, value in values.items() if "loss" in name}
        bar.set_postfix(short, refresh=False)
        self._guard.check(phase.name, values)

    def step_function(self, phase: Phase) -> Callable:
        """``step(state, batch)`` on all devices; compiled once for all phases that repeat it."""
        key = (phase.kind, phase.first)
        if key not in self._compiled:
            run = self._run
            self._compiled[key] = map_phase(phase, run.steps, self._options, run.mesh)
        return self._compiled[key]

    def labels(self, phase: Phase) -> PseudoLabels | None:
        """What χ learns from; from the file, where this phase has already made it."""
        if phase.kind not in ("static", "self_training"):
            return None
        path = self._run.workdir / "pseudo_labels" / f"{phase.name}.npz"
        if self.step > phase.start and path.exists():
            return PseudoLabels.load(path)
        if self.step > phase.start and phase.kind == "self_training":
            raise FileNotFoundError(
                f"{path} is gone, and χ has changed since it was made; restore it, or remove the "
                f"checkpoints after step {phase.start}"
            )
        data, predictor = self._data[phase.kind], self._run.predictor
        if phase.kind == "static":
            vote, flows = self._options.label_vote, self._options.label_flows
            labels = make_pseudo_labels(
                predictor, self.state, data.decoded, data.frames, vote, flows
            )
        else:
            preset, options = self._self_training.crf, self._run.config.eval
            labels = refine_predictions(
                predictor,
                self.state.chi.average,
                data.decoded,
                data.frames,
                partial(
                    refine_frames, preset=preset, jobs=options.jobs, backend=options.crf_backend
                ),
            )
        labels.save(path)
        return labels
