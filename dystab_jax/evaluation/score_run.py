"""Scores a trained run on a prepared data set with truth, and writes the masks it is scored by."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ml_collections import ConfigDict
from scipy import stats
from tqdm import tqdm

from dystab_jax.build import Run
from dystab_jax.data import pipeline, records
from dystab_jax.evaluation import mask_layouts, run_facts, soft_maps
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.base import Video, as_array, scored_frames
from dystab_jax.evaluation.samples import Row, Sample
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.evaluation.soft_maps import Predicted
from dystab_jax.runtime import mirror, processes
from dystab_jax.runtime.atomic_files import write_whole

T = TypeVar("T")

Show = Callable[[Predicted, Mapping[Row, np.ndarray]], None]
"""Takes a video, and of each row whose J is measured that of its frames [T], NaN: not scored."""

PICTURED = 120  # videos or images of a data set, at most


@dataclass(frozen=True)
class Evaluation:
    """Holds what ``score`` found.

    Attributes:
      report: the content of eval/<dataset>-<split>.json.
      path: of that file.
      others: reports by further protocols, by their paths.
      samples: the middle frame of each video, or each image.
      strips: some frames of some videos.
      confidences: {video: {"phi": [T], "chi": [T]}}, L_A of every frame; empty for images.
      frame_j: likewise J before any CRF, NaN where the protocol does not score the frame; empty
        where it does not measure J.
    """

    report: dict
    path: Path
    others: dict[Path, dict]
    samples: list[Sample]
    strips: dict[str, list[Sample]]
    confidences: dict[str, dict[str, np.ndarray]]
    frame_j: dict[str, dict[str, np.ndarray]]


def score(run: Run, snapshot: Snapshot, spec: str, show: Show | None = None) -> Evaluation:
    """Scores φ, χ and their fusion, or χ on still images; writes masks and json.

    Args:
      run: gives networks and config.
      snapshot: the networks' variables.
      spec: a prepared data set with truth, such as "davis2016:val".
      show: is handed each video that has pictures, no still image; of several processes, each has
        videos of its own.

    Raises:
      FileNotFoundError: the data set is not prepared.
    """
    options = run.config.eval
    source = records.open_source(run.config.data.dir, spec)
    frames = pipeline.frames_of(source)
    judge = _Judge(eval_options.protocols_of(spec, options.protocol), options.jobs)
    name = file_name(spec)
    write = None
    if options.save_masks and snapshot.last:
        write = partial(_write_maps, run.workdir / "masks" / name, spec.partition(":")[0])
    if source.has_flow:
        crf_models = eval_options.data_sets(options.crf_models)
        made = soft_maps.of_videos(run, snapshot, source, frames, crf_models, PICTURED)
    else:
        made = soft_maps.of_images(run, snapshot, source, frames, PICTURED)
    found = _collect(made, judge, _names(frames), write, show)

    dataset, split = spec.rsplit(":", 1)
    facts = {
        "phase": snapshot.phase,
        "complete": snapshot.complete,
        "checkpoint": snapshot.step,
        "rules": _rules(run.config),
        "run": run_facts.facts(run.config, snapshot.phase, snapshot.stages)
        | ({} if snapshot.stages else run_facts.counted(run.config.data)),
    }
    reports = {
        protocol: registry.report(dataset, split, rows, oracle=options.oracle) | facts
        for protocol, rows in judge.results().items()
    }
    place = _place(run, snapshot)
    main, *others = reports
    if found.frame_j:
        reports[main]["confidence_rank_correlation"] = {
            model: rank_correlation(found.confidences, found.frame_j, model)
            for model in ("phi", "chi")
        }
    if found.confidences:
        reports[main]["mean_confidence"] = {
            model: float(np.mean(np.concatenate([v[model] for v in found.confidences.values()])))
            for model in ("phi", "chi")
        }
    paths = {protocol: place / f"{name}-{protocol}.json" for protocol in others}
    paths[main] = place / f"{name}.json"
    for protocol, path in paths.items():
        write_whole(path, json.dumps(reports[protocol], indent=1) + "\n")
    mirror.meet(run.workdir, "scores are written")
    further = {paths[protocol]: reports[protocol] for protocol in others}
    return Evaluation(
        reports[main],
        paths[main],
        further,
        found.samples,
        found.strips,
        found.confidences,
        found.frame_j,
    )


def rank_correlation(
    confidences: Mapping[str, Mapping[str, np.ndarray]],
    frame_j: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
) -> float | None:
    """Computes Spearman's correlation of L_A and J over all scored frames.

    It is positive where better masks have a higher L_A.

    Args:
      confidences, frame_j: see ``Evaluation``.
      model: "phi" or "chi".

    Returns:
      In [-1, 1]; None where one of the two does not vary.
    """
    l_a, j = scored_frames(confidences, frame_j, model)
    if len(j) < 2 or np.ptp(l_a) == 0 or np.ptp(j) == 0:
        return None
    return float(stats.spearmanr(l_a, j).statistic)


def is_scored(run: Run, snapshot: Snapshot, spec: str) -> bool:
    """Returns whether ``score`` has scored this already, by the same rules."""
    path = _place(run, snapshot) / f"{file_name(spec)}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return (known.get("checkpoint"), known.get("rules")) == (snapshot.step, _rules(run.config))


def keep_scores(run: Run, phases: Collection[str]) -> None:
    """Copies what a run scored after these phases to their folders, before it is scored again."""
    for path in (run.workdir / "eval").glob("*.json") if processes.is_first() else ():
        known = json.loads(path.read_text())
        if known.get("complete") and known["phase"] in phases:
            write_whole(path.parent / known["phase"] / path.name, path.read_text())
    mirror.meet(run.workdir, "earlier scores are kept")


def _place(run: Run, snapshot: Snapshot) -> Path:
    return run.workdir / "eval" / ("" if snapshot.last else snapshot.phase)


def _rules(config: ConfigDict) -> dict[str, Any]:
    """Returns the options of section ``eval`` that can change a score, as plain json."""
    free = ("data", "phases", "batch_size", "save_masks", "jobs")
    return {k: v for k, v in run_facts.as_json(config.eval).items() if k not in free}


def file_name(spec: str) -> str:
    """Returns a data set's name in files: "folder/mine:val" becomes folder-mine-val."""
    return spec.replace("/", "-").replace(":", "-")


