"""Plans ``davis2016_labelled``: annotated training sequences of DAVIS 2016, for supervised runs.

The layout is that of `davis2016`, of which ImageSets/480p/train.txt is read. The truth is
kept in a data set of its own so that ``davis2016:train`` never holds any.

Splits, both with masks: select (every sixth of the 30 sequences in alphabetical order: car-turn,
hike, mallard-water, scooter-gray, train), to choose among supervised models, and fit (the other
25), to fit them.
"""

from pathlib import Path

from data_prep.builder import Plan, RecordsBuilder
from data_prep.datasets.davis2016 import SEQUENCES, missing, read_list
from data_prep.sources.layout import check_layout

SELECT = tuple(sorted(SEQUENCES["train"])[5::6])


class Davis2016Labelled(RecordsBuilder):
    """Writes the records of ``davis2016_labelled``."""


BUILDER = Davis2016Labelled


def plan(source: Path) -> Plan:
    """Reads train.txt and divides its sequences.

    Raises:
      FileNotFoundError: SOURCE or the list is missing.
      ValueError: the list is malformed or empty, or names a sequence that is not for training.
    """
    check_layout(source, ("ImageSets/480p/train.txt", "JPEGImages", "Annotations"))
    path = source / "ImageSets" / "480p" / "train.txt"
    videos = read_list(source, path, truth=True)
    if not videos:
        raise ValueError(f"{path}: no frame is listed")
    strange = [video.name for video in videos if video.name not in SEQUENCES["train"]]
    if strange:
        raise ValueError(f"{path}: {strange[0]} is not one of the 30 training sequences")
    names = {
        "fit": tuple(video.name for video in videos if video.name not in SELECT),
        "select": tuple(video.name for video in videos if video.name in SELECT),
    }
    return Plan(
        tuple(videos),
        (),
        {split: row for split, row in names.items() if row},
        tuple(missing("train", videos)),
    )
