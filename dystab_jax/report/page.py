"""Writes the report of a run: self-contained pages with scores, curves and pictures."""

import base64
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np
from ml_collections import ConfigDict

from dystab_jax.array_types import Picture
from dystab_jax.data import resize
from dystab_jax.evaluation.options import MODELS
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.samples import PICTURE_WIDTH, Sample, spread
from dystab_jax.evaluation.score_run import Evaluation, columns_of
from dystab_jax.report import charts, growth, pictures, run_description, video_pages
from dystab_jax.report.charts import NAMES
from dystab_jax.report.pictures import PANELS, flow_to_color
from dystab_jax.report.templates import render
from dystab_jax.runtime.atomic_files import write_whole

MOST_VIDEOS = 40
"""With pictures and histograms of their own."""
MOST_IN_CHART = 60  # sequences
SHEET_VIDEOS = 6  # in overview.jpg
WORST = 5  # videos marked, at most

GROUPS = {
    "moving": "the object moves",
    "paused": "the object rests for now, after or before it moves: motion says nothing",
    "never": "the object never moves in its video: motion says nothing, appearance must",
    "camouflaged": "the object moves but looks like its background: appearance says little",
    "unseen": "the object moves and is of a family that training has not shown",
}


@dataclass(frozen=True)
class _Group:
    """Holds J of every row over the frames of one group."""

    name: str
    meaning: str
    frames: int
    j: list[float]

    def is_best(self, j: float) -> bool:
        """Returns whether no row has a higher J, as it is printed."""
        return round(j, 3) == max(round(value, 3) for value in self.j)


@dataclass(frozen=True)
class _Scores:
    """Holds the scores of a report as the page shows them."""

    protocol: registry.Protocol
    oracle: bool
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "_Scores":
        """Takes what the page shows from the content of an eval/*.json file."""
        protocol = registry.protocol(report["protocol"])
        return cls(protocol, report["oracle"], columns_of(report), report["rows"])

    def is_best(self, row: Mapping[str, Any], key: str) -> bool:
        """Returns whether no row has a better score, as it is printed."""
        best = min if key in self.protocol.smaller_is_better else max
        return round(row[key], 3) == best(round(other[key], 3) for other in self.rows)

    @property
    def groups(self) -> list[_Group]:
        """Returns J by group of frames; none where the data set has no groups."""
        if not all("per_group" in row for row in self.rows):
            return []
        return [
            _Group(
                name,
                GROUPS.get(name, ""),
                scores["frames"],
                [row["per_group"][name]["j"] for row in self.rows],
            )
            for name, scores in self.rows[0]["per_group"].items()
        ]


@dataclass(frozen=True)
class _Panel:
    """Holds one picture of a strip; ``uri`` is a data URI."""

    name: str
    title: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _Strip:
    """Holds the pictures of one frame with its numbers.

    ``confidence`` is L_A of φ and χ; ``link`` leads to the page that plays the video.
    """

    video: str
    frame: str
    is_low: bool
    j: Mapping[str, float]
    confidence: tuple[float, float] | None
    panels: Sequence[_Panel]
    link: str | None = None


def write_report(workdir: Path, evaluations: Sequence[Evaluation], config: ConfigDict) -> Path:
    """Writes WORKDIR/report/index.html and, for slides and READMEs, overview.jpg beside it.

    Each further data set has a page of its own, DATASET-SPLIT.html and .jpg. A page holds all its
    pictures and no script; it links to the files of the run by relative paths, among them those
    of `video_pages`. Training curves come from WORKDIR/metrics.jsonl, where that exists.

    Args:
      workdir: of the run.
      evaluations: scores and samples of each data set, at least one.
      config: as it was run.

    Returns:
      The path of index.html.
    """
    folder = workdir / "report"
    measurements = read_metrics(workdir / "metrics.jsonl")
    training = charts.training_curves(measurements) if measurements else ""
    pages = {evaluation.path.stem: evaluation for evaluation in evaluations}
    files = dict(zip(pages, ("index", *list(pages)[1:]), strict=True))
    for name, evaluation in pages.items():
        samples = sorted(evaluation.samples, key=lambda sample: sample.video)
        played = video_pages.links(workdir, name, [sample.video for sample in samples])
        picture = folder / ("overview.jpg" if files[name] == "index" else f"{name}.jpg")
        write_whole(picture, pictures.encode(_overview(samples), ".jpg", quality=90))
        report = evaluation.report
        sections = {
            "scores": [_Scores.of(one) for one in (report, *evaluation.others.values())],
            "run": {
                "facts": run_description.facts(report, config),
                "config": json.dumps(config.to_dict(), indent=1, default=str),
                "files": _files(folder, workdir, evaluation, picture),
            },
            "training": training,
            "masks": _masks(samples, report["rows"], played),
        }
        if grown := growth.reports(workdir, report, name):
            sections["growth"] = growth.chart(grown)
        if len(report["rows"][0]["per_sequence"]) <= MOST_IN_CHART:
            sections["by_sequence"] = charts.scores_by_sequence(report["rows"])
        if evaluation.confidences:
            sections["confidence"] = _confidence(evaluation.confidences)
        if evaluation.frame_j:
            sections["quality"] = {
                "svg": charts.confidence_against_j(evaluation.confidences, evaluation.frame_j),
                "correlation": report["confidence_rank_correlation"],
            }
        others = {other: quote(f"{file}.html") for other, file in files.items() if other != name}
        write_whole(folder / f"{files[name]}.html", _render(report, sections, others))
    videos = {name: {one.video for one in pages[name].samples} for name in pages}
    video_pages.remove_others(workdir, videos)
    return folder / "index.html"


