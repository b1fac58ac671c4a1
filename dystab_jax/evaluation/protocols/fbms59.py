"""Scores FBMS-59: the foreground, and F of Ochs et al."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols.base import Loaded, Video
from dystab_jax.evaluation.protocols.frame_averages import FrameAverages
from dystab_jax.evaluation.protocols.regions import assign, overlap

FOUND = 0.75
"""Ochs et al. call an object found where its F is greater than this."""


def ochs(
    counts: Integer[np.ndarray, "P N"] | Sequence[Sequence[int]],
) -> dict[str, float | int]:
    """Computes precision and recall of one sequence as Ochs, Malik and Brox do (PAMI 2014).

        P_pn = o_pn / Σ_n o_pn    R_pn = o_pn / Σ_p o_pn    F_pn = 2 P_pn R_pn / (P_pn + R_pn)

    with o the overlap of predicted cluster p and true region n over all labelled frames. The
    background is a region and a cluster like the others. Clusters are assigned to regions one to
    one so that Σ F is largest; P and R are means over the regions of their clusters' values, where
    a region without cluster has P = 1 and R = 0. Clusters left over count for nothing. This is
    what the authors' program computes for dense predictions, but for its weighting of the pixels
    by how sure the annotator was.

    Args:
      counts: o, sums of `overlap` over the frames. Empty rows and columns are neither cluster nor
        region.

    Returns:
      `precision` and `recall` in [0, 1]; `objects`, the regions but one for the background;
      `objects_found`, the regions with F > 0.75 but one, as in the authors' program.
    """
    counts = np.asarray(counts)
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    precision = counts / counts.sum(axis=1, keepdims=True)
    recall = counts / counts.sum(axis=0)
    f = 2 * counts / (counts.sum(axis=1, keepdims=True) + counts.sum(axis=0))
    chosen = assign(f)
    pairs = [(row, column) for column, row in chosen.items()]
    regions = counts.shape[1]
    without = regions - len(pairs)
    return {
        "precision": float(sum(precision[pair] for pair in pairs) + without) / regions,
        "recall": float(sum(recall[pair] for pair in pairs)) / regions,
        "objects": regions - 1,
        "objects_found": max(sum(bool(f[pair] > FOUND) for pair in pairs) - 1, 0),
    }


class Fbms59(FrameAverages):
    """Scores the merged foreground on labelled frames, and the F-measure of Ochs et al.

    Everything of `FrameAverages`, of all frames with truth; its `mean_j` is the main number
    (mean over sequences; `frame_mean_j` over frames). Besides, all from hard masks: `f1`, the mean
    per sequence, then over sequences, of the F_β of a frame with β² = 1; `ochs_precision` and
    `ochs_recall`, means over the sequences of `ochs`, and `ochs_f` = 2PR / (P + R) of those two;
    `objects` and how many of them are found, `objects_found`. `per_sequence` has them, too.
    """

    columns = FrameAverages.columns | {"F1": "f1", "Ochs F": "ochs_f"}
    sequence_columns = FrameAverages.sequence_columns | {"F1": "f1", "Ochs F": "ochs_f"}
    meanings = FrameAverages.meanings | {
        "f1": "F-measure of the pixels with β² = 1",
        "ochs_f": "F-measure of Ochs et al. over the regions of a sequence",
    }
    prediction = "objects"

    def __init__(self):
        description = "FBMS-59: labelled frames, all objects together; Ochs F by objects"
        super().__init__("fbms59", slice(None), description)

    def score_frame(self, frame: Loaded) -> tuple:
        """Measures the scores of `FrameAverages`, F1, and the overlaps of the regions."""
        return (
            super().score_frame(frame),
            metrics.f_beta(frame.hard, frame.truth, beta2=1.0),
            overlap(frame.objects, frame.regions),
        )

    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        """Keeps the frames' scores, their mean F1 and the sums of their overlaps."""
        rows, f1, tables = zip(*scores, strict=True)
        counts = np.zeros(np.max([table.shape for table in tables], axis=0), np.int64)
        for table in tables:
            counts[: table.shape[0], : table.shape[1]] += table
        kept = super().collect(video, frames, rows)
        return kept | {"f1": float(np.mean(f1)), "overlap": counts.tolist()}

    def summarise(self, scores: Mapping[str, dict]) -> dict:
        """Averages over sequences, see the class."""
        result = super().summarise(scores)
        for name, one in scores.items():
            matched = ochs(one["overlap"])
            result["per_sequence"][name] |= {
                "f1": one["f1"],
                "ochs_precision": matched["precision"],
                "ochs_recall": matched["recall"],
                "ochs_f": _harmonic(matched["precision"], matched["recall"]),
                "objects": matched["objects"],
                "objects_found": matched["objects_found"],
            }
        sequences = list(result["per_sequence"].values())
        for key in ("f1", "ochs_precision", "ochs_recall"):
            result[key] = float(np.mean([one[key] for one in sequences]))
        result["ochs_f"] = _harmonic(result["ochs_precision"], result["ochs_recall"])
        for key in ("objects", "objects_found"):
            result[key] = sum(one[key] for one in sequences)
        return result


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
