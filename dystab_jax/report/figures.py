"""Writes the paper's figures from an evaluation: files for slides and papers."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dystab_jax.array_types import Picture
from dystab_jax.evaluation.options import MODELS
from dystab_jax.evaluation.samples import Sample, spread
from dystab_jax.evaluation.score_run import Evaluation
from dystab_jax.report import charts, pictures
from dystab_jax.report.pictures import flow_to_color
from dystab_jax.runtime.atomic_files import bounded, write_whole

HISTOGRAMS = 40  # videos in the sheet of histograms, at most
STRIPS = 40  # videos with a strip, at most
GRID_IMAGES = 10  # rows of a saliency grid


def write(workdir: Path, evaluation: Evaluation) -> Path:
    """Writes WORKDIR/figures/DATASET-SPLIT/.

    * Of videos: ``confidence.svg``, histograms of L_A of φ and χ per sequence (Figs. 7 and 8),
      ``confidence_j.svg``, J of the frames over L_A where J is measured, and ``VIDEO.jpg``, frames,
      flow and masks of one sequence side by side (Figs. 5 and 6).
    * Of images: ``grid.jpg``, image, mask of χ and truth (Fig. 10).

    Returns:
      The folder.
    """
    folder = workdir / "figures" / evaluation.path.stem
    if evaluation.confidences:
        shown = dict(sorted(evaluation.confidences.items())[:HISTOGRAMS])
        write_whole(folder / "confidence.svg", charts.as_file(charts.confidence_histograms(shown)))
        if evaluation.frame_j:
            chart = charts.confidence_against_j(evaluation.confidences, evaluation.frame_j)
            write_whole(folder / "confidence_j.svg", charts.as_file(chart))
        for video in sorted(evaluation.strips)[:STRIPS]:
            sheet = strip(evaluation.strips[video])
            write_whole(
                folder / f"{bounded(video)}.jpg", pictures.encode(sheet, ".jpg", quality=90)
            )
    else:
        sheet = grid(evaluation.samples)
        write_whole(folder / "grid.jpg", pictures.encode(sheet, ".jpg", quality=90))
    return folder


def strip(samples: Sequence[Sample]) -> Picture:
    """Draws a column per frame, a row each for image, flow, the models' masks and the truth."""
    rows = [
        [(f"image {_ascii(sample.frame)}", sample.image) for sample in samples],
        [("flow", _flow(sample)) for sample in samples],
    ]
    for model in (*MODELS, "truth"):
        rows.append([(sample.title(model), _overlay(sample, model)) for sample in samples])
    return pictures.sheet(rows)


def grid(samples: Sequence[Sample]) -> Picture:
    """Draws a row per image, evenly chosen: the image, χ's mask in white, the truth in white."""
    rows = []
    for sample in spread(samples, GRID_IMAGES):
        white = {
            name: cv2.cvtColor(mask * np.uint8(255), cv2.COLOR_GRAY2RGB)
            for name, mask in sample.masks.items()
        }
        rows.append(
            [(_ascii(sample.video), sample.image)]
            + [(sample.title(name), white[name]) for name in ("chi", "truth")]
        )
    return pictures.sheet(rows)


def _flow(sample: Sample) -> Picture:
    return pictures.fit_flow_picture(flow_to_color(sample.flow), sample.image.shape[:2])


def _overlay(sample: Sample, model: str) -> Picture:
    color = pictures.COLORS[model]
    return pictures.overlay(sample.image, sample.masks[model], color, outline=2, fade=0.6)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
