"""Selects the snapshots that are scored; of supervised runs, the best on held-out frames."""

import dataclasses
import json
from collections.abc import Iterator

from dystab_jax.build import Run
from dystab_jax.evaluation import snapshots
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.paths import PHASES

SUPERVISED = "supervised"
SELECTION = "selection.json"


def chosen(run: Run, phases: str) -> Iterator[Snapshot]:
    """Yields the snapshots that ``eval.phases`` names, in its order.

    Args:
      run: trained.
      phases: "last", or phases with commas between them, such as "0-dynamic,3-joint";
        "supervised" is the best of the supervised checks, and what "last" means where there are
        any.

    Raises:
      FileNotFoundError: there is no checkpoint yet.
      ValueError: a phase has left no snapshot.
    """
    is_supervised = any(phase.startswith(SUPERVISED) for phase in snapshots.phase_steps(run))
    for name in (part.strip() for part in phases.split(",")):
        if name == SUPERVISED or (name == "last" and is_supervised):
            yield _best_check(run)
        elif name == "last":
            yield snapshots.newest(run)
        else:
            yield snapshots.at_end_of(run, name)


def _best_check(run: Run) -> Snapshot:
    """Returns the supervised check with the highest J on ``supervised.select``, measured once."""
    checks = [name for name in snapshots.phase_steps(run) if name.startswith(SUPERVISED)]
    if not checks:
        raise ValueError(
            f"eval.phases names {SUPERVISED}, but {run.workdir} has no supervised check; train "
            "with supervised.data and log.keep_phases=True"
        )
    # Imported here: it takes half a second, which a prediction does without.
    from dystab_jax.evaluation import score_run

    path, spec = run.workdir / PHASES / SELECTION, run.config.supervised.select
    known = json.loads(path.read_text()) if path.exists() else {}
    scores = known.get(spec, {})
    for name in checks:
        if name not in scores:
            scores[name] = score_run.mean_j(run, snapshots.at_end_of(run, name), spec)
            write_whole(path, json.dumps(known | {spec: scores}, indent=1) + "\n")
    best = max(checks, key=lambda name: scores[name])
    complete = len(checks) == run.config.supervised.checks
    shown = ", ".join(f"{name} {scores[name]:.3f}" for name in checks)
    print(f"J on {spec}: {shown}; {best} is taken")
    return dataclasses.replace(snapshots.at_end_of(run, best), last=True, complete=complete)
