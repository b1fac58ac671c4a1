"""Plans ``msra_b``: the MSRA-B saliency data set with pixel-accurate truth, original layouts.

    SOURCE/.../NAME.jpg                             images, in one or several folders
    SOURCE/.../NAME.png|bmp                         their truths, beside them or in other folders
    SOURCE/.../*train*.txt, *val*.txt, *test*.txt   the lists of the splits, where they are given

From "Salient Object Detection: A Discriminative Regional Feature Integration Approach"
(http://people.cs.umass.edu/~hzjiang/drfi/) and https://mmcheng.net/msra10k/, for research.

Splits, all with truth, which only evaluation reads: all (complete with 5000 images) and, where
there are lists (a name or path of an image at the beginning of each line), train, val and test
(2500, 500 and 2000). Still images: no flow.
"""

import re
from pathlib import Path

from data_prep.builder import Plan, StillsBuilder
from data_prep.datasets.stills import count_note, pair
from data_prep.sources.discover import not_read
from data_prep.sources.layout import check_layout, some
from dystab_jax.data.folders import composed, list_files_below
from dystab_jax.data.text_files import read_lines

IMAGES = {"all": 5000, "train": 2500, "val": 500, "test": 2000}
IMAGE_ENDINGS, TRUTH_ENDINGS, LIST_ENDINGS = (".jpg", ".jpeg"), (".png", ".bmp"), (".txt", ".lst")
LISTS = {"train": r"train", "val": r"val(id)?", "test": r"test"}


class MsraB(StillsBuilder):
    """Writes the records of ``msra_b``."""


BUILDER = MsraB


def plan(source: Path) -> Plan:
    """Pairs images and truths wherever they lie below SOURCE, and reads the lists of the splits.

    Raises:
      FileNotFoundError: there is no such directory.
      ValueError: no image has a truth; two files have the same name; two lists of one split; a
        list that names no image.
    """
    check_layout(source, ())
    files = [path for path in list_files_below(source) if path.is_file()]
    images = [path for path in files if path.suffix.lower() in IMAGE_ENDINGS]
    truths = [path for path in files if path.suffix.lower() in TRUTH_ENDINGS]
    videos, notes = pair("msra_b", images, truths)
    if not videos:
        raise ValueError(
            f"{source}: {len(images)} images (jpg) and {len(truths)} truths (png, bmp) below it, "
            "and no two of the same name; --source must be the directory above both"
        )
    known = (*IMAGE_ENDINGS, *TRUTH_ENDINGS, *LIST_ENDINGS)
    strange = [path for path in files if path.suffix.lower() not in known]
    notes += not_read(strange, "file", source, f"is none of {' '.join(known)}")
    names = [video.name for video in videos]
    splits = {"all": names}
    for split, pattern in LISTS.items():
        found = [path for path in files if _is_list(path, pattern)]
        if len(found) > 1:
            raise ValueError(f"{found[0]} and {found[1]}: two lists of split {split}; remove one")
        if found:
            splits[split] = _read_list(found[0], names, notes)
    for split, row in splits.items():
        notes += count_note(f"msra_b:{split}", len(row), IMAGES[split])
    truth = {split: tuple(row) for split, row in splits.items()}
    return Plan(tuple(videos), (), truth, tuple(notes))


def _is_list(path: Path, pattern: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.stem).lower()  # trainList, train_list
    return path.suffix.lower() in LIST_ENDINGS and bool(
        re.search(rf"(^|[^a-z]){pattern}(list|set)?([^a-z]|$)", words)
    )


def _read_list(path: Path, names: list[str], notes: list[str]) -> list[str]:
    there = set(map(composed, names))
    listed = set()
    for line in map(composed, read_lines(path)):
        whole = Path(line).stem  # a name may hold blanks
        listed.add(whole if whole in there else Path(line.split()[0]).stem)
    absent = sorted(listed - there)
    if len(absent) == len(listed):
        raise ValueError(f"{path}: none of the {len(listed)} images that it lists is there")
    if absent:
        notes.append(f"msra_b: {path.name} lists images that are not there: {some(absent)}")
    return [name for name in names if composed(name) in listed]
