"""SegTrack v2, with the paper's networks and schedule.

    python -m data_prep.prepare --dataset=segtrackv2 --source=DIR --data_dir=data
    python run.py --config=configs/segtrackv2.py --workdir=runs/segtrackv2
    python run.py --config=configs/segtrackv2.py:small --workdir=runs/segtrackv2   # two CPU cores

The data set has no splits: trained on all 14 sequences without their truth. The paper's J
with CRF: 74.2 (Table 3).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "segtrackv2.py")
    config.data.train = "segtrackv2:train"
    config.eval.data = "segtrackv2:test"
    return config
