"""Defines what a protocol is, and the videos that it scores.

A protocol scores one video at a time and keeps only numbers of it, so that a data set of any size
never lies in memory; the numbers of all videos become one result.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from dystab_jax.data.mask_rule import VOID
from dystab_jax.evaluation import metrics

LazyArray = np.ndarray | Callable[[], np.ndarray]
"""[H, W], or a function without arguments that returns it: it is called by the worker that
scores the frame, so that a data set never has to lie in memory at once."""
LazyArrays = Sequence[LazyArray] | np.ndarray
"""One entry per frame, or an array [T, H, W]."""


MEANINGS = {
    "mean_j": "region similarity J, averaged per sequence, then over sequences",
    "recall_j": "share of frames with J over one half",
    "decay_j": "how much J loses from the first quarter of a sequence to the last",
    "mean_f": "contour accuracy F, averaged per sequence, then over sequences",
    "recall_f": "share of frames with F over one half",
    "decay_f": "how much F loses from the first quarter of a sequence to the last",
    "f_beta": "F-measure of saliency, β² = 0.3, soft masks cut at one half",
    "mae": "mean absolute error of the soft masks; smaller is better",
}
"""One line on each score that several protocols measure."""


def as_array(lazy: LazyArray) -> np.ndarray:
    """Returns the array, which is made or read now where it is a function."""
    return lazy() if callable(lazy) else lazy


class Loaded(NamedTuple):
    """Holds one frame, ready to be scored: arrays of one size [H, W], void pixels set to 0.

    Attributes:
      truth: bool, object.
      regions: integers, 0 = background, else number of the object.
      hard: predicted hard mask, bool.
      soft: predicted probability in [0, 1], or the hard mask where there is none.
      objects: integers, 0 = background, else number of the predicted object.
    """

    truth: np.ndarray
    regions: np.ndarray
    hard: np.ndarray
    soft: np.ndarray
    objects: np.ndarray


@dataclass(frozen=True)
class Video:
    """Holds what is needed to score one video or one set of images, frames in temporal order.

    Attributes:
      truth: hard mask per frame, bool or integer, not 0 = object, None where the frame has no
        truth and is not scored; left out, the objects of `regions` together.
      masks: predicted hard mask per frame, None where there is none; left out, the maps
        thresholded at one half, or else the pixels of `objects`.
      maps: predicted probability of object per frame, in [0, 1]; left out, scores of maps are
        those of the hard masks.
      groups: a label per frame whose mean J is reported on its own, "" for none.
      frame_names: how errors call the frames; left out, their numbers from 0.
      regions: truth with object numbers per frame (None as in `truth`): 0 = background, 1...254
        = objects, 255 = void. Void pixels are background in truth and prediction, whatever
        they hold there. Left out, the truth is one object and nothing is void.
      objects: predicted object numbers per frame, integers, 0 = background, the same number for
        the same object in all frames; left out, the predicted mask is object 1.
    """

    truth: LazyArrays | Sequence[LazyArray | None] | None = None
    masks: LazyArrays | Sequence[LazyArray | None] | None = None
    maps: LazyArrays | None = None
    groups: Sequence[str] | None = None
    frame_names: Sequence[str] | None = None
    regions: LazyArrays | Sequence[LazyArray | None] | None = None
    objects: LazyArrays | None = None

    def __post_init__(self):
        if self.truth is None and self.regions is None:
            raise ValueError("a video to score needs truth: masks, regions or both")
        if self.masks is None and self.maps is None and self.objects is None:
            raise ValueError("a video to score needs predictions: masks, maps or objects")
        for name in ("masks", "maps", "groups", "frame_names", "regions", "objects"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self):
                raise ValueError(
                    f"{name} has {len(values)} entries and truth {len(self)}; expected one "
                    "for each frame (None in masks where a prediction is missing)"
                )

    def __len__(self) -> int:
        return len(self.regions if self.truth is None else self.truth)

    def frame_name(self, frame: int) -> str:
        """Returns the name of a frame in errors."""
        return f"frame {frame}" if self.frame_names is None else self.frame_names[frame]

    def has_truth(self, frame: int) -> bool:
        """Returns whether a frame has truth to score it by."""
        return (self.regions if self.truth is None else self.truth)[frame] is not None

    def load(self, frame: int) -> Loaded:
        """Loads one frame with its void pixels removed.

        Raises:
          ValueError: no prediction, arrays of different sizes, or a soft map where a hard mask is
            expected.
        """
        if self.masks is not None and self.masks[frame] is None:
            raise ValueError("there is no prediction; add it, or leave the video out")
        truth, regions, masks, maps, objects = (
            None if frames is None or frames[frame] is None else as_array(frames[frame])
            for frames in (self.truth, self.regions, self.masks, self.maps, self.objects)
        )
        if regions is None:
            truth = metrics.nonzero(truth, "truth")
            regions, void = truth.astype(np.uint8), None
        else:
            metrics.nonzero(regions, "regions")
            void = regions == VOID
            regions = np.where(void, 0, regions) if void.any() else regions
            # Where truth is given as well it decides what is object.
            truth = regions != 0 if truth is None else metrics.nonzero(truth, "truth")
        if objects is not None:
            metrics.nonzero(objects, "objects")
        if masks is not None:
            hard = metrics.nonzero(masks, "prediction")
        else:
            hard = maps > 0.5 if maps is not None else objects != 0
        soft = hard if maps is None else maps
        objects = hard.astype(np.uint8) if objects is None else objects
        for prediction, true in ((hard, truth), (soft, truth), (objects, truth), (truth, regions)):
            metrics.check_sizes(prediction, true)
        if void is not None and void.any():
            truth, hard, soft, objects = (
                np.where(void, np.zeros((), array.dtype), array)
                for array in (truth, hard, soft, objects)
            )
        return Loaded(truth, regions, hard, soft, objects)


class Protocol(ABC):
    """Defines which frames of a data set are scored, and how their scores become one number.

    A subclass says what one frame is worth (`score_frame`), what is kept of one video (`collect`)
    and what all videos together give (`summarise`).

    Attributes:
      name: by which `registry.protocol` finds it.
      main: key of the one number that counts, in what `summarise` returns.
      description: one line on it for readers of a report.
      columns: keys for a table by their titles; in `per_sequence` the keys of `sequence_columns`.
      meanings: one line on each key of `columns`.
      smaller_is_better: the keys of scores that are losses.
      prediction: what it scores, by the name of the field of `Video`: "masks"; "objects", if
        predicted objects are distinguished; "maps", if they are more than the masks they give.
    """

    name: str
    main: str
    prediction: str = "masks"
    description: str
    columns: Mapping[str, str]
    sequence_columns: Mapping[str, str]
    meanings: Mapping[str, str] = MEANINGS
    smaller_is_better: Container[str] = frozenset({"mae", "decay_j", "decay_f"})

    def frames(self, video: Video) -> list[int]:
        """Returns the numbers of the frames that are scored."""
        return [frame for frame in range(len(video)) if video.has_truth(frame)]

    @abstractmethod
    def score_frame(self, frame: Loaded) -> Any:
        """Measures one frame."""

    @abstractmethod
    def collect(self, video: Video, frames: Sequence[int], scores: Sequence[Any]) -> dict:
        """Returns what is kept of one video, from `score_frame` of each of its scored frames."""

    @abstractmethod
    def summarise(self, scores: Mapping[str, dict]) -> dict:
        """Computes the result of the data set, plain numbers ready for json.

        Args:
          scores: what `score` returned, by the name of the video.

        Returns:
          At least `protocol`, the counts `frames` and `sequences` of what was scored, the score
          named by `main`, and `per_sequence`: {name: {`frames`, scores}}.

        Raises:
          ValueError: there is none.
        """

    def score(self, video_name: str, video: Video, jobs: int = 1) -> dict:
        """Scores one video.

        Args:
          video_name: for errors.
          video: its frames are loaded here, each by the thread that scores it.
          jobs: frames scored at once; the result does not depend on it.

        Returns:
          Small plain data for `summarise`.

        Raises:
          ValueError: a video with no frame to score, a scored frame without prediction, or with a
            prediction of another size than its truth; names video and frame.
        """
        return self._score({video_name: video}, jobs)[video_name]

    def frame_j(self, video: Video, scores: dict) -> np.ndarray | None:
        """Returns J of each frame [T], NaN where it is not scored; None if J is not measured.

        Args:
          video: as it was scored.
          scores: what `score` returned.
        """
        return None

    def __call__(self, videos: Mapping[str, Video], jobs: int = 1) -> dict:
        """Scores all videos, by name, and summarises them; arguments and errors as above."""
        return self.summarise(self._score(videos, jobs))

    def _score(self, videos: Mapping[str, Video], jobs: int) -> dict[str, dict]:
        tasks = []
        for name, video in videos.items():
            frames = self.frames(video)
            if not frames:
                raise ValueError(
                    f"video {name} has {len(video)} frames, of which protocol {self.name} scores "
                    "none; leave the video out"
                )
            tasks += [(name, frame) for frame in frames]

        def score(task):
            name, frame = task
            try:
                return self.score_frame(videos[name].load(frame))
            except ValueError as error:
                where = f"video {name}, {videos[name].frame_name(frame)}"
                raise ValueError(f"{where}: {error}") from error

        # Threads, not processes: OpenCV, NumPy and image decoders work outside the interpreter
        # lock, and a process that runs JAX must not be forked.
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            scored = zip(tasks, pool.map(score, tasks), strict=True)
            return {
                name: self._collect(name, videos[name], list(part))
                for name, part in groupby(scored, key=lambda entry: entry[0][0])
            }

    def _collect(self, name: str, video: Video, scored: list) -> dict:
        frames, scores = [frame for (_, frame), _ in scored], [score for _, score in scored]
        try:
            return self.collect(video, frames, scores)
        except ValueError as error:
            raise ValueError(f"video {name}: {error}") from error

    def _require_videos(self, scores: Mapping[str, dict]) -> None:
        if not scores:
            raise ValueError(f"protocol {self.name} got no video to score")


def scored_frames(
    confidences: Mapping[str, Mapping[str, np.ndarray]],
    frame_j: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns L_A and J of all scored frames of all videos, one after the other, each [N].

    Args:
      confidences, frame_j: {video: {model: [T]}}; NaN in ``frame_j`` where a frame is not scored.
      model: "phi" or "chi".
    """
    l_a = np.concatenate([confidences[video][model] for video in frame_j])
    j = np.concatenate([video[model] for video in frame_j.values()])
    return l_a[np.isfinite(j)], j[np.isfinite(j)]
