"""Remembers which videos a run has learned from: it begins with some, and others are added."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dystab_jax.data.training_set import TrainingSet


@dataclass(frozen=True)
class Stage:
    """Describes videos that rounds of the loop are trained on, until others are added.

    Attributes:
      train: ``data.train`` by then.
      drawn: ``data.videos`` by then; 0: all.
      rounds: of the loop on these videos.
      frames: in an epoch.
      videos: a digest of each one's records and visited frames, by "DATASET:SPLIT/VIDEO"; in order.
      holds: a description for people.
    """

    train: str
    drawn: int
    rounds: int
    frames: int
    videos: Mapping[str, str]
    holds: str

    @classmethod
    def of(cls, data: TrainingSet, train: str, drawn: int, rounds: int) -> "Stage":
        """Describes the videos of a training set."""
        visited: dict[str, list] = {}
        for frame in data.frames:
            visited.setdefault(frame.video, []).append((frame.name, len(frame.positions)))
        content = data.decoded.source.contents()
        videos = {
            content[video].name: hashlib.sha256(
                json.dumps([content[video].digest, frames]).encode()
            ).hexdigest()[:16]
            for video, frames in visited.items()
        }
        return cls(train, drawn, rounds, len(data.frames), videos, data.describe())

    @property
    def digest(self) -> str:
        """Returns what is the same as long as the frames are, and in the same order."""
        return hashlib.sha256(json.dumps(list(self.videos.items())).encode()).hexdigest()

    def is_of(self, other: "Stage") -> bool:
        """Returns whether both are of the same videos, in the same order."""
        return self.digest == other.digest

    def as_json(self) -> dict[str, Any]:
        """Returns it as plain json."""
        return asdict(self)

    def choose(self, data: TrainingSet) -> TrainingSet:
        """Returns the frames of the stage's videos, in its order, out of those of more videos."""
        content = data.decoded.source.contents()
        by_name: dict[str, list] = {name: [] for name in self.videos}
        for frame in data.frames:
            by_name.get(content[frame.video].name, []).append(frame)
        return replace(data, frames=[frame for frames in by_name.values() for frame in frames])


def plan(before: Sequence[Stage], now: Stage, growth_rounds: int, checkpoints: Any) -> list[Stage]:
    """Returns the stages of a run whose data may have grown.

    Args:
      before: those that it has begun; none at its start.
      now: what ``data.train`` holds now, with ``bootstrap.rounds``.
      growth_rounds: of the loop, for videos that are added.
      checkpoints: where the run is saved, for messages.

    Raises:
      ValueError: videos have gone or changed, or fewer rounds are asked for than were begun.
    """
    if not before:
        return [now]
    first, last = before[0], before[-1]
    if now.is_of(last):
        if len(before) == 1:
            return [replace(first, rounds=now.rounds)]  # fewer are refused where the run is opened
        _check_rounds("rounds", first.rounds, now.rounds, checkpoints)
        if growth_rounds < last.rounds:
            _check_rounds("growth_rounds", last.rounds, growth_rounds, checkpoints)
        return [*before[:-1], replace(last, rounds=growth_rounds)]
    _check_grown(last, now, checkpoints)
    _check_rounds("rounds", first.rounds, now.rounds, checkpoints)
    return [*before, replace(now, rounds=growth_rounds)]


def check_unchanged(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]], checkpoints: Any
) -> None:
    """Raises ValueError where data are not those that a checkpoint was trained on.

    Args:
      before, now: fingerprints by kind of phase, see ``TrainingSet.fingerprint``.
      checkpoints: where the run is saved, for the message.
    """
    for kind, one in now.items():
        was = before.get(kind, one)
        if was["digest"] != one["digest"]:
            same = was["holds"] == one["holds"]
            raise ValueError(
                f"{one['spec']} is not what {checkpoints} was trained on: it held {was['holds']}, "
                f"and holds {one['holds']} now{' with other content' if same else ''}. Prepare it "
                "as it was to go on, or use another --workdir to train anew"
            )


def _check_rounds(field: str, began: int, asked: int, checkpoints: Any) -> None:
    if asked != began:
        raise ValueError(
            f"bootstrap.{field} is {asked}, and {checkpoints} has begun with {began}. Keep it; "
            "bootstrap.growth_rounds says how many rounds follow when videos are added"
        )


def _check_grown(last: Stage, now: Stage, checkpoints: Any) -> None:
    """Raises ValueError where videos are not added but gone or changed."""
    gone = [name for name in last.videos if name not in now.videos]
    changed = [
        name
        for name, digest in last.videos.items()
        if name in now.videos and now.videos[name] != digest
    ]
    if not gone and not changed and len(now.videos) > len(last.videos):
        return
    said = [
        f"{len(names)} {what} (such as {names[0]})"
        for names, what in ((gone, "gone"), (changed, "changed"))
        if names
    ]
    same = not gone and last.holds == now.holds
    raise ValueError(
        f"{now.train} is not what {checkpoints} was trained on: it held {last.holds}, and holds "
        f"{now.holds} now{' with other content' if same else ''}"
        + (f"; {', '.join(said)}" if said else "")
        + ". Videos may be added, and those that are there stay as they are. Prepare it as it was "
        "to go on, or use another --workdir to train anew"
    )
