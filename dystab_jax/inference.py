"""Masks and confidences of whole videos: what pseudo-labels, evaluation and prediction share."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from dystab_jax import masks
from dystab_jax.data.pipeline import Decoded, TrainingFrame
from dystab_jax.runtime import parallel, processes
from dystab_jax.state import Variables
from dystab_jax.steps import Steps

T = TypeVar("T")


@dataclass(frozen=True)
class VideoPrediction:
    """Holds what the networks predict for one video, at their resolution.

    Attributes:
      video: its name.
      frames: names of its T frames.
      groups: of its frames, "" where the data set has none.
      phi: φ averaged over the flows of each frame, canonical, float32 [T, H, W, 1].
      chi: χ(I), float32 [T, H, W, 1].
      confidence_phi, confidence_chi: L_A of both cut at one half, averaged over the flows, [T].
      images: uint8 [T, H, W, 3].
      flows: one flow for each frame, for pictures, [T, H, W, 2].
    """

    video: str
    frames: tuple[str, ...]
    groups: tuple[str, ...]
    phi: np.ndarray
    chi: np.ndarray
    confidence_phi: np.ndarray
    confidence_chi: np.ndarray
    images: np.ndarray
    flows: np.ndarray


class Predictor:
    """Runs φ, χ and ψ over videos in batches of one shape, so that each compiles once."""

    def __init__(self, steps: Steps, mesh: Mesh, batch_size: int):
        self.batch_size = batch_size
        self._mesh = mesh
        self._dynamic = parallel.map_prediction(steps.predict_dynamic, mesh)
        self._static = parallel.map_prediction(steps.predict_static, mesh)
        self._confidence = parallel.map_prediction(steps.measure_confidence, mesh)

    def place(self, variables: Variables) -> Variables:
        """Variables of a training state, on the devices that this predictor uses."""
        if processes.count() == 1:
            return variables
        return parallel.replicate(processes.local(variables), self._mesh)

    def static(self, chi: Variables, images: np.ndarray) -> np.ndarray:
        """Predicts χ(I) for images uint8 [N, H, W, 3]: float32 [N, H, W, 1]."""
        return self._run(self._static, chi, {"image": images})

    def video(
        self,
        variables: dict[str, Variables],
        video: str,
        frames: Sequence[tuple[str, str]],
        images: np.ndarray,
        pairs: Sequence[tuple[int, np.ndarray]],
        vote: bool,
    ) -> VideoPrediction:
        """Predicts one video with both models.

        Args:
          variables: of "phi", "psi" and "chi".
          video: its name.
          frames: (name, group) of each of the T frames.
          images: uint8 [T, H, W, 3].
          pairs: (frame, flow from it to another one, [H, W, 2]); at least one for each frame.
          vote: one decision per video on which region is the object, instead of one per frame.
        """
        owners = np.array([frame for frame, _ in pairs])
        flows = np.stack([flow for _, flow in pairs])
        raw = self._run(self._dynamic, variables["phi"], {"flow": flows})
        canonical = (masks.canonicalise_sequence if vote else masks.canonicalise)(raw)[0]
        phi = np.stack([np.asarray(canonical)[owners == t].mean(0) for t in range(len(frames))])
        chi = self.static(variables["chi"], images)
        measured = {
            name: self._run(
                self._confidence,
                variables["psi"],
                {"flow": flows, "image": images[owners], "mask": (mask > 0.5)[owners]},
            )
            for name, mask in (("phi", phi), ("chi", chi))
        }
        by_frame = {
            name: np.array([values[owners == t].mean() for t in range(len(frames))], np.float32)
            for name, values in measured.items()
        }
        first = [int(np.argmax(owners == t)) for t in range(len(frames))]
        names, groups = zip(*frames, strict=True)
        return VideoPrediction(
            video, names, groups, phi, chi, by_frame["phi"], by_frame["chi"], images, flows[first]
        )

    def videos(
        self,
        variables: dict[str, Variables],
        decoded: Decoded,
        frames: Sequence[TrainingFrame],
        vote: bool,
        flows_per_frame: int,
    ) -> Iterator[VideoPrediction]:
        """Predicts all videos of a prepared data set, one after the other.

        Args:
          variables, vote: see ``video``.
          decoded, frames: the data set.
          flows_per_frame: over how many flows φ is averaged, at most; the smallest gaps first.
        """
        by_video: dict[str, list[TrainingFrame]] = {}
        for frame in frames:
            by_video.setdefault(frame.video, []).append(frame)
        if not by_video:
            return
        decoded.open()
        with ThreadPoolExecutor() as pool:

            def load(
                members: Sequence[TrainingFrame],
            ) -> tuple[list[Future], list[tuple[int, Future]]]:
                images, pairs = [], []
                for number, frame in enumerate(members):
                    positions = frame.positions[:flows_per_frame]
                    images.append(pool.submit(decoded.part, positions[0], "image"))
                    for position in positions:
                        flow = pool.submit(decoded.part, position, "flow_forward")
                        pairs.append((number, flow))
                return images, pairs

            waiting = list(by_video)
            loaded = load(by_video[waiting[0]])
            for video, following in zip(waiting, [*waiting[1:], None], strict=True):
                images, pairs = loaded
                images = np.stack([image.result() for image in images])
                pairs = [(number, flow.result()) for number, flow in pairs]
                # The next video is decoded while this one goes through the networks.
                loaded = load(by_video[following]) if following is not None else None
                named = [(frame.name, frame.group) for frame in by_video[video]]
                yield self.video(variables, video, named, images, pairs, vote)

    def _run(
        self, function: Callable, variables: Variables, arrays: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Applies a mapped prediction in batches, the last one filled up with copies."""
        total = len(next(iter(arrays.values())))
        size = self.batch_size
        results = []
        for start in range(0, total, size):
            chosen = np.minimum(np.arange(start, start + size), total - 1)
            batch = {name: array[chosen] for name, array in arrays.items()}
            results.append(function(variables, parallel.shard(batch, self._mesh, 0)))
        return np.concatenate([jax.device_get(result) for result in results])[:total]


def own_videos(frames: Sequence[TrainingFrame]) -> list[TrainingFrame]:
    """Returns the frames of those videos that fall to this process."""
    mine = set(processes.mine(list(dict.fromkeys(frame.video for frame in frames))))
    return [frame for frame in frames if frame.video in mine]


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cuts into consecutive parts of at most ``size`` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def fuse(
    prediction: VideoPrediction, fusion: str, trust: str, margin: float
) -> dict[str, np.ndarray]:
    """Returns soft maps [T, h, w, 1] of φ, χ and both fused, by the names of the models."""
    fused = masks.fuse(
        prediction.phi,
        prediction.chi,
        prediction.confidence_phi,
        prediction.confidence_chi,
        mode=fusion,
        trust=trust,
        margin=margin,
    )
    return {"phi": prediction.phi, "chi": prediction.chi, "fused": fused}
