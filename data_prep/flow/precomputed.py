"""Reads flow that other tools have computed: ``--flow=precomputed --flow_source=DIR``.

    DIR/gap1/VIDEO/FRAME.flo       flow from FRAME to the next frame
    DIR/gap-1/VIDEO/FRAME.flo      from FRAME to the frame before
    DIR/gap2/VIDEO/FRAME.flo ...   to the one after the next, and so on up to --max_gap

A folder's name may have more before its ``gap``, and a folder for the resolution may lie between:
``Flows_gap1/480p/VIDEO/FRAME.flo``. VIDEO and FRAME are the names that the data set gives them (the
frames of a video file are 00000, 00001, ...). Formats: see `data_prep.flow.formats`.

The field of a file spans the whole frame, at any size of the frame's proportions or of the size
that --flow_size gives the frame, in pixels of that field. It is brought to the size that
--flow_size gives the frame.

Unknown vectors get those of the nearest known pixel, where no more than 5 % of a field are unknown.
Whether direction, axes, unit and length of the vectors fit the frames is checked on some pairs of
each gap of each video, see `data_prep.flow.mistakes`; vectors that nothing speaks for are refused,
see `data_prep.flow.doubt`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from data_prep.flow import FlowFields, FlowOptions
from data_prep.flow.doubt import find_doubt
from data_prep.flow.formats import ENDINGS, FlowField, read_flow
from data_prep.flow.mistakes import Evidence, GreyLevels, grey_levels, list_mistakes
from data_prep.sources.layout import file_stamp
from dystab_jax.data.folders import (
    by_name,
    composed,
    list_files,
    list_folders,
    list_visible,
    on_disk,
)
from dystab_jax.data.resize import resize_flow

LARGEST_UNKNOWN = 0.05
"""Share of a field that may be unknown."""
PROPORTIONS = 0.01
"""By which those of field and frame may differ, as from rounding: 848x480 fits 854x480."""


class NumberedFrame(NamedTuple):
    """Holds one frame as `Precomputed` encodes it.

    Attributes:
      number: of the frame in the video, from 0.
      name: of the frame.
      size: (height, width) before it was shrunk.
      grey: the shrunk frame.
    """

    number: int
    name: str
    size: tuple[int, int]
    grey: GreyLevels


class Precomputed:
    """Reads the flow of one video; see `data_prep.flow.Estimator` for the methods."""

    def __init__(self, source: Path, video: str):
        """Reads nothing yet.

        Args:
          source: the DIR of the layout above.
          video: its name.
        """
        self._source, self._video = source, video
        self._frames = 0
        self._folders: dict[int, Path] = {}
        self._files: dict[int, dict[str, dict[str, Path]]] = {}
        self._pairs: dict[int, int] = {}
        self._evidence: dict[int, Evidence] = {}

    def encode(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        frame_name: str,
        frame_size: tuple[int, int],
    ) -> NumberedFrame:
        """Numbers the frame; to be called once for each frame of the video, in order."""
        number, self._frames = self._frames, self._frames + 1
        return NumberedFrame(number, frame_name, frame_size, grey_levels(image))

    def match(
        self, firsts: Sequence[NumberedFrame], seconds: Sequence[NumberedFrame]
    ) -> FlowFields:
        """Reads the file of each pair.

        Raises:
          FileNotFoundError: it is missing; says with which --max_gap the others would do.
          ValueError: it is damaged, not of this frame, or too much of it is unknown; or the
            frames show that its vectors are wrong.
        """
        return np.stack(list(map(self._read, firsts, seconds)))

    def _read(self, first: NumberedFrame, second: NumberedFrame) -> FlowField:
        gap = second.number - first.number
        path = self._path(gap, first, second)
        given = read_flow(path)
        try:
            _check_size(given.shape[:2], first)
            flow = resize_flow(_fill(given), first.grey.shape)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self._check(path, first, second, flow, given.shape[:2])
        return flow

    def _path(self, gap: int, first: NumberedFrame, second: NumberedFrame) -> Path:
        if gap not in self._folders:
            folder = find_folder(self._source, self._video, gap)
            self._folders[gap] = folder or _gap_folder(self._source, gap) / self._video
            self._files[gap] = {
                ending: by_name(list_files(folder, (ending,))) if folder else {}
                for ending in ENDINGS
            }
        for files in self._files[gap].values():
            if composed(first.name) in files:
                return files[composed(first.name)]
        paths = [self._folders[gap] / f"{first.name}{ending}" for ending in ENDINGS]
        # Of a frame, the smaller gaps are read first.
        raise FileNotFoundError(
            f"{paths[0]} (or {' '.join(ENDINGS[1:])}): no such file; expected flow from frame "
            f"{first.name} to frame {second.name}. {_advise(abs(gap) - 1)}"
        )

    def _check(
        self,
        path: Path,
        first: NumberedFrame,
        second: NumberedFrame,
        flow: FlowField,
        size: tuple[int, int],
    ) -> None:
        """Compares the vectors with the frames.

        Each pair is asked for any reason to doubt it, and pairs 0, 1, 2, 4, 8, ... of each gap,
        spread out and few, as well as doubtful ones, for the mistake that explains it.
        """
        gap = second.number - first.number
        pair = self._pairs[gap] = self._pairs.get(gap, -1) + 1
        doubt = find_doubt(first.grey, second.grey, flow)
        if pair & (pair - 1) and doubt is None:
            return
        if gap not in self._evidence:
            self._evidence[gap] = Evidence(list_mistakes(gap, size))
        self._evidence[gap].add(first.grey, second.grey, flow)
        verdict = self._evidence[gap].verdict()
        if verdict is not None:
            mistake, given, undone = verdict
            raise ValueError(
                f"{path}: looks like {mistake.looks_like}: with that undone, frames of gap {gap} "
                f"differ by {undone:.1f} grey levels, as given by {given:.1f}; {mistake.remedy}"
            )
        if doubt is not None:
            raise ValueError(f"{path}: {doubt}")


def make(options: FlowOptions, video: str) -> Precomputed:
    """Makes the reader of the flow of one video."""
    return Precomputed(options.source, video)


def check_gaps(source: Path, max_gap: int) -> None:
    """Checks that there are folders for all gaps.

    Raises:
      ValueError: one is missing; says which --max_gap would do.
    """
    gaps = set(map(_gap_of, list_folders(source))) - {None}
    wanted = [sign * gap for gap in range(1, max_gap + 1) for sign in (1, -1)]
    missing = next((gap for gap in wanted if gap not in gaps), None)
    if missing is not None:
        there = " ".join(f"gap{gap}" for gap in sorted(gaps)) or "none of the kind"
        raise ValueError(
            f"{source}: no folder gap{missing}, nor one whose name ends so; there are: {there}. "
            f"{_advise(abs(missing) - 1)}"
        )


def find_folder(source: Path, video: str, gap: int) -> Path | None:
    """Finds the folder of a video's flow over a signed gap; None where there is none.

    Where pictures of the flow lie beside it as PNG, it is the folder with other files.

    Raises:
      ValueError: there are several.
    """
    found = []
    for folder in list_folders(source):
        if _gap_of(folder) != gap:
            continue
        here = on_disk(folder / video)
        if here.is_dir():
            found.append(here)
        else:
            below = [on_disk(resolution / video) for resolution in list_folders(folder)]
            found += [path for path in below if path.is_dir()]
    if len(found) > 1:
        found = [path for path in found if _holds_more_than_pictures(path)] or found
    if len(found) > 1:
        raise ValueError(
            f"{found[0]} and {found[1]} both hold flow over gap {gap}; --flow_source must be a "
            "directory (of links, perhaps) with one of them"
        )
    return found[0] if found else None


def fingerprint(source: Path, video: str, max_gap: int) -> str:
    """Returns a digest that changes when the flow files of a video do."""
    gaps = [gap for gap in range(-max_gap, max_gap + 1) if gap]
    folders = [find_folder(source, video, gap) for gap in gaps]
    paths = [path for folder in folders if folder for path in sorted(list_visible(folder))]
    return hashlib.sha256(json.dumps([*map(file_stamp, paths)]).encode()).hexdigest()


def _gap_folder(source: Path, gap: int) -> Path:
    """Returns where the videos of a gap lie, or should."""
    found = (folder for folder in list_folders(source) if _gap_of(folder) == gap)
    return next(found, source / f"gap{gap}")


def _gap_of(folder: Path) -> int | None:
    match = re.fullmatch(r"(?:.*[^a-zA-Z])?gap(-?\d+)", folder.name)
    return int(match[1]) if match else None


def _holds_more_than_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in set(ENDINGS) - {".png"} for path in list_visible(folder))


def _advise(reach: int) -> str:
    """Returns a message's ending: what can be done with flow over gaps up to ``reach``."""
    if reach:
        return f"With what is there, --max_gap={reach} would do"
    return "No --max_gap will do: flow to the next frame and to the one before is always needed"


