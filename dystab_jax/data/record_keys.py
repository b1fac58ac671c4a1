"""Names the records of a split, and finds which of them hold what another leaves out."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

REPREPARE = "Prepare the data set again with `python -m data_prep.prepare ... --overwrite`."


class Key(NamedTuple):
    """Names the pair that a record holds: frames ``frame`` and ``frame + gap``; 0, 0 of images."""

    video: str
    frame: int
    gap: int


def read_index(path: Path, spec: str) -> list[tuple[Key, str, str]]:
    """Returns key, group and frame name of every record; ValueError where the file is damaged."""
    try:
        found = []
        for video in json.loads(path.read_text("utf-8")):
            for frame, gap in video["records"]:
                texts = video["video"], video["groups"][frame], video["frame_names"][frame]
                if {type(frame), type(gap)} != {int} or frame < 0 or {*map(type, texts)} != {str}:
                    raise ValueError(f"frame {frame}, gap {gap} of {texts} is no record")
                found.append((Key(texts[0], frame, gap), *texts[1:]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{spec}: cannot read {path}: {reason}. {REPREPARE}") from error
    return found


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
