"""DAVIS-2017, with the paper's networks and schedule.

    python -m data_prep.prepare --dataset=davis2017 --source=DIR --data_dir=data
    python run.py --config=configs/davis2017.py --workdir=runs/davis2017
    python run.py --config=configs/davis2017.py:small --workdir=runs/davis2017   # two CPU cores

Scored by J of all objects together and by the official unsupervised J&F.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "davis2017.py")
    config.data.train = "davis2017:train"
    config.eval.data = "davis2017:val"
    return config
