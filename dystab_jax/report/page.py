"""The report of a run: one self-contained page with scores, curves and pictures."""

import base64
import json
import os
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jax
import numpy as np
from ml_collections import ConfigDict

from dystab_jax import masks
from dystab_jax.array_types import Picture
from dystab_jax.data import resize
from dystab_jax.evaluation.options import MODELS
from dystab_jax.evaluation.samples import PICTURE_WIDTH, Sample, spread
from dystab_jax.evaluation.score_run import Evaluation, columns_of
from dystab_jax.report import charts, pictures
from dystab_jax.report.charts import NAMES
from dystab_jax.report.pictures import flow_to_color
from dystab_jax.report.style import STYLE
from dystab_jax.runtime.atomic_files import write_whole

MOST_VIDEOS = 40
"""With pictures and histograms of their own."""
MOST_IN_CHART = 60  # sequences
SHEET_VIDEOS = 6  # in overview.jpg
WORST = 5  # videos marked, at most

MEANINGS = {
    "mean_j": "region similarity J, averaged per sequence, then over sequences",
    "recall_j": "share of frames with J over one half",
    "frame_mean_j": "region similarity J, averaged over all frames",
    "mean_f": "contour accuracy F, averaged per sequence, then over sequences",
    "decay_j": "how much J loses from the first quarter of a sequence to the last",
    "recall_f": "share of frames with F over one half",
    "decay_f": "how much F loses from the first quarter of a sequence to the last",
    "f_beta": "F-measure of saliency, β² = 0.3, soft masks cut at one half",
    "mae": "mean absolute error of the soft masks; smaller is better",
    "f1": "F-measure of the pixels with β² = 1",
    "ochs_f": "F-measure of Ochs et al. over the regions of a sequence",
    "j_and_f": "mean of J and F over the objects, official unsupervised protocol",
    "max_f": "largest F of mean precision and mean recall over all thresholds",
    "max_mean_f": "largest mean F over all thresholds",
    "adaptive_f": "F at twice the mean of each map",
    "curve_mean_f": "mean F over all thresholds",
    "s_measure": "structure measure",
}
SMALLER_IS_BETTER = ("mae", "decay_j", "decay_f")
PROTOCOLS = {
    "davis2016": "DAVIS-2016: all frames but the first and last of a sequence",
    "all_frames": "all frames with truth, all objects together",
    "fbms59": "FBMS-59: labelled frames, all objects together; Ochs F by objects",
    "davis2017": "DAVIS-2017 unsupervised: objects matched with proposals",
    "saliency": "saliency: every image counts the same",
}
GROUPS = {
    "moving": "the object moves",
    "paused": "the object rests for now, after or before it moves: motion says nothing",
    "never": "the object never moves in its video: motion says nothing, appearance must",
    "camouflaged": "the object moves but looks like its background: appearance says little",
    "unseen": "the object moves and is of a family that training has not shown",
}
PANELS = {
    "image": "image",
    "flow": "flow",
    "phi": "φ, motion",
    "chi": "χ, appearance",
    "fused": "fused",
    "truth": "truth",
}


def write_report(workdir: Path, evaluations: Sequence[Evaluation], config: ConfigDict) -> Path:
    """Writes WORKDIR/report/index.html and, for slides and READMEs, overview.jpg beside it.

    Each further data set has a page of its own, DATASET-SPLIT.html and .jpg. A page holds all its
    pictures and no script; it links to the files of the run by relative paths. Training curves
    come from WORKDIR/metrics.jsonl, where that exists.

    Args:
      workdir: of the run.
      evaluations: scores and samples of each data set, at least one.
      config: as it was run.

    Returns:
      The path of index.html.
    """
    folder = workdir / "report"
    measurements = read_metrics(workdir / "metrics.jsonl")
    pages = {evaluation.path.stem: evaluation for evaluation in evaluations}
    files = dict(zip(pages, ("index", *list(pages)[1:]), strict=True))
    for name, evaluation in pages.items():
        samples = sorted(evaluation.samples, key=lambda sample: sample.video)
        picture = folder / ("overview.jpg" if files[name] == "index" else f"{name}.jpg")
        write_whole(picture, pictures.encode(_overview(samples), ".jpg", quality=90))
        report = evaluation.report
        sections = {
            "Scores": _scores(report) + "".join(map(_scores, evaluation.others.values())),
            "What was run": _what_was_run(report, config)
            + _files(folder, workdir, evaluation, picture),
        }
        if len(report["rows"][0]["per_sequence"]) <= MOST_IN_CHART:
            sections["J by sequence"] = _chart(charts.scores_by_sequence(report["rows"]))
        sections["Training"] = _training(measurements)
        sections["Masks"] = _strips(samples, report["rows"])
        if evaluation.confidences:
            sections["How well the masks separate the flow"] = _confidences(
                evaluation.confidences, report
            )
        if evaluation.frame_j:
            sections["Whether masks that separate better are better"] = _confidences_and_j(
                evaluation
            )
        others = {other: f"{file}.html" for other, file in files.items() if other != name}
        write_whole(folder / f"{files[name]}.html", _page(report, sections, others))
    return folder / "index.html"


