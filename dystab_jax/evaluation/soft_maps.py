"""Makes the soft maps that are scored: of every model, before and after refinement."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from dystab_jax import object_choice
from dystab_jax.build import Run
from dystab_jax.data import pipeline, resize
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.evaluation.protocols.base import LazyArray, Video, as_array
from dystab_jax.evaluation.samples import (
    Reader,
    Row,
    Sample,
    make_sample,
    make_video_sample,
    spread,
)
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.inference import Reading, VideoPrediction, chunks, fuse
from dystab_jax.refinement import crf
from dystab_jax.runtime import processes

STRIP_FRAMES = 5  # of a video in its strip


@dataclass(frozen=True)
class Origin:
    """Holds what led to the masks of a video; of its frames at native size, none.

    Attributes:
      prediction: of φ and χ, at the networks' resolution.
      fused: of both, before any CRF, float32 [T, h, w, 1].
      image: reads frame ``t`` at native size, RGB uint8 [H, W, 3].
    """

    prediction: VideoPrediction
    fused: np.ndarray
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
    positions = {(frame.video, frame.name): frame.positions[0] for frame in frames}
    names = list(dict.fromkeys(frame.video for frame in frames))
    with_pictures = spread(names, pictured)
    predictions = run.predictor.videos(
        snapshot.variables,
        decoded,
        pipeline.own_videos(frames),
        Reading.of(options),
        options.flows_per_frame,
    )
    adapter = Adapter(run) if options.adaptation.rounds else None
    total = len(processes.mine(names))
    for prediction in processes.bar(predictions, total=total, desc=source.spec, unit="video"):
        if adapter is not None:
            prediction = adapter.adapt(snapshot.variables, prediction)
        video = prediction.video
        read = Reader(source, [positions[video, frame] for frame in prediction.frames])
        if options.oracle:
            prediction = _ask_the_truth(prediction, read)
        size = read.size(0)
        rows: dict[Row, Sequence[LazyArray]] = {}
        made = fuse(prediction, options)
        for model, maps in made.items():
            rows[model, "none"] = [partial(_at_size, soft_map, size) for soft_map in maps]
            if options.crf != "none" and model in crf_models:
                rows[model, options.crf] = _refine(read, rows[model, "none"], options.crf, options)
        shown = range(len(prediction.frames)) if video in with_pictures else ()
        yield Predicted(
            video,
            {row: read.video(prediction, maps) for row, maps in rows.items()},
            [make_video_sample(prediction, rows, read, t) for t in spread(shown, STRIP_FRAMES)],
            {"phi": prediction.confidence_phi, "chi": prediction.confidence_chi},
            Origin(prediction, made["fused"], read.image),
        )


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
                    partial(_at_size, soft_map, read.size(t)) for t, soft_map in enumerate(maps)
                ]
            }
            if preset != "none":
                rows["chi", preset] = _refine(read, rows["chi", "none"], preset, options)
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
    read: Reader, maps: Sequence[LazyArray], preset: str, options: ConfigDict
) -> list[np.ndarray]:
    """Returns the maps of consecutive records after the CRF, at native size."""
    pairs = ((read.image(t), as_array(soft)) for t, soft in enumerate(maps))
    return list(crf.refine_frames(pairs, preset, options.jobs, options.crf_backend))


def _ask_the_truth(prediction: VideoPrediction, read: Reader) -> VideoPrediction:
    """With ``eval.oracle``: truth chooses in every frame which of φ's regions is the object."""
    size = prediction.phi.shape[1:3]
    truth = [resize.fit_mask(read.mask(t), size) for t in range(len(prediction.frames))]
    phi, _ = object_choice.oracle_channel(prediction.phi, np.stack(truth)[..., None])
    return dataclasses.replace(prediction, phi=phi)


def _at_size(soft_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return resize.upsample(soft_map, size)[..., 0]
