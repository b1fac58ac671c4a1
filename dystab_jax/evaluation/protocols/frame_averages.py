"""Averages the scores of single frames: of sequences, and over sequences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols.base import MEANINGS, Loaded, Protocol, Video

FRAME_SCORES = ("j", "f", "f_beta", "mae")
STATISTICS = ("j", "recall_j", "decay_j", "f", "recall_f", "decay_f", "f_beta", "mae")
# Names of the averages over sequences where they differ from the statistic of one sequence.
_MEANS = {"j": "mean_j", "f": "mean_f"}


class FrameAverages(Protocol):
    """Averages scores of the merged foreground, per sequence and then over the sequences.

    The result holds `mean_j`, `recall_j`, `decay_j`, `mean_f`, `recall_f`, `decay_f`, `f_beta`
    (β² = 0.3, threshold one half), `mae`: statistics of each sequence averaged over the sequences;
    `frame_mean_j`, `frame_mean_f`: means over all frames regardless of sequence; `per_sequence`:
    {name: {`frames`, `j`, `f`, `f_beta`, `mae`, `recall_j`, `decay_j`, `recall_f`, `decay_f`}};
    where videos have groups, `per_group`: {group: {`frames`, `j`, `f`}}, means over the frames of
    a group.
    """

    main = "mean_j"
    columns = {
        "J": "mean_j",
        "J recall": "recall_j",
        "F": "mean_f",
        "F recall": "recall_f",
        "F beta": "f_beta",
        "MAE": "mae",
    }
    sequence_columns = columns | {"J": "j", "F": "f"}
    meanings = MEANINGS | {"frame_mean_j": "region similarity J, averaged over all frames"}

    def __init__(self, name: str, scored: slice, description: str):
        self.name = name
        self.description = description
        self._scored = scored

    def frames(self, video: Video) -> list[int]:
        """Returns the numbers of the frames that count and have truth."""
        inside = range(len(video))[self._scored]
        return [frame for frame in inside if video.has_truth(frame)]

    def score_frame(self, frame: Loaded) -> tuple[float, ...]:
        """Measures FRAME_SCORES, in that order."""
        return (
            metrics.jaccard(frame.hard, frame.truth),
            metrics.boundary_f(frame.hard, frame.truth),
            metrics.f_beta(frame.soft, frame.truth),
            metrics.mae(frame.soft, frame.truth),
        )

    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        """Keeps scores and group of each frame."""
        groups = [] if video.groups is None else [video.groups[frame] for frame in frames]
        return {"scores": scores, "groups": groups}

    def frame_j(self, video: Video, scores: dict) -> np.ndarray:
        """Returns J of each frame [T], NaN where it is not scored."""
        values = np.full(len(video), np.nan)
        values[self.frames(video)] = [row[0] for row in scores["scores"]]
        return values

    def summarise(self, scores: Mapping[str, dict]) -> dict:
        """Averages over sequences and, where there are groups, over the frames of each."""
        self._require_videos(scores)
        groups = {}
        for one in scores.values():
            # Without groups there is nothing to go through.
            for row, group in zip(one["scores"], one["groups"], strict=bool(one["groups"])):
                if group:
                    groups.setdefault(group, []).append(row)
        result = {
            "protocol": self.name,
            **average({name: one["scores"] for name, one in scores.items()}),
        }
        if groups:
            result["per_group"] = {
                group: {"frames": len(rows), **_means(np.array(rows)[:, :2])}
                for group, rows in sorted(groups.items())
            }
        return result


def average(per_frame: Mapping[str, ArrayLike]) -> dict:
    """Computes the statistics that `FrameAverages` describes, from the scores of single frames.

    Args:
      per_frame: [T, 4] per sequence, columns J, F, F_β, MAE.

    Returns:
      What `FrameAverages` returns, without `protocol` and `per_group`.
    """
    per_sequence = {name: _statistics(np.asarray(scores)) for name, scores in per_frame.items()}
    means = {
        _MEANS.get(key, key): float(np.mean([one[key] for one in per_sequence.values()]))
        for key in STATISTICS
    }
    frame_mean = _means(np.concatenate([np.asarray(scores) for scores in per_frame.values()]))
    return {
        "frames": sum(one["frames"] for one in per_sequence.values()),
        "sequences": len(per_sequence),
        **means,
        "frame_mean_j": frame_mean["j"],
        "frame_mean_f": frame_mean["f"],
        "per_sequence": per_sequence,
    }


def _means(scores: np.ndarray) -> dict[str, float]:
    """Averages over the frames of scores [T, up to 4], columns as in FRAME_SCORES."""
    return dict(zip(FRAME_SCORES, scores.mean(axis=0).tolist(), strict=False))


def _statistics(scores: np.ndarray) -> dict[str, float | int]:
    """Computes the statistics of one sequence from the scores [T, 4] of its frames."""
    statistics = {"frames": len(scores), **_means(scores)}
    for column, name in enumerate(FRAME_SCORES[:2]):
        statistics[f"recall_{name}"] = metrics.recall(scores[:, column])
        statistics[f"decay_{name}"] = metrics.decay(scores[:, column])
    return statistics
