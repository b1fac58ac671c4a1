"""Hands out videos as numbered tasks in a folder that several machines see.

NUMBER.video is a video to be prepared, NUMBER.result what is wrong with it, as JSON. So a pipeline
need not hold a list of a million file names, nor return anything to the process that launched it:
on a cluster it could not. Workers import this module, but not Beam.
"""

import json
import os
import pickle
import uuid
from pathlib import Path

from tqdm import tqdm

from data_prep.sources.frames import FrameSource
from data_prep.video import Recipe
from data_prep.workers import Results, try_video


def write_tasks(
    folder: Path, videos: list[FrameSource], recipe: Recipe, paths: dict[str, Path]
) -> None:
    """Writes the tasks 0 to len(videos) - 1.

    Args:
      folder: does not exist yet.
      videos: those to prepare.
      recipe: how their flow is computed.
      paths: video name to its intermediate file.
    """
    folder.mkdir()
    for number, video in enumerate(videos):
        task = (video, recipe, paths[video.name].resolve())
        (folder / f"{number}.video").write_bytes(pickle.dumps(task))


def do_task(folder: Path, number: int) -> None:
    """Prepares a video, and writes its result. To do it twice, even at once, does no harm.

    Raises:
      FileNotFoundError: there is no such task.
      OSError: the disk is full.
    """
    task = folder / f"{number}.video"
    if not task.is_file():
        raise FileNotFoundError(
            f"{task} is not to be seen on this worker; --source and --data_dir must be paths that "
            "the launching machine and all workers see"
        )
    result = json.dumps(try_video(*pickle.loads(task.read_bytes()), lambda: None))
    temporary = folder / f"{number}.{uuid.uuid4().hex}.tmp"
    temporary.write_text(result)
    os.replace(temporary, folder / f"{number}.result")


def new_results(folder: Path, waiting: dict[int, FrameSource], bar: tqdm) -> Results:
    """Yields the results that are there now; takes their videos from those waiting.

    Args:
      folder: of the tasks.
      waiting: task number to video.
      bar: moves by the length of each video.
    """
    for path in folder.glob("*.result"):
        video = waiting.pop(int(path.stem), None)
        if video is not None:
            bar.update(video.length())
            yield video, json.loads(path.read_text())