def mean_j(run: Run, snapshot: Snapshot, spec: str) -> float:
    """Computes J of the fused masks over all frames of a data set, in [0, 1]; writes nothing."""
    source = records.open_source(run.config.data.dir, spec)
    frames = pipeline.frames_of(source)
    judge = _Judge(("all_frames",), run.config.eval.jobs)
    made = soft_maps.of_videos(run, snapshot, source, frames, crf_models=(), pictured=0)
    _collect(made, judge, _names(frames))
    return judge.results()["all_frames"]["fused", "none"]["mean_j"]


def _names(frames: Sequence[pipeline.TrainingFrame]) -> list[str]:
    return list(dict.fromkeys(frame.video for frame in frames))


class _Judge:
    """Scores videos one by one, so that no data set has to fit into memory."""

    def __init__(self, names: Sequence[str], jobs: int):
        self._protocols = [registry.protocol(name) for name in names]
        self._jobs = jobs
        self._scores: dict[str, dict[Row, dict[str, Any]]] = {name: {} for name in names}

    def score(self, row: Row, name: str, video: Video) -> np.ndarray | None:
        """Scores one video; returns ``Protocol.frame_j`` by the first protocol."""
        frame_j = None
        for protocol in self._protocols:
            if not protocol.frames(video):
                tqdm.write(
                    f"{name}: protocol {protocol.name} scores none of its {len(video)} frames"
                )
                continue
            scores = self._scores[protocol.name].setdefault(row, {})
            scores[name] = protocol.score(name, video, self._jobs)
            if protocol is self._protocols[0]:
                frame_j = protocol.frame_j(video, scores[name])
        return frame_j

    def gather(self, order: Sequence[str]) -> None:
        """Adds what the other processes have scored, the videos in this order."""
        gathered = processes.gather(self._scores)
        for protocol, rows in self._scores.items():
            for row in {row: None for part in gathered for row in part[protocol]}:
                whole = {k: v for part in gathered for k, v in part[protocol].get(row, {}).items()}
                rows[row] = {name: whole[name] for name in order if name in whole}

    def results(self) -> dict[str, dict[Row, dict]]:
        """Returns the result of each row, by protocol."""
        return {
            protocol.name: {
                row: protocol.summarise(scores)
                for row, scores in self._scores[protocol.name].items()
            }
            for protocol in self._protocols
        }


