"""Collects the scores that runs have written, ready to be chosen and averaged for the tables."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OF_THE_METHOD = (
    "fusion",
    "fusion_sharpness",
    "fusion_floor",
    "trust",
    "vote",
    "flows_per_frame",
    "flow_average",
    "adaptation",
    "phi_cut",
    "mirror",
)
"""Rules of scoring that make another method of the same networks; earlier versions lack some."""


@dataclass(frozen=True)
class Result:
    """Holds the scores of one model on one data set: a row of an eval/*.json file.

    Attributes:
      report: the whole file.
      row: its row.
      place: folder of the run, relative to where it was looked for.
      file: likewise the file.
    """

    report: dict[str, Any]
    row: dict[str, Any]
    place: str
    file: str

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the run, see ``run_facts.facts``."""
        return self.report["run"]

    @property
    def method(self) -> str:
        """Digest of all that runs which are averaged have in common, training data left out."""
        rules = [self.report["rules"].get(name) for name in _OF_THE_METHOD]
        digest = hashlib.sha256(json.dumps([self.facts["method"], rules]).encode())
        return digest.hexdigest()[:8]

    @property
    def phase(self) -> str:
        """Name of the complete phase; empty for one under way, which counts for no table."""
        if not self.report["complete"]:
            return ""
        return "supervised" if self.facts["labels"] else self.report["phase"]


def collect(workdir: Path) -> list[Result]:
    """Reads all results of the runs in a folder and below it.

    Raises:
      ValueError: a file is damaged.
    """
    results = []
    for path in sorted(workdir.rglob("*.json")):
        if "eval" not in path.relative_to(workdir).parts[:-1]:
            continue
        try:
            report = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(
                f"{path} is not json ({error}); remove it, and score the run again with --mode=eval"
            ) from error
        if "run" not in report:  # not written by a run
            continue
        parts = path.relative_to(workdir).parts
        place = "/".join(parts[: len(parts) - 1 - parts[::-1].index("eval")]) or "."
        results += [Result(report, row, place, "/".join(parts)) for row in report["rows"]]
    return results


def first(results: Sequence[Result], rank: Callable[[Result], Any]) -> list[Result]:
    """Returns the results of the lowest rank."""
    lowest = min(map(rank, results), default=None)
    return [result for result in results if rank(result) == lowest]


def one_per_seed(results: Sequence[Result]) -> list[Result]:
    """Returns one result for each seed, by seed.

    The same training may have been scored in several places: the fullest counts, then the newest.
    """

    def rank(result: Result) -> tuple:
        return result.report["frames"], result.report["checkpoint"], result.place

    by_seed: dict[int, Result] = {}
    for result in sorted(results, key=rank):
        by_seed[result.facts["seed"]] = result
    return [by_seed[seed] for seed in sorted(by_seed)]
