"""Draws charts as SVG that goes straight into a page and takes its colours and letters."""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dystab_jax.evaluation.protocols.base import scored_frames
from dystab_jax.report.pictures import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"phi": "φ", "psi": "ψ", "chi": "χ", "fused": "fused"}
MARKERS = {"phi": "o", "chi": "s", "fused": "D"}

# Title of each panel of training curves and what it shows: metric and its name in the legend.
CURVES = (
    ("Separation L_A of φ's masks, Eq. (3)", {"phi/separation": "φ"}),
    ("Temporal inconsistency L_TC, Eq. (4)", {"phi/inconsistency": "φ"}),
    ("Losses", {"phi/loss": "φ", "psi/loss": "ψ", "chi/loss": "χ"}),
    (
        "Agreement, F-measure of Eq. (6)",
        {"phi/agreement": "φ with χ", "chi/agreement": "χ with φ's masks"},
    ),
    ("Mask area, share of the image", {"phi/mask_area": "φ", "chi/mask_area": "χ"}),
    ("Trusted pseudo-labels, share of the images, Eq. (7)", {"chi/trusted": "χ"}),
)
MOST_POINTS = 300
"""Of one curve in one phase; longer ones are averaged down."""

MOST_DOTS = 1000
"""Of one panel; of more frames, some evenly spread are shown."""

_UNDRAWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Line breaks, and what no SVG file may hold."""

# Stand-ins that no chart uses otherwise, replaced by the page's own colours.
_INK, _LINE = "#010203", "#040506"
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of videos hold $, and no text here is a formula
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def training_curves(measurements: Sequence[Mapping[str, Any]]) -> str:
    """Draws curves of what metrics.jsonl holds, over steps, the phases shaded and named.

    Args:
      measurements: its lines; at least one.
    """
    phases = phase_spans(measurements)
    panels = [
        (title, names)
        for title, names in CURVES
        if any(name in line for line in measurements for name in names)
    ]

    def draw(figure):
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, names) in zip(grid, panels, strict=True):
            axes.set_title(title)
            axes.grid(axis="y")
            for number, (_, start, end) in enumerate(phases):
                if number % 2 == 0:
                    axes.axvspan(start, end, color=_LINE, alpha=0.35, linewidth=0)
            for metric, label in names.items():
                _curve(axes, measurements, phases, metric, label)
            axes.margins(x=0)
            if len(names) > 1:
                axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1)
        for name, start, end in phases:
            grid[0].annotate(
                name.replace("_", " "),
                ((start + end) / 2, 1),
                (0, 20),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=25,
                fontsize=8,
                annotation_clip=False,
            )
        grid[-1].set_xlabel("step")

    return as_svg(draw, 9.6, 0.7 + 1.35 * len(panels), "training curves")


def phase_spans(measurements: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """Returns (name, first step, last step) of each phase; one begins where another ends."""
    spans: list[tuple[str, float, float]] = []
    for line in measurements:
        if spans and spans[-1][0] == line["phase"]:
            spans[-1] = (*spans[-1][:2], line["step"])
        else:
            spans.append((line["phase"], spans[-1][2] if spans else 0, line["step"]))
    return spans


def scores_by_sequence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draws J of each sequence by each model, best fused sequence first.

    Args:
      rows: of an eval/*.json file.
    """
    scores = {row["model"]: row["per_sequence"] for row in rows if row["crf"] == "none"}
    ranking = list(list(scores.values())[-1].items())
    ranking.sort(key=lambda item: -item[1]["j"])
    names = [name for name, _ in ranking]

    def draw(figure):
        axes = figure.subplots()
        axes.grid()
        for model, by_name in scores.items():
            mean = np.mean([score["j"] for score in by_name.values()])
            axes.plot(
                range(len(names)),
                [by_name[name]["j"] for name in names],
                MARKERS.get(model, "^"),
                color=color_of(model),
                markersize=4.5,
                label=f"{NAMES.get(model, model)} {mean:.3f}",
            )
        axes.set_xticks(range(len(names)), [shortened(name, 26) for name in names], rotation=60)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.set_ylabel("mean J")
        axes.legend(ncols=len(scores), loc="lower left", bbox_to_anchor=(0, 1))

    return as_svg(draw, min(9.6, max(5, 3 + 0.3 * len(names))), 3.6, "J by sequence")


