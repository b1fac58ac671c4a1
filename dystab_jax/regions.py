"""Scores of several objects at once: which prediction stands for which object is found first.

Two protocols need that: the unsupervised one of DAVIS-2017 and the F-measure of Ochs, Malik and
Brox for FBMS-59. Both look for the best one-to-one assignment over a whole sequence.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from scipy.optimize import linear_sum_assignment

from dystab_jax.evaluation import metrics
from dystab_jax.frame_averages import FrameAverages
from dystab_jax.scoring import Loaded, Protocol, Video

Numbers = Integer[np.ndarray, "H W"]
"""0 = background, else the number of an object."""
MAX_PROPOSALS = 20
"""Objects that a DAVIS-2017 submission may hold in one sequence."""
FOUND = 0.75
"""Ochs et al. call an object found where its F is greater than this."""


def overlap(predicted: Numbers, true: Numbers) -> Integer[np.ndarray, "P N"]:
    """Pixels that predicted object p and true object n share, background included.

    Args:
      predicted: object numbers.
      true: object numbers, same size.

    Returns:
      Counts [largest predicted number + 1, largest true number + 1]; they add up to H·W.
    """
    rows, columns = int(predicted.max()) + 1, int(true.max()) + 1
    pairs = predicted.astype(np.int64) * columns + true
    return np.bincount(pairs.ravel(), minlength=rows * columns).reshape(rows, columns)


def assign(scores: Float[np.ndarray, "P N"]) -> dict[int, int]:
    """One-to-one assignment with the largest sum of scores (Hungarian method).

    Returns:
      {column: row}, of all columns or of as many as there are rows.
    """
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return dict(zip(columns.tolist(), rows.tolist(), strict=True))


def ochs(counts: Integer[np.ndarray, "P N"]) -> dict[str, float | int]:
    """Precision and recall of one sequence as defined by Ochs, Malik and Brox (PAMI 2014).

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
    """FBMS-59: the merged foreground on labelled frames, and the F-measure of Ochs et al.

    Everything of `FrameAverages`, of all frames with truth; its `mean_j` is the main number
    (mean over sequences; `frame_mean_j` over frames). Besides, all from hard masks: `f1`, the mean
    per sequence, then over sequences, of the F_β of a frame with β² = 1; `ochs_precision` and
    `ochs_recall`, means over the sequences of `ochs`, and `ochs_f` = 2PR / (P + R) of those two;
    `objects` and how many of them are found, `objects_found`. `per_sequence` has them, too.
    """

    columns = FrameAverages.columns | {"F1": "f1", "Ochs F": "ochs_f"}
    sequence_columns = FrameAverages.sequence_columns | {"F1": "f1", "Ochs F": "ochs_f"}

    prediction = "objects"

    def __init__(self):
        super().__init__("fbms59", slice(None))

    def score_frame(self, frame: Loaded) -> tuple:
        return (
            super().score_frame(frame),
            metrics.f_beta(frame.hard, frame.truth, beta2=1.0),
            overlap(frame.objects, frame.regions),
        )

    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        rows, f1, tables = zip(*scores, strict=True)
        counts = np.zeros(np.max([table.shape for table in tables], axis=0), np.int64)
        for table in tables:
            counts[: table.shape[0], : table.shape[1]] += table
        kept = super().collect(video, frames, rows)
        return kept | {"f1": float(np.mean(f1)), "overlap": counts.tolist()}

    def summarise(self, scores: Mapping[str, dict]) -> dict:
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


