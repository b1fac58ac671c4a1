"""Scores of a trained run on a prepared data set with truth, and the masks it was scored by."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats
from tqdm import tqdm

from dystab_jax import masks
from dystab_jax.build import Run
from dystab_jax.data import pipeline, records, resize
from dystab_jax.evaluation import mask_layouts, run_facts
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.base import scored_frames
from dystab_jax.evaluation.samples import (
    Reader,
    Row,
    Sample,
    make_sample,
    make_video_sample,
    spread,
)
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.inference import VideoPrediction, chunks, fuse, own_videos
from dystab_jax.refinement import crf
from dystab_jax.runtime import processes
from dystab_jax.runtime.atomic_files import write_whole

PICTURED = 120  # videos or images of a data set, at most
STRIP_FRAMES = 5  # of a video in its strip


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found.

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


def evaluate(run: Run, snapshot: Snapshot, spec: str) -> Evaluation:
    """Scores φ, χ and their fusion, or χ on still images; writes masks and json.

    Args:
      run: gives networks and config.
      snapshot: the networks' variables.
      spec: a prepared data set with truth, such as "davis2016:val".

    Raises:
      FileNotFoundError: the data set is not prepared.
    """
    options = run.config.eval
    source = records.open_source(run.config.data.dir, spec)
    frames = pipeline.frames_of(source)
    judge = _Judge(eval_options.protocols_of(spec, options.protocol), options.jobs)
    name = file_name(spec)
    folder = run.workdir / "masks" / name if options.save_masks and snapshot.last else None
    out = _Output(judge, folder, spec.partition(":")[0])
    walk = _score_videos if source.has_flow else _score_images
    walk(run, snapshot, source, frames, out)

    dataset, split = spec.rsplit(":", 1)
    facts = {
        "phase": snapshot.phase,
        "complete": snapshot.complete,
        "checkpoint": snapshot.step,
        "rules": _rules(run.config),
        "run": run_facts.facts(run.config, snapshot.phase),
    }
    reports = {
        protocol: registry.report(dataset, split, rows, oracle=options.oracle) | facts
        for protocol, rows in judge.results().items()
    }
    place = _place(run, snapshot)
    main, *others = reports
    if out.frame_j:
        reports[main]["confidence_rank_correlation"] = {
            model: rank_correlation(out.confidences, out.frame_j, model) for model in ("phi", "chi")
        }
    paths = {protocol: place / f"{name}-{protocol}.json" for protocol in others}
    paths[main] = place / f"{name}.json"
    for protocol, path in paths.items():
        write_whole(path, json.dumps(reports[protocol], indent=1) + "\n")
    processes.meet("scores are written")
    further = {paths[protocol]: reports[protocol] for protocol in others}
    return Evaluation(
        reports[main],
        paths[main],
        further,
        out.samples,
        out.strips,
        out.confidences,
        out.frame_j,
    )


def rank_correlation(
    confidences: Mapping[str, Mapping[str, np.ndarray]],
    frame_j: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
) -> float | None:
    """Spearman's correlation of L_A and J over all scored frames: is L_A higher on better masks?

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
    """Whether ``evaluate`` has scored this already, by the same rules."""
    path = _place(run, snapshot) / f"{file_name(spec)}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return (known.get("checkpoint"), known.get("rules")) == (snapshot.step, _rules(run.config))


def _place(run: Run, snapshot: Snapshot) -> Path:
    return run.workdir / "eval" / ("" if snapshot.last else snapshot.phase)


def _rules(config: ConfigDict) -> dict[str, Any]:
    """What of section ``eval`` can change a score, as json gives it back."""
    free = ("data", "phases", "batch_size", "save_masks", "jobs")
    return {k: v for k, v in run_facts.as_json(config.eval).items() if k not in free}


def file_name(spec: str) -> str:
    """A data set's name in files: "folder/mine:val" becomes folder-mine-val."""
    return spec.replace("/", "-").replace(":", "-")


def mean_j(run: Run, snapshot: Snapshot, spec: str) -> float:
    """J of the fused masks over all frames of a data set; writes nothing."""
    source = records.open_source(run.config.data.dir, spec)
    judge = _Judge(("all_frames",), run.config.eval.jobs)
    out = _Output(judge, None, "")
    _score_videos(run, snapshot, source, pipeline.frames_of(source), out, crf_models=())
    return judge.results()["all_frames"]["fused", "none"]["mean_j"]


class _Judge:
    """Scores videos one by one, so that no data set has to fit into memory."""

    def __init__(self, names: Sequence[str], jobs: int):
        self._protocols = [registry.protocol(name) for name in names]
        self._jobs = jobs
        self._scores: dict[str, dict[Row, dict[str, Any]]] = {name: {} for name in names}

    def score(self, row: Row, name: str, video: registry.Video) -> np.ndarray | None:
        """Returns J of each frame by the first protocol, see ``Protocol.frame_j``."""
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
        """What each protocol says of each row."""
        return {
            protocol.name: {
                row: protocol.summarise(scores)
                for row, scores in self._scores[protocol.name].items()
            }
            for protocol in self._protocols
        }


