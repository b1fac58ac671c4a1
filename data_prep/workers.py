"""Working through the videos of a data set: in parallel, resumable, no bad one harming another."""

import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
from tqdm import tqdm

from data_prep.flow import NETWORKS
from data_prep.frames import FrameSource
from data_prep.video import Recipe, prepare_video, read_details, stamp


def prepare_videos(
    videos: tuple[FrameSource, ...], recipe: Recipe, work: Path, jobs: int | None, progress: bool
) -> tuple[dict[str, Path], dict[str, str]]:
    """Prepares those videos that no earlier run has.

    Args:
      videos: all videos of the data set.
      recipe: how their flow is computed.
      work: directory of the intermediate files.
      jobs: videos at once, None: one per processor; 1: in this process.
      progress: show a progress bar.

    Returns:
      Video name to intermediate file, and video name to what is wrong with it.
    """
    paths = {video.name: work / f"{quote(video.name, safe='')}.zip" for video in videos}
    waiting = [video for video in videos if not _usable(paths[video.name], video)]
    bad: dict[str, str] = {}
    alone_here = _count(jobs) == 1 or len(waiting) < 2
    # Networks never run here: JAX's sums on a CPU depend on its number of threads, see below.
    here = alone_here and recipe.flow.estimator not in NETWORKS
    run = _run_here if here else partial(_run_pool, _count(jobs))
    total = sum(video.length() for video in waiting)
    with tqdm(total=total, desc="flow", unit="frame", disable=not progress) as bar:
        done = len(videos) - len(waiting)
        bar.set_postfix_str(f"{done}/{len(videos)} videos")
        for video, error in run(waiting, recipe, paths, bar):
            bad |= {video.name: error} if error else {}
            done += 1
            bar.set_postfix_str(f"{done}/{len(videos)} videos" + (f", {len(bad)} bad" * bool(bad)))
    in_order = [video.name for video in videos]
    finished = {name: paths[name] for name in in_order if name not in bad}
    return finished, {name: bad[name] for name in in_order if name in bad}


Results = Iterator[tuple[FrameSource, str | None]]
"""Each video as it ends, with what is wrong with it."""


def _run_here(
    videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path], bar: tqdm
) -> Results:
    for video in videos:
        yield video, _try_video(video, recipe, paths[video.name], bar.update)


def _run_pool(
    jobs: int, videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path], bar: tqdm
) -> Results:
    # "spawn": a forked copy of a process that runs threads (JAX, OpenCV) may hang.
    context = multiprocessing.get_context("spawn")
    frames = context.Value("q", 0)
    pool = ProcessPoolExecutor(max(1, min(jobs, len(videos))), context, _start_worker, (frames,))
    try:
        remaining, waiting = iter(videos), {}
        while True:
            # Only a few at a time: to wait for thousands of still images takes long in itself.
            for video in islice(remaining, 4 * jobs - len(waiting)):
                future = pool.submit(_try_in_worker, video, recipe, paths[video.name])
                waiting[future] = video
            if not waiting:
                break
            ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            bar.update(frames.value - bar.n)
            for future in ended:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            f"a worker process died ({error}), perhaps for want of memory: run the same command "
            "again, with a smaller --jobs; videos that are done stay done"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_frames_read: Any = None
"""In a worker process: the counter of frames that all workers share."""


def _start_worker(frames_read: Any) -> None:
    global _frames_read
    _frames_read = frames_read
    # The pool itself keeps the processors busy; and the same sums in the same order whatever the
    # machine's number of processors. NPROC sets JAX's threads, read when it first computes.
    cv2.setNumThreads(1)
    os.environ["NPROC"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at Ctrl-C without a word


def _try_in_worker(video: FrameSource, recipe: Recipe, path: Path) -> str | None:
    def count() -> None:
        with _frames_read.get_lock():
            _frames_read.value += 1

    return _try_video(video, recipe, path, count)


def _try_video(
    video: FrameSource, recipe: Recipe, path: Path, on_frame: Callable[[], Any]
) -> str | None:
    try:
        prepare_video(video, recipe, path, on_frame)
    except (ValueError, OSError, cv2.error) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # no fault of the video
        return str(error)
    return None


def _usable(path: Path, video: FrameSource) -> bool:
    """Whether an earlier run left this video done, from the same files."""
    try:
        return read_details(path)["stamp"] == stamp(video)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def _count(jobs: int | None) -> int:
    if jobs is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    return jobs


@contextlib.contextmanager
def alone(work: Path) -> Iterator[None]:
    """Keeps a second run of the same command out; the lock goes when the process does."""
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{work}: another run is preparing this data set; wait for it"
            ) from error
        yield
