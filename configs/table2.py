"""Table 2: χ trained by F_α alone against the confidence-aware L_χ.

    python run.py --config=configs/table2.py --workdir=runs/table2
    python run.py --config=configs/table2.py:small --workdir=runs/table2   # two CPU cores

Two runs that differ in nothing but χ's loss, Eq. (6) or Eq. (7); φ is the same in both. The paper's
J of χ on DAVIS-2016: 73.8 and 78.2.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table2.py")
    config.bootstrap.rounds = 1
    config.bootstrap.joint_epochs = 0.0
    config.eval.data = common.VIDEOS
    config.eval.crf = "none"
    config.runs = (
        ("f_measure", (("loss.static", "f_measure"),)),
        ("confidence", (("loss.static", "confidence"),)),
    )
    return config
