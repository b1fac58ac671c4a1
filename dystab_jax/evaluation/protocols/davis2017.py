"""Scores by the official unsupervised protocol of DAVIS-2017."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols.base import MEANINGS, Loaded, Protocol, Video
from dystab_jax.evaluation.protocols.regions import assign, overlap

MAX_PROPOSALS = 20
"""Objects that a DAVIS-2017 submission may hold in one sequence."""


class Davis2017(Protocol):
    """Scores J and F of every object, over all frames of a sequence: DAVIS-2017, unsupervised.

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
    description = "DAVIS-2017 unsupervised: objects matched with proposals"
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
    meanings = MEANINGS | {
        "j_and_f": "mean of J and F over the objects, official unsupervised protocol"
    }
    _STATISTICS = ("j_and_f", "j", "recall_j", "decay_j", "f", "recall_f", "decay_f")

    def score_frame(self, frame: Loaded) -> tuple[np.ndarray, np.ndarray]:
        """Measures J and F of every pair of proposal and object, [p, n]; 0 is an empty mask."""
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
        """Assigns proposals to objects; keeps J and F per frame of each object."""
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
        """Averages over objects, see the class."""
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
    """Computes the statistics of one object from its J and F per frame."""
    result = {}
    for name in ("j", "f"):
        result[name] = float(np.mean(scored[name]))
        result[f"recall_{name}"] = metrics.recall(scored[name])
        result[f"decay_{name}"] = metrics.decay(scored[name])
    return {"j_and_f": (result["j"] + result["f"]) / 2, **result}
