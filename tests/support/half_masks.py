"""Masks whose scores against a full one are known."""

import numpy as np

from dystab_jax.evaluation.protocols.base import Video

FULL = np.ones((4, 6), np.uint8)
EMPTY = np.zeros((4, 6), np.uint8)
HALF = np.repeat([[1, 1, 1, 0, 0, 0]], 4, axis=0).astype(np.uint8)
# Against the full mask J is 1 (FULL), 1/2 (HALF) and 0 (EMPTY). HALF alone has a boundary, so F is
# 1, 0 and 1.


def video(*masks, **more) -> Video:
    """A video of full truth with these masks."""
    return Video(truth=[FULL] * len(masks), masks=list(masks), **more)
