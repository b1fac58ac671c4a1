"""Plans ``dut_omron``: the DUT-OMRON saliency data set in its original layout.

    SOURCE/DUT-OMRON-image/NAME.jpg
    SOURCE/pixelwiseGT-new-PNG/NAME.png

From http://saliencydetection.net/dut-omron/ of Dalian University of Technology and OMRON, for
research.

Split: test, complete with 5168 images. Still images: no flow.
"""

from pathlib import Path

from data_prep.builder import Plan, StillsBuilder
from data_prep.datasets.stills import plan_test_set


class DutOmron(StillsBuilder):
    """Writes the records of ``dut_omron``."""


BUILDER = DutOmron


def plan(source: Path) -> Plan:
    """Pairs images and truths; see `data_prep.datasets.stills.plan_test_set` for errors."""
    return plan_test_set("dut_omron", source, ("DUT-OMRON-image", "pixelwiseGT-new-PNG"), 5168)
