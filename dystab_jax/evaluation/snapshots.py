"""Loads the averaged networks as phases left them, to score them and to predict with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dystab_jax.build import NETWORKS, Run
from dystab_jax.data import network_file
from dystab_jax.runtime.paths import PHASES
from dystab_jax.state import Variables

if TYPE_CHECKING:
    from dystab_jax.runtime.checkpoints import Checkpoints


@dataclass(frozen=True)
class Snapshot:
    """Holds the networks at one moment of training.

    Attributes:
      phase: the one that has ended, or is under way.
      complete: whether it has ended.
      step: of training.
      last: whether this is what the run ends in so far; only its masks are written.
      variables: averages by network.
      stages: what it has learned from, as in ``data.stages.Stage``; empty: not known.
    """

    phase: str
    complete: bool
    step: int
    last: bool
    variables: dict[str, Variables]
    stages: Sequence[Mapping[str, Any]] = ()

    @property
    def chi_has_learned(self) -> bool:
        """Returns whether χ has begun to learn, as it does in the first round."""
        return not self.phase.startswith("0-")


def newest(run: Run) -> Snapshot:
    """Loads the newest checkpoint, or the networks that were exported to the workdir.

    Raises:
      FileNotFoundError: there is none yet.
      ValueError: it is damaged, or of other networks.
    """
    exported = run.workdir / network_file.FILE
    if exported.exists():
        variables, position = network_file.read(exported, _averages_like(run))
        return Snapshot(**position, last=True, variables=run.predictor.place(variables))
    directory = run.workdir / "checkpoints"
    restored = None
    if directory.is_dir():
        checkpoints = _open(directory, run.config.log.keep_checkpoints)
        restored = checkpoints.restore(run.abstract_state())
        checkpoints.close()
    if restored is None:
        raise FileNotFoundError(f"{directory} holds no checkpoint yet; train first")
    state, position = restored
    complete, step = position["complete"], int(state.step)
    variables = run.predictor.place(run.averages(state))
    learned_from = position.get("stages", ())
    return Snapshot(position["phase"], complete, step, True, variables, learned_from)


def phase_steps(run: Run) -> dict[str, int]:
    """Returns the last step of each phase that has left a snapshot, in their order."""
    return {position["phase"]: step for step, position in _positions(run).items()}


def at_end_of(run: Run, phase: str) -> Snapshot:
    """Loads the networks as a phase left them.

    Raises:
      ValueError: it has left no snapshot; names the phases that have.
    """
    steps = phase_steps(run)
    if phase not in steps:
        raise ValueError(
            f"{run.workdir / PHASES} has no snapshot of phase {phase!r}; there are: "
            f"{', '.join(steps) or 'none'} (log.keep_phases={run.config.log.keep_phases})"
        )
    stored = _open(run.workdir / PHASES)
    variables, position = stored.restore(_averages_like(run), steps[phase])
    stored.close()
    last, placed = steps[phase] == max(steps.values()), run.predictor.place(variables)
    return Snapshot(phase, True, steps[phase], last, placed, position.get("stages", ()))


def videos_by_phase(run: Run) -> dict[str, int]:
    """Returns how many videos there were in each phase that has left a snapshot; 0: not known."""
    counted = {}
    for position in _positions(run).values():
        stages = position.get("stages", ())
        counted[position["phase"]] = len(stages[-1]["videos"]) if stages else 0
    return counted


def ends_of_stages(run: Run) -> list[str]:
    """Returns the phases after which videos were added to the run, of those with a snapshot."""
    phases = list(videos_by_phase(run).items())
    return [phase for (phase, before), (_, after) in pairwise(phases) if 0 < before < after]


def _positions(run: Run) -> dict[int, dict[str, Any]]:
    """Reads what was saved beside the networks at the end of each phase, by step, in order."""
    directory = run.workdir / PHASES
    if not directory.is_dir():
        return {}
    stored = _open(directory)
    positions = {step: stored.position(step) for step in stored.steps()}
    stored.close()
    return positions


def _open(directory: Path, keep: int | None = None) -> "Checkpoints":
    """Opens checkpoints; imports Orbax, which takes a third of a second, only now."""
    from dystab_jax.runtime.checkpoints import Checkpoints

    return Checkpoints(directory, keep)


def _averages_like(run: Run) -> dict[str, Variables]:
    """Returns shapes and places of the averaged networks."""
    state = run.abstract_state()
    return {name: getattr(state, name).average for name in NETWORKS}
