"""Compares runs to which videos were added with runs that had as many from the start.

    python -m benchmarks.growth RUNS/... [--data_set=davis2016-val]

The workdirs are told apart by their scores. For each number of videos and both kinds it reports
mean and standard deviation over the seeds of J of φ, χ and their fusion, mean L_A and the steps
that training took; of the runs that grew also how many of the scored videos lost more than .05 of
fused J against any earlier number of videos, and the largest loss.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dystab_jax.report import growth

LOST = 0.05


def reports_of(workdir: Path, data_set: str) -> list[Mapping[str, Any]]:
    """Reads the scores of a run, of a grown one those of each number of videos.

    Raises:
      FileNotFoundError: it is not scored.
    """
    current = json.loads((workdir / "eval" / f"{data_set}.json").read_text())
    return growth.reports(workdir, current, data_set) or [current]


def sequences(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns fused J of each video, before any CRF."""
    row = next(r for r in report["rows"] if (r["model"], r["crf"]) == ("fused", "none"))
    return {name: score["j"] for name, score in row["per_sequence"].items()}


def losses(reports: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """Yields what each scored video lost against its best earlier J, for all but the first."""
    best: dict[str, float] = {}
    for report in reports:
        now = sequences(report)
        if best:
            yield {name: best[name] - j for name, j in now.items()}
        best = {name: max(j, best.get(name, 0.0)) for name, j in now.items()}


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def table(runs: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Returns the comparison as text.

    Args:
      runs: reports of each run, by number of videos.
    """
    found: dict[tuple[int, str], list[tuple[Mapping[str, Any], dict[str, float]]]] = {}
    for reports in runs:
        kind = "grown" if len(reports) > 1 else "anew"
        lost: list[dict[str, float]] = [{}, *losses(reports)]
        for report, gone in zip(reports, lost, strict=True):
            found.setdefault((report["run"]["all_videos"], kind), []).append((report, gone))
    titles = " ".join(f"{title:>14}" for title in ("φ", "χ", "fused", "L_A φ", "L_A χ"))
    lines = [f"{'videos':>6} {'':6} seeds  {titles} {'steps':>6}  lost"]
    for (videos, kind), entries in sorted(found.items()):
        scores = {
            model: [
                row["mean_j"]
                for report, _ in entries
                for row in report["rows"]
                if (row["model"], row["crf"]) == (model, "none")
            ]
            for model in ("phi", "chi", "fused")
        }
        trust = [
            [report["mean_confidence"][model] for report, _ in entries] for model in ("phi", "chi")
        ]
        columns = " ".join(f"{_mean(values):>14}" for values in (*scores.values(), *trust))
        steps = round(np.mean([report["checkpoint"] for report, _ in entries]))
        gone = [loss for _, lost in entries for loss in lost.values()]
        said = f"{sum(one > LOST for one in gone)} of {len(gone)}, {max(gone):.2f}" if gone else ""
        lines.append(f"{videos:6} {kind:6} {len(entries):5}  {columns} {steps:6}  {said}")
    return "\n".join(lines)


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--data_set", default="davis2016-val", help="as in eval/DATA_SET.json")
    given = parser.parse_args()
    print(table([reports_of(workdir, given.data_set) for workdir in given.workdirs]))


if __name__ == "__main__":
    main()
