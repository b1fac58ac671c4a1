"""Fills five claims of the paper with what the runs in a folder have scored, and writes them."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dystab_jax.evaluation.protocols.registry import default_protocols
from dystab_jax.report import claim_panels, paper_tables
from dystab_jax.report.claim_panels import Curve, Panel, Point, Run, X
from dystab_jax.report.results import Result, collect, one_per_seed
from dystab_jax.runtime.atomic_files import write_whole

T = TypeVar("T")

DATA = (("davis2016", "val"), ("movers", "test"))
"""Real and drawn video, a row of panels each."""
UNSEEN = {"movers": ("never moves", ("per_group", "never", "j"))}
"""Parts of data sets in which motion says nothing, and where a row of eval/*.json scores them."""

_ROUNDS = {"0-dynamic": 0, "1-joint": 1, "2-joint": 2, "3-joint": 3}
_STATIC = {"f_measure": "F_α", "confidence": "L_χ"}


@dataclass(frozen=True)
class _Measure:
    """Describes a score: of which model on which data, and where a row holds it."""

    model: str
    dataset: str
    split: str
    score: tuple[str, ...] = ("mean_j",)

    def belongs(self, result: Result) -> bool:
        """Returns whether a result has it: no CRF, no oracle, no training on what is scored."""
        report, train = result.report, result.facts["train"]
        return (
            (report["dataset"], report["split"]) == (self.dataset, self.split)
            and report["protocol"] == default_protocols(self.dataset)[0]
            and (result.row["model"], result.row["crf"]) == (self.model, "none")
            and not report["oracle"]
            and f"{self.dataset}:{self.split}" not in map(str.strip, train.split("+"))
            and self.read(result) is not None
        )

    def read(self, result: Result) -> Any:
        """Returns the score; None where the row has none."""
        return reduce(lambda found, key: (found or {}).get(key), self.score, result.row)


_Found = dict[_Measure, list[Result]]
"""Results by what is read from them."""


@dataclass(frozen=True)
class _Claim:
    """Describes a claim of the paper.

    Attributes:
      title: the claim.
      axis: meaning of x.
      models: scored by J on real and on drawn video.
      x: of a result; None where it does not belong to the claim.
      shared: what results have in common, beside training data and networks, to be compared.
      images: whether χ's F_β on still images stands beside real video.
      unseen: whether φ and χ are compared on what φ cannot see alone.
    """

    title: str
    axis: str
    models: tuple[str, ...]
    x: Callable[[Result], X | None]
    shared: Callable[[Result], Any]
    images: bool = False
    unseen: bool = False

    def measures(self, dataset: str, split: str) -> list[_Measure]:
        """Returns the scores of a panel on this data set."""
        score = ("mean_j",)
        if self.unseen:
            _, score = UNSEEN.get(dataset, ("", ("per_sequence",)))
        found = [_Measure(model, dataset, split, score) for model in self.models]
        if self.images and dataset == "davis2016":
            found.append(_Measure("chi", "ecssd", "test", ("f_beta",)))
        return found


def _weight(result: Result) -> float | None:
    own = result.phase == "0-dynamic" and not result.facts["videos"]
    return result.facts["temporal_weight"] if own else None


def _loss(result: Result) -> str | None:
    own = result.phase == "1-static" and not result.facts["videos"]
    return _STATIC.get(result.facts["static"]) if own else None


def _round(result: Result) -> int | None:
    number = _ROUNDS.get(result.phase)
    if number is None or result.facts["videos"]:
        return None
    # Before the first round χ has learned nothing.
    return number if number or result.row["model"] == "phi" else None


def _videos(result: Result) -> int | None:
    # A loop of one round without joint phase ends with χ.
    if result.phase not in (*paper_tables.FINAL, "1-static"):
        return None
    # Where the training data are not at hand, no result says how many "all" (0) are.
    return result.facts["videos"] or result.facts.get("all_videos")


CLAIMS = (
    _Claim("L_TC helps φ", "λ_TC", ("phi",), _weight, lambda result: None),
    _Claim(
        "L_χ weighed by confidence beats F_α",
        "χ learns by",
        ("chi",),
        _loss,
        lambda result: result.facts["temporal_weight"],
    ),
    _Claim(
        "Scores rise from round to round",
        "after round",
        ("phi", "chi", "fused"),
        _round,
        lambda result: result.method,
    ),
    _Claim(
        "χ improves with the number of videos",
        "training videos",
        ("chi",),
        _videos,
        lambda result: (result.phase, result.facts["temporal_weight"], result.facts["static"]),
        images=True,
    ),
    _Claim(
        "χ finds what φ cannot see",
        "after round",
        ("phi", "chi"),
        _round,
        lambda result: result.method,
        unseen=True,
    ),
)
"""In the order of the panels."""


def write(workdir: Path) -> Path | None:
    """Writes WORKDIR/tables/claims.svg, and claims.json with all numbers behind it.

    Returns:
      The svg; None where no result below the workdir belongs to a claim; older files are removed.

    Raises:
      ValueError: an eval/*.json file is damaged.
    """
    path = workdir / "tables" / "claims.svg"
    panels = fill(collect(workdir))
    if not panels:
        for old in (path, path.with_suffix(".json")):
            old.unlink(missing_ok=True)
        return None
    content = {"panels": [dataclasses.asdict(panel) for panel in panels]}
    write_whole(path.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    write_whole(path, claim_panels.draw(panels))
    return path


def fill(results: Sequence[Result]) -> list[Panel]:
    """Returns a panel for each claim, on real and on drawn video.

    Runs are averaged over seeds where they are of one method. Of several methods, or several kinds
    of training that can be compared within a claim, those with most seeds count.

    Returns:
      Those of real video first; none of a data set on which no claim has a result.
    """
    rows = [
        [_panel(number, claim, *data, results) for number, claim in enumerate(CLAIMS, 1)]
        for data in DATA
    ]
    return [panel for row in rows if any(panel.curves for panel in row) for panel in row]


def _panel(
    number: int, claim: _Claim, dataset: str, split: str, results: Sequence[Result]
) -> Panel:
    found, part = _choose(claim, claim.measures(dataset, split), results), ""
    if claim.unseen and found:
        part, score = UNSEEN.get(dataset) or _least_seen(claim, found)
        found = {dataclasses.replace(one, score=score): own for one, own in found.items()}
    curves = [_curve(claim, measure, own) for measure, own in found.items()]
    return Panel(number, claim.title, f"{dataset}:{split}", claim.axis, part, curves)


def _choose(claim: _Claim, measures: Sequence[_Measure], results: Sequence[Result]) -> _Found:
    """Returns the results that a panel shows, of each measure that has any.

    All are of one training set and one kind of networks, those of a measure are scored on the same
    frames, and those of the same x are of one method.
    """
    kinds: dict[Any, _Found] = {}
    for measure in measures:
        for result in results:
            if measure.belongs(result) and claim.x(result) is not None:
                kind = result.facts["train"], result.facts["networks"], claim.shared(result)
                kinds.setdefault(kind, {}).setdefault(measure, []).append(result)
    candidates = [_of_one_method(claim, kinds[kind]) for kind in sorted(kinds)]
    if claim.unseen:
        candidates = [found for found in candidates if _common(claim, found)]

    def rank(found: _Found) -> tuple:
        shown = [(measure, result) for measure, own in found.items() for result in own]
        points = {(measure, claim.x(result)) for measure, result in shown}
        comparable = len({x for _, x in points}) > 1
        seeds = len({_seed(result) for _, result in shown})
        longest = max(result.report["checkpoint"] for _, result in shown)
        return comparable, seeds, len(points), longest

    return max(candidates, key=rank, default={})


def _of_one_method(claim: _Claim, found: _Found) -> _Found:
    """Leaves of each measure results on the same frames, and of each x those of one method."""
    same = {
        measure: _most(own, _scored_on, lambda result: (claim.x(result), _seed(result)))
        for measure, own in found.items()
    }
    chosen: _Found = {}
    for x in sorted({claim.x(result) for own in same.values() for result in own}):
        here = [
            (one, result) for one, own in same.items() for result in own if claim.x(result) == x
        ]
        here = _most(here, lambda pair: pair[1].method, lambda pair: (pair[0], _seed(pair[1])))
        for measure in same:
            own = one_per_seed([result for one, result in here if one == measure])
            if own:
                chosen.setdefault(measure, []).extend(own)
    return {measure: chosen[measure] for measure in same if measure in chosen}


def _most(items: Sequence[T], key: Callable[[T], Any], counted: Callable[[T], Any]) -> list[T]:
    """Returns the items of the key that has most different values of ``counted``."""
    values: dict[Any, set] = {}
    for item in items:
        values.setdefault(key(item), set()).add(counted(item))
    best = min(values, key=lambda one: (-len(values[one]), one))
    return [item for item in items if key(item) == best]


def _common(claim: _Claim, found: _Found) -> set[X]:
    """Returns every x at which both φ and χ are scored."""
    scored = [{claim.x(result) for result in own} for own in found.values()]
    return set.intersection(*scored) if len(scored) == len(claim.models) else set()


def _least_seen(claim: _Claim, found: _Found) -> tuple[str, tuple[str, ...]]:
    """Returns the sequence on which χ is most ahead of φ at the end, and where rows score it."""
    end = max(_common(claim, found))
    j = {
        measure.model: [measure.read(result) for result in own if claim.x(result) == end]
        for measure, own in found.items()
    }

    def lead(name: str) -> float:
        phi, chi = (np.mean([one[name]["j"] for one in j[model]]) for model in claim.models)
        return float(chi - phi)

    name = max(sorted(j["phi"][0]), key=lead)
    return name, ("per_sequence", name, "j")


def _curve(claim: _Claim, measure: _Measure, results: Sequence[Result]) -> Curve:
    points = []
    for x in sorted({claim.x(result) for result in results}):
        own = [result for result in results if claim.x(result) == x]
        scores = [measure.read(result) for result in own]
        points.append(
            Point(
                x=x,
                mean=float(np.mean(scores)),
                std=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                method=own[0].method,
                runs=[
                    Run(_seed(result), score, result.file)
                    for result, score in zip(own, scores, strict=True)
                ],
            )
        )
    return Curve(
        model=measure.model,
        data=f"{measure.dataset}:{measure.split}",
        score=list(measure.score),
        sequences=results[0].report["sequences"],
        train=results[0].facts["train"],
        networks=results[0].facts["networks"],
        points=points,
    )


def _scored_on(result: Result) -> tuple[int, int]:
    """Returns a key of what a result is scored on; of equally many runs, more frames count."""
    return -result.report["frames"], -result.report["sequences"]


def _seed(result: Result) -> int:
    return result.facts["seed"]
