"""Puts published parameters of flow networks into the variables of the Flax ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

Place = tuple[str, ...]
"""Path of a Flax variable, the collection first."""


def fill(
    variables: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, Place],
    path: str | Path,
) -> dict[str, Any]:
    """Puts every parameter of a checkpoint where it belongs.

    Args:
      variables: of the network, for their shapes; `jax.eval_shape` of its ``init`` is enough.
      arrays: the checkpoint, in PyTorch's layouts.
      names: published name to place; all places of ``variables``, each once.
      path: of the checkpoint, for messages.

    Returns:
      Variables of the same structure, float32.

    Raises:
      ValueError: a parameter is missing, unknown, of another shape, or not finite.
    """
    shapes = flax.traverse_util.flatten_dict(dict(variables))
    filled = {}
    for name, place in names.items():
        if name not in arrays:
            raise ValueError(
                f"{path} lacks {name}; choose the --flow that the checkpoint was made for"
            )
        array = np.asarray(arrays[name], np.float32)
        wanted = shapes[place].shape
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)  # OIHW to HWIO
        if array.shape != wanted:
            raise ValueError(
                f"{path} holds {name} of shape {arrays[name].shape}, which does not fit {wanted} "
                "(height, width, in, out) here; choose the --flow that the checkpoint was made for"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{path} holds numbers in {name} that are not finite")
        filled[place] = array
    unknown = next((name for name in arrays if name not in names), None)
    if unknown is not None:
        raise ValueError(
            f"{path} holds {unknown}, which this network does not have; choose the --flow that the "
            "checkpoint was made for"
        )
    return flax.traverse_util.unflatten_dict(filled)
