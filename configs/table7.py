"""Table 7: the model of DAVIS-2016 on DAVIS-2017 and YouTube-VOS.

    python run.py --config=configs/table7.py --workdir=runs/table7
    python run.py --config=configs/table7.py:small --workdir=runs/table7   # two CPU cores

The loop on DAVIS-2016, scored on videos with several objects: J of all objects together, and the
official unsupervised J&F of DAVIS-2017 on a line of its own. The paper's J: 58.9 and 47.2.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table7.py")
    config.eval.data = "davis2017:val,youtube_vos:labelled"
    config.eval.phases = f"{config.bootstrap.rounds}-joint"
    return config
