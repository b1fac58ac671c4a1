"""Reads frames that are scored and shown, each once, and makes them small for pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dystab_jax import inference
from dystab_jax.data import pipeline, records, resize
from dystab_jax.evaluation.protocols.base import LazyArray, Video, as_array

PICTURE_WIDTH = 320  # pixels
HELD = 2 * inference.PIECE
"""Records; all of a video that is not cut into pieces."""

Row = tuple[str, str]
"""A model and the CRF behind it, such as ("fused", "cis"): one row of scores."""


@dataclass(frozen=True)
class Sample:
    """Holds one frame for pictures: input, predictions and truth, at most 320 pixels wide.

    Attributes:
      video, frame: names.
      image: uint8 [H, W, 3].
      flow: float32 [h, w, 2], at the networks' resolution; None for still images.
      masks: {model: uint8 [H, W] of 0 and 1}, with "truth".
      confidence_phi, confidence_chi: L_A of this frame; None for still images.
      refined: {model: the CRF that its mask has gone through}.
    """

    video: str
    frame: str
    image: np.ndarray
    flow: np.ndarray | None
    masks: dict[str, np.ndarray]
    confidence_phi: float | None = None
    confidence_chi: float | None = None
    refined: Mapping[str, str] = field(default_factory=dict)

    def title(self, name: str) -> str:
        """Returns the title of a picture of a model's mask."""
        return f"{name} + {self.refined[name]}" if name in self.refined else name


class Reader:
    """Reads images and truth of some records at native size.

    Holds those that were asked for last, `HELD` at most. ``t`` is the number of a record among
    those given.
    """

    def __init__(self, source: pipeline.Records, positions: Sequence[int]):
        self._source, self._positions = source, positions
        # Of each reader its own: one that all share would hold what readers before this one read.
        self._record = lru_cache(HELD)(self._read)
        self._truth = lru_cache(2 * HELD)(self._decode)  # every row of scores asks for the truth

    def __len__(self) -> int:
        return len(self._positions)

    def _read(self, t: int) -> dict[str, Any]:
        parts = ("image", *records.TRUTH_FIELDS)
        record = self._source.some(self._positions[t], parts)
        return {k: v for k, v in record.items() if k not in records.FLOW_FIELDS}

    def _decode(self, part: str, t: int) -> np.ndarray:
        return records.decode_record(self._record(t), (part,))[part]

    def image(self, t: int) -> np.ndarray:
        """Returns the image, RGB uint8 [H, W, 3]."""
        return self._decode("image", t)

    def mask(self, t: int) -> np.ndarray:
        """Returns the true mask, uint8 [H, W]."""
        return self._truth("mask", t)

    def regions(self, t: int) -> np.ndarray:
        """Returns the true object numbers, uint8 [H, W]."""
        return self._truth("regions", t)

    def size(self, t: int) -> tuple[int, int]:
        """Returns (height, width)."""
        return int(self._record(t)["height"]), int(self._record(t)["width"])

    def video(
        self, names: Sequence[str], groups: Sequence[str], maps: Sequence[LazyArray]
    ) -> Video:
        """Returns the records as the frames of a video, with truth and maps, for a protocol.

        Args:
          names, groups: of the frames.
          maps: soft, at native size.
        """
        count = range(len(self))
        numbered = "regions" in self._record(0)
        return Video(
            truth=[partial(self.mask, t) for t in count],
            regions=[partial(self.regions, t) for t in count] if numbered else None,
            maps=maps,
            groups=groups,
            frame_names=names,
        )

    def image_video(self, t: int, frame: pipeline.TrainingFrame, soft_map: LazyArray) -> Video:
        """Returns one record as a video of one frame, with truth and map, for a protocol."""
        return Video(
            truth=[partial(self.mask, t)],
            maps=[soft_map],
            groups=[frame.group],
            frame_names=[frame.name],
        )


def make_sample(
    video: str,
    frame: str,
    rows: Mapping[Row, Sequence[LazyArray]],
    read: Reader,
    t: int,
    **more: Any,
) -> Sample:
    """Makes a sample of frame ``t`` of ``rows``.

    Args:
      video, frame: its names.
      rows: maps of the frames, by row; of each model the row that has gone through a CRF is
        shown, if one has.
      read: the frames' records.
      t: number of the frame.
      more: further fields of ``Sample``.
    """
    image = resize.fit_width(read.image(t), PICTURE_WIDTH)
    shown = {}
    for (model, _), maps in rows.items():
        mask = inference.threshold(as_array(maps[t]))
        shown[model] = resize.fit_mask(mask, image.shape[:2])
    refined = {model: crf for model, crf in rows if crf != "none"}
    shown["truth"] = resize.fit_mask(read.mask(t), image.shape[:2])
    return Sample(video, frame, image, masks=shown, refined=refined, **{"flow": None, **more})


def spread(items: Sequence, most: int) -> list:
    """Returns at most ``most`` of the items, evenly spread."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[number] for number in dict.fromkeys(chosen.tolist())]