def _page(report: Mapping[str, Any], sections: Mapping[str, str], others: Mapping[str, str]) -> str:
    title = f"DyStaB-JAX on {report['dataset']}:{report['split']}"
    body = "\n".join(
        f'<section><h2 id="{_anchor(name)}">{name}</h2>\n{content}\n</section>'
        for name, content in sections.items()
    )
    contents = " ".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in sections)
    if others:
        contents += " · " + " ".join(
            f'<a href="{quote(file)}">{escape(name)}</a>' for name, file in others.items()
        )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>"
        f"<h1>{escape(title)}</h1>\n<p>{_subtitle(report)}</p><nav>{contents}</nav></header>\n"
        f"{body}\n</body>\n</html>\n"
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The measurements of a metrics.jsonl; none where it does not exist.

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
    """The pictures of one frame, by the keys of ``PANELS``, at most ``width`` pixels wide."""
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
    devices = jax.device_count()
    return escape(
        f"{_count(report)} · phase {report['phase']}, "
        f"step {report['checkpoint']} · {time.strftime('%Y-%m-%d %H:%M')} · jax {jax.__version__}, "
        f"{devices} {jax.default_backend()} device{'s' if devices > 1 else ''}"
    )


def _count(report: Mapping[str, Any]) -> str:
    if report["protocol"] == "saliency":
        return f"{report['frames']} images"
    return f"{report['sequences']} sequences, {report['frames']} frames"


def _scores(report: Mapping[str, Any]) -> str:
    rows = report["rows"]
    columns = columns_of(report)
    head = "".join(
        f'<th title="{escape(MEANINGS[key])}">{escape(name)}</th>' for name, key in columns.items()
    )
    best = {
        key: (min if key in SMALLER_IS_BETTER else max)(round(row[key], 3) for row in rows)
        for key in columns.values()
    }
    lines = [
        f"<tr><th>{_row_name(row)}</th>"
        + "".join(_cell(row[key], round(row[key], 3) == best[key]) for key in columns.values())
        + "</tr>"
        for row in rows
    ]
    protocol = PROTOCOLS.get(report["protocol"], report["protocol"])
    oracle = (
        "Ground truth chose which region is the object: these are upper bounds."
        if report["oracle"]
        else "Ground truth was used for nothing but the scores (oracle: no)."
    )
    table = f'<table class="scores"><tr><th></th>{head}</tr>{"".join(lines)}</table>'
    meanings = "; ".join(f"{name}: {MEANINGS[key]}" for name, key in columns.items())
    note = f"Protocol {escape(protocol)}. {oracle} {escape(meanings)}."
    return f'<div class="wide">{table}</div><p class="note">{note}</p>{_groups(rows)}'


def _groups(rows: Sequence[Mapping[str, Any]]) -> str:
    """J by group of frames, where the data set has groups."""
    if not all("per_group" in row for row in rows):
        return ""
    lines = []
    for group in rows[0]["per_group"]:
        scores = [row["per_group"][group] for row in rows]
        best = max(round(score["j"], 3) for score in scores)
        cells = "".join(_cell(score["j"], round(score["j"], 3) == best) for score in scores)
        lines.append(
            f"<tr><th>{escape(group)}</th>{cells}<td>{scores[0]['frames']}</td>"
            f'<td class="text">{escape(GROUPS.get(group, ""))}</td></tr>'
        )
    head = "".join(f"<th>{_row_name(row)}</th>" for row in rows)
    return (
        '<h3>J by kind of frame</h3><div class="wide"><table class="scores"><tr><th></th>'
        f'{head}<th>frames</th><th class="text">what it is</th></tr>{"".join(lines)}</table></div>'
    )


