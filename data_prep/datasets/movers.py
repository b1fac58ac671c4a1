"""Plans ``movers``: the embedded data set, drawn when prepared (see `data_prep.datasets.drawing`).

Splits: train (no masks), val and test (masks and groups).
"""

from data_prep.builder import Plan, RecordsBuilder
from data_prep.datasets.drawing import VIDEOS
from data_prep.sources.frames import DrawnFrames


class Movers(RecordsBuilder):
    """Writes the records of ``movers``."""


BUILDER = Movers


def plan() -> Plan:
    """Lists all videos of all splits."""
    videos = {
        split: tuple(DrawnFrames(split, i, truth=split != "train") for i in range(count))
        for split, count in VIDEOS.items()
    }
    names = {split: tuple(video.name for video in row) for split, row in videos.items()}
    train = names.pop("train")
    return Plan(tuple(video for row in videos.values() for video in row), train, names)
