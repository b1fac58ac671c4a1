"""Reads one video with its flow, and keeps both in an intermediate file until records are made.

The intermediate is a plain zip: ``image/T``, ``mask/T`` and ``regions/T`` for each frame T,
``flow/T_S`` for the flow from frame T to frame S, and ``video.json``. Each flow is estimated and
kept once, though two records hold it: u12 of (T, S) is u21 of (S, T). The file appears under its
name only when complete.
"""

import contextlib
import json
import os
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from data_prep.flow import FlowOptions, make_estimator, match_both_ways
from data_prep.sources.frames import Frame, FrameSource, say_note
from dystab_jax.data.encodings import FlowField, encode_flow
from dystab_jax.data.mask_files import encode_mask, encode_regions
from dystab_jax.data.records import FLOW_FIELDS, TRUTH_FIELDS, home_order


@dataclass(frozen=True)
class Recipe:
    """Describes how flow is computed.

    Attributes:
      flow: the estimator.
      max_gap: pairs are 1 to max_gap frames apart; 0: still images, which have no flow.
      flow_size: (width, height) to which frames are shrunk for it; None: their own size.
    """

    flow: FlowOptions = field(default_factory=FlowOptions)
    max_gap: int = 3
    flow_size: tuple[int, int] | None = (640, 384)

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Returns the (width, height) of a frame's flow: turned if upright, never enlarged.

        A plain resize: where the proportions differ, so do the two scales.
        """
        if self.flow_size is None:
            return width, height
        wide, high = self.flow_size if width >= height else self.flow_size[::-1]
        return min(wide, width), min(high, height)


class FrameWithFlow(NamedTuple):
    """Holds a frame and the flow between it and the frames before it.

    Attributes:
      frame: as the source gives it.
      flows: gap to (flow from the frame that is ``gap`` frames earlier to this one, flow from this
        one to that), pixels at the recipe's working size; the smallest gaps first.
    """

    frame: Frame
    flows: dict[int, tuple[FlowField, FlowField]]


def read_with_flow(
    source: FrameSource,
    recipe: Recipe,
    smallest_side: int = 0,
    note: Callable[[str], Any] = say_note,
) -> Iterator[FrameWithFlow]:
    """Reads a video and estimates its flows, each once.

    Memory does not grow with the length of the video: one frame, and what the estimator keeps of
    max_gap ones, are held.

    Args:
      source: the video.
      recipe: how flow is computed; with ``max_gap`` 0 there is none.
      smallest_side: pixels; smaller frames are refused.
      note: takes what the user should know of a video that is read all the same.

    Raises:
      ValueError, FileNotFoundError: something is wrong with the video, or frames differ in size;
        names the file or frame.
    """
    estimator = make_estimator(recipe.flow, source.name) if recipe.max_gap else None
    recent: deque[Any] = deque(maxlen=recipe.max_gap)  # of the frames before, what is matched
    first: tuple[str, tuple[int, int]] | None = None
    for frame in source.read(note):
        size = frame.image.shape[:2]
        first = first or (frame.name, size)
        _check_size(source, frame.name, size, first, smallest_side)
        flows = {}
        if estimator is not None:
            with _named_flow_errors(source, frame.name):
                encoded = estimator.encode(_shrink(frame.image, recipe), frame.name, size)
                flows = dict(enumerate(match_both_ways(estimator, encoded, recent), 1))
            recent.appendleft(encoded)
        yield FrameWithFlow(frame, flows)


def _shrink(image: np.ndarray, recipe: Recipe) -> np.ndarray:
    height, width = image.shape[:2]
    size = recipe.working_size(width, height)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _check_size(
    source: FrameSource,
    name: str,
    size: tuple[int, int],
    first: tuple[str, tuple[int, int]],
    smallest_side: int,
) -> None:
    first_name, first_size = first
    if size != first_size:
        raise ValueError(
            f"{_place(source)}: frame {name} is {size[1]}x{size[0]}, frame {first_name} is "
            f"{first_size[1]}x{first_size[0]}; all frames of a video must have the same size. Cut "
            "or scale them; give images that are no video one at a time"
        )
    if min(size) < smallest_side:
        raise ValueError(
            f"{_place(source)}: frames of {size[1]}x{size[0]} pixels; at least {smallest_side} are "
            "needed"
        )


@contextlib.contextmanager
def _named_flow_errors(source: FrameSource, frame_name: str) -> Iterator[None]:
    """Adds video and frame to the ValueErrors of estimating and storing flow."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{_place(source)}: flow of frame {frame_name}: {error}") from error


def _place(source: FrameSource) -> str:
    return str(getattr(source, "folder", None) or getattr(source, "path", None) or source.name)


def prepare_video(
    source: FrameSource,
    recipe: Recipe,
    target: Path,
    on_frame: Callable[[], Any] = lambda: None,
) -> None:
    """Reads a video, estimates its flows and writes the intermediate file.

    Memory does not grow with the length of the video: one frame and max_gap small ones are held.

    Args:
      source: the video.
      recipe: how flow is computed.
      target: the intermediate file.
      on_frame: called after each frame.

    Raises:
      ValueError, FileNotFoundError: something is wrong with the video; names the file.
    """
    with new_intermediate(target) as archive:
        details = _write_frames(source, recipe, archive, on_frame)
        archive.writestr(zipfile.ZipInfo("video.json"), json.dumps(details))


