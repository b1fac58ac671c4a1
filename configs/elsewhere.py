"""A config whose path absl cannot take: ``--config=configs/elsewhere.py:FILE[:VARIANT]``.

``run.py`` takes it by itself where FILE begins with ~ or holds a colon.
"""

from ml_collections import ConfigDict

from dystab_jax.commands import overrides


def get_config(given: str) -> ConfigDict:
    """Returns the config that FILE makes."""
    return overrides.load(given)
