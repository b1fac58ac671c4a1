"""Which frames of a data set are scored, and how their scores become one number.

Every protocol takes videos and returns one dictionary of plain floats, ready for json.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dystab_jax import metrics

Frame = np.ndarray | Callable[[], np.ndarray]
"""[H, W], or a function without arguments that returns it: it is called by the worker that
scores the frame, so that a data set never has to lie in memory at once."""
Frames = Sequence[Frame] | np.ndarray
"""One entry per frame, or an array [T, H, W]."""
FRAME_SCORES = ("j", "f", "f_beta", "mae")
STATISTICS = ("j", "recall_j", "decay_j", "f", "recall_f", "decay_f", "f_beta", "mae")


@dataclass(frozen=True)
class Video:
    """What is needed to score one video; frames in temporal order.

    Attributes:
      truth: hard mask per frame, bool or integer, not 0 = object.
      masks: predicted hard mask per frame, None where there is none; left out, the maps
        thresholded at one half.
      maps: predicted probability of object per frame, in [0, 1]; left out, F_β and MAE are
        those of the hard masks.
      groups: a label per frame whose mean J is reported on its own, "" for none.
      frame_names: how errors call the frames; left out, their numbers from 0.
    """

    truth: Frames
    masks: Frames | Sequence[Frame | None] | None = None
    maps: Frames | None = None
    groups: Sequence[str] | None = None
    frame_names: Sequence[str] | None = None

    def __post_init__(self):
        if self.masks is None and self.maps is None:
            raise ValueError("a video to score needs predictions: masks, maps or both")
        for name in ("masks", "maps", "groups", "frame_names"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.truth):
                raise ValueError(
                    f"{name} has {len(values)} entries and truth {len(self.truth)}; expected one "
                    "for each frame (None in masks where a prediction is missing)"
                )

    def frame_name(self, frame: int) -> str:
        return f"frame {frame}" if self.frame_names is None else self.frame_names[frame]


def davis2016(videos: Mapping[str, Video], jobs: int = 1) -> dict:
    """DAVIS-2016: all but the first and last frame; means per sequence, then over sequences.

    Args:
      videos: by sequence name.
      jobs: frames scored at once; the result does not depend on it.

    Returns:
      `protocol`, the counts `frames` and `sequences` of what was scored; `mean_j`, `recall_j`,
      `decay_j`, `mean_f`, `recall_f`, `decay_f`, `f_beta` (β² = 0.3, threshold one half), `mae`:
      statistics of each sequence averaged over the sequences; `frame_mean_j`, `frame_mean_f`:
      means over all frames regardless of sequence; `per_sequence`: {name: {`frames`, `j`, `f`,
      `f_beta`, `mae`, `recall_j`, `decay_j`, `recall_f`, `decay_f`}}; where videos have groups,
      `per_group`: {group: {`frames`, `j`, `f`}}, means over the frames of a group.

    Raises:
      ValueError: no video, a video too short, a scored frame without prediction, or with a
        prediction of another size than its truth; names video and frame.
    """
    return _evaluate("davis2016", videos, slice(1, -1), jobs)


def all_frames(videos: Mapping[str, Video], jobs: int = 1) -> dict:
    """Every frame counts; arguments, averages and result as for `davis2016`."""
    return _evaluate("all_frames", videos, slice(None), jobs)


PROTOCOLS = {"davis2016": davis2016, "all_frames": all_frames}


def protocol(name: str) -> Callable[..., dict]:
    """The protocol of that name; ValueError listing the names there are."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} is unknown; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def report(
    dataset: str,
    split: str,
    results: Mapping[str, dict],
    *,
    crf: str = "none",
    oracle: bool = False,
) -> dict:
    """What an eval/*.json file holds: one row per model, scored by one protocol.

    Args:
      dataset: name of the data set.
      split: name of the split.
      results: what a protocol returned, by model ("phi", "chi", "fused", "masks").
      crf: which conditional random field post-processed the masks.
      oracle: whether ground truth chose which region is the object.

    Raises:
      ValueError: the results differ in protocol or in what was scored.
    """
    shared_keys = ("protocol", "frames", "sequences")
    shared = [{key: result[key] for key in shared_keys} for result in results.values()]
    if not shared or any(other != shared[0] for other in shared):
        raise ValueError(
            f"one report needs results of one protocol on the same frames, got "
            f"{dict(zip(results, shared, strict=True))}"
        )
    rows = [
        {"model": model, "crf": crf} | {k: v for k, v in result.items() if k not in shared_keys}
        for model, result in results.items()
    ]
    return {"dataset": dataset, "split": split, "oracle": oracle, **shared[0], "rows": rows}


