"""Predicts the masks of any image, folder of frames or video, by a trained run."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.sources.discover import frame_notes, left_out, list_images, list_videos
from data_prep.sources.frames import IMAGE_ENDINGS, FrameSource, read_image
from data_prep.sources.video_files import VIDEO_ENDINGS, VideoFile
from data_prep.video import Recipe, read_with_flow
from dystab_jax import inference
from dystab_jax.build import Run
from dystab_jax.data import mask_files, resize
from dystab_jax.data.resize import network_size, resize_flow, resize_image
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.prediction.overlay_video import OverlayVideo, frames_per_second
from dystab_jax.refinement import crf
from dystab_jax.refinement.flow_average import FramePair
from dystab_jax.report import pictures
from dystab_jax.runtime.atomic_files import bounded
from dystab_jax.runtime.disk import naming_full_disk
from dystab_jax.state import Variables

PIECE = 60
"""Frames that a long video is cut into; see `predict`."""

DEFAULT_RECIPE = Recipe()

SMALLEST_SIDE = 12
"""Pixels, what DIS needs."""


def predict(
    run: Run,
    variables: dict[str, Variables],
    source: Path,
    output: Path,
    recipe: Recipe = DEFAULT_RECIPE,
) -> list[Path]:
    """Writes masks (PNG, 0 and 255, native size) and overlays.

    * An image file goes through χ alone: OUTPUT/NAME.png, OUTPUT/NAME-overlay.jpg.
    * A video file or a folder of images: OUTPUT/masks/FRAME.png and OUTPUT/overlay.mp4; for a
      folder OUTPUT/overlays/FRAME.jpg as well. Flow is estimated, ``eval.flows_per_frame`` of each
      frame at most, smallest gaps first; φ and χ are fused as ``eval.fusion`` and ``eval.trust``
      say, and ``eval.crf`` (``eval.still_crf`` for images) refines the masks. With
      ``eval.adaptation`` they learn from the video itself first. A video of a single
      frame, such as a folder with one image, has no flow and is treated like an image file.
    * A folder of such videos: the same in OUTPUT/VIDEO/ for each. One that cannot be read does
      not stop the others.

    Videos of 120 frames or more are cut into pieces of 60 to 119, so that memory does not grow with
    their length. Flow reaches across the cuts; with ``eval.vote``, each piece decides on its own
    which region is the object. What is written appears when a video is complete; files of an
    earlier prediction are replaced, others in OUTPUT stay.

    Args:
      run: gives networks and config.
      variables: of the networks, by name.
      source: image, folder or video.
      output: folder, made where absent.
      recipe: how flow is computed; best as that of the training data, see ``flow_of_training``.

    Returns:
      The files written.

    Raises:
      FileNotFoundError: no source.
      ValueError: nothing in it can be read, or frames differ in size; names the file. With several
        videos: which ones failed and why, after the others are done.
      OSError: the output cannot be written.
    """
    if not source.exists():
        raise FileNotFoundError(f"--input={source}: no such file or folder")
    still = is_image(source)
    if source.is_file() and not still and source.suffix.lower() not in VIDEO_ENDINGS:
        raise ValueError(
            f"--input={source}: neither an image ({' '.join(IMAGE_ENDINGS)}) nor a video "
            f"({' '.join(VIDEO_ENDINGS)})"
        )
    videos = [] if still else list_videos(source)
    _make_output(output, source)
    if still:
        return _predict_image(run, variables, source, output)
    adapter = Adapter(run) if run.config.eval.adaptation.rounds else None
    for note in (*left_out(source), *frame_notes(videos)):
        tqdm.write(f"note: {note}")
    if source.is_file() or list_images(source):
        return _predict_video(run, variables, adapter, videos[0], output, recipe)
    written, failures = [], []
    for video in videos:
        try:
            written += _predict_video(run, variables, adapter, video, output, recipe, video.name)
        except (ValueError, FileNotFoundError) as error:
            tqdm.write(f"{video.name}: {error}")
            failures.append(str(error))
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(videos)} videos in {source} failed; the masks of the others "
            f"are in {output}. " + "; ".join(failures)
        )
    return written


def is_image(source: Path) -> bool:
    """Returns whether a path is that of a single image, for which no flow is needed."""
    return source.is_file() and source.suffix.lower() in IMAGE_ENDINGS


def _make_output(output: Path, source: Path) -> None:
    """Makes the folder.

    Raises:
      ValueError, OSError: results and input would mix, or it cannot be written.
    """
    whole, place = source.resolve(), output.resolve()
    if whole in (place, *place.parents) and source.is_dir():
        raise ValueError(
            f"--output={output} is in the input folder {source}, where the masks would be taken "
            "for frames; choose a folder outside of it"
        )
    if whole in (place / f"{source.stem}.png", place / "overlay.mp4"):
        raise ValueError(f"--output={output}: a result would replace its own input {source}")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output={output} is a file; choose a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OSError(f"--output={output} cannot be written: {error}; choose another") from error


def _predict_image(
    run: Run, variables: dict[str, Variables], path: Path, output: Path
) -> list[Path]:
    image, _ = read_image(path)
    mask = inference.threshold(_still(run, variables, image))
    with _staging(output) as staging:
        _write(staging / f"{path.stem}.png", mask_files.encode_mask(mask))
        overlay = _as_jpeg(pictures.overlay(image, mask))
        _write(staging / f"{bounded(path.stem)}-overlay.jpg", overlay)
        return _publish(staging, output)


def _predict_video(
    run: Run,
    variables: dict[str, Variables],
    adapter: Adapter | None,
    video: FrameSource,
    output: Path,
    recipe: Recipe,
    folder: str = "",
) -> list[Path]:
    size = tuple(run.config.data.image_size)
    reach = min(recipe.max_gap, math.ceil(run.config.eval.flows_per_frame / 2))
    with _staging(output) as staging:
        with OverlayVideo(staging / "overlay.mp4", frames_per_second(video)) as overlay:
            for piece in _pieces(video, replace(recipe, max_gap=reach), size):
                refined = _refined(run, variables, adapter, video.name, piece)
                for name, time, encoded, probability in zip(
                    piece.names, piece.times, piece.encoded, refined, strict=True
                ):
                    image, mask = _decode(encoded), inference.threshold(probability)
                    _write(staging / "masks" / f"{name}.png", mask_files.encode_mask(mask))
                    picture = pictures.overlay(image, mask)
                    overlay.write(picture, time)
                    if not isinstance(video, VideoFile):
                        _write(staging / "overlays" / f"{name}.jpg", _as_jpeg(picture))
        return _publish(staging, output / folder)


def _still(run: Run, variables: dict[str, Variables], image: np.ndarray) -> np.ndarray:
    """Returns the soft map [H, W] of an image by itself at native size, after its CRF."""
    small = resize_image(image, tuple(run.config.data.still_size))
    soft = run.predictor.static(variables["chi"], small[None], run.config.eval.mirror)
    native, options = resize.upsample(soft[0], image.shape[:2])[..., 0], run.config.eval
    return crf.refine(image, native, options.still_crf, options.crf_backend)


def _refined(
    run: Run,
    variables: dict[str, Variables],
    adapter: Adapter | None,
    name: str,
    piece: "_Piece",
) -> Iterator[np.ndarray]:
    """Yields the soft maps [H, W] of a piece at native size, after the CRF."""
    if any(piece.flows):
        return _refine(run, piece.encoded, _fused(run, variables, adapter, name, piece))
    tqdm.write(f"{name}: a single frame has no flow, so chi alone makes its mask")
    return (_still(run, variables, _decode(encoded)) for encoded in piece.encoded)


def _refine(run: Run, encoded: Sequence[bytes], soft: np.ndarray) -> Iterator[np.ndarray]:
    """Yields soft maps [H, W] at native size, after the CRF that ``eval.crf`` names."""
    options = run.config.eval
    pairs = (
        (image, resize.upsample(soft_map, image.shape[:2])[..., 0])
        for image, soft_map in zip(map(_decode, encoded), soft, strict=True)
    )
    return crf.refine_frames(pairs, options.crf, options.jobs, options.crf_backend)


def _decode(encoded: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)


@dataclass
class _Piece:
    """Holds consecutive frames of a video and their flows.

    Attributes:
      names, encoded: of each frame; encoded at native size.
      times: of each frame, seconds; None in a folder.
      images: uint8 [H, W, 3] at the networks' resolution.
      flows: of each frame: (signed distance of the other frame, float16 [H, W, 2] in pixels of that
        resolution).
    """

    names: list[str] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    flows: list[list[tuple[int, np.ndarray]]] = field(default_factory=list)

    def cut(self, length: int) -> "_Piece":
        """Takes the first ``length`` frames away and returns them."""
        taken = _Piece()
        for column in vars(self):
            values = getattr(self, column)
            setattr(taken, column, values[:length])
            setattr(self, column, values[length:])
        return taken


def _pieces(video: FrameSource, recipe: Recipe, image_size: tuple[int, int]) -> Iterator[_Piece]:
    """Reads a video with its flows at the networks' resolution; every frame is in one piece."""
    waiting = _Piece()
    with tqdm(total=video.length() or None, desc=video.name, unit="frame") as bar:
        for frame, flows in read_with_flow(video, recipe, SMALLEST_SIDE):
            size = network_size(frame.image.shape[:2], image_size)
            waiting.names.append(frame.name)
            waiting.encoded.append(frame.encoded)
            waiting.times.append(frame.time)
            waiting.images.append(resize_image(frame.image, size))
            waiting.flows.append([])
            for gap, (forward, backward) in flows.items():
                for owner, to, flow in ((-1, -gap, backward), (-1 - gap, gap, forward)):
                    small = resize_flow(flow, size).astype(np.float16)
                    waiting.flows[owner].append((to, small))
            bar.update()
            # Not as soon as they have all their flows: the last piece would be a short one, and
            # its frames decide together which region is the object.
            if len(waiting.names) == 2 * PIECE:
                yield waiting.cut(PIECE)
    yield waiting


