"""Writes the masks of any image, folder of frames or video, by networks that have learned."""

import json
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
from dystab_jax.prediction.files import FILES, FOLDERS, make_outputs, write_image
from dystab_jax.prediction.overlay_video import frames_per_second
from dystab_jax.prediction.page import Page
from dystab_jax.prediction.progress import Bar
from dystab_jax.prediction.segmented import SegmentedFrame, VideoFacts
from dystab_jax.prediction.sources import is_image
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.disk import naming_full_disk
from dystab_jax.runtime.interruption import uninterrupted

PAGE = "index.html"
WRITTEN = ".written.json"
"""Names of what a prediction has written, beside it."""


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

    What is written appears when a video is complete, or as far as it has come when Ctrl-C ends it.
    What an earlier prediction wrote for a video is replaced; other files in OUTPUT stay.

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
    videos = [] if still else list_videos(source, one_video=True)
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
    if whole in [place / name for name in (f"{source.stem}.png", *FILES)]:
        raise ValueError(f"--output={output}: a result would replace its own input {source}")
    below = whole.relative_to(place).parts if whole.is_relative_to(place) else ()
    if set(below) & set(FOLDERS) and source.exists():
        raise ValueError(
            f"--output={output}: masks would be written into --input={source}; choose another"
        )
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
    _check_places(target)
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
        summary, ended = _Summary(), None
        try:
            for frame in engine.video(video, bar):
                with uninterrupted():
                    for one in outputs:
                        one.write(frame)
                    summary.add(frame)
                    bar.done()
        except KeyboardInterrupt as interrupt:
            if not bar.done_frames:
                raise
            ended = interrupt
        with uninterrupted():
            for one in outputs:
                one.close()
            written = _publish(staging, target, replaces=True)
    if ended is not None:
        tqdm.write(f"{video.name}: ended; the first {summary.text()} are in {target}")
        raise ended
    tqdm.write(f"{video.name}: {summary.text()}")
    return written


class _Summary:
    """Counts what a user should know of the masks of a video."""

    def __init__(self) -> None:
        self._frames = self._empty = self._shots = 0

    def add(self, frame: SegmentedFrame) -> None:
        self._frames += 1
        self._empty += not frame.mask.any()
        self._shots = frame.shot + 1

    def text(self) -> str:
        text = f"{self._frames} {'frame' if self._frames == 1 else 'frames'}"
        if self._shots > 1:
            text += f", {self._shots} shots"
        if self._empty:
            text += f", no object found in {self._empty} of the frames"
        return text


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """Makes a hidden folder beside the results, gone at the end unless the process is killed."""
    staging = tempfile.TemporaryDirectory(prefix=".partial-", dir=output)
    with naming_full_disk(output), staging as name:
        yield Path(name)


def _publish(staging: Path, output: Path, replaces: bool = False) -> list[Path]:
    """Moves complete files to their places.

    Args:
      staging: where they are.
      output: where they go.
      replaces: whether what an earlier prediction wrote there and this one does not is removed:
        masks of a longer video would be taken for those of this one.
    """
    names = sorted(
        path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()
    )
    for name in names:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(output / name)
    if replaces:
        for name in set(_written_before(output)) - set(names):
            (output / name).unlink(missing_ok=True)
            with suppress(OSError):  # other files are in it
                (output / name).parent.rmdir()
        write_whole(output / WRITTEN, json.dumps(names, indent=0))
    return [output / name for name in names]


def _written_before(output: Path) -> list[str]:
    """Returns the names of what an earlier prediction wrote; none where that is not known."""
    try:
        names = json.loads((output / WRITTEN).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    known = (PAGE, *FILES)
    return [
        name
        for name in names
        if name in known or (name.count("/") == 1 and name.partition("/")[0] in FOLDERS)
    ]


def _check_places(target: Path) -> None:
    """Checks that what is to be written finds its place, before hours of work.

    Raises:
      ValueError: a file has the name of a folder, or the other way round.
    """
    for names, kind in ((FOLDERS, Path.is_file), ((PAGE, *FILES), Path.is_dir)):
        for path in (target / name for name in names):
            if kind(path):
                other = "folder" if kind is Path.is_file else "file"
                raise ValueError(f"{path} stands where a {other} is to be written; move it away")
