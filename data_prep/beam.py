"""Prepares under Apache Beam: on the machines that a runner has, not on this one alone.

The elements of the pipeline are the numbers of `data_prep.tasks`, and nothing comes out of it.
"""

import contextlib
import io
import multiprocessing
import os
import shlex
import shutil
import threading
import time
import uuid
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners import PipelineState, create_runner
from apache_beam.runners.direct.direct_runner import DirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner
from tqdm import tqdm

from data_prep.sources.frames import FrameSource
from data_prep.tasks import do_task, new_results, write_tasks
from data_prep.video import Recipe
from data_prep.workers import HUGE_PAGES, Results, Runner, start_worker

LOOK_EVERY = 1.0
"""Seconds between looks at the results."""
LATE = 120.0
"""Seconds that a shared file system may take to show the last results; NFS takes up to 60."""


def with_runner(runner: str, options: str) -> Runner:
    """Makes the `Runner` of a Beam runner, for `data_prep.workers.prepare_videos`.

    Args:
      runner: name of a Beam runner.
      options: Beam's own, "--flag=value --flag".

    Raises:
      ValueError: no such runner or option, or one that is missing.
    """
    try:
        made = create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"--runner={runner}: {error}") from error
    if isinstance(made, DirectRunner):
        # It would download another runner, Prism, and leave the work to that; this is its own.
        made = FnApiRunner()
    parsed = _parse(options, made)
    errors = PipelineOptionsValidator(parsed, made).validate()
    if errors:
        raise ValueError(f"--runner={runner}: {' '.join(errors)} Add it to --beam_options")
    return partial(run_pipeline, made, parsed)


def _parse(options: str, runner: PipelineRunner) -> PipelineOptions:
    try:
        flags = shlex.split(options)
    except ValueError as error:
        raise ValueError(f"--beam_options: {error} in {options!r}") from error
    for flag in flags:
        if not flag.startswith("--") or flag.partition("=")[0] == "--runner":
            raise ValueError(
                f"--beam_options: got {flag!r}; expected --flag or --flag=value, and the runner "
                "as --runner=NAME"
            )
    words = io.StringIO()
    try:
        with contextlib.redirect_stderr(words):
            parsed = PipelineOptions(flags)
            given = set(parsed.get_all_options(retain_unknown_options=True))
    except SystemExit as error:
        raise ValueError(
            f"--beam_options: {words.getvalue().rpartition('error: ')[2].strip()}"
        ) from error
    unknown = sorted(given - set(PipelineOptions([]).get_all_options()))
    # Of a portable runner, the job server has more options.
    if unknown and not isinstance(runner, PortableRunner):
        raise ValueError(f"--beam_options: Beam {beam.__version__} has no --{' --'.join(unknown)}")
    return parsed


def run_pipeline(
    runner: PipelineRunner,
    options: PipelineOptions,
    videos: list[FrameSource],
    recipe: Recipe,
    paths: dict[str, Path],
    bar: tqdm,
) -> Results:
    """Prepares videos in a pipeline, and waits for it.

    Args:
      runner, options: as `with_runner` checked them.
      videos: those to prepare.
      recipe: how their flow is computed.
      paths: video name to its intermediate file; all in one directory that all workers see.
      bar: shows the frames of each video when it is done.

    Yields:
      Each video as its result is seen, with what is wrong with it.

    Raises:
      ValueError: the pipeline failed; says why.
    """
    if not videos:
        return
    folder = paths[videos[0].name].resolve().parent / f"beam-{uuid.uuid4().hex}"
    write_tasks(folder, videos, recipe, paths)
    ended = _start(runner, options, folder, len(videos))
    waiting = dict(enumerate(videos))
    while not ended.done():
        wait([ended], timeout=LOOK_EVERY)
        yield from new_results(folder, waiting, bar)
    _check(ended)
    give_up = time.monotonic() + LATE
    while waiting and time.monotonic() < give_up:
        time.sleep(LOOK_EVERY)
        yield from new_results(folder, waiting, bar)
    if waiting:
        raise ValueError(
            f"the pipeline ended without results of {len(waiting)} videos in {folder}; --data_dir "
            "must be a path that this machine and all workers see"
        )
    shutil.rmtree(folder, ignore_errors=True)


def _start(runner: PipelineRunner, options: PipelineOptions, folder: Path, count: int) -> Future:
    """Runs the pipeline in a thread of its own: with some runners the call lasts as long as it."""
    ended: Future = Future()

    def run() -> None:
        try:
            pipeline = beam.Pipeline(runner, options)
            numbers = pipeline | beam.Create(range(count)) | beam.Reshuffle()
            numbers | beam.ParDo(PrepareVideo(folder))
            ended.set_result(pipeline.run().wait_until_finish())
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return ended


def _check(ended: Future) -> None:
    """Raises ValueError where a pipeline that has ended did not end well."""
    try:
        state = ended.result()
    except Exception as error:
        cause, reason = error, str(error).strip().rpartition("\n")[2]
    else:
        if state == PipelineState.DONE:
            return
        cause, reason = None, f"its state is {state}"
    raise ValueError(
        f"the pipeline failed: {reason}. Videos that are done stay done: mend it and run the same "
        "command again"
    ) from cause


class PrepareVideo(beam.DoFn):
    """Prepares the video of a task's number, see `data_prep.tasks`."""

    def __init__(self, folder: Path):
        self._folder = folder

    def setup(self) -> None:
        """Starts the process that does the work."""
        # A process that does nothing else: JAX computes with the threads, and so to the bits, that
        # it has in the local pool, whatever the runner's own process has done or is doing.
        os.environ.setdefault(*HUGE_PAGES)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, start_worker, (None,))

    def process(self, number: int) -> None:
        """Prepares one video; RuntimeError where its process died."""
        try:
            self._pool.submit(do_task, self._folder, number).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the process working on {self._folder}/{number}.video died ({error}), perhaps for "
                "want of memory"
            ) from error

    def teardown(self) -> None:
        """Ends the process."""
        self._pool.shutdown(cancel_futures=True)
