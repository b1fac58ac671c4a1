"""DyStaB in JAX: unsupervised object segmentation by dynamic-static bootstrapping.

``from dystab_jax import Segmenter`` gives masks of images and videos.
"""

from typing import Any

__all__ = ["Segmenter"]


def __getattr__(name: str) -> Any:
    # Not at once: it takes seconds, and few modules need it.
    if name == "Segmenter":
        from dystab_jax.prediction.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
