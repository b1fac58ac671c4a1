"""Predicts masks and confidences of whole videos, and weighs φ and χ."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from dystab_jax import losses, object_choice
from dystab_jax.data.pipeline import Decoded, TrainingFrame
from dystab_jax.object_choice import NOTHING, Earlier, evidence_for_phi, fuse_masks, trust_in_phi
from dystab_jax.refinement.flow_average import FramePair, average_along_flow
from dystab_jax.runtime import parallel, processes
from dystab_jax.runtime.free_memory import give_back
from dystab_jax.state import Variables
from dystab_jax.steps import Steps

T = TypeVar("T")
Arrays = dict[str, jax.ShapeDtypeStruct]
PIECE = 60
"""Frames that a long video is cut into."""
AHEAD = 2
"""Batches that are handed to the devices before the first of them is fetched."""


@dataclass(frozen=True)
class VideoPrediction:
    """Holds what the networks predict for one video, at their resolution.

    Attributes:
      video: its name.
      frames: names of its T frames.
      groups: of its frames, "" where the data set has none.
      phi: φ averaged over the flows of each frame, canonical, float32 [T, H, W, 1].
      chi: χ(I), float32 [T, H, W, 1].
      confidence_phi, confidence_chi: L_A of both cut at one half, by all flows of a frame, [T].
      images: uint8 [T, H, W, 3].
      pairs: those by which φ has seen the frames.
      borders: shares of the image border that φ's masks covered before the choice, of each pair.
      earlier: what decided about the frames of the video before these.
      weight: w of `fuse_masks` where it is decided already, [T].
    """

    video: str
    frames: tuple[str, ...]
    groups: tuple[str, ...]
    phi: np.ndarray
    chi: np.ndarray
    confidence_phi: np.ndarray
    confidence_chi: np.ndarray
    images: np.ndarray
    pairs: Sequence[FramePair]
    borders: np.ndarray
    earlier: Earlier = NOTHING
    weight: np.ndarray | None = None

    @property
    def confidences(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns L_A of φ and of χ, [T] each."""
        return self.confidence_phi, self.confidence_chi

    def so_far(self) -> Earlier:
        """Returns what decides about the frames of the video after these."""
        now = np.array(evidence_for_phi((self.phi, self.chi), self.confidences))
        count = len(self.frames)
        return Earlier(
            self.earlier.border + float(self.borders.sum()),
            self.earlier.masks + len(self.borders),
            self.earlier.evidence + count * now,
            self.earlier.frames + count,
        )

    @cached_property
    def flows(self) -> list[dict[int, np.ndarray]]:
        """Returns the flows of each frame by gap: the smallest first, of these the later frame."""
        of_frames: list[dict[int, np.ndarray]] = [{} for _ in self.frames]
        for pair in sorted(self.pairs, key=lambda pair: nearness(pair.gap)):
            of_frames[pair.frame][pair.gap] = pair.flow
        return of_frames


@dataclass(frozen=True)
class Reading:
    """Says how masks are read from what the networks predict.

    Attributes:
      vote: one decision per video on which region is the object, instead of one per frame.
      phi_cut: the level of φ's masks above which a pixel is object, in (0, 1).
      mirror: χ's masks are the means of what it says of an image and of its mirror image.
    """

    vote: bool
    phi_cut: float = 0.5
    mirror: bool = False

    @classmethod
    def of(cls, options: ConfigDict) -> "Reading":
        """Returns what section ``eval`` of a config says."""
        return cls(options.vote, options.phi_cut, options.mirror)


