"""Configs on the command lines of benchmarks."""

from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from dystab_jax.commands import overrides


def load_config(given: str, settings: Sequence[str]) -> ConfigDict:
    """Returns the config that ``run.py --config=GIVEN --config.SETTING ...`` would have.

    Args:
      given: a config file and its variant, such as "configs/davis.py:small".
      settings: fields and their values, such as "data.batch_size=4".

    Raises:
      ValueError, OSError: it cannot be had, has no such field, or stands for several runs.
    """
    argv = ["benchmarks", f"--config={given}", *(f"--config.{one}" for one in settings)]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    overrides.check_config(argv)
    try:
        values(argv)
    except (KeyError, AttributeError, TypeError, flags.Error) as error:
        raise ValueError(overrides.explain_override(argv, error)) from error
    if values.config.runs:
        raise ValueError(f"--config={given} stands for several runs; name one of a run")
    return values.config
