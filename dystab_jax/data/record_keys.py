"""Names the records of a split, and finds which of them hold what another leaves out."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

REPREPARE = "Prepare the data set again with `python -m data_prep.prepare ... --overwrite`."
MOST_GAP = 32767


class Key(NamedTuple):
    """Names the pair that a record holds: frames ``frame`` and ``frame + gap``; 0, 0 of images."""

    video: str
    frame: int
    gap: int


class Content(NamedTuple):
    """Identifies a video: its name with its data set's, and a digest of what its records hold."""

    name: str
    digest: str


class Listed(NamedTuple):
    """Lists a video of a split.

    Attributes:
      name: of the video, or of the still image.
      frame_names, groups: of all its frames, whether there are records of them or not.
      digest: of what its records hold; empty in sets of earlier versions.
    """

    name: str
    frame_names: list[str]
    groups: list[str]
    digest: str


class Index:
    """Lists the records of a split in their order; a record takes ten bytes.

    Attributes:
      videos: in order.
      keys: the `Key` of every record.
      groups, frame_names: of the frame of every record.
    """

    def __init__(self, videos: Sequence[Listed], rows: Sequence[np.ndarray]):
        """Keeps what is given.

        Args:
          videos: in order.
          rows: frame and gap [N, 2] of the records of each.
        """
        self.videos = list(videos)
        every = np.concatenate([np.zeros((0, 2), int), *rows])
        self.video = np.repeat(np.arange(len(rows), dtype=np.int32), [len(one) for one in rows])
        self.frame, self.gap = every[:, 0].astype(np.int32), every[:, 1].astype(np.int16)
        self.keys = _Column(self, self._key)
        self.groups = _Column(self, self._group)
        self.frame_names = _Column(self, self._frame_name)

    def __len__(self) -> int:
        return len(self.video)

    def __getstate__(self) -> dict[str, Any]:
        return {"videos": self.videos, "rows": self._rows()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @classmethod
    def joined(cls, parts: "Sequence[tuple[str, Index]]") -> "Index":
        """Joins indices one after the other.

        A video whose name occurs in more than one of them gets its data set's name as well.

        Args:
          parts: of each the data set's name.
        """
        names = Counter(one.name for _, part in parts for one in part.videos)
        videos = [
            one._replace(name=f"{re.sub('[/:]', '-', spec)}-{one.name}")
            if names[one.name] > 1
            else one
            for spec, part in parts
            for one in part.videos
        ]
        return cls(videos, [rows for _, part in parts for rows in part._rows()])

    def frames(self) -> Iterator[tuple[Listed, int, tuple[int, ...]]]:
        """Yields video, number and positions of the records of every frame, small gaps first."""
        if not len(self):
            return
        order = np.lexsort((self.gap, abs(self.gap), self.frame, self.video))
        video, frame = self.video[order], self.frame[order]
        new = np.flatnonzero((np.diff(video) != 0) | (np.diff(frame) != 0)) + 1
        for start, end in pairwise([0, *new.tolist(), len(order)]):
            yield self.videos[video[start]], int(frame[start]), tuple(order[start:end].tolist())

    def by_video(self) -> Iterator[tuple[Listed, list[tuple[int, int]]]]:
        """Yields each video with frame and gap of its records, in order."""
        for video, rows in zip(self.videos, self._rows(), strict=True):
            yield video, [(frame, gap) for frame, gap in rows.tolist()]

    def _rows(self) -> list[np.ndarray]:
        """Returns frame and gap [N, 2] of the records of each video."""
        starts = np.searchsorted(self.video, np.arange(1, len(self.videos)))
        rows = np.split(np.stack([self.frame, self.gap], -1), starts)
        return rows[: len(self.videos)]

    def _listed(self, position: int) -> Listed:
        return self.videos[self.video[position]]

    def _key(self, at: int) -> Key:
        return Key(self._listed(at).name, int(self.frame[at]), int(self.gap[at]))

    def _group(self, at: int) -> str:
        return self._listed(at).groups[self.frame[at]]

    def _frame_name(self, at: int) -> str:
        return self._listed(at).frame_names[self.frame[at]]


class _Column(Sequence):
    """Shows one thing of every record, made when it is asked for."""

    def __init__(self, of: Index, make: Callable[[int], Any]):
        self._of, self._make = of, make

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, position: Any) -> Any:
        found = range(len(self))[position]
        return self._make(found) if isinstance(found, int) else [self._make(at) for at in found]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def describe_video(
    details: Mapping[str, Any], records: Sequence[tuple[int, int]], digest: str
) -> dict[str, Any]:
    """Returns what ``index-SPLIT.json`` says of a video.

    Args:
      details: its ``video``, ``frame_names`` and ``groups``.
      records: frame and gap of each.
      digest: of what they hold.
    """
    said = {name: details[name] for name in ("video", "frame_names", "groups")}
    gaps = sorted({gap for _, gap in records})
    by_rule = _all_pairs(len(said["frame_names"]), gaps).tolist() == [list(one) for one in records]
    # Mostly there is a record of every frame and gap, and their numbers need not be told.
    return said | ({"gaps": gaps} if by_rule else {"records": records}) | {"digest": digest}


