"""Gathers the facts of a run that its results repeat."""

import hashlib
import json
from typing import Any

from ml_collections import ConfigDict

# What an experiment may be repeated over, or what does not change a run's result.
_NOT_OF_THE_METHOD = ("seed", "log", "eval", "runs")
_NOT_OF_THE_DATA = ("dir", "keep_in_memory", "most_memory_gb", "threads", "train", "videos")


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the config or a section of it as json gives it back: lists for tuples."""
    return json.loads(json.dumps(config.to_dict()))


def facts(config: ConfigDict, phase: str) -> dict[str, Any]:
    """Gathers the facts that distinguish the results of one run from those of another.

    Args:
      config: of the run.
      phase: of training that the result is of.

    Returns:
      Plain json: training data, number of videos (0: all), seed, λ_TC, what χ learns by, on what
      it trained itself, whose labels were used, and ``method``, the same for all runs whose
      configs, up to this phase, differ in nothing but training data, seed, evaluation and logs.
    """
    plain = as_json(config)
    data = {key: value for key, value in plain["data"].items() if key not in _NOT_OF_THE_DATA}
    method = {key: value for key, value in plain.items() if key not in _NOT_OF_THE_METHOD}
    refined = {name: phase.startswith(name) for name in ("self_training", "supervised")}
    for name, yes in refined.items():
        if not yes:  # the phases before it do not know of it
            del method[name]
    digest = hashlib.sha256(json.dumps(method | {"data": data}, sort_keys=True).encode())
    height, width = config.data.image_size
    return {
        "train": config.data.train,
        "videos": config.data.videos,
        "seed": config.seed,
        "temporal_weight": config.loss.temporal_weight,
        "static": config.loss.static,
        "self_training": config.self_training.data if refined["self_training"] else "",
        "labels": config.supervised.data if refined["supervised"] else "",
        "networks": f"φ {config.phi.model.backbone}, χ {config.chi.model.backbone} at "
        f"{width}×{height}",
        "method": digest.hexdigest()[:8],
    }