def _render(
    report: Mapping[str, Any], sections: Mapping[str, Any], others: Mapping[str, str]
) -> str:
    """Fills the template of a page.

    Args:
      report: content of eval/DATASET-SPLIT.json.
      sections: content of each section of the template that the page has.
      others: links to the other pages, by what they say.

    Returns:
      HTML.
    """
    return render(
        "page.html.j2",
        title=f"DyStaB-JAX on {report['dataset']}:{report['split']}",
        subtitle=_subtitle(report),
        sections=sections,
        others=others,
        fusion=report["rules"]["fusion"],
        trusts_loss_a=run_description.trusts_loss_a(report),
        model_names=NAMES,
        colors=pictures.COLORS,
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the measurements of a metrics.jsonl; none where it does not exist.

    A line that is not whole, such as the last one of a run that was killed, is left out.
    """
    measurements = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and {"step", "phase"} <= values.keys():
            measurements.append(values)
    return measurements


def panels(sample: Sample, width: int = PICTURE_WIDTH) -> dict[str, Picture]:
    """Draws the pictures of one frame, by the keys of ``PANELS``, at most ``width`` pixels wide."""
    image = resize.fit_width(sample.image, width)
    size = image.shape[:2]
    shown = {"image": image}
    if sample.flow is not None:
        shown["flow"] = pictures.fit_flow_picture(flow_to_color(sample.flow), size)
    for name in (*MODELS, "truth"):
        if name in sample.masks:
            mask = resize.fit_mask(sample.masks[name], size)
            shown[name] = pictures.overlay(image, mask, pictures.COLORS[name], outline=2, fade=0.6)
    return shown


def _subtitle(report: Mapping[str, Any]) -> str:
    count = f"{report['sequences']} sequences, {report['frames']} frames"
    if report["protocol"] == "saliency":
        count = f"{report['frames']} images"
    devices = jax.device_count()
    return (
        f"{count} · phase {report['phase']}, "
        f"step {report['checkpoint']} · {time.strftime('%Y-%m-%d %H:%M')} · jax {jax.__version__}, "
        f"{devices} {jax.default_backend()} device{'s' if devices > 1 else ''}"
    )


def _files(folder: Path, workdir: Path, evaluation: Evaluation, picture: Path) -> dict[str, str]:
    """Links to the files of the run that exist, relative to the page, by what they say."""
    candidates = {
        "scores (json)": evaluation.path,
        "masks (png)": workdir / "masks" / evaluation.path.stem,
        "config": workdir / "config.json",
        "measurements": workdir / "metrics.jsonl",
        "picture of some masks": picture,
    }
    return {
        name: quote(os.path.relpath(path, folder))
        for name, path in candidates.items()
        if path.exists()
    }


def _masks(
    samples: Sequence[Sample], rows: Sequence[Mapping[str, Any]], played: Mapping[str, str]
) -> dict[str, Any]:
    """Chooses the videos that are shown, the worst ones among them, and draws them.

    Args:
      samples: of videos or images.
      rows: of scores.
      played: links to the pages that play them, by video.
    """
    scores = {row["model"]: row["per_sequence"] for row in rows}
    pictured = {sample.video for sample in samples}
    judged = list(scores.values())[-1]
    ranking = sorted(judged.keys() & pictured, key=lambda video: (judged[video]["j"], video))
    worst = set(ranking[: min(WORST, len(ranking) // 4)])
    # The worst ones are worth a look wherever their names stand.
    others = [sample.video for sample in samples if sample.video not in worst]
    chosen = worst | set(others[: MOST_VIDEOS - len(worst)])
    strips = [
        _strip(
            sample,
            {model: scores[model][sample.video]["j"] for model in scores},
            sample.video in worst,
            played.get(sample.video),
        )
        for sample in samples
        if sample.video in chosen
    ]
    return {
        "of_videos": samples[0].flow is not None,
        "low": len(worst),
        "judge": rows[-1],
        "total": len(judged),
        "strips": strips,
        "further": {video: link for video, link in played.items() if video not in chosen},
    }


def _strip(sample: Sample, j: Mapping[str, float], is_low: bool, link: str | None) -> _Strip:
    shown = [
        _Panel(
            name,
            sample.title(name).replace(name, PANELS[name], 1),
            _data_uri(picture),
            width=picture.shape[1],
            height=picture.shape[0],
        )
        for name, picture in panels(sample).items()
    ]
    if sample.flow is None:
        return _Strip(sample.video, "", is_low, j, None, shown)
    confidence = sample.confidence_phi, sample.confidence_chi
    return _Strip(sample.video, sample.frame, is_low, j, confidence, shown, link)


def _confidence(confidences: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    phi, chi = (
        np.concatenate([video[model] for video in confidences.values()]) for model in ("phi", "chi")
    )
    names = sorted(confidences)[:MOST_VIDEOS]
    return {
        "phi": phi.mean(),
        "chi": chi.mean(),
        "chi_share": f"{np.mean(chi > phi):.0%}",
        "shown": len(names),
        "total": len(confidences),
        "svg": charts.confidence_histograms({name: confidences[name] for name in names}),
    }


def _overview(samples: Sequence[Sample]) -> Picture:
    """Draws a sheet of some videos, evenly chosen; the first panel bears the video's name."""
    rows = []
    for sample in spread(samples, SHEET_VIDEOS):
        ascii_name = sample.video.encode("ascii", "replace").decode()
        captions = {"image": ascii_name}
        rows.append([(captions.get(key, key), one) for key, one in panels(sample).items()])
    return pictures.sheet(rows)


def _data_uri(picture: Picture) -> str:
    data = base64.b64encode(pictures.encode(picture, ".jpg", quality=78)).decode()
    return f"data:image/jpeg;base64,{data}"
