"""Describes the data sets in one table, for preparing, reading, scoring and writing masks.

A new data set is one entry in `DATA_SETS` and one module of its name in ``data_prep/datasets``.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MaskLayout:
    """Describes predicted frames as a data set's evaluators read them.

    Attributes:
      pixels: "mask": 8-bit grey, 0 and 255. "numbers": a palette image, the object is number 1.
        "map": 8-bit grey, 255 p of the probability p.
      file: path of a frame in the folder of predictions, with places {video} and {frame}.
    """

    pixels: Literal["mask", "numbers", "map"]
    file: str = "{video}/{frame}.png"


@dataclass(frozen=True)
class DataSet:
    """Describes a data set.

    Attributes:
      name: as --dataset and DATASET:SPLIT have it.
      source: what the user gives as --source; None: nothing, it is drawn.
      protocols: names of the evaluation protocols it is scored by, the main one first.
      layout: of predicted frames.
      stills: it holds still images, which have no flow, not videos.
    """

    name: str
    source: str | None
    protocols: tuple[str, ...] = ("all_frames",)
    layout: MaskLayout = MaskLayout("mask")
    stills: bool = False


_DAVIS2016_SOURCE = "the directory that holds JPEGImages, Annotations and ImageSets"
_SALIENCY = {
    "protocols": ("saliency",),
    "layout": MaskLayout("map", "{frame}.png"),
    "stills": True,
}
_ALL = (
    DataSet("movers", None),
    DataSet("davis2016", _DAVIS2016_SOURCE, ("davis2016",)),
    DataSet("davis2016_labelled", _DAVIS2016_SOURCE),
    DataSet(
        "davis2017",
        f"{_DAVIS2016_SOURCE} of DAVIS 2017",
        ("all_frames", "davis2017"),
        MaskLayout("numbers"),
    ),
    DataSet("fbms59", "the directory that holds Trainingset, Testset or both", ("fbms59",)),
    DataSet("segtrackv2", "the directory that holds JPEGImages and GroundTruth"),
    DataSet(
        "youtube_vos",
        "the directory that holds train, or train itself",
        layout=MaskLayout("numbers", "Annotations/{video}/{frame}.png"),
    ),
    DataSet(
        "folder",
        "a directory of video files (mp4, avi, mov, webm) and folders of frames (jpg, png, bmp, "
        "ppm, webp), or a single one of these",
    ),
    DataSet("msra_b", "the directory above all images, truths and lists", **_SALIENCY),
    DataSet("ecssd", "the directory that holds images and ground_truth_mask", **_SALIENCY),
    DataSet(
        "dut_omron", "the directory that holds DUT-OMRON-image and pixelwiseGT-new-PNG", **_SALIENCY
    ),
)
DATA_SETS: dict[str, DataSet] = {one.name: one for one in _ALL}
"""By name."""


def data_set(name: str) -> DataSet:
    """Returns the entry of a data set.

    Raises:
      ValueError: no such data set; lists those there are.
    """
    if name not in DATA_SETS:
        raise ValueError(f"no data set {name!r}; there are: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
