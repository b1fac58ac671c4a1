"""Reads RAFT's published parameters, by the names of the original release and of torchvision."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from data_prep.flow.published import Place, fill


def convert(
    shapes: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: str | Path
) -> dict[str, Any]:
    """Returns a checkpoint's parameters as variables of the network.

    Args:
      shapes: the network's variables, or their shapes.
      arrays: with the names of the original release ("fnet.conv1.weight") or of torchvision
        ("feature_encoder.convnormrelu.0.weight").
      path: of the checkpoint, for messages.

    Raises:
      ValueError: it is of another network, see `published.fill`.
    """
    places = flax.traverse_util.flatten_dict(dict(shapes))
    names: dict[str, Place] = {original_name(place): place for place in places}
    if any(name.startswith("feature_encoder.") for name in arrays):
        names = {torchvision_name(name): place for name, place in names.items()}
    # The original release holds each normalisation of a shortcut twice.
    unused = re.compile(r"num_batches_tracked$|layer\d\.\d\.norm[34]\.")
    kept = {name: array for name, array in arrays.items() if not unused.search(name)}
    return fill(shapes, kept, names, path)


_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_Rules = Sequence[tuple[str, str | Callable[[re.Match], str]]]
_ORIGINAL: _Rules = (
    (r"(layer\d)_", r"\1."),
    (r"downsample_norm", "downsample.1"),
    (r"downsample\.(?!1)", "downsample.0."),
    (r"gru(\d)\.(conv.)", r"gru.\2\1"),
    (r"head(\d)", r"flow_head.conv\1"),
    (r"^mask\.conv1", "update_block.mask.0"),
    (r"^mask\.conv2", "update_block.mask.2"),
)
_TORCHVISION: _Rules = (
    (r"^fnet", "feature_encoder"),
    (r"^cnet", "context_encoder"),
    (r"(_encoder)\.conv1", r"\1.convnormrelu.0"),
    (r"(_encoder)\.norm1", r"\1.convnormrelu.1"),
    (r"(_encoder)\.conv2", r"\1.conv"),
    (r"(layer\d\.\d)\.conv(\d)", r"\1.convnormrelu\2.0"),
    (r"(layer\d\.\d)\.norm(\d)", r"\1.convnormrelu\2.1"),
    (r"block\.encoder\.convc(\d)", r"block.motion_encoder.convcorr\1.0"),
    (r"block\.encoder\.convf(\d)", r"block.motion_encoder.convflow\1.0"),
    (r"block\.encoder\.conv\.", "block.motion_encoder.conv.0."),
    (r"gru\.(conv.)(\d?)\.", lambda m: f"recurrent_block.convgru{m[2] or 1}.{m[1]}."),
    (r"^update_block\.mask\.0", "mask_predictor.convrelu.0"),
    (r"^update_block\.mask\.2", "mask_predictor.conv"),
)


def original_name(place: Place) -> str:
    """Returns the name in the original release of the variable at ``place``."""
    *modules, leaf = place[1:]
    return _rename(".".join([*modules, _LEAVES.get(leaf, leaf)]), _ORIGINAL)


def torchvision_name(name: str) -> str:
    """Returns torchvision's name for a name of the original release."""
    return _rename(name, _TORCHVISION)


def _rename(name: str, rules: _Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
