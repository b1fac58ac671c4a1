"""Table 5: the score after every round of the loop.

    python run.py --config=configs/table5.py --workdir=runs/table5
    python run.py --config=configs/table5.py:small --workdir=runs/table5   # two CPU cores

One run on DAVIS-2016, scored at the end of each round with and without CRF. The paper's J on
DAVIS-2016: 73.8, 79.2, 80.0.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table5.py")
    config.bootstrap.rounds = 3  # Algorithm 1; davis.py:small has two
    config.eval.data = common.VIDEOS
    config.eval.phases = "1-joint,2-joint,3-joint"
    return config