def _check_size(size: tuple[int, int], frame: NumberedFrame) -> None:
    (height, width), (frame_height, frame_width) = size, frame.size
    misfit = abs(width - height * frame_width / frame_height)
    if size == frame.grey.shape or misfit <= max(1, PROPORTIONS * width):
        return
    advice = ""
    if height <= frame_height and width <= frame_width:
        wanted = f"{width}x{height}" if frame_width >= frame_height else f"{height}x{width}"
        advice = f"; if frames were stretched to that size, use --flow_size={wanted}"
    raise ValueError(
        f"a field of {width}x{height} for a frame of {frame_width}x{frame_height}, of other "
        f"proportions; it must span the whole frame, neither cropped nor padded{advice}"
    )


def _fill(flow: FlowField) -> FlowField:
    """Gives unknown pixels the vector of the nearest known one."""
    unknown = np.isnan(flow).any(axis=-1)
    share = unknown.mean()
    if share > LARGEST_UNKNOWN:
        raise ValueError(
            f"{share:.1%} of its vectors are unknown; at most {LARGEST_UNKNOWN:.0%} can be filled "
            "from their neighbours, training needs a dense field"
        )
    if not share:
        return flow
    _, nearest = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    vectors = np.empty((nearest.max() + 1, 2), np.float32)
    vectors[nearest[~unknown]] = flow[~unknown]
    return vectors[nearest]
