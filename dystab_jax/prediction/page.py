"""Writes a page that plays the masks of a video and marks where the system is unsure of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from dystab_jax.inference import threshold
from dystab_jax.prediction import doubts
from dystab_jax.prediction.segmented import SegmentedFrame, Trace, VideoFacts
from dystab_jax.report.pictures import flow_to_color
from dystab_jax.report.player import Player, PlayerFrame
from dystab_jax.runtime.atomic_files import write_whole

SHORTEST_FLOW = 0.5
"""Pixels; a length that is shown fully saturated, at least: noise is not to look like motion."""


class Page:
    """Writes a page with at most 120 frames of a video, evenly spread; an `Output`."""

    def __init__(
        self,
        path: Path,
        facts: VideoFacts,
        notes: Sequence[tuple[str, str]] = (),
        overlay: str | None = "overlay.mp4",
        told: Sequence[str] = (),
        report: str | None = None,
    ):
        """Writes nothing yet.

        Args:
          path: of the page.
          facts: of the video.
          notes: (term, text) of what is told below the masks, such as networks, flow and CRF.
          overlay: name of the video of all masks in the page's folder; None where there is none.
          told: of the video, short parts of a line, after what the masks say.
          report: path of the run's report from the page's folder, where the page belongs to one.
        """
        self._path, self._facts, self._notes, self._overlay = path, facts, notes, overlay
        self._told, self._report = told, report
        self._player = Player(facts.rate)
        self._total = self._unsure = self._empty = 0
        self._of_video = False
        self._shot: int | None = None
        self._shots = 0
        self._area_before: float | None = None

    def write(
        self,
        frame: SegmentedFrame,
        truth: np.ndarray | None = None,
        scores: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Takes the next frame.

        Args:
          frame: with its mask.
          truth: true mask of 0 and 1 [H, W]; None where it is not known.
          scores: of the mask, by name; told before everything else.

        Raises:
          ValueError: no JPEG can be made of it.
        """
        if frame.shot != self._shot:
            self._shot, self._area_before = frame.shot, None
            self._shots += 1
        found = doubts.doubts(frame, self._area_before)
        # The strongest first.
        reasons = [k for k in sorted(found, key=found.get, reverse=True) if _matters(found[k])]
        self._area_before = float(frame.mask.mean())
        self._total += 1
        self._unsure += bool(reasons)
        self._empty += doubts.NOTHING in found
        trace = frame.trace
        maps = {"chi": frame.soft}
        if trace is not None:
            self._of_video = True
            maps = {"phi": trace.phi, "chi": trace.chi, "fused": frame.soft}
        if truth is not None:
            maps = {"truth": truth, **maps}
        self._player.add(
            PlayerFrame(
                frame.name,
                frame.image,
                maps,
                _flow_picture(trace),
                frame.time,
                {**scores, **_numbers(frame, self._area_before)},
                max(found.values()),
                reasons,
                frame.shot,
            )
        )

    def close(self) -> None:
        """Writes the page, whole or not at all.

        Raises:
          OSError: it cannot be written.
        """
        note = doubts.NOTE if self._of_video else doubts.NOTE_OF_IMAGES
        whole = self._overlay if self._total else None
        summary = [*self._summary(), *self._told]
        html = self._player.html(self._facts.name, summary, note, self._notes, whole, self._report)
        # Of several processes, each has videos of its own.
        write_whole(self._path, html, everyone=True)

    def _summary(self) -> list[str]:
        """Returns what the page says first."""
        parts = [_count(self._total, "frame")]
        if self._shots > 1:
            parts.append(_count(self._shots, "shot"))
        if self._total > 1:
            found = f"no object found in {self._empty}" if self._empty else "a mask in every frame"
            parts += [found, f"unsure in {self._unsure or 'none'}"]
        return parts


def _matters(doubt: float) -> bool:
    return doubt > doubts.UNSURE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _flow_picture(trace: Trace | None) -> dict[str, np.ndarray]:
    """Draws the flow over the smallest gap; nothing where there is none."""
    if trace is None or not trace.flows:
        return {}
    flow = next(iter(trace.flows.values()))
    length = np.percentile(np.linalg.norm(flow, axis=-1), 99)
    return {"flow": flow_to_color(flow, max(float(length), SHORTEST_FLOW))}


def _numbers(frame: SegmentedFrame, area: float) -> dict[str, str]:
    """Returns what the page tells of a frame, value by name."""
    told = {"mask": f"{area:.1%} of the image"}
    trace = frame.trace
    if trace is None:
        return told
    shared = doubts.overlap(threshold(trace.phi), threshold(trace.chi))
    told["IoU of φ and χ"] = f"{shared:.2f}"
    told["L_A of φ"] = f"{trace.confidence_phi:.2f}"
    told["L_A of χ"] = f"{trace.confidence_chi:.2f}"
    if trace.flows:
        gap, flow = next(iter(trace.flows.items()))
        share = np.percentile(np.linalg.norm(flow, axis=-1), 99) / flow.shape[1]
        told["flow"] = f"to frame {gap:+d}, up to {share:.1%} of the width"
    return told
