"""Plans ``davis2017``: the DAVIS 2017 benchmark in its original layout.

    SOURCE/JPEGImages/480p/SEQUENCE/00000.jpg       or Full-Resolution instead of 480p
    SOURCE/Annotations/480p/SEQUENCE/00000.png      palette: 1, 2, ... = objects, 255 = void
    SOURCE/ImageSets/2017/train.txt, val.txt        names of sequences

From https://davischallenge.org (DAVIS 2017, TrainVal), under the BSD license.

Splits: train (60 sequences, no masks) and val (30 sequences, with truth). Without the lists, all
annotated sequences are val. A part of the benchmark will do: what is absent is said and left out.
"""

from pathlib import Path

from data_prep.builder import Plan, RecordsBuilder
from data_prep.datasets.numbered import numbered_video, read_names, stray_note
from data_prep.sources.frames import ImageFiles
from data_prep.sources.layout import check_layout, some
from dystab_jax.data.folders import list_folders, on_disk

SEQUENCES = {"train": 60, "val": 30}
RESOLUTIONS = ("480p", "Full-Resolution")


class Davis2017(RecordsBuilder):
    """Writes the records of ``davis2017``."""


BUILDER = Davis2017


def plan(source: Path) -> Plan:
    """Reads the lists, or without them the annotations, and compares them with the benchmark.

    Raises:
      FileNotFoundError: SOURCE does not hold JPEGImages and Annotations of one resolution.
      ValueError: it is DAVIS 2016, a sequence is in both lists, or none that is listed has images.
    """
    check_layout(source, ("JPEGImages", "Annotations"))
    resolution = next(
        (name for name in RESOLUTIONS if (source / "JPEGImages" / name).is_dir()), RESOLUTIONS[0]
    )
    layout = (f"JPEGImages/{resolution}", f"Annotations/{resolution}")
    check_layout(source, layout)
    images, annotations = (source / name for name in layout)
    lists = {split: source / "ImageSets" / "2017" / f"{split}.txt" for split in SEQUENCES}
    lists = {split: path for split, path in lists.items() if path.is_file()}
    if lists:
        there = [folder.name for folder in list_folders(images)]
        names = {split: read_names(path, there) for split, path in lists.items()}
        notes = []
    elif (source / "ImageSets" / "480p").is_dir():
        raise ValueError(f"{source}: this is DAVIS 2016; use --dataset=davis2016")
    else:
        names = {"val": [folder.name for folder in list_folders(annotations)]}
        notes = [f"davis2017: no ImageSets/2017 in {source}: all annotated sequences are val"]
    twice = set(names.get("train", ())) & set(names.get("val", ()))
    if twice:
        raise ValueError(f"{lists['val']}: train.txt lists these as well: {some(sorted(twice))}")

    stray: list[str] = []
    videos: dict[str, list[ImageFiles]] = {"train": [], "val": []}
    for split, row in names.items():
        for name in row:
            if (images / name).is_dir():
                truth = on_disk(annotations / name)
                video = numbered_video(name, images / name, truth, stray)
                if split == "train":
                    video = ImageFiles(name, video.folder, video.paths)
                videos[split].append(video)
        absent = [name for name in row if not (images / name).is_dir()]
        if absent:
            notes.append(f"davis2017:{split}: no images of {some(absent)}; left out")
        if len(videos[split]) != SEQUENCES[split]:
            notes.append(
                f"davis2017:{split} is not complete: {len(videos[split])} of {SEQUENCES[split]} "
                "sequences"
            )
    bare = [video.name for video in videos["val"] if len(video.masks) < len(video.paths)]
    if bare:
        notes.append(f"davis2017:val: frames without annotation in {some(bare)}; not scored")
    everything = (*videos["train"], *videos["val"])
    if not everything:
        raise ValueError(f"{images}: it holds no folder of a listed sequence")
    labelled = tuple(video.name for video in videos["val"] if video.masks)
    return Plan(
        everything,
        tuple(video.name for video in videos["train"]),
        {"val": labelled} if labelled else {},
        (*notes, *stray_note("davis2017", stray)),
    )
