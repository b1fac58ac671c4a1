"""Runs a flow network frame by frame: sizes, batches, compilation."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from data_prep.flow import FlowFields
from dystab_jax.data.resize import resize_flow

PAIRS_ON_CPU = 2
"""Matched at once. Both directions of a pair; more only leave the processor's cache."""
PAIRS_ON_ACCELERATOR = 6
"""All pairs of a frame with ``max_gap`` 3."""


class NetworkEstimator:
    """Makes an `Estimator` of a Flax module with two methods.

    ``module.encode(images)`` takes [B, H, W, 3] RGB as float32 0 to 255, H and W multiples of
    ``multiple``, and returns a pytree of arrays that begin with B. ``module.match(firsts,
    seconds)`` takes two of these and returns the flow [B, H, W, 2], pixels.
    """

    def __init__(
        self,
        module: nn.Module,
        variables: Mapping[str, Any],
        *,
        multiple: int,
        fit: Literal["pad", "resize"],
    ):
        """Compiles nothing yet.

        Args:
          module: the network.
          variables: its variables.
          multiple: of which height and width must be, for the network.
          fit: how a frame of another size is made one: "pad" repeats its border on all sides,
            "resize" stretches it and shrinks the vectors back.
        """
        self._multiple, self._fit = multiple, fit
        self._variables, self._placed = variables, {}
        self._pairs = PAIRS_ON_CPU if jax.default_backend() == "cpu" else PAIRS_ON_ACCELERATOR

        @jax.jit
        def encode(variables, image):
            images = image[None].astype(jnp.float32)
            return module.apply(variables, images, method="encode")

        @jax.jit
        def match(variables, firsts, seconds):
            firsts, seconds = (jax.tree.map(_join, *each) for each in (firsts, seconds))
            return module.apply(variables, firsts, seconds, method="match")

        self._encode, self._match = encode, match

    def _variables_here(self) -> Mapping[str, Any]:
        """Returns the variables, on the device that this thread uses."""
        device = jax.config.jax_default_device
        if device not in self._placed:
            self._placed[device] = jax.device_put(self._variables, device)
        return self._placed[device]

    def encode(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        frame_name: str = "",
        frame_size: tuple[int, int] | None = None,
    ) -> tuple[tuple[int, int], Any]:
        """Returns the image's size, and its features on the device."""
        height, width = image.shape[:2]
        rows, columns = (-(-side // self._multiple) * self._multiple for side in (height, width))
        if self._fit == "resize":
            image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
        else:
            top, left = (rows - height) // 2, (columns - width) // 2
            margins = ((top, rows - height - top), (left, columns - width - left), (0, 0))
            image = np.pad(image, margins, mode="edge")
        return (height, width), self._encode(self._variables_here(), image)

    def match(self, firsts: Sequence[Any], seconds: Sequence[Any]) -> FlowFields:
        """Estimates as `data_prep.flow.Estimator.match` says; frames of one size."""
        (height, width), _ = firsts[0]
        ones, others = ([features for _, features in each] for each in (firsts, seconds))
        fields = []
        for start in range(0, len(ones), self._pairs):
            batch = [each[start : start + self._pairs] for each in (ones, others)]
            real = len(batch[0])
            # One size of batch, so one compilation; what fills it is thrown away.
            filled = [tuple(each + each[-1:] * (self._pairs - real)) for each in batch]
            fields += list(np.asarray(self._match(self._variables_here(), *filled))[:real])
        return np.stack([self._restore(field, height, width) for field in fields])

    def _restore(self, flow: np.ndarray, height: int, width: int) -> np.ndarray:
        if self._fit == "resize":
            return resize_flow(flow, (height, width))
        top, left = (flow.shape[0] - height) // 2, (flow.shape[1] - width) // 2
        return flow[top : top + height, left : left + width]


def variable_shapes(module: nn.Module) -> Mapping[str, Any]:
    """Returns the shapes of the variables of a network that is called with two images."""
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image, image)


def _join(*arrays: jax.Array) -> jax.Array:
    return jnp.concatenate(arrays)
