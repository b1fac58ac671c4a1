"""Holds what the configs of Tables 1 to 7 and of the single data sets share."""

from ml_collections import ConfigDict

from configs import davis

VIDEOS = "davis2016:val,fbms59:test,segtrackv2:test"
"""Scored by Tables 1, 2, 3 and 5; a run reports and leaves out those that are not prepared."""
IMAGES = "ecssd:test,msra_b:all,msra_b:test,dut_omron:test"
"""Scored by Tables 4 and 6."""

SIZES = ("", "small")


def base(variant: str, file: str) -> ConfigDict:
    """Returns ``davis.py``, or ``davis.py:small`` for the variant "small" of a table's config."""
    if variant not in SIZES:
        raise ValueError(f"configs/{file} has no variant {variant!r}; there is {file}:small")
    return davis.get_config(variant)
