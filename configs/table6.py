"""Table 6: χ improves with the number of training videos.

    python run.py --config=configs/table6.py --workdir=runs/table6
    python run.py --config=configs/table6.py:small --workdir=runs/table6   # two CPU cores

The whole loop for five seeds and five numbers of videos (``small``: four), 25 runs; for one seed,
the fewer videos are among the more. What was stopped goes on where it was, and
``--only=seed0-videos12`` does single runs, for instance on several machines. Scored on the union of
the saliency sets. The paper's mIoU: 48.3 with 12 videos to 61.4 with 108.
"""

from ml_collections import ConfigDict

from configs import common

SEEDS = 5  # Sec. 5.4
NUMBERS = (12, 36, 60, 84, 108)  # of 123 videos, Sec. 5.4
SMALL_NUMBERS = (3, 6, 12, 20)  # ours: of DAVIS-2016's 30


def get_config(variant: str = "") -> ConfigDict:
    """Returns the config; ``variant`` is "" or "small"."""
    config = common.base(variant, "table6.py")
    numbers = NUMBERS
    # All 123 videos, without their truth.
    config.data.train = (
        "davis2016:train+davis2016:val+fbms59:train+fbms59:test_unlabelled+segtrackv2:train"
    )
    if variant == "small":
        numbers = SMALL_NUMBERS
        config.data.train = "davis2016:train"
    config.eval.data = common.IMAGES
    config.log.keep_phases = False
    config.runs = tuple(
        (f"seed{seed}-videos{number}", (("seed", seed), ("data.videos", number)))
        for seed in range(SEEDS)
        for number in numbers
    )
    return config