@dataclass
class _Output:
    """Where one data set's masks, scores and pictures go."""

    judge: _Judge
    folder: Path | None
    dataset: str
    samples: list[Sample] = field(default_factory=list)
    strips: dict[str, list[Sample]] = field(default_factory=dict)
    confidences: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    frame_j: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def take(self, row: Row, name: str, video: registry.Video) -> np.ndarray | None:
        """Scores and writes the maps of one video by one model; returns J of each frame."""
        frame_j = self.judge.score(row, name, video)
        if self.folder is not None:
            folder = self.folder / "-".join(part for part in row if part != "none")
            for frame, soft in zip(video.frame_names, video.maps, strict=True):
                soft = soft() if callable(soft) else soft
                mask_layouts.write(folder, self.dataset, name, frame, soft)
        return frame_j

    def gather(self, order: Sequence[str]) -> None:
        """Adds what the other processes have made, the videos or images in this order."""
        self.judge.gather(order)
        gathered = processes.gather((self.samples, self.strips, self.confidences, self.frame_j))
        samples, *tables = zip(*gathered, strict=True)
        place = {name: number for number, name in enumerate(order)}
        everything = [sample for part in samples for sample in part]
        self.samples = sorted(everything, key=lambda sample: place[sample.video])
        self.strips, self.confidences, self.frame_j = (
            {name: table[name] for name in order for table in parts if name in table}
            for parts in tables
        )


def _score_videos(
    run: Run,
    snapshot: Snapshot,
    source: pipeline.Records,
    frames: Sequence[pipeline.TrainingFrame],
    out: _Output,
    crf_models: Sequence[str] | None = None,
) -> None:
    options = run.config.eval
    refined_models = (
        eval_options.data_sets(options.crf_models) if crf_models is None else crf_models
    )
    decoded = pipeline.Decoded(source, tuple(run.config.data.image_size), keep=False)
    positions = {(frame.video, frame.name): frame.positions[0] for frame in frames}
    names = list(dict.fromkeys(frame.video for frame in frames))
    pictured, own = spread(names, PICTURED), own_videos(frames)
    predictions = run.predictor.videos(
        snapshot.variables, decoded, own, options.vote, options.flows_per_frame
    )
    total = len(processes.mine(names))
    for prediction in processes.bar(predictions, total=total, desc=source.spec, unit="video"):
        video = prediction.video
        read = Reader(source, [positions[video, frame] for frame in prediction.frames])
        if options.oracle:
            prediction = _ask_the_truth(prediction, read)
        size = read.size(0)
        rows: dict[Row, list] = {}
        for model, maps in fuse(
            prediction, options.fusion, options.trust, run.config.loss.margin
        ).items():
            rows[model, "none"] = [partial(_native, soft_map, size) for soft_map in maps]
            if options.crf != "none" and model in refined_models:
                rows[model, options.crf] = _refine(read, rows[model, "none"], options.crf, options)
        for row, maps in rows.items():
            frame_j = out.take(row, video, read.video(prediction, maps))
            if frame_j is not None and row[1] == "none":
                out.frame_j.setdefault(video, {})[row[0]] = frame_j
        out.confidences[video] = {
            "phi": prediction.confidence_phi,
            "chi": prediction.confidence_chi,
        }
        if video in pictured:
            shown = spread(range(len(prediction.frames)), STRIP_FRAMES)
            strip = [make_video_sample(prediction, rows, read, t) for t in shown]
            out.strips[video] = strip
            out.samples.append(strip[len(strip) // 2])
    out.gather(names)


def _score_images(
    run: Run,
    snapshot: Snapshot,
    source: pipeline.Records,
    frames: Sequence[pipeline.TrainingFrame],
    out: _Output,
) -> None:
    """χ alone, at ``data.still_size``."""
    options = run.config.eval
    decoded = pipeline.Decoded(source, tuple(run.config.data.still_size), keep=False)
    chi, size = snapshot.variables["chi"], run.predictor.batch_size

    pictured, own = spread(frames, PICTURED), processes.mine(frames)
    bar = processes.bar(total=len(own), desc=source.spec, unit="image")
    for chunk in chunks(own, size):
        images = np.stack([decoded.part(frame.positions[0], "image") for frame in chunk])
        read = Reader(source, [frame.positions[0] for frame in chunk])
        rows: dict[Row, list] = {
            ("chi", "none"): [
                partial(_native, soft_map, read.size(t))
                for t, soft_map in enumerate(run.predictor.static(chi, images))
            ]
        }
        if options.still_crf != "none":
            preset = options.still_crf
            rows["chi", preset] = _refine(read, rows["chi", "none"], preset, options)
        for t, frame in enumerate(chunk):
            for row, maps in rows.items():
                truth = partial(read.mask, t)
                video = registry.Video(
                    truth=[truth], maps=[maps[t]], groups=[frame.group], frame_names=[frame.name]
                )
                out.take(row, frame.video, video)
            if frame in pictured:
                out.samples.append(make_sample(frame.video, frame.name, rows, read, t))
        bar.update(len(chunk))
    bar.close()
    out.gather([frame.video for frame in frames])


def _refine(
    read: Reader, maps: Sequence[Callable[[], np.ndarray]], preset: str, options: ConfigDict
) -> list[np.ndarray]:
    """Maps of consecutive records after the CRF, at native size."""
    pairs = ((read.image(t), soft()) for t, soft in enumerate(maps))
    return list(crf.refine_frames(pairs, preset, options.jobs, options.crf_backend))


def _ask_the_truth(prediction: VideoPrediction, read: Reader) -> VideoPrediction:
    """With ``eval.oracle``: truth chooses in every frame which of φ's regions is the object."""
    size = prediction.phi.shape[1:3]
    truth = [resize.fit_mask(read.mask(t), size) for t in range(len(prediction.frames))]
    phi, _ = masks.oracle_channel(prediction.phi, np.stack(truth)[..., None])
    return dataclasses.replace(prediction, phi=phi)


def _native(soft_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return masks.upsample(soft_map, size)[..., 0]


def columns_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Titles and keys of the scores that a report tells, in order."""
    chosen = dict(registry.protocol(report["protocol"]).columns)
    if "frame_mean_j" in report["rows"][0]:
        chosen["J frames"] = "frame_mean_j"
    return chosen


def table(report: dict) -> str:
    """The report as text: one line per model, and J by group where the data set has groups."""
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
