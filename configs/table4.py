"""Table 4: χ, learned from videos alone, on single images.

    python run.py --config=configs/table4.py --workdir=runs/table4
    python run.py --config=configs/table4.py:small --workdir=runs/table4   # two CPU cores

The loop on DAVIS-2016, then one round of self-training on images without labels, as in Sec. 5.6: χ
predicts, a CRF refines, χ learns the result. Scored with and without CRF, before and after. The
paper's F_β with CRF: ECSSD 88.1, MSRA-B 89.7, DUT-OMRON 73.9.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table4.py")
    # Ours, after [46], which trains on MSRA-B; msra_b:train where the lists of splits are at hand.
    config.self_training.data = "msra_b:all"
    config.eval.data = common.IMAGES
    config.eval.still_crf = "deepusps"
    config.eval.phases = f"{config.bootstrap.rounds}-joint,last"
    return config
