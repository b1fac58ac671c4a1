"""Describes Tables 1 to 7 of the paper: its numbers, and which results stand beside them.

Scores are given as in the paper, times 100.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Facts = dict[str, Any]
"""Facts of a run, see ``run_facts.facts``."""


@dataclass(frozen=True)
class Column:
    """Describes a data set and the score that a table gives of it.

    Attributes:
      title: as in the paper.
      dataset: its name here.
      splits: the one to be scored on; where it is absent the next one, and the sources say so.
      score: key of a row of eval/*.json.
      second: a further one, shown behind a stroke.
      further: those that the sources list.
      whole: sequences or images of the complete first split; scores of fewer say so.
    """

    title: str
    dataset: str
    splits: tuple[str, ...]
    whole: int
    score: str = "mean_j"
    second: str = ""
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Describes a row of a table.

    Attributes:
      label: of the row.
      paper: what the paper reports in each column; None where it does not.
      model: "phi", "chi" or "fused".
      phases: of training after which it is measured, any of them.
      crf: whether one of ``CRFS`` has refined the masks.
      protocol: where it is not the data set's main one.
      where: whether a run is of this row.
    """

    label: str
    paper: tuple[float | None, ...]
    model: str
    phases: tuple[str, ...]
    crf: bool = False
    protocol: str = ""
    where: Callable[[Facts], bool] = lambda facts: not facts["labels"]


@dataclass(frozen=True)
class Table:
    """Describes a table of the paper.

    Attributes:
      number, title: as in the paper.
      columns, lines: see there.
      trained_on: "column": runs trained on the column's data set are preferred; else the name of
        the preferred training set.
      config: the command's config that fills it.
      note: what a reader should know.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    trained_on: str
    config: str
    note: str = ""


CRFS = ("cis", "deepusps")
"""Presets that stand for the paper's CRF; a guided filter does not."""
VIDEO_COLUMNS = (
    Column("DAVIS", "davis2016", ("val",), 20, further=("frame_mean_j", "mean_f", "recall_j")),
    Column(
        "FBMS",
        "fbms59",
        ("test", "train_labelled"),
        30,
        second="frame_mean_j",
        further=("ochs_f", "ochs_precision", "ochs_recall", "f1", "f_beta"),
    ),
    Column("SegTrackV2", "segtrackv2", ("test",), 14, second="frame_mean_j", further=("mean_f",)),
)
IMAGE_SCORES = ("max_f", "max_mean_f", "adaptive_f", "mae", "s_measure", "mean_j")
IMAGE_COLUMNS = (
    Column("ECSSD", "ecssd", ("test",), 1000, "f_beta", further=IMAGE_SCORES),
    Column("MSRA-B, all", "msra_b", ("all",), 5000, "f_beta", further=IMAGE_SCORES),
    Column("MSRA-B, test", "msra_b", ("test",), 2000, "f_beta", further=IMAGE_SCORES),
    Column("DUT-OMRON", "dut_omron", ("test",), 5168, "f_beta", further=IMAGE_SCORES),
)
FINAL = ("3-joint", "2-joint", "1-joint")
"""The end of the loop; of shorter ones the last round."""
J_NOTE = (
    "J of the object, times 100. DAVIS: the official J mean. Others: mean over the sequences / "
    "mean over the frames."
)

TABLES = (
    Table(
        1,
        "The dynamic model with and without temporal consistency",
        VIDEO_COLUMNS,
        (
            Line(
                "φ without L_TC, Eq. (3) (CIS)",
                (59.2, 36.8, 45.6),
                "phi",
                ("0-dynamic",),
                where=lambda facts: facts["temporal_weight"] == 0,
            ),
            Line(
                "φ, Eq. (5)",
                (62.4, 40.0, 49.1),
                "phi",
                ("0-dynamic",),
                where=lambda facts: facts["temporal_weight"] > 0,
            ),
        ),
        "davis2016",
        "configs/table1.py",
        J_NOTE + " The first row is this system without L_TC, not the published CIS.",
    ),
    Table(
        2,
        "The static model trained by F_α alone and by the confidence-aware L_χ",
        VIDEO_COLUMNS,
        (
            Line(
                "χ(F_α), Eq. (6)",
                (73.8, 65.5, 65.7),
                "chi",
                ("1-static",),
                where=lambda facts: facts["static"] == "f_measure",
            ),
            Line(
                "χ(L_χ), Eq. (7)",
                (78.2, 68.7, 69.3),
                "chi",
                ("1-static",),
                where=lambda facts: facts["static"] == "confidence",
            ),
        ),
        "davis2016",
        "configs/table2.py",
        J_NOTE,
    ),
    Table(
        3,
        "Video object segmentation",
        VIDEO_COLUMNS,
        (
            Line("unsupervised, fused, no CRF", (None,) * 3, "fused", FINAL),
            Line("unsupervised, fused, CRF", (80.0, 73.2, 74.2), "fused", FINAL, crf=True),
            Line(
                "supervised fine-tuning, fused, no CRF",
                (None,) * 3,
                "fused",
                ("supervised",),
                where=lambda facts: bool(facts["labels"]),
            ),
            Line(
                "supervised fine-tuning, fused, CRF",
                (82.8, 75.8, 74.2),
                "fused",
                ("supervised",),
                crf=True,
                where=lambda facts: bool(facts["labels"]),
            ),
        ),
        "column",
        "configs/table3.py",
        J_NOTE + " The paper's supervised FBMS column is 75.8 (J) / 82.0 (F).",
    ),
    Table(
        4,
        "Single images: F_β (β² = 0.3, cut at one half, mean over the images)",
        IMAGE_COLUMNS,
        (
            Line("χ, no CRF", (None,) * 4, "chi", FINAL),
            Line("χ, CRF", (None,) * 4, "chi", FINAL, crf=True),
            Line("χ, self-trained, no CRF", (None,) * 4, "chi", ("self_training",)),
            Line(
                "χ, self-trained, CRF",
                (88.1, 89.7, None, 73.9),
                "chi",
                ("self_training",),
                crf=True,
            ),
        ),
        "davis2016",
        "configs/table4.py",
        "Times 100. χ has seen no image of these sets with its truth.",
    ),
    Table(
        5,
        "Score after every round",
        VIDEO_COLUMNS,
        tuple(
            Line(
                f"round {number}, fused, {name}", paper if crf else (None,) * 3, "fused", phase, crf
            )
            for number, paper, phase in (
                (1, (73.8, 65.5, 65.7), ("1-joint",)),
                (2, (79.2, 71.7, 73.1), ("2-joint",)),
                (3, (80.0, 73.2, 74.2), ("3-joint",)),
            )
            for name, crf in (("no CRF", False), ("CRF", True))
        ),
        "davis2016",
        "configs/table5.py",
        J_NOTE + " The paper's round 1 equals its χ(F_α) of Table 2.",
    ),
    Table(
        7,
        "Other video sets",
        (
            Column("DAVIS17", "davis2017", ("val",), 30, further=("frame_mean_j", "mean_f")),
            Column("YTVOS", "youtube_vos", ("labelled",), 3471, second="frame_mean_j"),
        ),
        (
            Line("merged foreground, fused, no CRF", (None, None), "fused", FINAL),
            Line("merged foreground, fused, CRF", (58.9, 47.2), "fused", FINAL, crf=True),
        ),
        "davis2016",
        "configs/table7.py",
        "J of all objects together, times 100. The paper does not say which frames of YTVOS it "
        "scores; ours are the labelled ones of the split named in the sources.",
    ),
)

# Table 6: videos, mIoU and its standard deviation.
VIDEOS_TITLE = "The static model improves with the number of training videos"
VIDEOS_PAPER = {12: (48.3, 1.99), 36: (52.4, 2.37), 60: (54.9, 2.30), 84: (58.8, 1.17)}
VIDEOS_PAPER |= {108: (61.4, 1.56)}
VIDEOS_SETS = (("ecssd", "test"), ("msra_b", "all"), ("dut_omron", "test"))
VIDEOS_IMAGES = 1000 + 5000 + 5168
VIDEOS_CONFIG = "configs/table6.py"