class Davis2017(Protocol):
    """DAVIS-2017, unsupervised: J and F of every object, over all frames of a sequence.

    The objects of a sequence are the numbers 1 to the largest one in its first frame. Every object
    gets one predicted object (proposal), by the assignment with the largest sum of
    (mean J + mean F) / 2; an object that gets none is scored against empty masks. Proposals that
    are left over cost nothing.

    The result holds `objects`, their number; `mean_j`, `recall_j`, `decay_j`, `mean_f`, `recall_f`,
    `decay_f`: means over the objects of all sequences; `j_and_f` = (mean_j + mean_f) / 2, the main
    number; `per_sequence`: {name: {`frames`, `objects`, `proposals`, `j_and_f`, `j`, `f`,
    `recall_j`, ...}}, means over the objects of a sequence; `per_object`: {"NAME_1": {the same}}.
    """

    name = "davis2017"
    main = "j_and_f"
    prediction = "objects"
    columns = {
        "J&F": "j_and_f",
        "J": "mean_j",
        "J recall": "recall_j",
        "J decay": "decay_j",
        "F": "mean_f",
        "F recall": "recall_f",
        "F decay": "decay_f",
    }
    sequence_columns = columns | {"J": "j", "F": "f"}
    _STATISTICS = ("j_and_f", "j", "recall_j", "decay_j", "f", "recall_f", "decay_f")

    def score_frame(self, frame: Loaded) -> tuple[np.ndarray, np.ndarray]:
        """J and F of every pair of proposal and object, [p, n]; number 0 is an empty mask."""
        if frame.objects.max() > MAX_PROPOSALS:
            raise ValueError(
                f"the prediction has an object {frame.objects.max()}; this protocol takes at most "
                f"{MAX_PROPOSALS} objects in a sequence, numbered from 1"
            )
        counts = overlap(frame.objects, frame.regions)
        proposals, objects = counts.sum(axis=1), counts.sum(axis=0)
        proposals[0] = objects[0] = counts[0] = counts[:, 0] = 0
        union = proposals[:, None] + objects - counts
        j = np.where(union > 0, counts / np.maximum(union, 1), 1.0)
        empty = np.zeros(frame.truth.shape, bool)
        f = metrics.boundary_f_table(
            [empty] + [frame.objects == number for number in range(1, len(proposals))],
            [empty] + [frame.regions == number for number in range(1, len(objects))],
        )
        return j, f

    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        objects = scores[0][0].shape[1] - 1
        if not objects:
            raise ValueError(
                "its first frame has no object; the objects of a sequence are those of its first "
                "frame, leave the video out"
            )
        proposals = max(j.shape[0] for j, _ in scores) - 1
        # [frame, proposal, object, J or F]; proposals beyond the predicted ones are empty masks.
        table = np.empty((len(frames), max(proposals, objects), objects, 2))
        for row, pair in zip(table, scores, strict=True):
            for kind, values in enumerate(pair):
                rows, columns = (
                    np.where(np.arange(1, count + 1) < size, np.arange(1, count + 1), 0)
                    for count, size in zip(row.shape[:2], values.shape, strict=True)
                )
                row[..., kind] = values[np.ix_(rows, columns)]
        chosen = assign(table.mean(axis=(0, 3)))
        return {
            "proposals": proposals,
            "objects": [
                {
                    "j": table[:, chosen[number], number, 0].tolist(),
                    "f": table[:, chosen[number], number, 1].tolist(),
                }
                for number in range(objects)
            ],
        }

    def summarise(self, scores: Mapping[str, dict]) -> dict:
        self._require_videos(scores)
        per_sequence, per_object = {}, {}
        for name, one in scores.items():
            statistics = [_statistics(scored) for scored in one["objects"]]
            per_sequence[name] = {
                "frames": len(one["objects"][0]["j"]),
                "objects": len(statistics),
                "proposals": one["proposals"],
                **self._means(statistics),
            }
            for number, statistic in enumerate(statistics, 1):
                per_object[f"{name}_{number}"] = statistic
        means = self._means(per_object.values())
        return {
            "protocol": self.name,
            "frames": sum(one["frames"] for one in per_sequence.values()),
            "sequences": len(per_sequence),
            "objects": len(per_object),
            **{{"j": "mean_j", "f": "mean_f"}.get(key, key): means[key] for key in means},
            "per_sequence": per_sequence,
            "per_object": per_object,
        }

    def _means(self, statistics) -> dict[str, float]:
        statistics = list(statistics)
        return {key: float(np.mean([one[key] for one in statistics])) for key in self._STATISTICS}


def _statistics(scored: Mapping[str, list[float]]) -> dict[str, float]:
    """Statistics of one object from its J and F per frame."""
    result = {}
    for name in ("j", "f"):
        result[name] = float(np.mean(scored[name]))
        result[f"recall_{name}"] = metrics.recall(scored[name])
        result[f"decay_{name}"] = metrics.decay(scored[name])
    return {"j_and_f": (result["j"] + result["f"]) / 2, **result}


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
