"""Writes the masks of any image, folder of frames or video, by networks that have learned."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_prep.sources.discover import frame_notes, left_out, list_images, list_videos
from data_prep.sources.frames import IMAGE_ENDINGS, FrameSource, read_image
from data_prep.sources.video_files import VIDEO_ENDINGS, VideoFile
from dystab_jax.prediction.engine import Engine
from dystab_jax.prediction.files import make_outputs, write_image
from dystab_jax.prediction.overlay_video import frames_per_second
from dystab_jax.prediction.page import Page
from dystab_jax.prediction.progress import Bar
from dystab_jax.prediction.segmented import Output, SegmentedFrame, VideoFacts
from dystab_jax.prediction.sources import is_image
from dystab_jax.runtime.disk import naming_full_disk

PAGE = "index.html"


@dataclass(frozen=True)
class Wanted:
    """Says what is written.

    Attributes:
      formats: of `dystab_jax.prediction.files.FORMATS`.
      instances: whether objects that do not touch are told apart, with numbers kept over time.
      notes: (term, text) pairs about networks and rules, for the page.
    """

    formats: Sequence[str] = ("png", "video")
    instances: bool = False
    notes: Sequence[tuple[str, str]] = ()


DEFAULT = Wanted()


def predict(engine: Engine, source: Path, output: Path, wanted: Wanted = DEFAULT) -> list[Path]:
    """Writes masks and what else is wanted.

    * An image file goes through χ alone: OUTPUT/NAME.png, OUTPUT/NAME-overlay.jpg; see
      `write_image`.
    * A video file or a folder of images: OUTPUT/masks/FRAME.png, OUTPUT/overlay.mp4, and
      OUTPUT/index.html to look at; for a folder OUTPUT/overlays/FRAME.jpg as well. See
      `Engine.video`.
    * A folder of such videos: the same in OUTPUT/VIDEO/ for each. One that cannot be read does
      not stop the others.

    What is written appears when a video is complete, or as far as it has come when Ctrl-C ends it;
    files of an earlier prediction are replaced, others in OUTPUT stay.

    Args:
      engine: makes the masks.
      source: image, folder or video.
      output: folder, made where absent.
      wanted: what is written.

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
        return _predict_image(engine, source, output, wanted)
    for note in (*left_out(source), *frame_notes(videos)):
        tqdm.write(f"note: {note}")
    if source.is_file() or list_images(source):
        return _predict_video(engine, videos[0], output, wanted)
    written, failures = [], []
    for video in videos:
        try:
            written += _predict_video(engine, video, output, wanted, video.name)
        except (ValueError, FileNotFoundError) as error:
            tqdm.write(f"{video.name}: {error}")
            failures.append(str(error))
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(videos)} videos in {source} failed; the masks of the others "
            f"are in {output}. " + "; ".join(failures)
        )
    return written


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
    results = (f"{source.stem}.png", "overlay.mp4", "cutout.mov", "cutout.webm")
    if whole in [place / name for name in results]:
        raise ValueError(f"--output={output}: a result would replace its own input {source}")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output={output} is a file; choose a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OSError(f"--output={output} cannot be written: {error}; choose another") from error


def _predict_image(engine: Engine, path: Path, output: Path, wanted: Wanted) -> list[Path]:
    frame = engine.image(read_image(path)[0], path.stem)
    with _staging(output) as staging:
        write_image(wanted.formats, staging, frame, path, wanted.instances)
        return _publish(staging, output)


def _predict_video(
    engine: Engine, video: FrameSource, output: Path, wanted: Wanted, folder: str = ""
) -> list[Path]:
    target = output / folder
    with _staging(output) as staging, Bar(video.name, video.length()) as bar:
        path = video.path if isinstance(video, VideoFile) else video.folder
        is_file = isinstance(video, VideoFile)
        facts = VideoFacts(video.name, frames_per_second(video), path, is_file)
        outputs = [
            *make_outputs(wanted.formats, staging, facts, wanted.instances),
            Page(
                staging / PAGE,
                facts,
                wanted.notes,
                "overlay.mp4" if "video" in wanted.formats else None,
            ),
        ]
        summary = _Summary()
        try:
            with _completed(outputs):
                for frame in engine.video(video, bar):
                    for one in outputs:
                        one.write(frame)
                    summary.add(frame)
                    bar.done()
        except KeyboardInterrupt:
            if bar.done_frames:
                _publish(staging, target)
                bar.say(f"{video.name}: ended; the first {summary.text()} are in {target}")
            raise
        bar.say(f"{video.name}: {summary.text()}")
        return _publish(staging, target)


class _Summary:
    """Counts what a user should know of the masks of a video."""

    def __init__(self) -> None:
        self._frames = self._empty = self._shots = 0

    def add(self, frame: SegmentedFrame) -> None:
        self._frames += 1
        self._empty += not frame.mask.any()
        self._shots = frame.shot + 1

    def text(self) -> str:
        text = f"{self._frames} frames"
        if self._shots > 1:
            text += f", {self._shots} shots"
        if self._empty:
            text += f", no object found in {self._empty} of the frames"
        return text


@contextmanager
def _completed(outputs: Sequence[Output]) -> Iterator[None]:
    """Closes all at the end; where an error comes, whatever they say to it."""
    try:
        yield
    except BaseException:
        for one in outputs:
            with suppress(OSError):
                one.close()
        raise
    for one in outputs:
        one.close()


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
