"""Fills Tables 1 to 7: the paper's numbers beside those of the runs in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dystab_jax.evaluation.protocols.registry import default_protocols
from dystab_jax.report import paper_tables, table6
from dystab_jax.report.filled_table import (
    OTHER_TRAINING,
    Cell,
    FilledRow,
    FilledTable,
    Sources,
)
from dystab_jax.report.paper_tables import Column, Line, Table
from dystab_jax.report.results import Result, collect, first, one_per_seed
from dystab_jax.runtime.atomic_files import write_whole


def write(workdir: Path) -> list[Path]:
    """Writes WORKDIR/tables/table{1..7}.md and .json from the results below the workdir.

    Returns:
      The md files; none where there is no result.

    Raises:
      ValueError: an eval/*.json file is damaged.
    """
    results = collect(workdir)
    if not results:
        return []
    filled = [fill(table, results) for table in paper_tables.TABLES]
    filled.append(table6.fill(results))
    written = []
    for table in sorted(filled, key=lambda table: table.table):
        path = workdir / "tables" / f"table{table.table}.md"
        write_whole(path.with_suffix(".json"), json.dumps(table.as_json(), indent=1) + "\n")
        write_whole(path, table.as_markdown())
        written.append(path)
    return written


def fill(table: Table, results: Sequence[Result]) -> FilledTable:
    """Fills a table with the results that belong into it.

    Rows of several methods (configs that differ in more than data and seed) stand one below the
    other; runs that differ in their seed alone are averaged.
    """
    sources, rows = Sources(), []
    for line in table.lines:
        rows += _rows(table, line, table.columns, results, sources)
    rows += _further_rows(table, results, sources)
    return FilledTable(
        table=table.number,
        title=table.title,
        note=table.note,
        config=table.config,
        columns=[column.title for column in table.columns],
        rows=rows,
        sources=sources.entries,
    )


def _rows(
    table: Table,
    line: Line,
    columns: Sequence[Column],
    results: Sequence[Result],
    sources: Sources,
) -> list[FilledRow]:
    """Returns one row for each method that has a score in this line, or one without any."""
    cells_by_method = {}
    for method in sorted({result.method for result in results}):
        own = [result for result in results if result.method == method]
        cells = [_cell(table, line, column, own, sources) for column in columns]
        if any(cells):
            cells_by_method[method] = cells
    rows = []
    for method, cells in cells_by_method.items() or [("", [None] * len(columns))]:
        label = line.label + (f" (method {method})" if len(cells_by_method) > 1 else "")
        rows.append(FilledRow(label, list(line.paper), cells))
    return rows


def _further_rows(table: Table, results: Sequence[Result], sources: Sources) -> list[FilledRow]:
    """Returns the rows that Table 7 has for the official protocol of DAVIS-2017, of one column."""
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
    table: Table, line: Line, column: Column, results: Sequence[Result], sources: Sources
) -> Cell | None:
    found = [result for result in results if _belongs(result, line, column)]
    preferred = column.dataset if table.trained_on == "column" else table.trained_on
    for rank in (
        lambda result: result.report["oracle"],
        lambda result: column.splits.index(result.report["split"]),
        lambda result: line.phases.index(result.phase),
        lambda result: f"{preferred}:" not in result.facts["train"],
        lambda result: result.facts["train"],
    ):
        found = first(found, rank)
    if not found:
        return None
    found = one_per_seed(found)
    scores = [result.row[column.score] for result in found]
    seconds = [result.row[column.second] for result in found] if column.second else []
    return Cell(
        score=float(np.mean(scores)),
        second=float(np.mean(seconds)) if seconds else None,
        std=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        runs=len(scores),
        remark=_remark([result.report for result in found], column, preferred),
        sources=sorted({sources.cite(result, column.further) for result in found}),
    )


def _remark(reports: Sequence[dict[str, Any]], column: Column, preferred: str) -> str:
    """Returns the reasons not to compare a score, of these reports, with the paper's."""
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
