"""Algorithm 1: dynamic-static bootstrapping, the loop. Its phases are in ``schedule``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import grain
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from tqdm import tqdm

from dystab_jax.build import NETWORKS, Run
from dystab_jax.data import pipeline, preparation, stages
from dystab_jax.data.stages import Stage
from dystab_jax.data.training_set import TrainingSet, open_all
from dystab_jax.pseudo_labels import Labeller, PseudoLabels
from dystab_jax.runtime import cores, mirror, parallel, processes
from dystab_jax.runtime.checkpoints import Checkpoints
from dystab_jax.runtime.interruption import Interruption
from dystab_jax.runtime.monitor import Guard, Log, Times
from dystab_jax.runtime.paths import PHASES
from dystab_jax.runtime.profile import Profile
from dystab_jax.schedule import (
    KINDS,
    LOOP,
    Bootstrap,
    Phase,
    Sections,
    learning_updates,
    plan_loop,
    plan_refinements,
    schedule,
    step_of,
    steps_of,
)
from dystab_jax.state import State
from dystab_jax.steps import Batch, Metrics, Steps

T = TypeVar("T")


def map_phase(phase: Phase, steps: Steps, options: Bootstrap, mesh: Mesh) -> Callable:
    """Returns what a phase repeats, on all devices: ``step(state, batch) -> (state, metrics)``.

    The networks that it has nothing to do with stay out of the call: handing over an array takes
    microseconds on each device, and there are near two thousand of them in ``configs/davis.py``.
    """
    step = parallel.map_step(step_of(phase, steps, options), mesh)

    def run(state: State, batch: Batch) -> tuple[State, Metrics]:
        own, others = state.split(KINDS[phase.kind].networks)
        own, metrics = step(own, batch)
        return own.replace(**others), metrics

    return run


class Board(Protocol):
    """Describes what shows a run while it trains."""

    def begin(self, step: int) -> None:
        """Takes the step after which training goes on; 0 at the start of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes measurements of a step."""

    def masks(self, step: int, state: State, data: TrainingSet) -> None:
        """Takes the networks after a step, every so often."""


def train(
    run: Run,
    interruption: Interruption | None = None,
    board: Board | None = None,
    profile: Profile | None = None,
) -> State:
    """Runs Algorithm 1, from the newest checkpoint if there is one.

    Args:
      run: what to train.
      interruption: entered; asks to save and to stop after the step under way.
      board: entered; shows the run.
      profile: entered; traces some of the steps.

    Returns:
      The state at the end of the schedule.

    Raises:
      TrainingStopped: see ``monitor.Guard``.
      Interrupted: see ``interruption``; the state is saved.
      ValueError, FileNotFoundError: the config, the data or a checkpoint is not usable.
    """
    with Training(run, interruption or Interruption(), board, profile) as training:
        print(training.describe())
        for phase in training.phases:
            if training.step < phase.end:
                training.run_phase(phase)
        print(training.times.describe(), end="")
        return training.state


def _schedule(
    sections: Sections, data: dict[str, TrainingSet], planned: Sequence[Stage], batch_size: int
) -> tuple[Phase, ...]:
    """Returns the phases of a run on these data."""
    refinements = []
    for name, kind in plan_refinements(sections.self_training, sections.supervised):
        section = getattr(sections, kind)
        parts = getattr(section, "checks", 1)
        refinements.append((name, kind, section.epochs * len(data[kind].frames) / parts))
    first, *added = planned
    options = replace(sections.bootstrap, rounds=first.rounds)
    growth = [(stage.frames, stage.rounds) for stage in added]
    return schedule(options, first.frames, batch_size, refinements, growth)


def _by_kind(parts: Mapping[str, T]) -> dict[str, T]:
    """Returns what ``open_all`` tells apart by kind of phase; those of the loop share one."""
    return dict.fromkeys(LOOP, parts["loop"]) | {k: v for k, v in parts.items() if k != "loop"}


class Training:
    """Runs the phases of a config, one after the other, from where its workdir stands.

    Attributes:
      phases: see ``schedule``.
      stages: the videos that the run began with, and those with what was added each time.
      state, step: after the last step done.
      times: how long phases took in this process.
    """

    def __init__(
        self,
        run: Run,
        interruption: Interruption,
        board: Board | None = None,
        profile: Profile | None = None,
    ):
        config = run.config
        self._run = run
        self._interruption, self._board, self._profile = interruption, board, profile
        self._sections = Sections.of(config)
        opened = open_all(config)
        self._fingerprints = _by_kind({part: data.fingerprint() for part, data in opened.items()})
        self._data = _by_kind(opened)
        self._checkpoints = Checkpoints(run.workdir / "checkpoints", config.log.keep_checkpoints)
        self._snapshots = (
            Checkpoints(run.workdir / PHASES, None) if config.log.keep_phases else None
        )
        restored = self._checkpoints.restore(run.abstract_state())
        self.state, position = restored or (run.new_state(), {"iterator": None})
        self._position = position["iterator"]
        self.stages = self._plan_stages(position)
        self.phases = _schedule(self._sections, self._data, self.stages, config.data.batch_size)
        self._check_growth(len(position.get("stages", self.stages)))
        if processes.is_first():
            preparation.keep(run.workdir, config.data.dir, config.data.train)
        self.step = int(self.state.step)
        self._log = Log(run.workdir / "metrics.jsonl", self.step)
        self._compiled: dict[tuple[str, bool], Callable] = {}
        options = self._sections.bootstrap
        self._guard = Guard(options.smallest_mask, options.patience)
        self.times = Times()
        if board is not None:
            board.begin(self.step)

    def describe(self) -> str:
        """Returns what is trained, on what, how far it is, and a line for each warning."""
        end = self.phases[-1].end if self.phases else 0
        config, stage = self._run.config, self.stages[-1]
        said = shortages(self._sections.bootstrap, stage.frames, config.data.batch_size)
        lines = [f"{stage.train}: {stage.holds}; step {self.step} of {end}", self.state.describe()]
        if len(self.stages) > 1:
            rounds = [f"{one.rounds} on {len(one.videos)}" for one in self.stages]
            lines.append(f"videos were added: rounds {', '.join(rounds)} videos")
        return "\n".join([*lines, *(f"warning: {stage.train}: {one}" for one in said)])

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_) -> None:
        self._checkpoints.close()
        if self._snapshots is not None:
            self._snapshots.close()
        self._log.close()

    def run_phase(self, phase: Phase) -> None:
        """Goes on to the end of the phase."""
        begins = self.step == phase.start
        if begins and phase.kind == "static":
            chi_previous = jax.tree.map(jnp.copy, self.state.chi.average)
            self.state = self.state.replace(chi_previous=chi_previous)
        for other in self._data.values():
            if other is not self._data[phase.kind]:
                other.decoded.release()
        with self.times.of(f"labels of {phase.name}"):
            labels = self.labels(phase)
        batches, shown = self.batches(phase, labels), self._data[LOOP[0]]
        if not begins:
            batches.set_state(self._position)
        step_function = self.step_function(phase)
        every, save_every = self._run.config.log.every, self._run.config.log.checkpoint_every
        waiting = None
        bar = processes.bar(total=phase.end, initial=self.step, desc=phase.name, unit="step")
        with bar, self._interruption.deferred(), self.times.of(phase.name) as counted:
            for batch in batches:
                if self._profile is not None:
                    self._profile.before(self.step + 1, self.state)
                shards = parallel.shard(batch, self._run.mesh)
                self.state, metrics = step_function(self.state, shards)
                self.step += 1
                counted.add()
                bar.update()
                # Read a step later, when the device has moved on: nothing waits for it.
                if waiting is not None:
                    self._report(*waiting, phase, bar)
                    waiting = None
                ends = self.step == phase.end
                stops = self._interruption.requested_at(self.step)
                if ends or stops or self.step % save_every == 0:
                    self._report(self.step, metrics, phase, bar)
                    self._guard.check_variables(
                        phase.name,
                        {name: getattr(self.state, name).variables for name in NETWORKS},
                    )
                    self._save(phase, ends, batches.get_state())
                    if self._board is not None:
                        self._board.masks(self.step, self.state, shown)
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
        """Returns what the phase trains on, from its start; see ``pipeline.training_batches``."""
        config, data = self._run.config, self.data(phase)
        return pipeline.training_batches(
            data.decoded,
            data.frames,
            seed=config.seed * 1000 + self.phases.index(phase),
            updates=phase.updates,
            batch_size=config.data.batch_size,
            augmentation=self._sections.augmentation,
            threads=cores.threads(config.data.threads),
            labels=labels,
            arrays=KINDS[phase.kind].reads,
        )

    def data(self, phase: Phase) -> TrainingSet:
        """Returns what a phase visits: of videos that were added later, none."""
        data = self._data[phase.kind]
        return self.stages[phase.stage].choose(data) if phase.kind in LOOP else data

    def _plan_stages(self, position: Mapping[str, Any]) -> list[Stage]:
        """Returns what the run was trained on and will be; ValueError where that cannot go on."""
        data, saved_in = self._run.config.data, self._checkpoints.directory
        options = self._sections.bootstrap
        stages.check_unchanged(position.get("data", {}), self._fingerprints, saved_in)
        now = Stage.of(self._data[LOOP[0]], data.train, data.videos, options.rounds)
        before = [Stage(**one) for one in position.get("stages", ())]
        return stages.plan(before, now, options.growth_rounds, saved_in)

    def _check_growth(self, begun: int) -> None:
        """Raises ValueError where videos are added after the loop has ended in a refinement."""
        loop = [phase for phase in self.phases if phase.kind in LOOP and phase.stage < begun]
        if begun < len(self.stages) and loop and int(self.state.step) > loop[-1].end:
            raise ValueError(
                f"{self._checkpoints.directory} has gone on to {self.phases[-1].kind}, from where "
                "no round of the loop follows; to add videos, train them in another --workdir"
            )

    def _save(self, phase: Phase, ends: bool, iterator: dict) -> None:
        begun = [stage.as_json() for stage in self.stages[: phase.stage + 1]]
        position = {"phase": phase.name, "complete": ends, "stages": begun}
        if ends and self._snapshots is not None and KINDS[phase.kind].snapshot:
            # On disk before the checkpoint: a run that goes on behind it never comes back here.
            self._snapshots.save(self.step, self._run.averages(self.state), position)
            self._snapshots.wait()
        others = {k: one for k, one in self._fingerprints.items() if k not in LOOP}
        position |= {"iterator": iterator, "data": others}
        self._checkpoints.save(self.step, self.state, position)
        if mirror.is_mirrored(self._run.workdir):
            self._checkpoints.wait()
            mirror.push(self._run.workdir)

    def _report(self, step: int, metrics: dict[str, jax.Array], phase: Phase, bar: tqdm) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._log.write(step, phase.name, values)
        if self._board is not None:
            self._board.scalars(step, values)
        short = {name: f"{value:.3f}" for name, value in values.items() if "loss" in name}
        bar.set_postfix(short, refresh=False)
        self._guard.check(phase.name, values)

    def labels(self, phase: Phase) -> PseudoLabels | None:
        """Returns what χ learns from, see ``Labeller``; None for a phase that needs no labels."""
        if not KINDS[phase.kind].labels:
            return None
        was = self._fingerprints[phase.kind]["digest"]  # names labels of earlier versions
        digests = (self.stages[phase.stage].digest, was) if phase.kind in LOOP else (was,)
        labeller = Labeller(self._run, self._sections, phase, self.data(phase), digests)
        return labeller.labels(self.state, self.step)

    def step_function(self, phase: Phase) -> Callable:
        """Returns ``step(state, batch)`` on all devices; compiled once for all that repeat it."""
        key = (phase.kind, phase.first)
        if key not in self._compiled:
            run = self._run
            self._compiled[key] = map_phase(phase, run.steps, self._sections.bootstrap, run.mesh)
        return self._compiled[key]


def shortages(options: Bootstrap, frames: int, batch_size: int) -> list[str]:
    """Returns what so few frames mean for the loop, in sentences; none where they suffice."""
    steps = {phase.kind: phase.end - phase.start for phase in schedule(options, frames, batch_size)}
    changed, said = [], []
    for kind in dict.fromkeys(kind for _, kind, _ in plan_loop([options.rounds])):
        epochs, taken = getattr(options, f"{kind}_epochs"), steps.get(kind, 0)
        if epochs and (not taken or taken > steps_of(options, kind, epochs * frames, batch_size)):
            visits = taken * learning_updates(options, kind) * batch_size
            changed.append(f"{kind} {visits / frames:.3g} epochs in place of {epochs:g}")
    if changed:
        said.append(
            f"{frames} frames in batches of {batch_size} make few updates. With "
            f"bootstrap.least_updates={options.least_updates}, phases take other epochs than "
            f"section bootstrap says: {', '.join(changed)}. More video makes better masks"
        )
    if frames < batch_size:
        said.append(
            f"{frames} frames are fewer than one batch (data.batch_size={batch_size}): masks "
            "learned from so little are poor"
        )
    return said
