"""Shows what a run gains from the videos that are added to it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dystab_jax.evaluation.score_run import columns_of
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.report import charts
from dystab_jax.runtime.atomic_files import write_whole


def reports(workdir: Path, current: Mapping[str, Any], stem: str) -> list[Mapping[str, Any]]:
    """Collects the scores of a run on one data set, one for each number of videos that it had.

    Args:
      workdir: of the run.
      current: content of its eval/STEM.json.
      stem: name of the data set in files.

    Returns:
      Contents of eval/STEM.json and eval/PHASE/STEM.json, by the number of videos; those that are
      scored by other rules or of an incomplete phase are left out, and the last phase of each
      number counts. Empty where there are not two of them.
    """
    found: dict[int, Mapping[str, Any]] = {}
    others = [json.loads(path.read_text()) for path in (workdir / "eval").glob(f"*/{stem}.json")]
    for one in (*others, current):
        videos = one.get("run", {}).get("all_videos")
        alike = (one.get("rules"), one.get("protocol")) == (current["rules"], current["protocol"])
        if videos is None or not one.get("complete") or not alike:
            continue
        if videos not in found or one["checkpoint"] > found[videos]["checkpoint"]:
            found[videos] = one
    return [found[videos] for videos in sorted(found)] if len(found) > 1 else []


def label_confidences(
    workdir: Path, videos_by_phase: Mapping[str, int]
) -> dict[int, dict[str, float]]:
    """Reads how well masks separated the flow of the training videos, for which no truth is needed.

    Args:
      workdir: of the run.
      videos_by_phase: how many videos there were in each phase, in order.

    Returns:
      Mean L_A of φ's masks and of χ′'s over all training frames when χ learned from them for the
      last time, by the number of videos; χ′ has none before it has learned.
    """
    found = {}
    for phase, videos in videos_by_phase.items():
        path = workdir / "pseudo_labels" / f"{phase}.npz"
        if videos and phase.endswith("-static") and path.exists():
            labels = PseudoLabels.load(path)
            found[videos] = {
                model: float(np.mean(labels.confidences[f"confidence_{model}"]))
                for model in ("phi", "chi")
                if model == "phi" or phase != "1-static"
            }
    return found


def write_label_confidences(workdir: Path, videos_by_phase: Mapping[str, int]) -> Path | None:
    """Draws `label_confidences` as WORKDIR/report/growth.svg; None where no videos were added."""
    found = label_confidences(workdir, videos_by_phase)
    if len(found) < 2:
        return None
    curves = {
        model: [found[videos].get(model, float("nan")) for videos in found]
        for model in ("phi", "chi")
    }
    svg = _draw(list(found), {"mean L_A of a training frame": curves})
    path = workdir / "report" / "growth.svg"
    write_whole(path, charts.as_file(svg))
    return path


def chart(grown: Sequence[Mapping[str, Any]]) -> str:
    """Draws scores of all models and mean L_A of φ and χ over the number of videos.

    Args:
      grown: see `reports`.
    """
    videos = [one["run"]["all_videos"] for one in grown]
    (title, key), *_ = columns_of(grown[0]).items()
    lines: dict[str, dict[str, list[float]]] = {title: {}}
    for row in grown[0]["rows"]:
        if row["crf"] == "none":
            lines[title][row["model"]] = [_value(one, row, key) for one in grown]
    if all("mean_confidence" in one for one in grown):
        lines["mean L_A of a frame"] = {
            model: [one["mean_confidence"][model] for one in grown] for model in ("phi", "chi")
        }

    return _draw(videos, lines)


def _draw(videos: Sequence[int], lines: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draws a panel for each title of ``lines``, with a curve for each model."""

    def draw(figure):
        panels = figure.subplots(1, len(lines), sharex=True, squeeze=False)[0]
        for axes, (name, curves) in zip(panels, lines.items(), strict=True):
            for model, values in curves.items():
                axes.plot(
                    videos,
                    values,
                    charts.MARKERS.get(model, "^") + "-",
                    color=charts.color_of(model),
                    linewidth=1.1,
                    markersize=4.5,
                    label=charts.NAMES.get(model, model),
                )
            axes.set(title=name, xticks=videos, xlabel="videos")
            axes.grid(axis="y")
        panels[0].legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1)

    return charts.as_svg(draw, 3.8 * len(lines), 3.0, "scores over the number of videos")


def _value(report: Mapping[str, Any], like: Mapping[str, Any], key: str) -> float:
    """Returns a score of the row of the same model; NaN where there is none."""
    for row in report["rows"]:
        if (row["model"], row["crf"]) == (like["model"], like["crf"]):
            return row[key]
    return float("nan")
