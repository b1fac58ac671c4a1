"""Evaluations of runs that never were, and samples of them for pictures."""

import json

import cv2
import numpy as np

from dystab_jax.evaluation.options import MODELS
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.samples import Sample
from dystab_jax.evaluation.score_run import Evaluation

VIDEOS = ("b-rests", "a<b&c", "d-moves", "c-moves")
J = {"b-rests": 0.1, "a<b&c": 0.9, "d-moves": 0.7, "c-moves": 0.5}  # of the fused masks


def masks_with(overlap):
    """A prediction inside its truth, 400x600, with J = ``overlap``."""
    prediction, truth = np.zeros((2, 400, 600), np.uint8)
    truth[100:200, 100:300] = 1
    prediction[100:200, 100 : 100 + round(200 * overlap)] = 1
    return prediction, truth


def make_evaluation(workdir, videos=VIDEOS, groups=True):
    rng = np.random.default_rng(0)
    predicted = {model: {} for model in MODELS}
    samples, confidences, frame_j = [], {}, {}
    for number, video in enumerate(videos):
        fused = J.get(video, 0.5 + 0.001 * number)
        overlaps = {"phi": 0.3, "chi": 0.4, "fused": fused}
        group = "never" if video == "b-rests" else "moving"
        shown = {}
        for model, overlap in overlaps.items():
            shown[model], shown["truth"] = masks_with(overlap)
            predicted[model][video] = registry.Video(
                truth=[shown["truth"]] * 2,
                masks=[shown[model]] * 2,
                groups=[group] * 2 if groups else None,
            )
        image = rng.integers(0, 256, (400, 600, 3), np.uint8)
        image = cv2.GaussianBlur(image, (0, 0), 9)
        flow = rng.normal(size=(24, 36, 2)).astype(np.float32)
        samples.append(Sample(video, "00007", image, flow, shown, 1.5, 0.75))
        confidences[video] = {
            "phi": np.array([1.5, 1.25], np.float32),
            "chi": np.array([0.75, 1.75], np.float32),
        }
        frame_j[video] = {"phi": np.array([0.3, np.nan]), "chi": np.array([0.4, 0.4])}
    results = {(model, "none"): registry.all_frames(predicted[model]) for model in MODELS}
    content = registry.report("movers", "test", results)
    content |= {"phase": "3-joint", "checkpoint": 1234}
    content |= {"rules": {"fusion": "geometric", "trust": "loss_a"}}
    content["confidence_rank_correlation"] = {"phi": 0.576, "chi": None}
    path = workdir / "eval" / "movers-test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    (workdir / "masks" / "movers-test").mkdir(parents=True)
    (workdir / "config.json").write_text("{}")
    return Evaluation(content, path, {}, samples, {}, confidences, frame_j)


def write_metrics(path, ending=""):
    lines = []
    for phase, names, steps in (
        ("0-warm_up", ("psi/loss",), range(20, 60, 20)),
        ("0-dynamic", ("phi/loss", "psi/loss", "phi/separation", "phi/inconsistency",
                       "phi/mask_area"), range(60, 200, 20)),
        ("1-static", ("chi/loss", "chi/trusted", "chi/mask_area", "chi/agreement"), (200,)),
    ):  # fmt: skip
        for step in steps:
            lines.append({"step": step, "phase": phase} | dict.fromkeys(names, 0.5))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + ending)
    return lines


def sample(frame="0", width=40, height=30):
    rng = np.random.default_rng(len(frame))
    mask = np.zeros((height, width), np.uint8)
    mask[5:20, 8:30] = 1
    return Sample(
        "a", frame, rng.integers(0, 255, (height, width, 3), np.uint8),
        flow=np.ones((15, 20, 2), np.float32),
        masks={name: mask for name in (*MODELS, "truth")},
    )  # fmt: skip
