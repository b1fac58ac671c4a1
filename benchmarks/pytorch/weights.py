"""Carries weights of the Flax networks over to their PyTorch twins."""

import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import torch
from torch import nn

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def convert(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns Flax variables, or gradients of them, by the names and in the order of the twins."""
    converted = {}
    for path, leaf in flax.traverse_util.flatten_dict(dict(variables)).items():
        array = np.asarray(leaf)
        *modules, name = path[1:]
        place = ".".join(module for module in modules if module != "group")
        place = re.sub(r"_Block_(\d+)\.Conv_0", r"blocks.\1.conv", place)
        place = re.sub(r"Conv_0$", "conv", place)
        if place == "heads":
            if name == "bias":
                converted["heads.0.bias"] = array
            else:
                for n, kernel in enumerate(array):
                    converted[f"heads.{n}.weight"] = kernel.transpose(3, 2, 0, 1)
            continue
        if place == "logits" and name == "kernel":
            array = array[None, None]
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        converted[f"{place}.{_LEAVES.get(name, name)}"] = array
    return converted


def load(network: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copies Flax variables into a network.

    Raises:
      RuntimeError: one is missing, or one too many.
    """
    state = {name: torch.tensor(array) for name, array in convert(variables).items()}
    counters = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    network.load_state_dict(counters | state)
