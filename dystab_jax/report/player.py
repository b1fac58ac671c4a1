"""Makes a page that plays the masks of a video: one file, which needs no network and no player.

Pictures are small JPEGs in the page. Soft maps are stored beside the image and laid over it by
`player.js`, so that every map can be seen large at the cost of a small grey picture.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from dystab_jax.array_types import Picture
from dystab_jax.inference import threshold
from dystab_jax.report import pictures
from dystab_jax.report.pictures import COLORS, PANELS
from dystab_jax.report.templates import render

LIMIT = 120
"""Frames in a page, at most."""
LARGE, SMALL = 640, 320
"""Pixels of the longer side, at most, of what is shown large, and of what is seen beside it."""
QUALITIES = (80, 70, 60, 50, 40, 30, 20)
"""Of JPEG; the first one with which a picture is small enough."""
MOST_BYTES = {"image": 45_000, "fused": 10_000}
"""Of a picture. With the others and base64, 120 frames take at most 12 MB."""
MOST_BYTES_OF_OTHERS = 4_500
CUT = 8  # grey levels that JPEG may be wrong by


@dataclass(frozen=True)
class PlayerFrame:
    """Describes a frame to be shown.

    Attributes:
      name: of the frame.
      image: RGB uint8 [H, W, 3].
      maps: soft maps by keys of ``COLORS``, of any size, in [0, 1]; each is shown over the image.
        The last one is shown large at first.
      pictures: further pictures by keys of ``PANELS``, of any size, shown as they are.
      time: seconds from the beginning; None where frames have no times.
      numbers: what is told of the frame, value by name.
      doubt: how unsure its mask is, 0 to 1.
      reasons: why it is worth a look, in words; a frame without any is not called unsure.
      shot: its number; a new one is marked as a cut.
    """

    name: str
    image: Picture
    maps: Mapping[str, np.ndarray]
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    time: float | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    doubt: float = 0.0
    reasons: Sequence[str] = ()
    shot: int = 0


class Player:
    """Collects the frames of a video, of any number, and makes a page of at most ``limit`` of them.

    It keeps every k-th frame; where they are too many, it drops every second one and doubles k.
    Memory therefore does not grow with the video. Of the frames that are not kept, the most unsure
    one is remembered with the kept frame before it.
    """

    def __init__(self, rate: float, limit: int = LIMIT):
        """Begins an empty page.

        Args:
          rate: frames per second, of those that have no time of their own.
          limit: frames in the page, at most.
        """
        self._rate, self._limit = rate, limit
        self._kept: list[dict[str, Any]] = []
        self._stride, self._total = 1, 0

    @property
    def kept(self) -> list[int]:
        """Returns the numbers, from 0, of the frames in the page."""
        return [frame["index"] for frame in self._kept]

    @property
    def stride(self) -> int:
        """Returns k: every k-th frame is in the page."""
        return self._stride

    def add(self, frame: PlayerFrame) -> None:
        """Takes the next frame.

        Raises:
          ValueError: OpenCV cannot make a JPEG of its pictures.
        """
        index = self._total
        self._total += 1
        if index % self._stride == 0 and len(self._kept) == self._limit:
            self._thin()
        time = index / self._rate if frame.time is None else frame.time
        facts = {
            "index": index,
            "name": frame.name,
            "time": round(time, 4),
            "timed": frame.time is not None,
            "doubt": round(float(np.nan_to_num(frame.doubt, nan=1.0)), 3),
            "reasons": list(frame.reasons),
            "shot": frame.shot,
        }
        if index % self._stride:
            self._kept[-1]["worst"] = _worse(self._kept[-1].get("worst"), facts)
            return
        facts["numbers"] = list(frame.numbers.items())
        facts["size"] = [frame.image.shape[1], frame.image.shape[0]]
        facts["main"] = list(frame.maps)[-1]
        self._kept.append(facts | {"pictures": _encoded(frame)})

    def _thin(self) -> None:
        """Drops every second frame; what was unsure about it stays with the one before it."""
        for frame, dropped in zip(self._kept[::2], self._kept[1::2], strict=False):
            facts = {k: v for k, v in dropped.items() if k not in _ONLY_OF_KEPT}
            for other in (facts, dropped.get("worst")):
                frame["worst"] = _worse(frame.get("worst"), other)
        self._kept = self._kept[::2]
        self._stride *= 2

    def html(
        self,
        title: str,
        summary: Sequence[str] = (),
        note: str = "",
        facts: Sequence[tuple[str, str]] = (),
        whole: str | None = None,
        report: str | None = None,
    ) -> str:
        """Makes the page. All text may hold any characters.

        Args:
          title: of the page.
          summary: what there is to say first, short parts of a line.
          note: says what makes a frame unsure.
          facts: (term, text) of what is told below.
          whole: name of the file in the page's folder that shows all frames, where there is one.
          report: path of the run's report from the page's folder, where it belongs to one.

        Returns:
          HTML.
        """
        seen = {key for frame in self._kept for key in frame["pictures"]}
        shown = {key: title for key, title in PANELS.items() if key in seen}
        data = {
            "stride": self._stride,
            "total": self._total,
            "colors": COLORS,
            "frames": self._kept,
        }
        return render(
            "player.html.j2",
            title=_drawable(title),
            summary=[_drawable(part) for part in summary],
            note=_drawable(note),
            facts=[(_drawable(term), _drawable(text)) for term, text in facts],
            whole=None if whole is None else _drawable(whole),
            whole_link=None if whole is None else quote(whole, errors="surrogateescape"),
            report_link=None if report is None else quote(report, errors="surrogateescape"),
            panels=shown,
            colors=COLORS,
            kept=len(self._kept),
            total=self._total,
            stride=self._stride,
            data=_as_script(data),
        )


_ONLY_OF_KEPT = ("numbers", "size", "main", "pictures", "worst")
"""Fields that a frame out of the page does not have."""


def _worse(known: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns the one that is more worth a look; the first of two alike."""
    if known is None or other is None:
        return known or other
    return max(known, other, key=lambda one: (bool(one["reasons"]), one["doubt"]))


