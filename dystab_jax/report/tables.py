"""Tables 1 to 7: the paper's numbers beside those of the runs in a folder."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dystab_jax.evaluation.protocols.registry import default_protocols
from dystab_jax.report import paper_tables
from dystab_jax.report.paper_tables import Column, Line, Table
from dystab_jax.runtime.atomic_files import write_whole

NOT_RUN = "not run"
MOST_CITED = 3  # sources beside a score
OTHER_TRAINING = "†"
_OF_THE_METHOD = ("fusion", "trust", "vote", "flows_per_frame")
"""Rules of scoring that make another method of the same networks."""


@dataclass(frozen=True)
class Result:
    """The scores of one model on one data set: a row of an eval/*.json file.

    Attributes:
      report: the whole file.
      row: its row.
      place: folder of the run, relative to where it was looked for.
    """

    report: dict[str, Any]
    row: dict[str, Any]
    place: str

    @property
    def facts(self) -> dict[str, Any]:
        return self.report["run"]

    @property
    def method(self) -> str:
        """What must be equal in runs that are averaged, but for the training data."""
        rules = [self.report["rules"][name] for name in _OF_THE_METHOD]
        digest = hashlib.sha256(json.dumps([self.facts["method"], rules]).encode())
        return digest.hexdigest()[:8]

    @property
    def phase(self) -> str:
        """The phase that is complete; one that is under way counts for no table."""
        if not self.report["complete"]:
            return ""
        return "supervised" if self.facts["labels"] else self.report["phase"]

    def describe(self, further: Sequence[str]) -> dict[str, Any]:
        """All that a reader needs to judge the score."""
        report, facts = self.report, self.facts
        return {
            "run": self.place,
            "data": f"{report['dataset']}:{report['split']}",
            "protocol": report["protocol"],
            "sequences": report["sequences"],
            "frames": report["frames"],
            "model": self.row["model"],
            "crf": self.row["crf"],
            "oracle": report["oracle"],
            "phase": report["phase"],
            "checkpoint": report["checkpoint"],
            "train": facts["train"],
            "videos": facts["videos"] or "all",
            "self_training": facts["self_training"] or "none",
            "labels": facts["labels"] or "none",
            "seed": facts["seed"],
            "networks": facts["networks"],
            "scores": {name: self.row[name] for name in further if name in self.row},
        }


def collect(workdir: Path) -> list[Result]:
    """All results of the runs in a folder and below it.

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
        results += [Result(report, row, place) for row in report["rows"]]
    return results


def write(workdir: Path) -> list[Path]:
    """Writes WORKDIR/tables/table{1..7}.md and .json from the results below the workdir.

    Returns:
      The md files; none where there is no result.
    """
    results = collect(workdir)
    if not results:
        return []
    filled = [fill(table, results) for table in paper_tables.TABLES]
    filled.append(fill_videos(results))
    written = []
    for table in sorted(filled, key=lambda table: table["table"]):
        path = workdir / "tables" / f"table{table['table']}.md"
        write_whole(path.with_suffix(".json"), json.dumps(table, indent=1) + "\n")
        write_whole(path, as_markdown(table))
        written.append(path)
    return written


@dataclass
class _Sources:
    """The results behind the scores of one table, numbered from 1."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def cite(self, result: Result, further: Sequence[str] = ()) -> int:
        entry = result.describe(further)
        if entry not in self.entries:
            self.entries.append(entry)
        return self.entries.index(entry) + 1


def fill(table: Table, results: Sequence[Result]) -> dict[str, Any]:
    """A table with the results that belong into it, as json.

    Rows of several methods (configs that differ in more than data and seed) stand one below the
    other; runs that differ in their seed alone are averaged.

    Returns:
      ``table``, ``title``, ``note``, ``config``, ``columns``; ``rows``, each with ``label``,
      ``paper`` and ``ours``, a list of {``score``, ``second``, ``std``, ``runs``, ``remark``,
      ``sources``} or None, as long as the row has columns; ``sources``.
    """
    sources, rows = _Sources(), []
    for line in table.lines:
        rows += _rows(table, line, table.columns, results, sources)
    rows += _further_rows(table, results, sources)
    return {
        "table": table.number,
        "title": table.title,
        "note": table.note,
        "config": table.config,
        "columns": [column.title for column in table.columns],
        "rows": rows,
        "sources": sources.entries,
    }


def _rows(
    table: Table,
    line: Line,
    columns: Sequence[Column],
    results: Sequence[Result],
    sources: _Sources,
) -> list[dict[str, Any]]:
    """One row for each method that has a score in this line, or one without any."""
    cells_by_method = {}
    for method in sorted({result.method for result in results}):
        own = [result for result in results if result.method == method]
        cells = [_cell(table, line, column, own, sources) for column in columns]
        if any(cells):
            cells_by_method[method] = cells
    rows = []
    for method, cells in cells_by_method.items() or [("", [None] * len(columns))]:
        label = line.label + (f" (method {method})" if len(cells_by_method) > 1 else "")
        rows.append({"label": label, "paper": list(line.paper), "ours": cells})
    return rows


def _further_rows(table: Table, results: Sequence[Result], sources: _Sources) -> list[dict]:
    """The official protocol of DAVIS-2017 has a line of its own in Table 7, of one column."""
    if table.number != 7:
        return []
    column = Column("DAVIS17", "davis2017", ("val",), 30, "j_and_f", further=("mean_j", "mean_f"))
    rows = []
    for crf in (False, True):
        label = f"official unsupervised J&F, fused, {'CRF' if crf else 'no CRF'}"
        line = Line(label, (None, None), "fused", paper_tables.FINAL, crf, "davis2017")
        rows += _rows(table, line, [column], results, sources)
    return rows


def _cell(
    table: Table, line: Line, column: Column, results: Sequence[Result], sources: _Sources
) -> dict[str, Any] | None:
    found = [result for result in results if _belongs(result, line, column)]
    preferred = column.dataset if table.trained_on == "column" else table.trained_on
    for rank in (
        lambda result: result.report["oracle"],
        lambda result: column.splits.index(result.report["split"]),
        lambda result: line.phases.index(result.phase),
        lambda result: f"{preferred}:" not in result.facts["train"],
        lambda result: result.facts["train"],
    ):
        found = _first(found, rank)
    if not found:
        return None
    found = _one_per_seed(found)
    scores = [result.row[column.score] for result in found]
    return {
        "score": float(np.mean(scores)),
        "second": float(np.mean([result.row[column.second] for result in found]))
        if column.second
        else None,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "runs": len(scores),
        "remark": _remark([result.report for result in found], column, preferred),
        "sources": sorted({sources.cite(result, column.further) for result in found}),
    }


def _one_per_seed(results: Sequence[Result]) -> list[Result]:
    """The same training may have been scored in several places: the fullest, then the newest."""

    def rank(result: Result) -> tuple:
        return result.report["frames"], result.report["checkpoint"], result.place

    by_seed: dict[int, Result] = {}
    for result in sorted(results, key=rank):
        by_seed[result.facts["seed"]] = result
    return [by_seed[seed] for seed in sorted(by_seed)]


def _remark(reports: Sequence[dict[str, Any]], column: Column, preferred: str) -> str:
    """What forbids to compare the score with the paper's; of the reports behind one score."""
    report = min(reports, key=lambda report: report["sequences"])
    remarks = []
    if f"{preferred}:" not in report["run"]["train"]:
        remarks.append(OTHER_TRAINING)
    if report["split"] != column.splits[0]:
        remarks.append(report["split"])
    elif report["sequences"] < column.whole:
        remarks.append(f"{report['sequences']} of {column.whole}")
    if report["oracle"]:
        remarks.append("oracle")
    return ", ".join(remarks)


def _belongs(result: Result, line: Line, column: Column) -> bool:
    report, row = result.report, result.row
    return (
        report["dataset"] == column.dataset
        and report["split"] in column.splits
        and report["protocol"] == (line.protocol or default_protocols(column.dataset)[0])
        and row["model"] == line.model
        and row["crf"] in (paper_tables.CRFS if line.crf else ("none",))
        and result.phase in line.phases
        and not result.facts["videos"]
        and line.where(result.facts)
    )


def _first(results: list[Result], rank: Callable[[Result], Any]) -> list[Result]:
    """Those of the lowest rank."""
    lowest = min(map(rank, results), default=None)
    return [result for result in results if rank(result) == lowest]


def fill_videos(results: Sequence[Result]) -> dict[str, Any]:
    """Table 6: IoU of χ over the images of all saliency sets, by the number of training videos.

    One run's score is the mean over the images of all sets that it was scored on; the table gives
    mean and standard deviation over the seeds.

    Returns:
      As ``fill``; the columns are mIoU and its standard deviation.
    """
    sources = _Sources()
    # By number of videos, method and training data, then by data set.
    found: dict[tuple, dict[str, list[Result]]] = {}
    for result in filter(_of_videos, results):
        key = result.facts["videos"], f"{result.method} on {result.facts['train']}"
        found.setdefault(key, {}).setdefault(result.report["dataset"], []).append(result)
    # Of each of these: score, images and sources of each seed's run.
    scores: dict[tuple[int, str], list[tuple[float, int, list[int]]]] = {}
    for (videos, method), by_set in sorted(found.items()):
        by_seed: dict[int, list[Result]] = {}
        for candidates in by_set.values():
            last = _first(candidates, lambda result: paper_tables.FINAL.index(result.phase))
            for result in _one_per_seed(last):
                by_seed.setdefault(result.facts["seed"], []).append(result)
        for own in by_seed.values():
            images = [result.report["frames"] for result in own]
            score = float(np.average([one.row["mean_j"] for one in own], weights=images))
            cited = [sources.cite(one, paper_tables.IMAGE_SCORES) for one in own]
            scores.setdefault((videos, method), []).append((score, sum(images), cited))
    rows = []
    for videos in sorted({videos for videos, _ in scores} | paper_tables.VIDEOS_PAPER.keys()):
        methods = [method for number, method in scores if number == videos]
        for method in methods or [""]:
            label = f"{videos} videos" + (f" (method {method})" if len(methods) > 1 else "")
            paper = list(paper_tables.VIDEOS_PAPER.get(videos, (None, None)))
            rows.append({"label": label, "paper": paper, "ours": _spread(scores, videos, method)})
    return {
        "table": 6,
        "title": paper_tables.VIDEOS_TITLE,
        "note": "IoU of χ's masks cut at one half, times 100, mean over the images of "
        "ECSSD, MSRA-B and DUT-OMRON together (of those in the sources); standard deviation over "
        "the seeds.",
        "config": paper_tables.VIDEOS_CONFIG,
        "columns": ["mIoU", "Std. Dev."],
        "rows": rows,
        "sources": sources.entries,
    }


def _of_videos(result: Result) -> bool:
    return (
        bool(result.facts["videos"])
        and (result.report["dataset"], result.report["split"]) in paper_tables.VIDEOS_SETS
        and (result.row["model"], result.row["crf"]) == ("chi", "none")
        and result.phase in paper_tables.FINAL
        and result.report["protocol"] == "saliency"
        and not result.report["oracle"]
    )


def _spread(scores: dict, videos: int, method: str) -> list[dict | None]:
    """Mean and standard deviation over the seeds, as cells."""
    own = scores.get((videos, method), [])
    if not own:
        return [None, None]
    values, images, cited = zip(*own, strict=True)
    partial = min(images) < paper_tables.VIDEOS_IMAGES
    shared = {"second": None, "std": None, "runs": len(own), "remark": "", "sources": []}
    mean = shared | {
        "score": float(np.mean(values)),
        "remark": f"{min(images)} of {paper_tables.VIDEOS_IMAGES}" if partial else "",
        "sources": sorted({number for numbers in cited for number in numbers}),
    }
    if len(own) == 1:
        return [mean, None]
    return [mean, shared | {"score": float(np.std(values, ddof=1))}]


def as_markdown(table: dict[str, Any]) -> str:
    """A filled table for people: the paper's row above ours, then what each score is of."""
    lines = [
        f"# Table {table['table']}: {table['title']}",
        "",
        table["note"],
        "",
        "| | | " + " | ".join(table["columns"]) + " |",
        "|---" * (2 + len(table["columns"])) + "|",
    ]
    for row in table["rows"]:
        if any(value is not None for value in row["paper"]):
            paper = ("" if value is None else f"{value}" for value in row["paper"])
            lines.append(f"| {row['label']} | paper | " + " | ".join(paper) + " |")
        ours = [_shown(cell) for cell in row["ours"]]
        ours += [""] * (len(table["columns"]) - len(ours))
        lines.append(f"| {row['label']} | ours | " + " | ".join(ours) + " |")
    lines += ["", *_notes(table)]
    if table["sources"]:
        lines += ["Sources:", ""]
        lines += [f"{n}. {_sentence(entry)}" for n, entry in enumerate(table["sources"], 1)]
    return "\n".join(lines).rstrip() + "\n"


def _notes(table: dict[str, Any]) -> Iterator[str]:
    """What the marks beside the scores mean."""
    remarks = [cell["remark"] for row in table["rows"] for cell in row["ours"] if cell]
    if any(OTHER_TRAINING in remark for remark in remarks):
        yield f"{OTHER_TRAINING} Not trained on the paper's data set, but on that in the sources."
        yield ""
    if any(cell is None for row in table["rows"] for cell in row["ours"]):
        yield f'What is marked "{NOT_RUN}" no run in this folder has: `{table["config"]}`.'
        yield ""


def _shown(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return NOT_RUN
    text = f"{100 * cell['score']:.1f}"
    if cell["std"] is not None:
        text += f" ± {100 * cell['std']:.1f}"
    if cell["second"] is not None:
        text += f" / {100 * cell['second']:.1f}"
    if cell["remark"]:
        text += f" ({cell['remark']})"
    cited = "".join(f" [{number}]" for number in cell["sources"][:MOST_CITED])
    return text + cited + (" …" if len(cell["sources"]) > MOST_CITED else "")


def _sentence(entry: dict[str, Any]) -> str:
    text = (
        f"{entry['run']}: {entry['data']}, protocol {entry['protocol']}, {entry['sequences']} "
        f"sequences, {entry['frames']} frames; {entry['model']}, CRF {entry['crf']}, oracle "
        f"{'yes' if entry['oracle'] else 'no'}; phase {entry['phase']}, checkpoint "
        f"{entry['checkpoint']}; trained on {entry['train']} (videos: {entry['videos']}, "
        f"self-training: {entry['self_training']}, labels: {entry['labels']}, seed "
        f"{entry['seed']}); {entry['networks']}"
    )
    if entry["scores"]:
        scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in entry["scores"].items())
        text += f". Also: {scores}"
    return text