def confidence_histograms(confidences: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Draws L_A of all frames of φ and χ, one histogram per video, means as vertical lines.

    Args:
      confidences: {video: {"phi": [T], "chi": [T]}}, at least one video.
    """
    columns = min(5, len(confidences))
    rows = -(-len(confidences) // columns)
    highest = max(
        2.0, *(float(np.max(v)) for video in confidences.values() for v in video.values())
    )
    edges = np.linspace(0, highest, 21)

    def draw(figure):
        grid = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
        for axes in grid[len(confidences) :]:
            axes.remove()
        for axes in grid[len(confidences) - columns : len(confidences)]:
            axes.tick_params(labelbottom=True)
        for axes, (name, video) in zip(grid, confidences.items(), strict=False):
            # Left out of the layout, so that long names do not push the columns apart.
            axes.set_title(shortened(name, 24), fontsize=8).set_in_layout(False)
            for model, values in video.items():
                paint = {"color": color_of(model)}
                axes.hist(values, edges, histtype="stepfilled", alpha=0.45, **paint)
                axes.axvline(np.mean(values), linewidth=1.2, label=NAMES[model], **paint)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.tick_params(labelsize=7)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
        figure.supxlabel("L_A of a frame", fontsize=8)

    return as_svg(draw, 1.92 * columns, 0.7 + 1.1 * rows, "histograms of L_A")


def confidence_against_j(
    confidences: Mapping[str, Mapping[str, np.ndarray]],
    frame_j: Mapping[str, Mapping[str, np.ndarray]],
) -> str:
    """Draws J of every scored frame over its L_A, a panel for φ and one for χ, with means of J.

    Args:
      confidences, frame_j: {video: {"phi": [T], "chi": [T]}}, at least one video; NaN in
        ``frame_j`` where a frame is not scored.
    """

    def draw(figure):
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, model in zip(panels, ("phi", "chi"), strict=True):
            l_a, j = scored_frames(confidences, frame_j, model)
            points = np.linspace(0, len(j) - 1, min(len(j), MOST_DOTS)).astype(int)
            paint = {"color": color_of(model), "linewidth": 0}
            axes.scatter(l_a[points], j[points], 7, alpha=0.35, **paint)
            # Means of ten parts with equally many frames.
            for part in np.array_split(np.argsort(l_a), min(10, len(j))):
                ends = l_a[part].min(), l_a[part].max()
                axes.plot(ends, [j[part].mean()] * 2, color=_INK, linewidth=1.6)
            axes.set_title(f"{NAMES[model]}, {len(j)} frames")
            axes.set_xlabel("L_A of a frame")
            axes.grid()
        panels[0].set_ylabel("J")

    return as_svg(draw, 7.2, 3.0, "J over L_A")


def as_svg(draw: "Callable[[Figure], None]", width: float, height: float, title: str) -> str:
    """Returns what ``draw`` draws as SVG that goes into a page.

    Args:
      draw: fills a figure.
      width, height: in inches of 100 pixels.
      title: for those who do not see it; sets it apart from other charts of the page.
    """
    # A figure of its own, not of pyplot: no window system, nothing that stays open.
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    # The salt keeps identifiers of several charts in one page apart, and the same in every run.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}), warnings.catch_warnings():
        # The page's own font draws the letters, so it does not matter which are in matplotlib's.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure((width, height), layout="constrained")
        draw(figure)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    drawing = drawing.replace(_LINE, "var(--line)")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # Names of groups repeat from chart to chart and nothing refers to them.
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    # The page decides on width and letters.
    drawing = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", drawing)
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" style="max-width:{width * 100:.0f}px" role="img" '
        rf'aria-label="{title}" xmlns:xlink="http://www.w3.org/1999/xlink">',
        drawing,
        count=1,
    )


def as_file(svg: str) -> str:
    """Returns a chart as an SVG file of its own: dark letters on white, whatever shows it."""
    svg = svg.replace("currentColor", "#222222").replace("var(--line)", "#cccccc")
    opening = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" '
    return svg.replace("<svg ", opening, 1).replace(
        "max-width:", "background:#ffffff;max-width:", 1
    )


def color_of(model: str) -> str:
    """Returns a model's colour as #rrggbb; violet for what is no model."""
    return "#{:02x}{:02x}{:02x}".format(*COLORS.get(model, (150, 110, 190)))


def shortened(name: str, most: int) -> str:
    """Returns a name of at most so many letters, without those that no SVG file may hold."""
    name = _UNDRAWABLE.sub("·", name)
    return name if len(name) <= most else name[: most - 1] + "…"


def _curve(axes, measurements, phases, metric: str, label: str) -> None:
    color = color_of(metric.partition("/")[0])
    for phase, _, _ in phases:
        points = [
            (line["step"], line[metric])
            for line in measurements
            if line["phase"] == phase and metric in line
        ]
        if points:
            steps, values = _thin(np.array(points, float)).T
            style = {"linestyle": "-", "marker": "." if len(points) == 1 else ""}
            axes.plot(steps, values, color=color, linewidth=1.1, label=label, **style)
            label = "_"  # one entry in the legend


def _thin(points: np.ndarray) -> np.ndarray:
    """Averages [N, 2] down to at most ``MOST_POINTS`` rows."""
    if len(points) <= MOST_POINTS:
        return points
    return np.stack([part.mean(0) for part in np.array_split(points, MOST_POINTS)])
