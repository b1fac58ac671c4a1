"""FBMS-59, with the paper's networks and schedule.

    python -m data_prep.prepare --dataset=fbms59 --source=DIR --data_dir=data
    python run.py --config=configs/fbms59.py --workdir=runs/fbms59
    python run.py --config=configs/fbms59.py:small --workdir=runs/fbms59   # two CPU cores

The paper's J with CRF: 73.2 (Table 3).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "fbms59.py")
    config.data.train = "fbms59:train"
    config.eval.data = "fbms59:test"
    config.data.keep_in_memory = False  # decoded, it is too large
    return config