def average(per_frame: Mapping[str, ArrayLike]) -> dict:
    """The statistics that `davis2016` describes, from the scores of single frames.

    Args:
      per_frame: [T, 4] per sequence, columns J, F, F_β, MAE.

    Returns:
      What `davis2016` returns, without `protocol` and `per_group`.
    """
    per_sequence = {name: _statistics(np.asarray(scores)) for name, scores in per_frame.items()}
    # Names of the averages over sequences, by the statistic of a sequence that they average.
    names = {"j": "mean_j", "f": "mean_f"}
    means = {
        names.get(key, key): float(np.mean([one[key] for one in per_sequence.values()]))
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


def _evaluate(name: str, videos: Mapping[str, Video], scored: slice, jobs: int) -> dict:
    if not videos:
        raise ValueError(f"protocol {name} got no video to score")
    frames = {}
    for video_name, video in videos.items():
        count = len(video.truth)
        frames[video_name] = range(count)[scored]
        if not frames[video_name]:
            raise ValueError(
                f"video {video_name} has {count} frames, of which protocol {name} scores none; "
                "leave the video out"
            )
    tasks = [(name, videos[name], frame) for name in videos for frame in frames[name]]
    # Threads, not processes: OpenCV, NumPy and image decoders work outside the interpreter lock,
    # and a process that runs JAX must not be forked.
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        scores = list(pool.map(lambda task: _score_frame(*task), tasks))

    per_frame, groups = {}, {}
    for (video_name, video, frame), score in zip(tasks, scores, strict=True):
        per_frame.setdefault(video_name, []).append(score)
        if video.groups is not None and video.groups[frame]:
            groups.setdefault(video.groups[frame], []).append(score)
    result = {"protocol": name, **average(per_frame)}
    if groups:
        result["per_group"] = {
            group: {"frames": len(rows), **_means(np.array(rows)[:, :2])}
            for group, rows in sorted(groups.items())
        }
    return result


def _score_frame(video_name: str, video: Video, frame: int) -> tuple[float, ...]:
    """FRAME_SCORES of one frame, in that order."""
    truth = _load(video.truth[frame])
    soft = None if video.maps is None else _load(video.maps[frame])
    if video.masks is None:
        hard = soft > 0.5
    elif video.masks[frame] is None:
        raise ValueError(f"video {video_name} has no prediction for {video.frame_name(frame)}")
    else:
        hard = _load(video.masks[frame])
    soft = hard != 0 if soft is None else soft
    try:
        return (
            metrics.jaccard(hard, truth),
            metrics.boundary_f(hard, truth),
            metrics.f_beta(soft, truth),
            metrics.mae(soft, truth),
        )
    except ValueError as error:
        raise ValueError(f"video {video_name}, {video.frame_name(frame)}: {error}") from error


def _load(frame: Frame) -> np.ndarray:
    return frame() if callable(frame) else frame


def _means(scores: np.ndarray) -> dict[str, float]:
    """Means over the frames of scores [T, up to 4], columns as in FRAME_SCORES."""
    return dict(zip(FRAME_SCORES, scores.mean(axis=0).tolist(), strict=False))


def _statistics(scores: np.ndarray) -> dict[str, float | int]:
    """Statistics of one sequence from the scores [T, 4] of its frames."""
    statistics = {"frames": len(scores), **_means(scores)}
    for column, name in enumerate(FRAME_SCORES[:2]):
        statistics[f"recall_{name}"] = metrics.recall(scores[:, column])
        statistics[f"decay_{name}"] = metrics.decay(scores[:, column])
    return statistics
