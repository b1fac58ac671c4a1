"""Table 1: the dynamic model with and without temporal consistency.

    python run.py --config=configs/table1.py --workdir=runs/table1
    python run.py --config=configs/table1.py:small --workdir=runs/table1   # two CPU cores

Two runs, each of the initial game of φ and ψ alone: Eq. (3), and Eq. (5) with λ_TC = 1.0. The
paper's J on DAVIS-2016: 59.2 and 62.4, without CRF.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table1.py")
    config.bootstrap.rounds = 0
    config.eval.data = common.VIDEOS
    config.eval.crf = "none"
    config.runs = (
        ("without_consistency", (("loss.temporal_weight", 0.0),)),
        ("with_consistency", (("loss.temporal_weight", 1.0),)),  # Sec. 5.1
    )
    return config
