"""Plans ``ecssd``: the Extended Complex Scene Saliency Dataset in its original layout.

    SOURCE/images/0001.jpg
    SOURCE/ground_truth_mask/0001.png

From "Hierarchical Saliency Detection" of the Chinese University of Hong Kong
(http://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html), for research.

Split: test, complete with 1000 images. Still images: no flow.
"""

from pathlib import Path

from data_prep.builder import Plan, StillsBuilder
from data_prep.datasets.stills import plan_test_set


class Ecssd(StillsBuilder):
    """Writes the records of ``ecssd``."""


BUILDER = Ecssd


def plan(source: Path) -> Plan:
    """Pairs images and truths; see `data_prep.datasets.stills.plan_test_set` for errors."""
    return plan_test_set("ecssd", source, ("images", "ground_truth_mask"), 1000)
