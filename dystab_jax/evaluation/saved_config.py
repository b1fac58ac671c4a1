"""Reads the config that a workdir was made with, also by earlier versions."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dystab_jax.runtime.addresses import is_address
from dystab_jax.runtime.paths import user_path

LATER_FIELDS = {
    "bootstrap.chi_updates": 1,
    "bootstrap.growth_rounds": 1,
    "bootstrap.label_crf": "none",
    "bootstrap.label_cut": 0.5,
    "bootstrap.label_fused": False,
    "bootstrap.least_updates": 0,
    "eval.adaptation": {
        "rounds": 0,
        "chi_updates": 60,
        "phi_rounds": 10,
        "crf": "medium",
    },
    "eval.flow_average": 0.0,
    "eval.fusion_floor": 0.5,
    "eval.fusion_sharpness": 4.0,
    "eval.mirror": False,
    "eval.phi_cut": 0.5,
    "loss.confidence_camera": "quadratic",
}
"""Fields that workdirs of earlier versions lack, and what stands there for them."""


def read(workdir: Path) -> ConfigDict:
    """Reads the config that a workdir was made with.

    Raises:
      FileNotFoundError: it holds no run.
      ValueError: its config.json is damaged.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise no_run(workdir)
    return _to_config(read_json(path))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a config.json of this version or an earlier one, later fields filled in.

    Raises:
      ValueError: it is damaged.
    """
    try:
        stored = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not json ({error}); restore it or use another --workdir"
        ) from error
    if not isinstance(stored, dict):
        raise ValueError(
            f"{path} holds a {type(stored).__name__} where a config is expected; restore it or use "
            "another --workdir"
        )
    for name, value in LATER_FIELDS.items():
        section, _, field = name.partition(".")
        if isinstance(stored.get(section), dict):
            stored[section].setdefault(field, value)
    return stored


def with_absolute_data(config: ConfigDict) -> ConfigDict:
    """Returns the config with ``data.dir`` as it is found from every working directory."""
    config = config.copy_and_resolve_references()
    if is_address(config.data.dir):
        return config
    try:
        config.data.dir = str(user_path(config.data.dir))
    except ValueError as error:
        raise ValueError(f"config.data.dir: {error}") from error
    return config


def no_run(workdir: Path) -> FileNotFoundError:
    """Returns the error of a folder that holds no run."""
    return FileNotFoundError(
        f"{workdir / 'config.json'} does not exist: --workdir={workdir} holds no run; train first, "
        f"with `python run.py --config=CONFIG --workdir={workdir}`"
    )


def _to_config(stored: dict[str, Any]) -> ConfigDict:
    def revive(value):
        if isinstance(value, dict):
            return {key: revive(inner) for key, inner in value.items()}
        return tuple(map(revive, value)) if isinstance(value, list) else value

    return ConfigDict(revive(stored))
