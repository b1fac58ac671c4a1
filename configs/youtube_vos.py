"""YouTube-VOS, with the paper's networks and schedule.

    python -m data_prep.prepare --dataset=youtube_vos --source=DIR --data_dir=data
    python run.py --config=configs/youtube_vos.py --workdir=runs/youtube_vos
    python run.py --config=configs/youtube_vos.py:small --workdir=runs/youtube_vos   # two CPU cores

Scored by J of all objects together on the annotated frames of the training videos, whose truth
is the only public one; they are seen in training without it.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "youtube_vos.py")
    config.data.train = "youtube_vos:train"
    config.eval.data = "youtube_vos:labelled"
    config.data.keep_in_memory = False  # decoded, it is too large
    return config
