"""Scores of a trained run on a prepared data set with truth, and the masks it was scored by."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dystab_jax import masks, pipeline, protocols, records
from dystab_jax.build import Run
from dystab_jax.inference import VideoPrediction
from dystab_jax.state import State

MODELS = ("phi", "chi", "fused")


@dataclass(frozen=True)
class Sample:
    """One frame for the report: what went in, what came out, what is true; native size.

    Attributes:
      video, frame: names.
      image: uint8 [H, W, 3].
      flow: float32 [h, w, 2], at the networks' resolution.
      masks: {model: uint8 [H, W] of 0 and 1}, with "truth" where there is one.
      confidence_phi, confidence_chi: L_A of this frame.
    """

    video: str
    frame: str
    image: np.ndarray
    flow: np.ndarray
    masks: dict[str, np.ndarray]
    confidence_phi: float
    confidence_chi: float


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` found.

    Attributes:
      report: the content of eval/<dataset>-<split>.json.
      path: of that file.
      samples: the middle frame of each video.
      confidences: {video: {"phi": [T], "chi": [T]}}, L_A of every frame (Figs. 7 and 8).
    """

    report: dict
    path: Path
    samples: list[Sample]
    confidences: dict[str, dict[str, np.ndarray]]


def fuse(prediction: VideoPrediction, fusion: str, trust: str) -> dict[str, np.ndarray]:
    """Soft maps [T, h, w, 1] of each of ``MODELS``."""
    fused = masks.fuse(
        prediction.phi,
        prediction.chi,
        prediction.confidence_phi,
        prediction.confidence_chi,
        mode=fusion,
        trust=trust,
    )
    return {"phi": prediction.phi, "chi": prediction.chi, "fused": fused}


def evaluate(run: Run, state: State) -> Evaluation:
    """Scores φ, χ and their fusion on ``config.eval.data``; writes masks and json.

    Raises:
      FileNotFoundError: the data set is not prepared.
      ValueError: it has no truth.
    """
    options = run.config.eval
    source = records.open_source(run.config.data.dir, options.data)
    frames = pipeline.frames_of(source)
    if "mask" not in source[0]:
        raise ValueError(
            f"{options.data} has no truth to score by; name a split with masks in eval.data, or "
            "use --mode=predict for masks alone"
        )
    score = protocols.protocol(options.protocol)
    decoded = pipeline.Decoded(source, tuple(run.config.data.image_size), keep=False)
    variables = run.averages(state)
    name = options.data.replace("/", "-").replace(":", "-").replace("+", "-and-")
    videos = {model: {} for model in MODELS}
    samples, confidences = [], {}
    positions = {(frame.video, frame.name): frame.positions[0] for frame in frames}
    total = len({frame.video for frame in frames})
    predictions = run.predictor.videos(
        variables, decoded, frames, options.vote, options.flows_per_frame
    )
    for prediction in tqdm(predictions, total=total, desc=options.data, unit="video"):
        video = prediction.video
        first = [positions[video, frame] for frame in prediction.frames]
        truth = [_truth(source, position) for position in first]
        soft = fuse(prediction, options.fusion, options.trust)
        size = truth[0]().shape
        middle = len(truth) // 2
        shown = {"truth": truth[middle]()}
        for model, maps in soft.items():
            native = [partial(_native, soft_map, size) for soft_map in maps]
            videos[model][video] = protocols.Video(
                truth=truth, maps=native, groups=prediction.groups, frame_names=prediction.frames
            )
            shown[model] = masks.threshold(native[middle]())
            if options.save_masks:
                folder = run.workdir / "masks" / name / model / video
                write_masks(folder, prediction.frames, native)
        confidences[video] = {"phi": prediction.confidence_phi, "chi": prediction.confidence_chi}
        samples.append(
            Sample(
                video,
                prediction.frames[middle],
                records.decode_record(source[first[middle]])["image"],
                prediction.flows[middle].astype(np.float32),
                shown,
                float(prediction.confidence_phi[middle]),
                float(prediction.confidence_chi[middle]),
            )
        )
    results = {model: score(videos[model], jobs=options.jobs) for model in MODELS}
    dataset, split = options.data.rsplit(":", 1)
    report = protocols.report(dataset, split, results)
    report |= {"checkpoint": int(state.step), "fusion": options.fusion, "trust": options.trust}
    path = run.workdir / "eval" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return Evaluation(report, path, samples, confidences)


def _truth(source: pipeline.Records, position: int) -> Callable[[], np.ndarray]:
    return lambda: records.decode_record(source[position])["mask"]


def _native(soft_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return masks.upsample(soft_map, size)[..., 0]


def write_masks(
    folder: Path, names: Sequence[str], maps: Sequence[Callable[[], np.ndarray]]
) -> None:
    """One 8-bit PNG of 0 and 255 for each frame, in the layout of DAVIS-2016 submissions.

    Args:
      folder: made where absent.
      names: of the frames, without ending.
      maps: give each frame's soft map [H, W]; cut at one half here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, soft_map in zip(names, maps, strict=True):
        path = folder / f"{name}.png"
        if not cv2.imwrite(str(path), masks.threshold(soft_map()) * np.uint8(255)):
            raise OSError(f"cannot write {path}")


def table(report: dict) -> str:
    """The report as text: one line per model, and J by group where the data set has groups."""
    columns = ("mean_j", "frame_mean_j", "mean_f", "f_beta", "mae")
    lines = [
        f"{report['dataset']}:{report['split']}, protocol {report['protocol']}, "
        f"{report['sequences']} videos, {report['frames']} frames, step {report['checkpoint']}, "
        f"oracle {'yes' if report['oracle'] else 'no'}",
        "model   " + "".join(f"{name:>14}" for name in columns),
    ]
    for row in report["rows"]:
        lines.append(f"{row['model']:8}" + "".join(f"{row[name]:14.3f}" for name in columns))
    if any("per_group" in row for row in report["rows"]):
        groups = sorted(report["rows"][0]["per_group"])
        lines.append("J by group" + "".join(f"{group:>13}" for group in groups))
        for row in report["rows"]:
            scores = (row["per_group"][group]["j"] for group in groups)
            lines.append(f"{row['model']:10}" + "".join(f"{score:13.3f}" for score in scores))
    return "\n".join(lines)