def _what_was_run(report: Mapping[str, Any], config: ConfigDict) -> str:
    data, loss, plan = config.data, config.loss, config.bootstrap
    height, width = data.image_size
    networks = {
        f"{NAMES[name]}": f"DeepLab on {config[name].model.backbone}, output stride "
        f"{config[name].model.output_stride}, {config[name].model.norm} norm, "
        + (f"weights from {config[name].pretrained}" if config[name].pretrained else "from scratch")
        for name in ("phi", "chi")
    }
    facts = {
        "training data": f"{data.train} at {width}×{height}, batches of {data.batch_size}, "
        f"seed {config.seed}",
        "scored on": f"{report['dataset']}:{report['split']}, protocol {report['protocol']}",
        "φ, motion": networks["φ"],
        "χ, appearance": networks["χ"],
        "ψ, inpainter": _describe_psi(config.psi.model),
        "optimizers": "; ".join(
            f"{NAMES[name]} {config[name].optimizer.name} {config[name].optimizer.learning_rate:g}"
            for name in ("phi", "psi", "chi")
        ),
        "losses": f"{loss.mask_mode.replace('_', ' ')} masks in L_A, weight of L_TC "
        f"{loss.temporal_weight:g}, margin δ {loss.margin:g}",
        "schedule": f"{plan.warm_up_epochs:g} epochs of warm-up, {plan.dynamic_epochs:g} of φ and "
        f"ψ, then {plan.rounds} rounds of {plan.static_epochs:g} of χ and {plan.joint_epochs:g} of "
        "φ and ψ",
        "after the loop": _refinement(config),
        "CRF": ", ".join(sorted({row["crf"] for row in report["rows"]})),
        "fusion": f"{report['rules']['fusion']}"
        + (", χ alone where its L_A is greater" if _trusts(report) else "")
        + "; the border rule says which region "
        f"is the object, {'once per video' if config.eval.vote else 'in every frame'}",
    }
    lines = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    whole = escape(json.dumps(config.to_dict(), indent=1, default=str))
    return (
        f"<dl>{lines}</dl><details><summary>the whole config</summary><pre>{whole}</pre></details>"
    )


def _describe_psi(model: ConfigDict) -> str:
    fit = "" if model.parametric == "none" else f"{model.parametric} fit of the context"
    widths = ", ".join(map(str, model.widths))
    network = f"a network of widths {widths}" if widths else ""
    return ", then ".join(part for part in (fit, network) if part)


def _refinement(config: ConfigDict) -> str:
    if config.self_training.data:
        own = config.self_training
        return f"{own.epochs:g} epochs of self-training on {own.data}, refined by {own.crf}"
    if config.supervised.data:
        return f"fine-tuning with the labels of {config.supervised.data}: not unsupervised"
    return "nothing"


def _trusts(report: Mapping[str, Any]) -> bool:
    return (rules := report["rules"])["fusion"] in masks.COMBINING and rules["trust"] == "loss_a"


def _files(folder: Path, workdir: Path, evaluation: Evaluation, picture: Path) -> str:
    candidates = {
        "scores (json)": evaluation.path,
        "masks (png)": workdir / "masks" / evaluation.path.stem,
        "config": workdir / "config.json",
        "measurements": workdir / "metrics.jsonl",
        "picture of some masks": picture,
    }
    links = (
        f'<a href="{quote(os.path.relpath(path, folder))}">{name}</a>'
        for name, path in candidates.items()
        if path.exists()
    )
    return f'<p class="files">{" ".join(links)}</p>'


def _training(measurements: Sequence[Mapping[str, Any]]) -> str:
    if not measurements:
        return '<p class="note">This workdir has no metrics.jsonl with measurements.</p>'
    note = (
        "Measured on training batches. Bands are the phases of Algorithm 1: ψ warms up on random "
        "regions; φ and ψ play (dynamic); then, in each round, χ learns φ's masks (static) and φ "
        "and ψ play with χ's advice (joint)."
    )
    return f'<p class="note">{note}</p>{_chart(charts.training_curves(measurements))}'


