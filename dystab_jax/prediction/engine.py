"""Makes masks of images and videos by networks that have learned."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from threading import Event

import cv2
import numpy as np
from ml_collections import ConfigDict

from data_prep.sources.frames import FrameSource
from data_prep.video import Recipe
from dystab_jax import inference
from dystab_jax.array_types import Picture
from dystab_jax.build import Run
from dystab_jax.data import resize
from dystab_jax.data.resize import resize_image
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.inference import VideoPrediction, nearness
from dystab_jax.object_choice import NOTHING, Earlier
from dystab_jax.prediction.progress import Progress
from dystab_jax.prediction.segmented import SegmentedFrame, Trace
from dystab_jax.prediction.shots import Piece, read_pieces
from dystab_jax.refinement import crf
from dystab_jax.runtime.free_memory import give_back
from dystab_jax.state import Variables


def learned(snapshot: Snapshot) -> dict[str, Variables]:
    """Returns the networks that have learned: χ does so from the first round on."""
    known = snapshot.chi_has_learned
    return {name: one for name, one in snapshot.variables.items() if name != "chi" or known}


def set_adaptation(config: ConfigDict, adapt: bool | None) -> None:
    """Turns adaptation on or off in a config; None leaves it."""
    adaptation = config.eval.adaptation
    if adapt is not None:
        adaptation.rounds = max(1, adaptation.rounds) if adapt else 0


class _Stopped(Exception):
    """Signals that no more frames of a video are wanted."""


class Engine:
    """Holds networks and the rules by which masks are read from them."""

    def __init__(self, run: Run, variables: dict[str, Variables], recipe: Recipe):
        """Compiles nothing yet.

        Args:
          run: gives networks and config; its section ``eval`` holds.
          variables: of the networks, by name; without "chi" φ alone makes the masks.
          recipe: how flow is computed; best as that of the training data, see `flow_of_training`.
        """
        self._run, self._variables = run, variables
        reach = math.ceil(run.config.eval.flows_per_frame / 2)
        self._recipe = replace(recipe, max_gap=min(recipe.max_gap, reach))
        adapts = run.config.eval.adaptation.rounds and "chi" in variables
        self._adapter = Adapter(run) if adapts else None
        self._compiled: set[tuple[int, int]] = set()

    def image(self, image: Picture, name: str) -> SegmentedFrame:
        """Segments an image by itself: χ at ``data.still_size``, then ``eval.still_crf``.

        Raises:
          ValueError: χ has not learned yet.
        """
        if "chi" not in self._variables:
            raise ValueError(f"{name}: chi, which masks images, has learned nothing yet; train on")
        small = resize_image(image, tuple(self._run.config.data.still_size))
        options = self._run.config.eval
        soft = self._run.predictor.static(self._variables["chi"], small[None], options.mirror)
        native = resize.upsample(soft[0], image.shape[:2])[..., 0]
        refined = crf.refine(image, native, options.still_crf, options.crf_backend)
        return SegmentedFrame(name, None, image, refined)

    def video(self, video: FrameSource, progress: Progress) -> Iterator[SegmentedFrame]:
        """Yields the frames of a video with their masks, in order.

        φ and χ are fused as ``eval.fusion`` says and refined by ``eval.crf``; with
        ``eval.adaptation`` they learn from each piece of the video first. Shots are decided by
        themselves. One of a single frame has no flow: it is segmented like an image. Memory does
        not grow with the length.

        Args:
          video: where frames come from.
          progress: hears how far it is; ``done`` is left to the caller.

        Raises:
          ValueError, FileNotFoundError: something is wrong with the video; names file or frame.
        """
        shot, earlier = 0, NOTHING
        for piece in self._read(video, progress):
            if piece.shot != shot:
                shot, earlier = piece.shot, NOTHING
            progress.predicts(len(piece.names))
            give_back()
            if not any(piece.flows):
                progress.predicted(len(piece.names))
                for t, name in enumerate(piece.names):
                    progress.say(f"{video.name}: frame {name} alone has no flow; chi masks it")
                    alone = self.image(_decode(piece.encoded[t]), name)
                    yield replace(alone, time=piece.times[t], shot=shot)
                continue
            prediction, earlier = self._predict(video.name, piece, earlier, progress)
            fused = inference.fuse(prediction, self._run.config.eval)["fused"]
            progress.predicted(len(piece.names))
            give_back()
            yield from self._refined(piece, prediction, fused)

    def _read(self, video: FrameSource, progress: Progress) -> Iterator[Piece]:
        """Yields the pieces of a video; while one is masked, the next one is read.

        Programs are compiled while the first one is read.
        """
        size = tuple(self._run.config.data.image_size)
        stopped, compiling = Event(), []

        def read_one(size: tuple[int, int]) -> None:
            if stopped.is_set():
                raise _Stopped
            if size not in self._compiled:
                self._compiled.add(size)
                compiling.append(pool.submit(self._compile, size))
            progress.read()

        pieces = read_pieces(video, self._recipe, size, read_one)
        with ThreadPoolExecutor(2) as pool:
            try:
                following = pool.submit(next, pieces, None)
                while (piece := following.result()) is not None:
                    wait(compiling)
                    following = pool.submit(next, pieces, None)
                    yield piece
            finally:
                stopped.set()

    def _compile(self, size: tuple[int, int]) -> None:
        with suppress(Exception):  # it comes again, and is reported, where the program is needed
            self._run.predictor.compile(self._variables, size)

    def _predict(
        self, video: str, piece: Piece, earlier: Earlier, progress: Progress
    ) -> tuple[VideoPrediction, Earlier]:
        options = self._run.config.eval
        prediction = self._run.predictor.video(
            self._variables,
            video,
            [(frame, "") for frame in piece.names],
            np.stack(piece.images),
            piece.pairs(options.flows_per_frame),
            inference.Reading.of(options),
            earlier,
        )
        # By the networks as they came: adapted ones raise their own confidence.
        seen = prediction.so_far()
        if self._adapter is not None:
            adapted = self._adapter.adapt(self._variables, prediction)
            progress.say(f"{video}: {_changes(prediction, adapted, options)}")
            prediction = adapted
        return prediction, seen

    def _refined(
        self, piece: Piece, prediction: VideoPrediction, fused: np.ndarray
    ) -> Iterator[SegmentedFrame]:
        options = self._run.config.eval
        images: deque[Picture] = deque()

        def pairs() -> Iterator[tuple[Picture, np.ndarray]]:
            for encoded, soft in zip(piece.encoded, fused, strict=True):
                images.append(_decode(encoded))
                yield images[-1], resize.upsample(soft, images[-1].shape[:2])[..., 0]

        refined = crf.refine_frames(pairs(), options.crf, options.jobs, options.crf_backend)
        for t, soft in enumerate(refined):
            trace = Trace(
                {
                    gap: flow.astype(np.float32)
                    for gap, flow in sorted(piece.flows[t], key=lambda flow: nearness(flow[0]))
                },
                prediction.phi[t, ..., 0],
                prediction.chi[t, ..., 0],
                fused[t, ..., 0],
                float(prediction.confidence_phi[t]),
                float(prediction.confidence_chi[t]),
            )
            yield SegmentedFrame(
                piece.names[t], piece.times[t], images.popleft(), soft, trace, piece.shot
            )


def _decode(encoded: bytes) -> Picture:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)


def _changes(before: VideoPrediction, after: VideoPrediction, options: ConfigDict) -> str:
    """Says what adapting to a video did."""
    if after is before:
        return "nothing is found in it from which the networks could adapt"
    masks = [inference.fuse(one, options)["fused"] > 0.5 for one in (before, after)]
    common, both = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
    confidences = [
        f"{one.confidence_phi.mean():.2f} and {one.confidence_chi.mean():.2f}"
        for one in (before, after)
    ]
    return (
        f"adapted to {len(before.frames)} frames; L_A of phi and chi {confidences[0]}, now "
        f"{confidences[1]}; J of the new masks with the old ones {common / max(both, 1):.2f}"
    )
