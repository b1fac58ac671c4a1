"""Has predictions compute flow as that of the training data was, but for what flags say."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from data_prep.arguments import recipe
from data_prep.flow import ESTIMATORS, FlowOptions
from data_prep.video import Recipe
from dystab_jax.build import Run
from dystab_jax.data import preparation

_DEFAULTS = {
    "flow": FlowOptions.estimator,
    "flow_iterations": FlowOptions.iterations,
    "flow_precision": FlowOptions.precision,
    "flow_size": "640x384",
    "max_gap": Recipe.max_gap,
}
"""Of data_prep.prepare."""


@dataclass(frozen=True)
class Asked:
    """Holds the flags about flow; None stands for what the training data have.

    Attributes:
      flow: the estimator's name, one of ``data_prep.flow.ESTIMATORS``.
      flow_weights, flow_iterations, flow_precision: see ``data_prep.flow.FlowOptions``.
      flow_size: "WIDTHxHEIGHT" to which frames are shrunk for flow, or "native".
      max_gap: frames between the two of a pair, at most.
    """

    flow: str | None = None
    flow_weights: Path | None = None
    flow_iterations: int | None = None
    flow_precision: str | None = None
    flow_size: str | None = None
    max_gap: int | None = None


def choose(run: Run, asked: Asked) -> tuple[Recipe, list[str]]:
    """Decides how the flow of new videos is computed.

    What no flag says is taken from the preparation of the training data; of several data sets that
    of the first. What is not known there has the default of data_prep.prepare.

    Args:
      run: with its config and workdir.
      asked: the flags.

    Returns:
      The recipe; and notes for the user: what was taken, and what differs from training.

    Raises:
      ValueError, FileNotFoundError: the flags make no sense, or the weights of a network are not
        given; names those of training.
    """
    data = run.config.data
    known = preparation.of_run(run.workdir, data.dir, data.train)
    trained = next(iter(known.values()), {})
    given = {one.name: getattr(asked, one.name) for one in fields(asked)}
    given = {name: value for name, value in given.items() if value is not None}
    weights = given.pop("flow_weights", None)
    taken = {name: trained[name] for name in ("flow", "flow_size", "max_gap") if name in trained}
    if taken.get("flow") not in ESTIMATORS or taken["flow"] == "precomputed":
        taken.pop("flow", None)  # files that another tool wrote are of the training videos alone
    flow = given.get("flow") or taken.get("flow") or _DEFAULTS["flow"]
    network = trained.get("flow_network") or {} if flow == trained.get("flow") else {}
    if network and weights is None:
        raise ValueError(_missing_weights(run.workdir, trained))
    for name in ("iterations", "precision"):
        if name in network:
            taken[f"flow_{name}"] = network[name]
    taken = {name: value for name, value in taken.items() if name not in given}
    chosen = _DEFAULTS | taken | given
    options = FlowOptions(flow, weights, chosen["flow_iterations"], chosen["flow_precision"])
    made = recipe("folder", options, chosen["max_gap"], chosen["flow_size"])
    notes = [f"flow as in training: {_as_flags(taken)}"] if taken else []
    unknown = {name: chosen[name] for name in ("flow", "flow_size", "max_gap")}
    unknown = {name: unknown[name] for name in unknown if name not in {**taken, **given}}
    if unknown:
        reason = "" if known else "it is not known how the training data were prepared; "
        notes.append(f"{reason}flow by default: {_as_flags(unknown)}")
    notes += _compare(known, flow)
    if network and (digest := options.describe_network()["weights"]) != network.get("weights"):
        notes.append(
            f"warning: {weights} (SHA-256 {digest[:12]}) is not the checkpoint behind "
            f"the flow of training, {_describe_weights(trained)}; masks may be worse"
        )
    return made, notes


def _compare(known: Mapping[str, Mapping[str, Any]], flow: str) -> list[str]:
    """Returns notes on data sets that were prepared otherwise than one another, or than by flow."""
    notes = []
    estimators = {facts["flow"] for facts in known.values()}
    if estimators - {flow}:
        notes.append(
            f"trained on flow by {' and '.join(sorted(estimators))}, predicting from flow by "
            f"{flow}; --flow chooses another"
        )
    # The same weights may have another file name.
    different = [{**facts, "flow_weights": None} for facts in known.values()]
    if any(facts != different[0] for facts in different):
        first, *others = known
        notes.append(
            f"{', '.join(others)} and {first} were not prepared alike; flow is computed as for "
            f"{first} where no flag says otherwise"
        )
    return notes


def _missing_weights(workdir: Path, trained: Mapping[str, Any]) -> str:
    return (
        f"{workdir} was trained on flow by {trained['flow']} with the weights "
        f"{_describe_weights(trained)}; give them with --flow_weights=FILE, or choose another "
        "estimator, such as --flow=dis, from whose flow masks may be worse"
    )


def _describe_weights(trained: Mapping[str, Any]) -> str:
    digest = str(trained["flow_network"].get("weights", ""))[:12]
    return f"{trained.get('flow_weights', 'of unknown name')} (SHA-256 {digest})"


def _as_flags(values: Mapping[str, Any]) -> str:
    return " ".join(f"--{name}={values[name]}" for name in _DEFAULTS if name in values)
