"""Works through the videos of a data set: in parallel, resumable, no bad one harming another."""

import contextlib
import fcntl
import multiprocessing
import os
import queue
import signal
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
from tqdm import tqdm

from data_prep.flow import NETWORKS
from data_prep.sources.frames import FrameSource
from data_prep.video import Recipe, prepare_video, read_details, stamp
from dystab_jax.runtime.atomic_files import bounded
from dystab_jax.runtime.disk import full_disk

Results = Iterator[tuple[FrameSource, str | None]]
"""Each video as it ends, with what is wrong with it."""
HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
"""Environment of worker processes: RAFT's correlations take half the time in huge pages."""
Runner = Callable[[list[FrameSource], Recipe, dict[str, Path], tqdm], Results]
"""Works through videos, leaving their intermediate files at these paths, showing the frames."""


def prepare_videos(
    videos: tuple[FrameSource, ...],
    recipe: Recipe,
    work: Path,
    jobs: int | None,
    progress: bool,
    run: Runner | None = None,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Prepares those videos that no earlier run has.

    Args:
      videos: all videos of the data set.
      recipe: how their flow is computed.
      work: directory of the intermediate files.
      jobs: videos at once, None: one per processor; 1: in this process. Means nothing where a
        network computes on accelerators, which get two videos each.
      progress: show a progress bar.
      run: works through the videos in place of this machine's processes; jobs means nothing then.

    Returns:
      Video name to intermediate file, and video name to what is wrong with it.
    """
    paths = intermediate_files(videos, work)
    waiting = [video for video in videos if not _usable(paths[video.name], video, recipe)]
    bad: dict[str, str] = {}
    run = run or _choose(recipe, _count(jobs), len(waiting))
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


def intermediate_files(videos: Iterable[FrameSource], work: Path) -> dict[str, Path]:
    """Returns video name to intermediate file in a directory."""
    return {
        video.name: work / f"{bounded(quote(video.name, safe=''), 100)}.zip" for video in videos
    }


def _choose(recipe: Recipe, jobs: int, videos: int) -> Runner:
    if _has_accelerators(recipe):
        return on_accelerators
    # Networks never run here: JAX's sums on a CPU depend on its number of threads, see below.
    if (jobs == 1 or videos < 2) and recipe.flow.estimator not in NETWORKS:
        return _run_here
    return partial(_run_pool, jobs)


def _run_here(
    videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path], bar: tqdm
) -> Results:
    for video in videos:
        yield video, try_video(video, recipe, paths[video.name], bar.update)


def _run_pool(
    jobs: int, videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path], bar: tqdm
) -> Results:
    # "spawn": a forked copy of a process that runs threads (JAX, OpenCV) may hang.
    context = multiprocessing.get_context("spawn")
    frames = context.Value("q", 0)
    os.environ.setdefault(*HUGE_PAGES)
    pool = ProcessPoolExecutor(max(1, min(jobs, len(videos))), context, start_worker, (frames,))
    try:
        yield from _as_they_end(
            videos,
            4 * jobs,
            lambda video: pool.submit(_try_in_worker, video, recipe, paths[video.name]),
            lambda: bar.update(frames.value - bar.n),
        )
    except BrokenProcessPool as error:
        raise ValueError(
            f"a worker process died ({error}), perhaps for want of memory: run the same command "
            "again, with a smaller --jobs; videos that are done stay done"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _as_they_end(
    videos: list[FrameSource],
    most: int,
    submit: Callable[[FrameSource], Future],
    show: Callable[[], Any],
) -> Results:
    """Submits a few at a time: to wait for thousands of still images takes long in itself."""
    remaining, waiting = iter(videos), {}
    while True:
        for video in islice(remaining, most - len(waiting)):
            waiting[submit(video)] = video
        if not waiting:
            break
        ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        show()
        for future in ended:
            yield waiting.pop(future), future.result()


def on_accelerators(
    videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path], bar: tqdm
) -> Results:
    """Prepares in threads of this process, since processes would fight for a device's memory.

    This is a `Runner`. Each device gets two videos at once, so that it computes for one while files
    of the other are read and written.
    """
    import jax

    free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
    devices = 2 * jax.local_devices()
    for device in devices:
        free.put(device)
    lock, stopped = threading.Lock(), threading.Event()

    def count() -> None:
        if stopped.is_set():
            raise _Stopped
        with lock:
            bar.update()

    def work(video: FrameSource) -> str | None:
        device = free.get()
        try:
            with jax.default_device(device):
                return try_video(video, recipe, paths[video.name], count)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            yield from _as_they_end(
                videos, 2 * len(devices), lambda video: pool.submit(work, video), lambda: None
            )
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


class _Stopped(BaseException):
    """Ends the work on a video when the run ends."""


def _has_accelerators(recipe: Recipe) -> bool:
    if recipe.flow.estimator not in NETWORKS:
        return False
    import jax

    return jax.default_backend() != "cpu"


_frames_read: Any = None
"""In a worker process: the counter of frames that all workers share."""


def start_worker(frames_read: Any) -> None:
    """Prepares a new process for its work, see `try_video`.

    Args:
      frames_read: a shared counter, None: frames are not counted.
    """
    global _frames_read
    _frames_read = frames_read
    # The pool itself keeps the processors busy; and the same sums in the same order whatever the
    # machine's number of processors. NPROC sets JAX's threads, read when it first computes.
    cv2.setNumThreads(1)
    os.environ["NPROC"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at Ctrl-C without a word
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process with its parent; else it would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _try_in_worker(video: FrameSource, recipe: Recipe, path: Path) -> str | None:
    def count() -> None:
        with _frames_read.get_lock():
            _frames_read.value += 1

    return try_video(video, recipe, path, count)


def try_video(
    video: FrameSource, recipe: Recipe, path: Path, on_frame: Callable[[], Any]
) -> str | None:
    """Prepares a video; see `data_prep.video.prepare_video`.

    Returns:
      What is wrong with it.

    Raises:
      OSError: the disk is full.
    """
    try:
        prepare_video(video, recipe, path, on_frame)
    except (ValueError, OSError, cv2.error) as error:
        if full_disk(error):
            raise  # no fault of the video
        return str(error)
    return None


def _usable(path: Path, video: FrameSource, recipe: Recipe) -> bool:
    """Checks if an earlier run left this video done, from the same files."""
    try:
        return read_details(path)["stamp"] == stamp(video, recipe)
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
    """Makes the directory and keeps a second run of the same command out of it.

    The lock goes when the process does.

    Raises:
      ValueError: another run is at work there, or the directory cannot be made.
    """
    while True:
        make_directory(work)
        try:
            lock = open(work / "lock", "w")
        except FileNotFoundError:
            continue  # another run has ended just now, and removed the directory
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"{work}: another run is preparing this data set; wait for it"
                ) from error
            if _is_at(work / "lock", lock.fileno()):
                yield
                return


def _is_at(path: Path, descriptor: int) -> bool:
    """Checks that an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def make_directory(path: Path) -> None:
    """Makes a directory and those above it; ValueError where that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written: {error.strerror}; check --data_dir"
        ) from error
