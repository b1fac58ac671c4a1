"""Notices that the source of a prepared set has changed, and takes over what has not.

``preparation.json`` holds a digest of what each video was made from. When the same command is run
again and digests differ, the set is made anew, but frames and flow of unchanged videos come from
the records that are there: as the same bytes, so that the result is that of preparing all anew.
"""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from tqdm import tqdm

from data_prep.builder import Plan
from data_prep.sources.frames import FrameSource
from data_prep.video import Recipe, made_from, new_intermediate, stamp
from dystab_jax.data.record_keys import Listed
from dystab_jax.data.records import RecordSource


@dataclass(frozen=True)
class Changes:
    """Lists the videos that differ from those that a set was prepared from."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def describe(self, kind: str) -> str:
        """Returns how many there are, with examples: "2 videos added (such as a), 0 changed, ...".

        Args:
          kind: "videos" or "images".
        """
        said = []
        for names, word in (
            (self.added, f"{kind[: -1 if len(self.added) == 1 else None]} added"),
            (self.changed, "changed"),
            (self.removed, "removed"),
        ):
            example = f" (such as {names[0]})" if names else ""
            said.append(f"{len(names)} {word}{example}")
        return ", ".join(said)


def digests(plan: Plan, recipe: Recipe) -> dict[str, str]:
    """Returns a digest of what each video's records are made from, by its name.

    These are names, sizes and times of its files, and the splits that hold it.
    """
    splits: dict[str, list[str]] = {video.name: [] for video in plan.videos}
    for split, names in plan.splits.items():
        for name in names:
            splits[name].append(split)
    found = {}
    for video in plan.videos:
        try:
            files: Any = made_from(video, recipe)
        except (ValueError, OSError) as error:  # reported when the video is prepared
            files = str(error)
        text = json.dumps([files, sorted(splits[video.name])], sort_keys=True)
        found[video.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """Compares the digests of a prepared set with those of the source as it is now."""
    return Changes(
        tuple(name for name in now if name not in before),
        tuple(name for name in now if before.get(name, now[name]) != now[name]),
        tuple(name for name in before if name not in now),
    )


def take_over(
    target: Path,
    found: Mapping[str, Any],
    now: Mapping[str, str],
    plan: Plan,
    recipe: Recipe,
    paths: Mapping[str, Path],
    progress: bool,
) -> None:
    """Writes the intermediate files of unchanged videos from the records of a prepared set.

    A video of which records cannot be read is left to be prepared from its source.

    Args:
      target: directory of the prepared set.
      found: its ``preparation.json``.
      now: the digests of the source as it is now.
      plan: of the source as it is now.
      recipe: how flow is computed.
      paths: video name to intermediate file; those that exist are left.
      progress: show a progress bar.
    """
    if found["opencv"] != cv2.__version__:  # what it computes may differ
        return
    wanted = {
        video.name: video
        for video in plan.videos
        if found["videos"].get(video.name) == now[video.name]
        and video.name not in found["left_out"]
        and not paths[video.name].exists()
    }
    stored: dict[str, list[_Stored]] = {name: [] for name in wanted}
    for split in plan.splits:
        for name, one in _read_index(target, split, split in plan.truth):
            if name in wanted:
                stored[name].append(one)
    with tqdm(stored, desc="taking over", unit="video", disable=not progress) as names:
        for name in names:
            with contextlib.suppress(ValueError, KeyError):
                _write_intermediate(wanted[name], recipe, stored[name], paths[name])


class _Stored(NamedTuple):
    """Holds what a split has of a video.

    Attributes:
      source: the split.
      start: position of the first record.
      video: what the index says of it.
      pairs: frame and gap of the records.
      truth: whether the records hold truth.
    """

    source: RecordSource
    start: int
    video: Listed
    pairs: list[tuple[int, int]]
    truth: bool


def _read_index(target: Path, split: str, truth: bool) -> Iterator[tuple[str, _Stored]]:
    path = target / f"index-{split}.json"
    if not path.is_file():  # a split in which there was nothing
        return
    source = RecordSource(f"{target}:{split}", target, split)
    start = 0
    for video, pairs in source.index.by_video():
        yield video.name, _Stored(source, start, video, pairs, truth)
        start += len(pairs)


def _write_intermediate(
    video: FrameSource, recipe: Recipe, stored: list[_Stored], path: Path
) -> None:
    """Writes what the records of all splits hold of a video; ValueError where that is too little.

    Of a video whose labelled frames alone are in the set, these alone.
    """
    if not stored:
        raise ValueError(f"{video.name}: no records")
    name, frame_names, groups, _ = stored[0].video
    details: dict[str, Any] = {"video": name, "frame_names": frame_names, "groups": groups}
    details |= {"masked": [], "numbered": [], "max_gap": recipe.max_gap}
    written: set[str] = set()
    with new_intermediate(path) as archive:
        for source, start, _, pairs, truth in stored:
            for position, (t, gap) in enumerate(pairs, start):
                parts = {"image": f"image/{t}"}
                if gap:
                    parts["flow_forward"] = f"flow/{t}_{t + gap}"
                    parts["flow_backward"] = f"flow/{t + gap}_{t}"
                if truth:
                    parts["mask"] = f"mask/{t}"
                if written.issuperset(parts.values()):
                    continue
                record = source[position]
                if truth and parts["mask"] not in written:
                    details["masked"].append(t)
                    if "regions" in record:
                        details["numbered"].append(t)
                        parts["regions"] = f"regions/{t}"
                for part, name in parts.items():
                    if name not in written:
                        archive.writestr(zipfile.ZipInfo(name), record[part])
                        written.add(name)
        details |= {name: int(record[name]) for name in ("height", "width")}
        details["estimator"] = record["estimator"].decode()
        details["masked"].sort()
        details["stamp"] = stamp(video, recipe)
        details["notes"] = []  # said when it was prepared
        archive.writestr(zipfile.ZipInfo("video.json"), json.dumps(details))
