"""DUT-OMRON: a model learned from the videos of DAVIS-2016, on single images.

    python -m data_prep.prepare --dataset=dut_omron --source=DIR --data_dir=data
    python run.py --config=configs/dut_omron.py --workdir=runs/davis

Single images show no motion, so nothing is trained on them here (configs/table4.py self-trains).
In the workdir of a finished run of configs/davis.py, ``--mode=eval`` scores without training. The
paper's F_β after self-training, with CRF: 73.9 (Table 4).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "dut_omron.py")
    config.eval.data = "dut_omron:test"
    config.eval.still_crf = "deepusps"
    return config