class Predictor:
    """Runs φ, χ and ψ in batches of one shape for each size of video: each compiles once for it."""

    def __init__(self, steps: Steps, mesh: Mesh, batch_size: int):
        self.batch_size = batch_size
        self.mesh = mesh
        self._dynamic = parallel.map_prediction(steps.predict_dynamic, mesh)
        self._static = parallel.map_prediction(steps.predict_static, mesh)
        self._evidence = parallel.map_prediction(steps.measure_evidence, mesh)
        self._ratio_clip = steps.options.ratio_clip

    def programs(self, size: tuple[int, int]) -> Iterator[tuple[str, Callable, str, Arrays]]:
        """Yields what runs on the devices for videos of a size: name, function, network, arrays.

        Args:
          size: (height, width) of the networks.
        """
        batch = NamedSharding(self.mesh, PartitionSpec(parallel.AXIS))

        def array(channels: int, dtype: Any) -> jax.ShapeDtypeStruct:
            shape = (self.batch_size, *size, channels)
            return jax.ShapeDtypeStruct(shape, dtype, sharding=batch)

        flow, image, mask = array(2, np.float16), array(3, np.uint8), array(1, np.bool_)
        yield "predict φ", self._dynamic, "phi", {"flow": flow}
        yield "predict χ", self._static, "chi", {"image": image}
        yield "confidence", self._evidence, "psi", {"flow": flow, "image": image, "mask": mask}

    def compile(self, variables: dict[str, Variables], size: tuple[int, int]) -> None:
        """Compiles, or finds compiled, all that ``video`` runs for videos of a size."""
        for _, function, network, arrays in self.programs(size):
            if network in variables:
                function.lower(variables[network], arrays).compile()

    def place(self, variables: Variables) -> Variables:
        """Variables of a training state, on the devices that this predictor uses."""
        if processes.count() == 1:
            return variables
        return parallel.replicate(processes.local(variables), self.mesh)

    def static(self, chi: Variables, images: np.ndarray, mirror: bool = False) -> np.ndarray:
        """Predicts χ(I) for images uint8 [N, H, W, 3]: float32 [N, H, W, 1].

        With ``mirror``, the mean of what χ says of an image and of its mirror image.
        """
        maps = self._run(self._static, chi, {"image": images})
        if not mirror:
            return maps
        mirrored = self._run(self._static, chi, {"image": images[:, :, ::-1]})
        return (maps + mirrored[:, :, ::-1]) / 2

    def dynamic(self, phi: Variables, flows: np.ndarray) -> np.ndarray:
        """Predicts φ(u), not yet canonical, for flows [N, H, W, 2]: float32 [N, H, W, 1]."""
        return self._run(self._dynamic, phi, {"flow": flows})

    def video(
        self,
        variables: dict[str, Variables],
        video: str,
        frames: Sequence[tuple[str, str]],
        images: np.ndarray,
        pairs: Sequence[FramePair],
        reading: Reading,
        earlier: Earlier = NOTHING,
    ) -> VideoPrediction:
        """Predicts one video, or a piece of it, with both models.

        Args:
          variables: of "phi", "psi" and "chi"; without "chi", which has not learned yet, its masks
            are empty.
          video: its name.
          frames: (name, group) of each of the T frames.
          images: uint8 [T, H, W, 3].
          pairs: at least one of each frame.
          reading: how masks are read from what the networks predict.
          earlier: ``so_far`` of the piece before; with ``reading.vote``, its border counts.
        """
        owners = np.array([pair.frame for pair in pairs])
        flows = np.stack([pair.flow for pair in pairs])
        raw = self.dynamic(variables["phi"], flows)
        if reading.vote:
            canonical, _ = object_choice.canonicalise_sequence(raw, earlier=earlier)
        else:
            canonical, _ = object_choice.canonicalise(raw)
        masks = object_choice.move_cut(np.asarray(canonical), reading.phi_cut)
        phi = np.stack([masks[owners == t].mean(0) for t in range(len(frames))])
        confidence = self.confidence(variables["psi"], phi, images, pairs)
        names, groups = zip(*frames, strict=True)
        empty, none = np.zeros_like(phi), np.zeros_like(confidence)
        borders = np.asarray(object_choice.border_share(raw))
        prediction = VideoPrediction(
            *(video, names, groups, phi, empty, confidence, none, images, pairs, borders, earlier)
        )
        if "chi" not in variables:
            return prediction
        return self.with_chi(prediction, variables, reading.mirror)

    def with_chi(
        self, prediction: VideoPrediction, variables: dict[str, Variables], mirror: bool
    ) -> VideoPrediction:
        """Predicts a video anew by the χ and ψ of ``variables``; what φ says of it stays."""
        chi = self.static(variables["chi"], prediction.images, mirror)
        confidence = self.confidence(variables["psi"], chi, prediction.images, prediction.pairs)
        return replace(prediction, chi=chi, confidence_chi=confidence)

    def confidence(
        self, psi: Variables, mask: np.ndarray, images: np.ndarray, pairs: Sequence[FramePair]
    ) -> np.ndarray:
        """Returns L_A of masks [T, H, W, 1], cut at one half, by all flows of each frame, [T]."""
        owners = np.array([pair.frame for pair in pairs])
        flows = np.stack([pair.flow for pair in pairs])
        seen = {"flow": flows, "image": images[owners], "mask": (mask > 0.5)[owners]}
        evidence = self._run(self._evidence, psi, seen)
        # All flows of a frame have one vote together; the faster have more of it.
        summed = np.stack([evidence[owners == t].sum(0) for t in range(len(mask))])
        return np.asarray(losses.confidence(summed, self._ratio_clip))

    def videos(
        self,
        variables: dict[str, Variables],
        decoded: Decoded,
        frames: Sequence[TrainingFrame],
        reading: Reading,
        flows_per_frame: int,
    ) -> Iterator[VideoPrediction]:
        """Predicts all videos of a prepared data set, one after the other.

        Long ones come in pieces, see `pieces`; each is decided by all that has been seen of its
        video. So memory does not grow with the length.

        Args:
          variables, reading: see ``video``.
          decoded, frames: the data set.
          flows_per_frame: over how many flows φ is averaged, at most; the smallest gaps first.
        """
        by_video: dict[str, list[TrainingFrame]] = {}
        for frame in frames:
            by_video.setdefault(frame.video, []).append(frame)
        waiting = [piece for members in by_video.values() for piece in pieces(members)]
        if not waiting:
            return
        decoded.open()
        with ThreadPoolExecutor() as pool:

            def load(
                members: Sequence[TrainingFrame],
            ) -> tuple[list[Future], list[tuple[int, int, Future]]]:
                images, pairs = [], []
                for number, frame in enumerate(members):
                    positions = frame.positions[:flows_per_frame]
                    images.append(pool.submit(decoded.part, positions[0], "image"))
                    for position in positions:
                        flow = pool.submit(decoded.part, position, "flow_forward")
                        pairs.append((number, decoded.source.keys[position].gap, flow))
                return images, pairs

            loaded, before, earlier = load(waiting[0]), None, NOTHING
            for piece, following in zip(waiting, [*waiting[1:], None], strict=True):
                images, pairs = loaded
                images = np.stack([image.result() for image in images])
                pairs = [FramePair(number, gap, flow.result()) for number, gap, flow in pairs]
                # The next piece is decoded while this one goes through the networks.
                loaded = load(following) if following is not None else None
                video = piece[0].video
                earlier = earlier if video == before else NOTHING
                named = [(frame.name, frame.group) for frame in piece]
                one = self.video(variables, video, named, images, pairs, reading, earlier)
                before, earlier = video, one.so_far()
                yield one

    def _run(
        self, function: Callable, variables: Variables, arrays: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Applies a mapped prediction in batches, the last one filled up with copies."""
        total = len(next(iter(arrays.values())))
        size = self.batch_size
        results, done = [], []
        for start in range(0, total, size):
            chosen = np.minimum(np.arange(start, start + size), total - 1)
            batch = {name: array[chosen] for name, array in arrays.items()}
            results.append(function(variables, parallel.shard(batch, self.mesh, 0)))
            if len(results) == AHEAD:  # each in flight holds the buffers of a whole network
                done.append(jax.device_get(results.pop(0)))
        joined = np.concatenate(done + jax.device_get(results))[:total]
        del results
        give_back()
        return joined


def nearness(gap: int) -> tuple[int, int]:
    """Returns what gaps are sorted by: the smallest first, of two alike the later frame."""
    return abs(gap), -gap


def pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cuts a video's frames into pieces of `PIECE`; the last one has up to 2 · `PIECE` - 1."""
    cuts = range(0, max(len(items) - PIECE, 0) + 1, PIECE)
    for start, end in zip(cuts, [*cuts[1:], len(items)], strict=True):
        yield items[start:end]


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cuts into consecutive parts of at most ``size`` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def fuse(prediction: VideoPrediction, options: ConfigDict) -> dict[str, np.ndarray]:
    """Returns soft maps [T, h, w, 1] of φ, χ and both fused, by the names of the models.

    Args:
      prediction: of one video.
      options: section ``eval`` of a config.
    """
    weight = prediction.weight
    if weight is None and options.fusion == "weighted":
        weight = weigh(prediction, options)
    fused = fuse_masks(
        *(prediction.phi, prediction.chi, *prediction.confidences),
        *(options.fusion, options.trust, options.fusion_sharpness, options.fusion_floor),
        weight,
    )
    fused = average_along_flow(fused, prediction.pairs, options.flow_average)
    return {"phi": prediction.phi, "chi": prediction.chi, "fused": fused}


def weigh(one: VideoPrediction, options: ConfigDict) -> np.ndarray:
    """Returns w of the mode `weighted` of `fuse_masks` for the frames of one video, [T]."""
    sharpness, floor = options.fusion_sharpness, options.fusion_floor
    return trust_in_phi((one.phi, one.chi), one.confidences, sharpness, floor, one.earlier)


def threshold(maps: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Returns hard masks {0, 1}: 1 where the map is greater than one half."""
    return (maps > 0.5).astype(np.uint8)
