"""Gathers the facts of a run that its results repeat."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ml_collections import ConfigDict

from dystab_jax.data import records

# What an experiment may be repeated over, or what does not change a run's result.
_NOT_OF_THE_METHOD = ("seed", "log", "eval", "runs")
_NOT_OF_THE_DATA = ("dir", "keep_in_memory", "most_memory_gb", "threads", "train", "videos")


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the config or a section of it as json gives it back: lists for tuples."""
    return json.loads(json.dumps(config.to_dict()))


def facts(
    config: ConfigDict, phase: str, stages: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Gathers the facts that distinguish the results of one run from those of another.

    Args:
      config: of the run.
      phase: of training that the result is of.
      stages: what was learned from by then, see ``Snapshot``; empty: what the config says.

    Returns:
      Plain json: training data, number of videos (0: all) and, where it is known, how many there
      were and how many at the end of each stage of a run that grew, seed, λ_TC, what χ learns by,
      on what it trained itself, whose labels were used, and ``method``, the same for all runs whose
      configs, up to this phase, differ in nothing but training data, seed, evaluation and logs.
    """
    plain = as_json(config)
    data = {key: value for key, value in plain["data"].items() if key not in _NOT_OF_THE_DATA}
    method = {key: value for key, value in plain.items() if key not in _NOT_OF_THE_METHOD}
    refined = {name: phase.startswith(name) for name in ("self_training", "supervised")}
    for name, yes in refined.items():
        if not yes:  # the phases before it do not know of it
            del method[name]
    grown = [[len(stage["videos"]), stage["rounds"]] for stage in stages]
    del method["bootstrap"]["growth_rounds"]
    if len(grown) > 1:  # another method than training on as many videos from the start
        method["grown"] = grown
    train, videos = config.data.train, config.data.videos
    if stages:
        train, videos = stages[-1]["train"], stages[-1]["drawn"]
    digest = hashlib.sha256(json.dumps(method | {"data": data}, sort_keys=True).encode())
    height, width = config.data.image_size
    return {
        "train": train,
        "videos": videos,
        **({"all_videos": grown[-1][0]} if grown else {}),
        **({"grown": [count for count, _ in grown]} if len(grown) > 1 else {}),
        "seed": config.seed,
        "temporal_weight": config.loss.temporal_weight,
        "static": config.loss.static,
        "self_training": config.self_training.data if refined["self_training"] else "",
        "labels": config.supervised.data if refined["supervised"] else "",
        "networks": f"φ {config.phi.model.backbone}, χ {config.chi.model.backbone} at "
        f"{width}×{height}",
        "method": digest.hexdigest()[:8],
    }


def counted(data: ConfigDict) -> dict[str, int]:
    """Counts the videos of the training data, which ``data.videos = 0`` stands for; {} if gone."""
    try:
        return {"all_videos": _count_videos(data.dir, data.train)}
    except (OSError, ValueError):
        return {}


@cache
def _count_videos(data_dir: str, spec: str) -> int:
    """Counts the videos of a prepared data set; once, whatever a run is scored on."""
    return len(records.open_source(data_dir, spec).index.videos)
