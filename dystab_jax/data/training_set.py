"""Opens prepared data as training visits them."""

import hashlib
import json
from dataclasses import dataclass

from ml_collections import ConfigDict

from dystab_jax.data import pipeline, records
from dystab_jax.runtime.memory_room import Room


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
        cls,
        config: ConfigDict,
        spec: str,
        videos: int = 0,
        truth: bool = False,
        room: Room | None = None,
    ) -> "TrainingSet":
        """Opens prepared data.

        Args:
          config: of the run.
          spec: such as "davis2016:train".
          videos: how many are drawn; 0: all.
          truth: whether examples hold the truth.
          room: for arrays that are kept, of several sets together; None: of this one.

        Raises:
          FileNotFoundError, ValueError: see ``records.open_source``; there are not so many videos.
        """
        data = config.data
        source = records.open_source(data.dir, spec)
        size = data.image_size if source.has_flow else data.still_size
        decoded = pipeline.Decoded(
            source, tuple(size), data.keep_in_memory, truth, room or Room.of(data.most_memory_gb)
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


def open_all(config: ConfigDict) -> dict[str, TrainingSet]:
    """Opens what a run learns from; what is kept in memory has one room together.

    Returns:
      "loop", and "self_training" and "supervised" where their sections name data.

    Raises:
      FileNotFoundError, ValueError: data are not prepared, or have no truth where it is needed.
    """
    room = Room.of(config.data.most_memory_gb)
    opened = {"loop": TrainingSet.open(config, config.data.train, config.data.videos, room=room)}
    if config.self_training.data:
        opened["self_training"] = TrainingSet.open(config, config.self_training.data, room=room)
    labelled = config.supervised
    if labelled.data:
        for field in ("data", "select"):
            source = records.open_source(config.data.dir, labelled[field])
            if not source.has_flow or "mask" not in source[0]:
                raise ValueError(
                    f"supervised.{field} is {labelled[field]}, which has no videos with truth; "
                    "name annotated ones, such as davis2016_labelled:fit"
                )
        opened["supervised"] = TrainingSet.open(config, labelled.data, truth=True, room=room)
    return opened
