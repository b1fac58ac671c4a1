"""Table 3: video object segmentation, trained on each data set, and fine-tuned with labels.

    python run.py --config=configs/table3.py --workdir=runs/table3
    python run.py --config=configs/table3.py:small --workdir=runs/table3   # two CPU cores

Four runs: DAVIS-2016, FBMS-59 and SegTrack v2 without labels, and ``supervised``, which goes on
from a loop on DAVIS-2016 with annotated training frames (prepare davis2016_labelled for it). With a
part of the data at hand: ``--only=davis2016``. The paper's J with CRF: 80.0, 73.2, 74.2; after
fine-tuning 82.8, 75.8, 74.2.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table3.py")
    config.eval.data = common.VIDEOS
    config.runs = (
        ("davis2016", (("data.train", "davis2016:train"),)),
        ("fbms59", (("data.train", "fbms59:train"),)),
        ("segtrackv2", (("data.train", "segtrackv2:train"),)),
        (
            "supervised",
            (
                ("supervised.data", "davis2016_labelled:fit"),
                ("supervised.select", "davis2016_labelled:select"),
            ),
        ),
    )
    return config
