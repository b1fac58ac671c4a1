"""Algorithm 1 as data: the kinds of phase, and how long and in which order they run."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

from ml_collections import ConfigDict

from dystab_jax.build import unpack
from dystab_jax.data.augmentation import Augmentation
from dystab_jax.refinement.crf import PRESETS
from dystab_jax.steps import Steps


@dataclass(frozen=True)
class Bootstrap:
    """Holds section ``bootstrap`` of a config: how long each part of Algorithm 1 takes.

    An epoch visits every training frame once. A phase of 0 epochs is left out.

    Attributes:
      rounds: repetitions of the loop (3 in the paper).
      growth_rounds: further ones, on all videos, when videos are added to a trained run.
      warm_up_epochs: ψ on random regions, before the game.
      dynamic_epochs: initial game of φ and ψ, Eq. (5).
      static_epochs: χ on its pseudo-labels, Eq. (7), each round.
      joint_epochs: game with χ's advice, Eq. (8), each round.
      label_flows: flows over which φ is averaged for a pseudo-label, at most.
      label_vote: one decision per video on which region is the object, instead of one per frame.
      label_cut: the level of φ's masks above which a pixel is object for χ, in (0, 1).
      label_crf: a name of ``crf.PRESETS``, by which φ's masks are refined before χ learns them.
      label_fused: after the first round χ is held to the masks of φ and χ′ together, not of χ′.
      phi_updates, psi_updates: in one round of the game (3 and 1 in the paper).
      chi_updates: in one step of χ's phases.
      smallest_mask: share of the image; a run whose masks stay below is stopped.
      patience: logged measurements for which they may stay below.
      least_updates: of φ, ψ or χ in each phase of the loop, also where the epochs of a small corpus
        are fewer; 0: as many as the epochs make.
    """

    rounds: int
    growth_rounds: int
    warm_up_epochs: float
    dynamic_epochs: float
    static_epochs: float
    joint_epochs: float
    label_flows: int
    label_vote: bool
    label_cut: float
    label_crf: str
    label_fused: bool
    phi_updates: int
    psi_updates: int
    chi_updates: int
    smallest_mask: float
    patience: int
    least_updates: int

    def __post_init__(self):
        if self.label_crf not in PRESETS:
            raise ValueError(
                f"bootstrap.label_crf is {self.label_crf!r}; there are {', '.join(PRESETS)}"
            )
        if not 0 < self.label_cut < 1:
            raise ValueError(f"bootstrap.label_cut is {self.label_cut}; expected between 0 and 1")
        for name in (field.name for field in fields(self) if field.name != "label_crf"):
            smallest = 1 if name in ("phi_updates", "chi_updates", "label_flows") else 0
            value = getattr(self, name)
            if value < smallest:
                raise ValueError(f"bootstrap.{name} is {value}; expected {smallest} or more")


@dataclass(frozen=True)
class SelfTraining:
    """Holds section ``self_training`` of a config: one round after the loop (Sec. 5.6, Table 4).

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
    """Holds section ``supervised`` of a config: fine-tuning with labels after the loop (Table 3).

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
class Sections:
    """Holds the sections of a config that say what is trained, and for how long."""

    bootstrap: Bootstrap
    self_training: SelfTraining
    supervised: Supervised
    augmentation: Augmentation

    @classmethod
    def of(cls, config: ConfigDict) -> "Sections":
        """Reads the sections and checks them.

        Raises:
          ValueError: a name or value is wrong, or two sections exclude each other.
        """
        for field in ("every", "checkpoint_every", "keep_checkpoints"):
            if config.log[field] < 1:
                raise ValueError(f"log.{field} is {config.log[field]}; expected 1 or more")
        if config.data.threads < 0:
            raise ValueError(f"data.threads is {config.data.threads}; expected 0 or more")
        sections = cls(
            unpack(Bootstrap, config.bootstrap, "bootstrap"),
            unpack(SelfTraining, config.self_training, "self_training"),
            unpack(Supervised, config.supervised, "supervised"),
            unpack(Augmentation, config.data.augmentation, "data.augmentation"),
        )
        if sections.self_training.data and sections.supervised.data:
            raise ValueError(
                "self_training.data and supervised.data are both given; both start from the end "
                "of the loop, so train them in two workdirs"
            )
        if sections.supervised.data and not config.log.keep_phases:
            raise ValueError(
                "supervised.data needs log.keep_phases=True: the best of its checks is taken"
            )
        return sections


@dataclass(frozen=True)
class Phase:
    """Describes a stretch of training in which the same step repeats.

    Attributes:
      name: for logs and files, e.g. "2-static".
      kind: a key of ``KINDS``.
      start, end: of ``State.step``; the phase takes end − start steps.
      updates: minibatches that one step takes.
      first: whether χ learns for the first time.
      stage: how often videos had been added; 0: those that the run began with.
    """

    name: str
    kind: str
    start: int
    end: int
    updates: int
    first: bool
    stage: int = 0


@dataclass(frozen=True)
class Kind:
    """Describes what all phases of one kind have in common.

    Attributes:
      step: from the steps of a config, a phase and section ``bootstrap`` to what the phase repeats,
        ``step(state, batch) -> (state, metrics)`` for one device.
      reads: arrays of a batch that the step reads.
      networks: those that it reads or changes; what else the state has stays out of the call.
      plays: whether a step is a round of the game, ``phi_updates`` and then ``psi_updates``.
      labels: whether χ learns from labels that are made when the phase begins.
      snapshot: whether the networks are kept at its end, to be scored and looked at.
    """

    step: Callable[[Steps, Phase, Bootstrap], Callable]
    reads: tuple[str, ...]
    networks: tuple[str, ...]
    plays: bool = False
    labels: bool = False
    snapshot: bool = True


def _game(with_static: bool) -> Callable[[Steps, Phase, Bootstrap], Callable]:
    def step(steps: Steps, phase: Phase, options: Bootstrap) -> Callable:
        return partial(
            steps.dynamic_round,
            phi_updates=options.phi_updates,
            psi_updates=options.psi_updates,
            with_static=with_static,
        )

    return step


_PAIR = ("image", "flow_forward", "flow_backward")

KINDS = {
    # ψ on random ellipses, before φ has any mask to offer.
    "warm_up": Kind(
        step=lambda steps, phase, options: partial(steps.single_round, update="warm_up_psi"),
        reads=("image", "flow_forward", "ellipse"),
        networks=("psi",),
        snapshot=False,
    ),
    # φ and ψ, Eq. (5).
    "dynamic": Kind(step=_game(False), reads=_PAIR, networks=("phi", "psi"), plays=True),
    # χ on its pseudo-labels, Eq. (7).
    "static": Kind(
        step=lambda steps, phase, options: partial(
            steps.single_round, update="update_chi", first=phase.first
        ),
        reads=("image", "motion_mask", "static_mask", "confidence_phi", "confidence_chi"),
        networks=("chi",),
        labels=True,
    ),
    # φ and ψ with χ's advice, Eq. (8).
    "joint": Kind(step=_game(True), reads=_PAIR, networks=("phi", "psi", "chi"), plays=True),
    # χ on its own refined predictions, Sec. 5.6.
    "self_training": Kind(
        step=lambda steps, phase, options: partial(steps.single_round, update="self_train_chi"),
        reads=("image", "target"),
        networks=("chi",),
        labels=True,
    ),
    # φ and χ on annotations, Table 3.
    "supervised": Kind(
        step=lambda steps, phase, options: partial(steps.single_round, update="supervise"),
        reads=("image", "flow_forward", "truth"),
        networks=("phi", "chi"),
    ),
}
"""All that is particular to a kind of phase. Those of the loop take the epochs of the field of
section ``bootstrap`` that bears their name; the others have a section of their own."""

LOOP = ("warm_up", "dynamic", "static", "joint")
REFINEMENTS = ("self_training", "supervised")
"""Kinds that follow the loop and bring data of their own."""


def plan_loop(rounds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Yields name, kind and stage of the phases of Algorithm 1 in their order.

    Initialise φ and ψ by Eq. (5); then, ``rounds`` times, update χ by Eq. (7) and φ, ψ by Eq. (8).

    Args:
      rounds: those on the first videos, and those that follow each time that videos are added.
    """
    yield "0-warm_up", "warm_up", 0
    yield "0-dynamic", "dynamic", 0
    stages = (stage for stage, count in enumerate(rounds) for _ in range(count))
    for number, stage in enumerate(stages, 1):
        yield f"{number}-static", "static", stage
        yield f"{number}-joint", "joint", stage


