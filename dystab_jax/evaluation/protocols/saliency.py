"""Scores soft maps of single images, as usual for salient object detection.

NumPy only. The measures of the literature's evaluation tools stretch every map to [0, 1] first
(`stretch`); here that is a choice, because a map of probabilities says something by its level.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.metrics import HardMask, SoftMap
from dystab_jax.evaluation.protocols.base import MEANINGS, Loaded, Protocol, Video

LEVELS = 256
"""Thresholds of a curve: object is where floor(255 · map) reaches 255, 254, ... 0."""
BETA2 = 0.3


class Curve(NamedTuple):
    """Holds precision, recall and F_β at every threshold, from 255/255 down to 0."""

    precision: Float[np.ndarray, " levels"]
    recall: Float[np.ndarray, " levels"]
    f_beta: Float[np.ndarray, " levels"]


def stretch(prediction: SoftMap) -> Float[np.ndarray, "H W"]:
    """Moves and scales a map so that it reaches from 0 to 1; a constant one stays as it is."""
    prediction = np.asarray(prediction, np.float64)
    low, high = prediction.min(), prediction.max()
    return (prediction - low) / (high - low) if high > low else prediction


def f_from(precision: np.ndarray, recall: np.ndarray, beta2: float = BETA2) -> np.ndarray:
    """Computes F_β = (1 + β²) P R / (β² P + R), 0 where P and R are both 0."""
    denominator = beta2 * precision + recall
    return (1 + beta2) * precision * recall / np.where(denominator > 0, denominator, 1)


def curve(prediction: SoftMap, truth: HardMask) -> Curve:
    """Computes precision, recall and F_β (β² = 0.3) of one map at 256 thresholds.

    Args:
      prediction: probability of object in [0, 1].
      truth: hard mask of the same size; where it is empty, precision and recall are 0.

    Raises:
      ValueError: sizes differ, or the map leaves [0, 1].
    """
    probability, true = metrics.probability(prediction, truth)
    levels = (probability.astype(np.float64) * (LEVELS - 1)).astype(np.uint8)
    inside = np.bincount(levels[true], minlength=LEVELS)[::-1].cumsum()
    claimed = np.bincount(levels.ravel(), minlength=LEVELS)[::-1].cumsum()
    precision = inside / np.maximum(claimed, 1)
    recall = inside / max(np.count_nonzero(true), 1)
    return Curve(precision, recall, f_from(precision, recall))


def adaptive_f(prediction: SoftMap, truth: HardMask, beta2: float = BETA2) -> float:
    """Computes F_β of one map thresholded at twice its mean, or at 1 where that is beyond 1.

    Args:
      prediction: probability of object in [0, 1].
      truth: hard mask of the same size.

    Returns:
      F_β in [0, 1]; 0 where nothing of the object is found.

    Raises:
      ValueError: sizes differ, or the map leaves [0, 1].
    """
    probability, true = metrics.probability(prediction, truth)
    predicted = probability >= min(2 * probability.mean(dtype=np.float64), 1)
    found = np.count_nonzero(predicted & true)
    total = beta2 * np.count_nonzero(true) + np.count_nonzero(predicted)
    return float((1 + beta2) * found / total) if found else 0.0


def s_measure(prediction: SoftMap, truth: HardMask, alpha: float = 0.5) -> float:
    """Computes S, structure measure (Fan et al., ICCV 2017): α S_object + (1 − α) S_region.

    S_object compares the map's mean and spread inside and outside the object; S_region its
    structural similarity in the four quarters around the object's centre, by their area.

    Args:
      prediction: probability of object in [0, 1].
      truth: hard mask of the same size.
      alpha: weight of S_object.

    Returns:
      S in [0, 1]; of an empty truth 1 − mean(prediction), of a full one mean(prediction).

    Raises:
      ValueError: sizes differ, or the map leaves [0, 1].
    """
    probability, true = metrics.probability(prediction, truth)
    probability = probability.astype(np.float64)
    share = true.mean()
    if share in (0, 1):
        return float(probability.mean() if share else 1 - probability.mean())
    of_object = share * _object_score(probability[true])
    of_object += (1 - share) * _object_score(1 - probability[~true])

    row, column = (int(np.round(place.mean())) + 1 for place in np.nonzero(true))
    of_region = 0.0
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            quarter = true[rows, columns]
            if quarter.size:
                score = _structural_similarity(probability[rows, columns], quarter)
                of_region += score * quarter.size / true.size
    return float(max(alpha * of_object + (1 - alpha) * of_region, 0))


class Saliency(Protocol):
    """Scores soft maps as they are; every image counts the same.

    The maps are probabilities and are not stretched to [0, 1], unlike in common evaluation tools;
    what those would report is in `stretched`. β² is 0.3 throughout. The result holds means over
    all images: `f_beta` of the map thresholded at one half, the main number; `mean_j`, J at one
    half; `mae`; `s_measure`; `adaptive_f`; and, from the curves over 256 thresholds, `max_f`, the
    largest F_β(mean P, mean R); `max_mean_f`, the largest mean of F_β over the images (the two
    are both called max-F and differ); `curve_mean_f`, mean F_β over images and thresholds.
    `stretched`: {`mae`, `s_measure`, `adaptive_f`, `max_f`, `max_mean_f`, `curve_mean_f`}.
    `per_sequence`: {name: {`frames`, `f_beta`, `j`, `mae`, `s_measure`, `adaptive_f`}}.
    """

    name = "saliency"
    main = "f_beta"
    prediction = "maps"
    description = "saliency: every image counts the same"
    columns = {
        "F beta": "f_beta",
        "max F": "max_f",
        "max mean F": "max_mean_f",
        "adaptive F": "adaptive_f",
        "mean F": "curve_mean_f",
        "MAE": "mae",
        "S": "s_measure",
        "J": "mean_j",
    }
    sequence_columns = {
        "F beta": "f_beta",
        "adaptive F": "adaptive_f",
        "MAE": "mae",
        "S": "s_measure",
        "J": "j",
    }
    meanings = MEANINGS | {
        "max_f": "largest F of mean precision and mean recall over all thresholds",
        "max_mean_f": "largest mean F over all thresholds",
        "adaptive_f": "F at twice the mean of each map",
        "curve_mean_f": "mean F over all thresholds",
        "s_measure": "structure measure",
    }
    _SCORES = ("mae", "s_measure", "adaptive_f")

    def score_frame(self, frame: Loaded) -> dict[str, Any]:
        """Measures F_β and J at one half and, of the map as it is and stretched, the others."""
        return {
            "f_beta": metrics.f_beta(frame.soft, frame.truth),
            "j": metrics.jaccard(frame.hard, frame.truth),
            "plain": self._soft_scores(frame.soft, frame.truth),
            "stretched": self._soft_scores(stretch(frame.soft), frame.truth),
        }

    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        """Keeps sums over the images."""
        return {
            "frames": len(scores),
            **{key: float(sum(one[key] for one in scores)) for key in ("f_beta", "j")},
            **{key: _sum([one[key] for one in scores]) for key in ("plain", "stretched")},
        }

    def summarise(self, scores: Mapping[str, dict]) -> dict:
        """Averages over images, see the class."""
        self._require_videos(scores)
        frames = sum(one["frames"] for one in scores.values())
        plain, stretched = (
            self._means(_sum([one[key] for one in scores.values()]), frames)
            for key in ("plain", "stretched")
        )
        return {
            "protocol": self.name,
            "frames": frames,
            "sequences": len(scores),
            "f_beta": sum(one["f_beta"] for one in scores.values()) / frames,
            "mean_j": sum(one["j"] for one in scores.values()) / frames,
            **plain,
            "stretched": stretched,
            "per_sequence": {
                name: {
                    "frames": one["frames"],
                    "f_beta": one["f_beta"] / one["frames"],
                    "j": one["j"] / one["frames"],
                    **{key: one["plain"][key] / one["frames"] for key in self._SCORES},
                }
                for name, one in scores.items()
            },
        }

    @staticmethod
    def _soft_scores(soft: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return {
            "mae": metrics.mae(soft, truth),
            "s_measure": s_measure(soft, truth),
            "adaptive_f": adaptive_f(soft, truth),
            "curve": np.array(curve(soft, truth)),
        }

    def _means(self, sums: Mapping[str, Any], frames: int) -> dict[str, float]:
        precision, recall, f_beta = sums["curve"] / frames
        return {
            **{key: sums[key] / frames for key in self._SCORES},
            "max_f": float(f_from(precision, recall).max()),
            "max_mean_f": float(f_beta.max()),
            "curve_mean_f": float(f_beta.mean()),
        }


def _object_score(inside: np.ndarray) -> float:
    """Computes S_object of one side, large where the values are near 1 and alike."""
    spread = inside.std(ddof=1) if inside.size > 1 else 0.0
    return 2 * inside.mean() / (inside.mean() ** 2 + 1 + spread)


def _structural_similarity(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Computes 4 x̄ ȳ σ_xy / ((x̄² + ȳ²)(σ_x² + σ_y²)), 1 where both parts of it are 0."""
    x, y = prediction.mean(), truth.mean()
    freedom = max(prediction.size - 1, 1)
    covariance = np.sum((prediction - x) * (truth - y)) / freedom
    variances = (np.sum((prediction - x) ** 2) + np.sum((truth - y) ** 2)) / freedom
    numerator, denominator = 4 * x * y * covariance, (x**2 + y**2) * variances
    if numerator == 0:
        return float(denominator == 0)
    return numerator / denominator


def _sum(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: sum(one[key] for one in parts) for key in parts[0]}