def _fused(
    run: Run,
    variables: dict[str, Variables],
    adapter: Adapter | None,
    name: str,
    piece: _Piece,
) -> np.ndarray:
    """Returns soft maps [T, H, W, 1] at the networks' resolution."""
    options = run.config.eval
    pairs = [
        FramePair(owner, gap, flow)
        for owner, flows in enumerate(piece.flows)
        for gap, flow in sorted(flows, key=lambda pair: abs(pair[0]))[: options.flows_per_frame]
    ]
    prediction = run.predictor.video(
        variables,
        name,
        [(frame, "") for frame in piece.names],
        np.stack(piece.images),
        pairs,
        inference.Reading.of(options),
    )
    if adapter is not None:
        prediction = adapter.adapt(variables, prediction)
    return inference.fuse(prediction, options)["fused"]


def _as_jpeg(picture: np.ndarray) -> bytes:
    return pictures.encode(picture, ".jpg", quality=92)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """Makes a hidden folder beside the results, gone at the end whatever happens."""
    staging = tempfile.TemporaryDirectory(prefix=".partial-", dir=output)
    with naming_full_disk(output), staging as name:
        yield Path(name)


def _publish(staging: Path, output: Path) -> list[Path]:
    """Moves complete files to their places; those of an earlier prediction are replaced."""
    written = []
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = output / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        written.append(path.replace(target))
    return written
