"""Lists the protocols by name and by data set, and puts their results into a report."""

from collections.abc import Mapping

from dystab_jax.data.dataset_registry import DATA_SETS
from dystab_jax.evaluation.protocols.base import Protocol, Video
from dystab_jax.evaluation.protocols.davis2017 import Davis2017
from dystab_jax.evaluation.protocols.fbms59 import Fbms59
from dystab_jax.evaluation.protocols.frame_averages import FrameAverages, average
from dystab_jax.evaluation.protocols.saliency import Saliency

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Video",
    "all_frames",
    "average",
    "davis2016",
    "davis2017",
    "default_protocols",
    "fbms59",
    "protocol",
    "report",
    "saliency",
]

davis2016 = FrameAverages(
    "davis2016", slice(1, -1), "DAVIS-2016: all frames but the first and last of a sequence"
)
"""DAVIS-2016: all but the first and last frame; means per sequence, then over sequences."""

all_frames = FrameAverages("all_frames", slice(None), "all frames with truth, all objects together")
"""Every frame with truth counts; averages and result as for `davis2016`."""

davis2017 = Davis2017()
fbms59 = Fbms59()
saliency = Saliency()

PROTOCOLS: dict[str, Protocol] = {
    one.name: one for one in (davis2016, all_frames, davis2017, fbms59, saliency)
}

DEFAULTS = {one.name: one.protocols for one in DATA_SETS.values()}
"""Protocols of each data set that `data_prep` knows, the main one first."""


def protocol(name: str) -> Protocol:
    """Returns the protocol of that name.

    Raises:
      ValueError: there is none; lists the names there are.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r} is unknown; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def default_protocols(dataset: str) -> tuple[str, ...]:
    """Returns the names of the protocols by which a data set is scored, the main one first.

    Args:
      dataset: its name; "folder/NAME" means "folder".

    Raises:
      ValueError: no such data set; lists those there are.
    """
    kind = dataset.partition("/")[0]
    if kind not in DEFAULTS:
        raise ValueError(
            f"data set {dataset!r} has no default protocol; name one of {', '.join(PROTOCOLS)} "
            f"(data sets with a default: {', '.join(DEFAULTS)})"
        )
    return DEFAULTS[kind]


def report(
    dataset: str,
    split: str,
    results: Mapping[tuple[str, str], dict],
    *,
    oracle: bool = False,
) -> dict:
    """Returns the content of an eval/*.json file: a row per model and refinement, of one protocol.

    Args:
      dataset: name of the data set.
      split: name of the split.
      results: what a protocol returned, by model ("phi", "chi", "fused", "masks") and the
        conditional random field that post-processed its masks ("none", "cis", "deepusps").
      oracle: whether ground truth chose which region is the object.

    Returns:
      `dataset`, `split`, `oracle`, `protocol`, `frames`, `sequences` and `rows`, each with `model`,
      `crf` and the scores.

    Raises:
      ValueError: the results differ in protocol or in what was scored.
    """
    shared_keys = ("protocol", "frames", "sequences")
    shared = [{key: result[key] for key in shared_keys} for result in results.values()]
    if not shared or any(other != shared[0] for other in shared):
        raise ValueError(
            f"one report needs results of one protocol on the same frames, got "
            f"{dict(zip(results, shared, strict=True))}"
        )
    rows = [
        {"model": model, "crf": crf} | {k: v for k, v in result.items() if k not in shared_keys}
        for (model, crf), result in results.items()
    ]
    return {"dataset": dataset, "split": split, "oracle": oracle, **shared[0], "rows": rows}
