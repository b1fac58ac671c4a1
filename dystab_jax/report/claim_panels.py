"""Holds what the runs in a folder say of the paper's claims, and draws it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dystab_jax.report import charts, paper_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X = float | str
"""What a claim is about: a weight, a number of rounds or of videos, or the name of a loss."""

NO_RESULT = "no result"

_WHOLE = {
    column.dataset: column.whole
    for column in (paper_tables.VIDEO_COLUMNS[0], paper_tables.IMAGE_COLUMNS[0])
}
"""Sequences or images of data sets of which parts may be at hand."""
_LINE = 22  # letters of a title
_LEAST_HEIGHT = 0.1
"""Of a panel, in units of the score: smaller differences shall look small."""


@dataclass(frozen=True)
class Run:
    """Holds the score of one run, and the file that it is from, relative to the workdir."""

    seed: int
    score: float
    file: str


@dataclass(frozen=True)
class Point:
    """Holds a mean over seeds.

    Attributes:
      x: see ``X``.
      mean: in [0, 1].
      std: of a sample; None of a single run.
      method: of all these runs, see ``Result.method``.
      runs: one for each seed, by seed.
    """

    x: X
    mean: float
    std: float | None
    method: str
    runs: list[Run]


@dataclass(frozen=True)
class Curve:
    """Holds the scores of one model on one data set.

    Attributes:
      model: "phi", "chi" or "fused".
      data: DATASET:SPLIT.
      score: where the rows of eval/*.json hold it, key by key.
      sequences: sequences or images scored.
      train, networks: facts of all these runs.
      points: by x.
    """

    model: str
    data: str
    score: list[str]
    sequences: int
    train: str
    networks: str
    points: list[Point]


@dataclass(frozen=True)
class Panel:
    """Holds what the runs say of a claim on real or drawn video.

    Attributes:
      claim, title: number and words of the claim.
      data: DATASET:SPLIT.
      axis: meaning of x.
      part: of the data that is scored; empty for all of it.
      curves: none where no result belongs to the claim.
    """

    claim: int
    title: str
    data: str
    axis: str
    part: str
    curves: list[Curve]


def draw(panels: Sequence[Panel]) -> str:
    """Draws panels as an SVG file: a column for each claim, a row for each data set.

    Every seed is a small dot beside the mean and its standard deviation.
    """
    rows = list(dict.fromkeys(panel.data for panel in panels))
    columns = len(panels) // len(rows)

    def fill(figure):
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=True)):
            if number < columns:
                axes.set_title(_in_two_lines(f"{panel.claim} {panel.title}"), pad=17)
            if number % columns == 0:
                axes.set_ylabel(f"{panel.data}, J")
            _draw_panel(axes, panel)
        entries = {
            label: handle
            for axes in grid.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        (dot,) = grid.flat[0].plot([], [], ".", color="0.5")
        entries["one run (bars: standard deviation)"] = dot
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=len(entries))

    svg = charts.as_svg(fill, 9.0, 0.9 + 2.0 * len(rows), "claims of the paper")
    return charts.as_file(svg)


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    ticks = sorted({point.x for curve in panel.curves for point in curve.points})
    if not ticks:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, NO_RESULT, transform=axes.transAxes, ha="center", va="center")
        return
    for number, curve in enumerate(panel.curves):
        # Beside each other, so that no bar hides another.
        shift = 0.17 * (number - (len(panel.curves) - 1) / 2)
        places = [ticks.index(point.x) + shift for point in curve.points]
        kind = curve.model if curve.data == panel.data else curve.data
        color = charts.color_of(kind)
        for place, point in zip(places, curve.points, strict=True):
            scores = [run.score for run in point.runs]
            axes.plot([place + 0.08] * len(scores), scores, ".", color=color, alpha=0.5, ms=3.5)
        axes.errorbar(
            places,
            [point.mean for point in curve.points],
            [point.std or 0 for point in curve.points],
            fmt=charts.MARKERS.get(kind, "^") + "-" * (not isinstance(ticks[0], str)),
            color=color,
            markersize=4,
            linewidth=1.1,
            capsize=2,
            label=_label(curve, panel),
        )
    names = [tick if isinstance(tick, str) else f"{tick:g}" for tick in ticks]
    axes.grid(axis="y")
    axes.set_xticks(range(len(ticks)), names)
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    low, high = axes.get_ylim()
    missing = max(0, _LEAST_HEIGHT - (high - low)) / 2
    axes.set_ylim(low - missing, high + missing)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(panel.axis, fontsize=8)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 8}
    axes.annotate(_note(panel), (0, 1), (0, 4), **above)


def _label(curve: Curve, panel: Panel) -> str:
    name = charts.NAMES[curve.model]
    if curve.data == panel.data:
        return name
    return f"{name}, F_β on {curve.data}{_share(curve)}"


def _note(panel: Panel) -> str:
    """Returns what is averaged: the part of the data, or how much of it, and how many runs."""
    counts = {len(point.runs) for curve in panel.curves for point in curve.points}
    runs = "–".join(map(str, sorted({min(counts), max(counts)})))
    runs += " run" if counts == {1} else " runs"
    if panel.part:
        return f"{charts.shortened(panel.part, 18)}, {runs}"
    shares = {_share(curve) for curve in panel.curves if curve.data == panel.data} - {""}
    return runs + "".join(f"{share} videos" for share in shares)


def _share(curve: Curve) -> str:
    """Returns how many sequences or images are scored where these are not all."""
    whole = _WHOLE.get(curve.data.partition(":")[0], 0)
    return f", {curve.sequences} of {whole}" if curve.sequences < whole else ""


def _in_two_lines(text: str) -> str:
    """Breaks a text that is long at the space nearest to its middle."""
    spaces = [place for place, letter in enumerate(text) if letter == " "]
    if len(text) <= _LINE or not spaces:
        return text
    place = min(spaces, key=lambda place: abs(place - len(text) / 2))
    return f"{text[:place]}\n{text[place + 1 :]}"
