"""Names the optical-flow estimators, and makes the one that ``--flow`` chooses."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

ESTIMATORS = {
    "dis": "data_prep.flow.dis",
    "precomputed": "data_prep.flow.precomputed",
    "pwcnet": "data_prep.flow.pwcnet.estimator",
    "raft_small": "data_prep.flow.raft.estimator",
    "raft_large": "data_prep.flow.raft.estimator",
}
"""Name to the module that has ``make(options, video)``; imported only when chosen."""
NETWORKS = ("pwcnet", "raft_small", "raft_large")
"""Those that are networks: they need weights, and use an accelerator where there is one."""
PRECISIONS = ("float32", "bfloat16")

FlowFields = Float32[np.ndarray, "n h w 2"]


@runtime_checkable
class Estimator(Protocol):
    """Estimates flow in two steps, so that work on one frame is done once for all its pairs."""

    def encode(
        self, image: UInt8[np.ndarray, "h w 3"], frame_name: str, frame_size: tuple[int, int]
    ) -> Any:
        """Returns what `match` needs of one frame.

        Args:
          image: RGB, at the size of the flow.
          frame_name: its name in the video.
          frame_size: its (height, width) in the video.
        """

    def match(
        self, firsts: Sequence[Any], seconds: Sequence[Any]
    ) -> Float32[np.ndarray, "n h w 2"]:
        """Estimates the flow of n pairs, u with image1(x) ≈ image2(x + u(x)).

        Args:
          firsts, seconds: what `encode` gave for the frames of each pair.

        Returns:
          (dx right, dy down), pixels.

        Raises:
          ValueError: the frames cannot be matched.
        """


@dataclass(frozen=True)
class FlowOptions:
    """Names an estimator, and what it is made from.

    Attributes:
      estimator: a key of `ESTIMATORS`.
      weights: checkpoint of a network.
      iterations: of RAFT's recurrent updates.
      precision: in which networks compute, one of `PRECISIONS`; results are float32.
      source: directory of the files of `data_prep.flow.precomputed`.
    """

    estimator: str = "dis"
    weights: Path | None = None
    iterations: int = 12
    precision: str = "float32"
    source: Path | None = None

    def check(self) -> None:
        """Raises ValueError or FileNotFoundError where the options make no sense together."""
        if self.estimator not in ESTIMATORS:
            raise ValueError(
                f"no flow estimator {self.estimator!r}; there are: {sorted(ESTIMATORS)}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"flow_precision is {self.precision!r}; expected one of {PRECISIONS}")
        if self.iterations < 1:
            raise ValueError(f"flow_iterations is {self.iterations}; it must be at least 1")
        if self.estimator != "precomputed":
            if self.source is not None:
                raise ValueError(
                    f"--flow_source is for --flow=precomputed; --flow={self.estimator} computes "
                    "flow from the frames"
                )
        elif self.source is None:
            raise ValueError("--flow=precomputed needs --flow_source, the directory of its files")
        elif not self.source.is_dir():
            raise FileNotFoundError(f"{self.source}: no such directory; check --flow_source")
        if self.estimator not in NETWORKS:
            if self.weights is not None:
                raise ValueError(
                    f"--flow_weights is for the networks ({', '.join(NETWORKS)}); "
                    f"--flow={self.estimator} has none"
                )
        elif self.weights is None:
            raise ValueError(f"--flow={self.estimator} needs --flow_weights, its checkpoint (.pth)")
        elif not self.weights.is_file():
            raise FileNotFoundError(f"{self.weights}: no such file; check --flow_weights")

    def check_weights(self) -> None:
        """Reads a network's checkpoint, so that a wrong one is reported once, not by each video.

        What the network imports is so imported before threads share it.

        Raises:
          ValueError: it is not a checkpoint, or that of another network.
        """
        if self.estimator in NETWORKS:
            make_estimator(self, "")

    def fingerprint(self, video: str, max_gap: int) -> str | None:
        """Returns what changes when the flow files of a video do; None where flow is estimated."""
        if self.estimator != "precomputed":
            return None
        return import_module(ESTIMATORS[self.estimator]).fingerprint(self.source, video, max_gap)

    def describe_network(self) -> dict[str, Any] | None:
        """Returns what a network's flow depends on, its checkpoint by the digest; else None."""
        if self.estimator not in NETWORKS:
            return None
        described = {
            "weights": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            "precision": self.precision,
        }
        if self.estimator.startswith("raft"):
            described["iterations"] = self.iterations
        return described


def make_estimator(options: FlowOptions, video: str) -> Estimator:
    """Makes the estimator for one video.

    Args:
      options: checked.
      video: the video's name.

    Raises:
      ValueError: its weights are not those of this network.
    """
    return import_module(ESTIMATORS[options.estimator]).make(options, video)


def match_both_ways(
    estimator: Estimator, encoded: Any, recent: Sequence[Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Estimates flow between a frame and each of those before it, in one call.

    Args:
      estimator: has encoded all of them.
      encoded: the frame.
      recent: the frames before it, the last first.

    Returns:
      For each of ``recent``: flow from it to the frame, and from the frame to it.
    """
    if not recent:
        return []
    firsts = [frame for earlier in recent for frame in (earlier, encoded)]
    seconds = [frame for earlier in recent for frame in (encoded, earlier)]
    flows = estimator.match(firsts, seconds)
    return list(zip(flows[::2], flows[1::2], strict=True))