def _encoded(frame: PlayerFrame) -> dict[str, str]:
    """Makes a JPEG in base64 of each picture of a frame, by the keys of ``PANELS``."""
    small = {"image": frame.image, **frame.pictures}
    main = list(frame.maps)[-1]
    for key, soft in frame.maps.items():
        small[key] = _grey(shrink(np.asarray(soft, np.float32), LARGE if key == main else SMALL))
    encoded = {}
    for key, picture in small.items():
        picture = shrink(picture, LARGE if key in ("image", main) else SMALL)
        room = MOST_BYTES.get("fused" if key == main else key, MOST_BYTES_OF_OTHERS)
        encoded[key] = base64.b64encode(_jpeg(picture, room)).decode()
    return encoded


def shrink(picture: np.ndarray, longest: int) -> np.ndarray:
    """Resizes a picture or map whose longer side exceeds ``longest`` pixels, in proportion."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _grey(soft: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Makes a soft map grey, with room around one half: JPEG moves no pixel over the cut."""
    grey = np.round(soft * 255)
    inside = np.clip(grey, 128 + CUT, 255)
    return np.where(threshold(soft), inside, np.clip(grey, 0, 127 - CUT)).astype(np.uint8)


def _jpeg(picture: np.ndarray, most: int) -> bytes:
    """Encodes a picture in at most so many bytes: with less quality, then smaller."""
    for quality in QUALITIES:
        data = pictures.encode(picture, ".jpg", quality=quality)
        if len(data) <= most:
            return data
    return _jpeg(shrink(picture, max(picture.shape[:2]) // 2), most)


def _drawable(text: str) -> str:
    """Returns text that UTF-8 can hold; bytes of file names that are not UTF-8 become ``?``."""
    return text.encode(errors="replace").decode()


def _as_script(data: Any) -> str:
    """Writes json that may stand in a script element, whatever text it holds."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