def read_index(path: Path, spec: str) -> Index:
    """Reads ``index-SPLIT.json``, of earlier versions as well; ValueError where it is damaged."""
    try:
        videos, rows = [], []
        for said in json.loads(path.read_text("utf-8")):
            one = Listed(said["video"], said["frame_names"], said["groups"], said.get("digest", ""))
            texts = {*map(type, (one.name, one.digest, *one.frame_names, *one.groups))}
            if texts != {str} or len(one.groups) != len(one.frame_names):
                raise ValueError(f"{one.name!r} has names that are no text")
            videos.append(one)
            rows.append(_pairs_of(said, len(one.frame_names)))
        return Index(videos, rows)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{spec}: cannot read {path}: {reason}. {REPREPARE}") from error


def _pairs_of(said: Mapping[str, Any], length: int) -> np.ndarray:
    """Returns frame and gap [N, 2] of the records of a video of so many frames."""
    listed = said.get("records", [])
    gaps = said["gaps"] if "gaps" in said else [gap for _, gap in listed]
    frames = [frame for frame, _ in listed]
    if {*map(type, (*gaps, *frames))} - {int} or not all(0 <= frame < length for frame in frames):
        raise ValueError(f"{said['video']} has {length} frames, its records are of others")
    if not all(-MOST_GAP <= gap <= MOST_GAP for gap in gaps):
        raise ValueError(f"{said['video']}: frames of a pair lie farther apart than {MOST_GAP}")
    return _all_pairs(length, gaps) if "gaps" in said else np.array(listed, int).reshape(-1, 2)


def _all_pairs(length: int, gaps: Sequence[int]) -> np.ndarray:
    """Returns frame and gap [N, 2] of all pairs of these gaps."""
    frame, gap = np.meshgrid(np.arange(length), np.array(gaps, int), indexing="ij")
    pairs = np.stack([frame.ravel(), gap.ravel()], -1)
    return pairs[(pairs.sum(-1) >= 0) & (pairs.sum(-1) < length)]


def elsewhere(
    keys: Sequence[Key], position: int, parts: Collection[str]
) -> dict[str, tuple[int, str]]:
    """Finds the records that hold what one leaves out, see `dystab_jax.data.records`.

    Args:
      keys: of all records of a split, those of a video one after the other.
      position: of the record.
      parts: fields that are empty in it.

    Returns:
      Position and field of another record, by part; no entry where no other record holds it.
    """
    key = keys[position]
    found = {}
    if "flow_backward" in parts:
        reverse = Key(key.video, key.frame + key.gap, -key.gap)
        at = _search(keys, position, reverse)
        if at is not None:
            found["flow_backward"] = (at, "flow_forward")
    home = _home(keys, position) if set(parts) - {"flow_backward"} else position
    if home != position:
        found |= {part: (home, part) for part in parts if part != "flow_backward"}
    return found


def home_order(gap: int) -> tuple[int, int]:
    """Returns what a frame's records are sorted by: the first one holds its image and truth."""
    return abs(gap), gap


def _search(keys: Sequence[Key], start: int, wanted: Key) -> int | None:
    """Looks for a key of the same video from a position on; they lie a few records apart."""
    step = 1 if wanted > keys[start] else -1
    at = start + step
    while 0 <= at < len(keys) and keys[at].video == wanted.video:
        if keys[at] == wanted:
            return at
        at += step
    return None


def _home(keys: Sequence[Key], position: int) -> int:
    """Returns the position of the record of the smallest gap of the same frame."""
    frame = keys[position][:2]
    best = position
    for step in (-1, 1):
        at = position + step
        while 0 <= at < len(keys) and keys[at][:2] == frame:
            best = min(best, at, key=lambda one: home_order(keys[one].gap))
            at += step
    return best