@dataclass
class _Collected:
    """Holds what `Evaluation` holds beside the reports."""

    samples: list[Sample] = field(default_factory=list)
    strips: dict[str, list[Sample]] = field(default_factory=dict)
    confidences: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    frame_j: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def _collect(
    predictions: Iterable[Predicted],
    judge: _Judge,
    order: Sequence[str],
    write: Callable[[Row, str, Video], None] | None = None,
    show: Show | None = None,
) -> _Collected:
    """Scores predictions one by one and keeps what is shown of them.

    Args:
      predictions: those of this process.
      judge: scores them; in the end it knows the scores of all processes.
      order: names of the videos or images of all processes.
      write: is given the maps of each row and video.
      show: see ``score``.
    """
    own = _Collected()
    for one in predictions:
        measured: dict[Row, np.ndarray] = {}
        for row, video in one.rows.items():
            frame_j = judge.score(row, one.name, video)
            if write is not None:
                write(row, one.name, video)
            if frame_j is not None:
                measured[row] = frame_j
        if one.confidences is not None and measured:
            own.frame_j[one.name] = {
                model: j for (model, refinement), j in measured.items() if refinement == "none"
            }
        if one.confidences is not None:
            own.confidences[one.name] = one.confidences
            if one.pictures:
                own.strips[one.name] = one.pictures
        if one.pictures:
            own.samples.append(one.pictures[len(one.pictures) // 2])
            if show is not None and one.origin is not None:
                show(one, measured)
    judge.gather(order)
    parts = processes.gather(own)
    place = {name: number for number, name in enumerate(order)}
    samples = [sample for part in parts for sample in part.samples]
    return _Collected(
        sorted(samples, key=lambda sample: place[sample.video]),
        _merged([part.strips for part in parts], order),
        _merged([part.confidences for part in parts], order),
        _merged([part.frame_j for part in parts], order),
    )


def _merged(tables: Sequence[Mapping[str, T]], order: Sequence[str]) -> dict[str, T]:
    return {name: table[name] for name in order for table in tables if name in table}


def _write_maps(folder: Path, dataset: str, row: Row, name: str, video: Video) -> None:
    """Writes the maps of one video in the layout of the data set's submissions."""
    folder = folder / "-".join(part for part in row if part != "none")
    for frame, soft in zip(video.frame_names, video.maps, strict=True):
        mask_layouts.write(folder, dataset, name, frame, as_array(soft))


def columns_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Returns titles and keys of the scores of a report, in order."""
    chosen = dict(registry.protocol(report["protocol"]).columns)
    if "frame_mean_j" in report["rows"][0]:
        chosen["J frames"] = "frame_mean_j"
    return chosen


def table(report: dict) -> str:
    """Returns the report as text: one line per model, and J by group where there are groups."""
    rows = report["rows"]
    shown = columns_of(report)
    lines = [
        f"{report['dataset']}:{report['split']}, protocol {report['protocol']}, "
        f"{report['sequences']} sequences, {report['frames']} frames, phase {report['phase']}, "
        f"step {report['checkpoint']}, oracle {'yes' if report['oracle'] else 'no'}",
        f"{'model':8}{'CRF':10}" + "".join(f"{name:>12}" for name in shown),
    ]
    for row in rows:
        scores = "".join(f"{row[key]:12.3f}" for key in shown.values())
        lines.append(f"{row['model']:8}{row['crf']:10}{scores}")
    if any("per_group" in row for row in rows):
        groups = sorted(rows[0]["per_group"])
        lines.append("J by group" + " " * 8 + "".join(f"{group:>13}" for group in groups))
        for row in rows:
            scores = (row["per_group"][group]["j"] for group in groups)
            name = f"{row['model']:8}{row['crf']:10}"
            lines.append(name + "".join(f"{score:13.3f}" for score in scores))
    return "\n".join(lines)