@contextlib.contextmanager
def new_intermediate(target: Path) -> Iterator[zipfile.ZipFile]:
    """Gives an archive to be filled, which becomes the file if no error is raised."""
    # Workers of a cluster may have the same process number, and the same video.
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            yield archive
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _write_frames(
    source: FrameSource, recipe: Recipe, archive: zipfile.ZipFile, on_frame: Callable[[], Any]
) -> dict[str, Any]:
    """Writes all frames and flows, and returns the content of ``video.json``."""
    lists = ("frame_names", "groups", "masked", "numbered", "notes")
    details: dict[str, Any] = {"video": source.name} | {name: [] for name in lists}

    def store(name: str, data: bytes) -> None:
        archive.writestr(zipfile.ZipInfo(name), data)  # a ZipInfo has no date: same bytes each time

    frames = read_with_flow(source, recipe, note=details["notes"].append)
    for t, (frame, flows) in enumerate(frames):
        if t == 0:
            details["height"], details["width"] = frame.image.shape[:2]
        details["frame_names"].append(frame.name)
        details["groups"].append(frame.group)
        store(f"image/{t}", frame.encoded)
        if frame.truth is not None:
            details["masked"].append(t)
            store(f"mask/{t}", encode_mask(frame.truth.mask))
            if frame.truth.regions is not None:
                details["numbered"].append(t)
                store(f"regions/{t}", encode_regions(frame.truth.regions))
        for gap, both_ways in flows.items():
            with _named_flow_errors(source, frame.name):
                forward, backward = map(encode_flow, both_ways)
            store(f"flow/{t - gap}_{t}", forward)
            store(f"flow/{t}_{t - gap}", backward)
        on_frame()
    if recipe.max_gap and len(details["frame_names"]) < 2:
        raise ValueError(f"{_place(source)}: a single frame; flow needs at least two")
    return details | {
        "estimator": recipe.flow.estimator if recipe.max_gap else "",
        "max_gap": recipe.max_gap,
        "stamp": stamp(source, recipe),
    }


def stamp(source: FrameSource, recipe: Recipe) -> dict[str, Any]:
    """Returns what must be unchanged for an intermediate file to be used again, as JSON."""
    return made_from(source, recipe) | {"opencv": cv2.__version__}


def made_from(source: FrameSource, recipe: Recipe) -> dict[str, Any]:
    """Returns what changes when the files behind a video or its flow do, as JSON."""
    flow = recipe.flow.fingerprint(source.name, recipe.max_gap)
    files = {} if flow is None else {"flow": flow}
    return files | {"files": source.fingerprint()}


@dataclass(frozen=True)
class Split:
    """Describes the records that a split has of a video.

    Attributes:
      pairs: (frame, gap) of each.
      truth: whether they hold truth.
      first: gap of the record that holds the image, by frame: the smallest, of two the earlier.
    """

    pairs: frozenset[tuple[int, int]]
    truth: bool
    first: Mapping[int, int]

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]], truth: bool) -> "Split":
        """Describes these records."""
        among = sorted(pairs, key=lambda pair: home_order(pair[1]), reverse=True)
        return cls(frozenset(among), truth, dict(among))


def read_details(intermediate: Path) -> dict[str, Any]:
    """Reads the ``video.json`` of an intermediate file.

    Returns:
      ``video``, ``frame_names``, ``groups``, ``masked`` (frames that have truth), ``numbered``
      (those whose objects have numbers), ``notes`` (for the user), ``height``, ``width``,
      ``estimator``, ``max_gap``, ``stamp``.
    """
    with zipfile.ZipFile(intermediate) as archive:
        return json.loads(archive.read("video.json"))


def pairs(details: dict[str, Any], frames: Iterator[int] | range) -> Iterator[tuple[int, int]]:
    """Yields (frame, gap) of the records whose first frame is among ``frames``, in order.

    A still image, prepared with ``max_gap`` 0, has the one record (0, 0).
    """
    length, reach = len(details["frame_names"]), details["max_gap"]
    for t in frames:
        for gap in range(-reach, reach + 1):
            if (gap or not reach) and 0 <= t + gap < length:
                yield t, gap


def entries(t: int, gap: int, details: dict[str, Any], among: Split) -> dict[str, str]:
    """Returns the names in the intermediate file of what a record holds, by its fields.

    Each once: image and truth of a frame are in its record of the smallest gap, and a flow that is
    `flow_forward` of another record of the split is no `flow_backward`.

    Args:
      t, gap: of the record.
      details: of the video, see ``read_details``.
      among: the records of the same split and video.
    """
    held = {}
    if gap:
        held["flow_forward"] = f"flow/{t}_{t + gap}"
        if (t + gap, -gap) not in among.pairs:
            held["flow_backward"] = f"flow/{t + gap}_{t}"
    if among.first[t] == gap:
        held["image"] = f"image/{t}"
        if among.truth:
            held["mask"] = f"mask/{t}"
        if among.truth and t in details["numbered"]:
            held["regions"] = f"regions/{t}"
    return held


def read_record(
    archive: zipfile.ZipFile, details: dict[str, Any], t: int, gap: int, among: Split
) -> dict[str, Any]:
    """Reads one record from an open intermediate file; `dystab_jax.data.records` has its fields."""
    held = {name: archive.read(entry) for name, entry in entries(t, gap, details, among).items()}
    empty = ("image", *(FLOW_FIELDS if gap else ()), *TRUTH_FIELDS)
    return (
        dict.fromkeys(empty, b"")
        | held
        | {
            "video": details["video"],
            "frame": t,
            "frame_name": details["frame_names"][t],
            "gap": gap,
            "height": details["height"],
            "width": details["width"],
            "estimator": details["estimator"],
            "group": details["groups"][t],
        }
    )