def _strips(samples: Sequence[Sample], rows: Sequence[Mapping[str, Any]]) -> str:
    scores = {row["model"]: row["per_sequence"] for row in rows}
    pictured = {sample.video for sample in samples}
    judged = list(scores.values())[-1]
    ranking = sorted(judged.keys() & pictured, key=lambda video: (judged[video]["j"], video))
    worst = set(ranking[: min(WORST, len(ranking) // 4)])
    # The worst ones are worth a look wherever their names stand.
    others = [sample.video for sample in samples if sample.video not in worst]
    chosen = worst | set(others[: MOST_VIDEOS - len(worst)])
    last = _row_name(rows[-1])
    what = (
        "The middle frame of each video with the masks of each model; J is that of the whole "
        "sequence, L_A that of the frame"
        if samples[0].flow is not None
        else "Images with the masks of χ; J is that of the image"
    )
    note = f"{what}. Marked: the {len(worst)} lowest J of {last}."
    total = len(judged)
    if len(chosen) < total:
        note += f" {len(chosen)} of {total} are shown."
    strips = (
        _strip(sample, {model: scores[model][sample.video]["j"] for model in scores}, worst)
        for sample in samples
        if sample.video in chosen
    )
    return f'<p class="note">{note}</p>{"".join(strips)}'


def _strip(sample: Sample, scores: Mapping[str, float], worst: set[str]) -> str:
    mark = ' <span class="worst">low</span>' if sample.video in worst else ""
    numbers = " ".join(f"{_model(model)} <b>{score:.3f}</b>" for model, score in scores.items())
    shown = "".join(
        f'<div><img src="{_data_uri(picture)}" width="{picture.shape[1]}" '
        f'height="{picture.shape[0]}" alt="{name} of {escape(sample.video)}">'
        f"<span>{escape(sample.title(name).replace(name, PANELS[name], 1))}</span></div>"
        for name, picture in panels(sample).items()
    )
    frame = ""
    if sample.flow is not None:
        numbers += f" · L_A φ {sample.confidence_phi:.2f}, χ {sample.confidence_chi:.2f}"
        frame = f" frame {escape(sample.frame)}"
    return (
        f"<figure><figcaption><b>{escape(sample.video)}</b>{frame}{mark}"
        f'<span class="right">J {numbers}</span></figcaption><div class="strip">{shown}</div>'
        "</figure>"
    )


def _confidences(
    confidences: Mapping[str, Mapping[str, np.ndarray]], report: Mapping[str, Any]
) -> str:
    frames = {
        model: np.concatenate([video[model] for video in confidences.values()])
        for model in ("phi", "chi")
    }
    names = sorted(confidences)[:MOST_VIDEOS]
    note = (
        "L_A (Eq. 3) of the masks of φ and χ, one histogram per video, lines at the means: the "
        "greater, the worse the flow inside a mask follows from the flow outside and the other "
        f"way round. Over all frames: φ {frames['phi'].mean():.2f}, χ {frames['chi'].mean():.2f}."
    )
    share = np.mean(frames["chi"] > frames["phi"])
    note += f" In {share:.0%} of the frames χ's mask separates better"
    if report["rules"]["fusion"] == "weighted":
        note += " and weighs more in the fusion"
    elif _trusts(report):
        note += ", and fusion takes it alone"
    note += "."
    if len(names) < len(confidences):
        note += f" {len(names)} of {len(confidences)} videos are shown."
    chart = charts.confidence_histograms({name: confidences[name] for name in names})
    return f'<p class="note">{note}</p>{_chart(chart)}'


def _confidences_and_j(evaluation: Evaluation) -> str:
    found = evaluation.report["confidence_rank_correlation"]
    told = ", ".join(
        f"{charts.NAMES[model]} {'not defined' if value is None else format(value, '.2f')}"
        for model, value in found.items()
    )
    note = (
        "J of the frames over L_A, by which Eq. (7) weighs pseudo-labels and fusion φ and χ; "
        f"lines are means of ten equal parts. Spearman's rank correlation: {told}."
    )
    chart = charts.confidence_against_j(evaluation.confidences, evaluation.frame_j)
    return f'<p class="note">{note}</p>{_chart(chart)}'


def _overview(samples: Sequence[Sample]) -> Picture:
    """A sheet of some videos, evenly chosen; the first panel bears the video's name."""
    rows = []
    for sample in spread(samples, SHEET_VIDEOS):
        ascii_name = sample.video.encode("ascii", "replace").decode()
        captions = {"image": ascii_name}
        rows.append([(captions.get(key, key), one) for key, one in panels(sample).items()])
    return pictures.sheet(rows)


def _chart(svg: str) -> str:
    """On a narrow screen a chart is scrolled sideways rather than unreadably small."""
    return f'<div class="wide">{svg}</div>'


def _cell(value: float, best: bool) -> str:
    return f"<td><b>{value:.3f}</b></td>" if best else f"<td>{value:.3f}</td>"


def _model(name: str) -> str:
    return f'<span class="model {escape(name)}">{escape(NAMES.get(name, name))}</span>'


def _row_name(row: Mapping[str, Any]) -> str:
    crf = "" if row["crf"] == "none" else f" + {escape(row['crf'])}"
    return _model(row["model"]) + crf


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _data_uri(picture: Picture) -> str:
    data = base64.b64encode(pictures.encode(picture, ".jpg", quality=78)).decode()
    return f"data:image/jpeg;base64,{data}"
