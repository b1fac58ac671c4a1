"""Reads the config that a workdir was made with: ``--config=configs/saved.py:runs/demo``.

``run.py`` takes it by itself where fields are overridden and no ``--config`` is given.
"""

from ml_collections import ConfigDict

from dystab_jax.evaluation import saved_config
from dystab_jax.runtime.paths import user_path


def get_config(workdir: str) -> ConfigDict:
    """Returns the config of a run, or the one that stands for all runs in the workdir."""
    return saved_config.read(user_path(workdir))
