"""Holds a table of the paper with our scores in it, and writes it as json and as Markdown."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dystab_jax.report.results import Result

NOT_RUN = "not run"
MOST_CITED = 3  # sources beside a score
OTHER_TRAINING = "†"


@dataclass(frozen=True)
class Cell:
    """Holds one of our scores.

    Attributes:
      score: mean over the runs, in [0, 1].
      second: mean of the column's second score, None where it has none.
      std: standard deviation of ``score`` over the runs, None of a single run.
      runs: how many there are, one for each seed.
      remark: reasons not to compare it with the paper's; empty where there is none.
      sources: numbers of the table's sources, from 1.
    """

    score: float
    second: float | None
    std: float | None
    runs: int
    remark: str
    sources: list[int]


@dataclass(frozen=True)
class FilledRow:
    """Holds the paper's scores of a row, times 100, and ours; None where there is none."""

    label: str
    paper: list[float | None]
    ours: list[Cell | None]


@dataclass(frozen=True)
class Source:
    """Describes the run behind a score: all that a reader needs to judge it.

    Attributes:
      run: its folder.
      data: DATASET:SPLIT.
      protocol, sequences, frames: of the scoring.
      model, crf: of the row.
      oracle: whether ground truth chose which region is the object.
      phase, checkpoint: of the snapshot.
      train, videos, self_training, labels, seed, networks: facts of the run, in words.
      scores: further ones of the row, by their keys.
    """

    run: str
    data: str
    protocol: str
    sequences: int
    frames: int
    model: str
    crf: str
    oracle: bool
    phase: str
    checkpoint: int
    train: str
    videos: int | str
    self_training: str
    labels: str
    seed: int
    networks: str
    scores: dict[str, float]

    @classmethod
    def of(cls, result: Result, further: Sequence[str]) -> "Source":
        """Describes a result, with those of the further scores that it has."""
        report, facts = result.report, result.facts
        return cls(
            run=result.place,
            data=f"{report['dataset']}:{report['split']}",
            protocol=report["protocol"],
            sequences=report["sequences"],
            frames=report["frames"],
            model=result.row["model"],
            crf=result.row["crf"],
            oracle=report["oracle"],
            phase=report["phase"],
            checkpoint=report["checkpoint"],
            train=facts["train"],
            videos=facts["videos"] or "all",
            self_training=facts["self_training"] or "none",
            labels=facts["labels"] or "none",
            seed=facts["seed"],
            networks=facts["networks"],
            scores={name: result.row[name] for name in further if name in result.row},
        )


@dataclass
class Sources:
    """Collects the sources of one table, numbered from 1."""

    entries: list[Source] = field(default_factory=list)

    def cite(self, result: Result, further: Sequence[str] = ()) -> int:
        """Returns the number of a result's source, which is added where it is new."""
        entry = Source.of(result, further)
        if entry not in self.entries:
            self.entries.append(entry)
        return self.entries.index(entry) + 1


@dataclass(frozen=True)
class FilledTable:
    """Holds a table of the paper with our scores.

    Attributes:
      table, title: number and title, as in the paper.
      note: for its readers.
      config: of the command that fills it.
      columns: their titles.
      rows: those of several methods one below the other.
      sources: of the scores.
    """

    table: int
    title: str
    note: str
    config: str
    columns: list[str]
    rows: list[FilledRow]
    sources: list[Source]

    def as_json(self) -> dict[str, Any]:
        """Returns the content of tables/tableN.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "FilledTable":
        """Reads what ``as_json`` returns."""
        rows = [
            FilledRow(row["label"], row["paper"], [cell and Cell(**cell) for cell in row["ours"]])
            for row in content["rows"]
        ]
        sources = [Source(**entry) for entry in content["sources"]]
        return cls(**{**content, "rows": rows, "sources": sources})

    def as_markdown(self) -> str:
        """Returns the table for people: the paper's row above ours, then the sources."""
        lines = [
            f"# Table {self.table}: {self.title}",
            "",
            self.note,
            "",
            "| | | " + " | ".join(self.columns) + " |",
            "|---" * (2 + len(self.columns)) + "|",
        ]
        for row in self.rows:
            if any(value is not None for value in row.paper):
                paper = ("" if value is None else f"{value}" for value in row.paper)
                lines.append(f"| {row.label} | paper | " + " | ".join(paper) + " |")
            ours = [_shown(cell) for cell in row.ours]
            ours += [""] * (len(self.columns) - len(ours))
            lines.append(f"| {row.label} | ours | " + " | ".join(ours) + " |")
        lines += ["", *self._notes()]
        if self.sources:
            lines += ["Sources:", ""]
            lines += [f"{n}. {_sentence(source)}" for n, source in enumerate(self.sources, 1)]
        return "\n".join(lines).rstrip() + "\n"

    def _notes(self) -> Iterator[str]:
        """Yields lines that explain the marks beside the scores."""
        cells = [cell for row in self.rows for cell in row.ours]
        if any(OTHER_TRAINING in cell.remark for cell in cells if cell):
            yield (
                f"{OTHER_TRAINING} Not trained on the paper's data set, but on that in the sources."
            )
            yield ""
        if any(cell is None for cell in cells):
            yield f'What is marked "{NOT_RUN}" no run in this folder has: `{self.config}`.'
            yield ""


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return NOT_RUN
    text = f"{100 * cell.score:.1f}"
    if cell.std is not None:
        text += f" ± {100 * cell.std:.1f}"
    if cell.second is not None:
        text += f" / {100 * cell.second:.1f}"
    if cell.remark:
        text += f" ({cell.remark})"
    cited = "".join(f" [{number}]" for number in cell.sources[:MOST_CITED])
    return text + cited + (" …" if len(cell.sources) > MOST_CITED else "")


def _sentence(source: Source) -> str:
    text = (
        f"{source.run}: {source.data}, protocol {source.protocol}, {source.sequences} "
        f"sequences, {source.frames} frames; {source.model}, CRF {source.crf}, oracle "
        f"{'yes' if source.oracle else 'no'}; phase {source.phase}, checkpoint "
        f"{source.checkpoint}; trained on {source.train} (videos: {source.videos}, "
        f"self-training: {source.self_training}, labels: {source.labels}, seed "
        f"{source.seed}); {source.networks}"
    )
    if source.scores:
        scores = ", ".join(f"{name} {100 * value:.1f}" for name, value in source.scores.items())
        text += f". Also: {scores}"
    return text