def plan_refinements(self_training: SelfTraining, supervised: Supervised) -> list[tuple[str, str]]:
    """Returns name and kind of the phases that follow the loop; none where no data are named."""
    if self_training.data:
        return [("self_training", "self_training")]
    checks = range(1, supervised.checks + 1) if supervised.data else ()
    return [(f"supervised-{number}", "supervised") for number in checks]


def schedule(
    options: Bootstrap,
    frames: int,
    batch_size: int,
    refinements: Iterable[tuple[str, str, float]] = (),
    growth: Sequence[tuple[int, int]] = (),
) -> tuple[Phase, ...]:
    """Returns Algorithm 1 as a list of phases; those too short for a single step are left out.

    Phases of the loop whose epochs make fewer updates than ``least_updates`` are lengthened.

    Args:
      options: the durations.
      frames: in an epoch.
      batch_size: examples in a minibatch.
      refinements: what follows the loop: name, kind and examples of each phase.
      growth: frames in an epoch and rounds, for each time that videos were added.

    Raises:
      ValueError: a refinement has too few examples for a single step.
    """
    sizes, rounds = zip((frames, options.rounds), *growth, strict=True)
    plan = [
        (name, kind, getattr(options, f"{kind}_epochs") * sizes[stage], stage)
        for name, kind, stage in plan_loop(rounds)
    ]
    plan += [(*one, len(growth)) for one in refinements]
    phases, start = [], 0
    for name, kind, examples, stage in plan:
        end = start + steps_of(options, kind, examples, batch_size)
        if kind in LOOP and examples:
            end = max(
                end, start + math.ceil(options.least_updates / learning_updates(options, kind))
            )
        updates = learning_updates(options, kind)
        updates += options.psi_updates if KINDS[kind].plays else 0
        if kind in REFINEMENTS and end == start:
            raise ValueError(
                f"{kind}.epochs is too small: {examples:g} examples in phase {name}, in batches of "
                f"{batch_size}"
            )
        phases.append(Phase(name, kind, start, end, updates, name == "1-static", stage))
        start = end
    return tuple(phase for phase in phases if phase.end > phase.start)


def learning_updates(options: Bootstrap, kind: str) -> int:
    """Returns the updates in one step of a phase, of the network that it is about."""
    if KINDS[kind].plays:
        return options.phi_updates
    return options.chi_updates if KINDS[kind].labels else 1


def steps_of(options: Bootstrap, kind: str, examples: float, batch_size: int) -> int:
    """Returns the steps of a phase in which its network sees so many examples."""
    return round(examples / batch_size / learning_updates(options, kind))


def step_of(phase: Phase, steps: Steps, options: Bootstrap) -> Callable:
    """Returns what a phase repeats: ``step(state, batch) -> (state, metrics)``, for one device."""
    return KINDS[phase.kind].step(steps, phase, options)
