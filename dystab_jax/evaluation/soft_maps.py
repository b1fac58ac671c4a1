"""Makes the soft maps that are scored: of every model, before and after refinement."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter

import numpy as np
from ml_collections import ConfigDict

from dystab_jax import inference, object_choice
from dystab_jax.build import Run
from dystab_jax.data import pipeline, resize
from dystab_jax.data.spool import Spool
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.evaluation.protocols.base import LazyArray, Video, as_array
from dystab_jax.evaluation.samples import (
    Reader,
    Row,
    Sample,
    make_sample,
    spread,
)
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.inference import Reading, VideoPrediction, chunks, fuse
from dystab_jax.refinement import crf
from dystab_jax.runtime import processes

STRIP_FRAMES = 5  # of a video in its strip


Flows = Callable[[int], Mapping[int, np.ndarray]]
"""Returns the flows of frame ``t`` by gap: the smallest first, of these the later frame."""


@dataclass(frozen=True)
class Origin:
    """Holds what led to the masks of a video; of its frames at native size, none.

    Attributes:
      frames: names of its T frames.
      maps: soft maps [h, w] of each frame at the networks' resolution, before any CRF, by model:
        "phi", "chi", "fused".
      flows: of each frame, [h, w, 2].
      confidences: {"phi": [T], "chi": [T]}, L_A of every frame.
      image: reads frame ``t`` at native size, RGB uint8 [H, W, 3].
    """

    frames: Sequence[str]
    maps: Mapping[str, Sequence[LazyArray]]
    flows: Flows
    confidences: Mapping[str, np.ndarray]
    image: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Predicted:
    """Holds what the models say of one video or one still image.

    Attributes:
      name: of the video or image.
      rows: its frames with their truth and the maps of one row, by row; the last one is of what is
        made in the end.
      pictures: samples evenly spread over its frames; none where none was asked for.
      confidences: {"phi": [T], "chi": [T]}, L_A of every frame; None of a still image.
      origin: of the maps; None of a still image.
    """

    name: str
    rows: Mapping[Row, Video]
    pictures: Sequence[Sample]
    confidences: Mapping[str, np.ndarray] | None
    origin: Origin | None = None


def of_videos(
    run: Run,
    snapshot: Snapshot,
    source: pipeline.Records,
    frames: Sequence[pipeline.TrainingFrame],
    crf_models: Sequence[str],
    pictured: int,
) -> Iterator[Predicted]:
    """Yields the maps of φ, χ and their fusion of each video that falls to this process.

    Args:
      run: gives networks and config.
      snapshot: the networks' variables.
      source: the data set.
      frames: of the data set.
      crf_models: those whose maps ``eval.crf`` refines as well.
      pictured: videos of the data set with pictures, at most.
    """
    options = run.config.eval
    decoded = pipeline.Decoded(source, tuple(run.config.data.image_size), keep=False)
    by_video = {name: list(own) for name, own in groupby(frames, key=attrgetter("video"))}
    with_pictures = spread(list(by_video), pictured)
    predictions = run.predictor.videos(
        snapshot.variables,
        decoded,
        pipeline.own_videos(frames),
        Reading.of(options),
        options.flows_per_frame,
    )
    adapter = Adapter(run) if options.adaptation.rounds else None
    grouped = groupby(predictions, key=attrgetter("video"))
    total = len(processes.mine(list(by_video)))
    for name, pieces in processes.bar(grouped, total=total, desc=source.spec, unit="video"):
        members = by_video[name]
        read = Reader(source, [frame.positions[0] for frame in members])
        video = _Video(read, decoded, members, options)
        for piece in pieces:
            if adapter is not None:
                piece = adapter.adapt(snapshot.variables, piece)
            video.add(piece, crf_models)
        yield video.predicted(STRIP_FRAMES if name in with_pictures else 0)


class _Video:
    """Puts the pieces of a video together; a video of several is held in a temporary file."""

    def __init__(
        self,
        read: Reader,
        decoded: pipeline.Decoded,
        frames: Sequence[pipeline.TrainingFrame],
        options: ConfigDict,
    ):
        self._read, self._decoded, self._frames, self._options = read, decoded, frames, options
        self._name = frames[0].video
        is_long = len(list(inference.pieces(frames))) > 1
        self._keep = Spool().keep if is_long else lambda array: array
        self._maps: dict[str, list[LazyArray]] = {}
        self._rows: dict[Row, list[LazyArray]] = {}
        self._confidences: dict[str, list[np.ndarray]] = {"phi": [], "chi": []}
        self._first = 0
        self._prediction: VideoPrediction | None = None

    def add(self, piece: VideoPrediction, crf_models: Sequence[str]) -> None:
        """Takes the next piece, and refines its maps of these models."""
        options, size = self._options, self._read.size(0)
        count = range(self._first, self._first + len(piece.frames))
        if options.oracle:
            piece = _ask_the_truth(piece, self._read, count)
        for model, maps in fuse(piece, options).items():
            kept = [self._keep(soft) for soft in maps[..., 0]]
            self._maps.setdefault(model, []).extend(kept)
            native = [partial(_at_size, soft, size) for soft in kept]
            self._rows.setdefault((model, "none"), []).extend(native)
            if options.crf != "none" and model in crf_models:
                refined = _refine(self._read, count, native, options.crf, options)
                kept = self._rows.setdefault((model, options.crf), [])
                kept.extend(self._keep(soft) for soft in refined)
        for model, values in zip(("phi", "chi"), piece.confidences, strict=True):
            self._confidences[model].append(values)
        self._first += len(piece.frames)
        self._prediction = piece

    def predicted(self, pictures: int) -> Predicted:
        """Returns the whole, with at most so many pictures."""
        names = [frame.name for frame in self._frames]
        groups = [frame.group for frame in self._frames]
        confidences = {model: np.concatenate(all_) for model, all_ in self._confidences.items()}
        shown = spread(range(len(names)), pictures) if pictures else ()
        return Predicted(
            self._name,
            {row: self._read.video(names, groups, maps) for row, maps in self._rows.items()},
            [self._picture(t, confidences) for t in shown],
            confidences,
            Origin(names, self._maps, self._flows, confidences, self._read.image),
        )

    def _picture(self, t: int, confidences: Mapping[str, np.ndarray]) -> Sample:
        return make_sample(
            self._name,
            self._frames[t].name,
            self._rows,
            self._read,
            t,
            flow=next(iter(self._flows(t).values())).astype(np.float32),
            **{f"confidence_{model}": float(all_[t]) for model, all_ in confidences.items()},
        )

    def _flows(self, t: int) -> Mapping[int, np.ndarray]:
        if len(self._prediction.frames) == len(self._frames):
            return self._prediction.flows[t]
        positions = self._frames[t].positions[: self._options.flows_per_frame]
        flows = {
            self._decoded.source.keys[position].gap: self._decoded.part(position, "flow_forward")
            for position in positions
        }
        return {gap: flows[gap] for gap in sorted(flows, key=inference.nearness)}


def of_images(
    run: Run,
    snapshot: Snapshot,
    source: pipeline.Records,
    frames: Sequence[pipeline.TrainingFrame],
    pictured: int,
) -> Iterator[Predicted]:
    """Yields χ's map, at ``data.still_size``, of each still image that falls to this process.

    Args:
      run, snapshot, source, frames, pictured: as for ``of_videos``.
    """
    options = run.config.eval
    preset = options.still_crf
    decoded = pipeline.Decoded(source, tuple(run.config.data.still_size), keep=False)
    with_pictures, own = spread(frames, pictured), processes.mine(frames)
    with processes.bar(total=len(own), desc=source.spec, unit="image") as bar:
        for chunk in chunks(own, run.predictor.batch_size):
            images = np.stack([decoded.part(frame.positions[0], "image") for frame in chunk])
            read = Reader(source, [frame.positions[0] for frame in chunk])
            maps = run.predictor.static(snapshot.variables["chi"], images, options.mirror)
            rows: dict[Row, Sequence[LazyArray]] = {
                ("chi", "none"): [
                    partial(_at_size, soft_map[..., 0], read.size(t))
                    for t, soft_map in enumerate(maps)
                ]
            }
            if preset != "none":
                count = range(len(chunk))
                refined = _refine(read, count, rows["chi", "none"], preset, options)
                rows["chi", preset] = list(refined)
            for t, frame in enumerate(chunk):
                shown = [t] if frame in with_pictures else []
                yield Predicted(
                    frame.video,
                    {row: read.image_video(t, frame, maps[t]) for row, maps in rows.items()},
                    [make_sample(frame.video, frame.name, rows, read, t) for t in shown],
                    None,
                )
            bar.update(len(chunk))


def _refine(
    read: Reader, count: Iterable[int], maps: Iterable[LazyArray], preset: str, options: ConfigDict
) -> Iterator[np.ndarray]:
    """Yields the maps of the records ``count`` after the CRF, at native size."""
    pairs = ((read.image(t), as_array(soft)) for t, soft in zip(count, maps, strict=True))
    return crf.refine_frames(pairs, preset, options.jobs, options.crf_backend)


def _ask_the_truth(
    prediction: VideoPrediction, read: Reader, count: Iterable[int]
) -> VideoPrediction:
    """With ``eval.oracle``: truth chooses in every frame which of φ's regions is the object."""
    size = prediction.phi.shape[1:3]
    truth = [resize.fit_mask(read.mask(t), size) for t in count]
    phi, _ = object_choice.oracle_channel(prediction.phi, np.stack(truth)[..., None])
    return dataclasses.replace(prediction, phi=phi)


def _at_size(soft_map: LazyArray, size: tuple[int, int]) -> np.ndarray:
    return resize.upsample(as_array(soft_map)[..., None], size)[..., 0]
