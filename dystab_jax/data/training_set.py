"""Opens prepared data as training visits them."""

import hashlib
import json
import os
from dataclasses import dataclass

from ml_collections import ConfigDict

from dystab_jax.data import pipeline, records


@dataclass(frozen=True)
class TrainingSet:
    """Holds the frames that a kind of phase visits.

    Attributes:
      decoded: where their arrays come from.
      frames: of all videos, or of those drawn or chosen.
    """

    decoded: pipeline.Decoded
    frames: list[pipeline.TrainingFrame]

    @classmethod
    def open(
        cls, config: ConfigDict, spec: str, videos: int = 0, truth: bool = False
    ) -> "TrainingSet":
        """Opens prepared data.

        Args:
          config: of the run.
          spec: such as "davis2016:train".
          videos: how many are drawn; 0: all.
          truth: whether examples hold the truth.

        Raises:
          FileNotFoundError, ValueError: see ``records.open_source``; there are not so many videos.
        """
        data = config.data
        source = records.open_source(data.dir, spec)
        size = data.image_size if source.has_flow else data.still_size
        decoded = pipeline.Decoded(
            source, tuple(size), data.keep_in_memory, truth, most_bytes(data.most_memory_gb)
        )
        frames = pipeline.frames_of(source)
        if videos:
            frames = pipeline.choose_videos(frames, videos, config.seed)
        return cls(decoded, frames)

    def describe(self) -> str:
        """Returns how many videos, frames and pairs there are, in words."""
        videos = len({frame.video for frame in self.frames})
        pairs = sum(len(frame.positions) for frame in self.frames)
        return f"{videos} videos, {len(self.frames)} frames, {pairs} pairs"

    def sizes(self) -> list[tuple[int, int]]:
        """Returns (height, width) of each frame as the networks see it."""
        return [self.decoded.size_of(frame.positions[0]) for frame in self.frames]

    def fingerprint(self) -> dict[str, str]:
        """Returns what must be unchanged for training to go on, and a description for people."""
        visited = [(frame.video, frame.name, len(frame.positions)) for frame in self.frames]
        source = self.decoded.source
        text = json.dumps([visited, source.fingerprint()])
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {"spec": source.spec, "digest": digest, "holds": self.describe()}


def most_bytes(gigabytes: float) -> int:
    """Returns what ``data.most_memory_gb`` stands for; 0 for half of the machine's memory.

    Raises:
      ValueError: it is negative.
    """
    if gigabytes < 0:
        raise ValueError(f"data.most_memory_gb is {gigabytes}; expected 0 or more")
    if gigabytes:
        return round(gigabytes * 1e9)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
