"""Writes the pages of a report that play the videos that were scored, as predicted ones are."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dystab_jax.evaluation.protocols.base import as_array
from dystab_jax.evaluation.samples import Row
from dystab_jax.evaluation.soft_maps import Origin, Predicted
from dystab_jax.prediction.overlay_video import DEFAULT_FPS
from dystab_jax.prediction.page import Page
from dystab_jax.prediction.segmented import SegmentedFrame, Trace, VideoFacts
from dystab_jax.report import video_pages

SHORT = {"phi": "J of φ", "chi": "J of χ"}


def write(
    workdir: Path,
    data_set: str,
    notes: Sequence[tuple[str, str]],
    video: Predicted,
    frame_j: Mapping[Row, np.ndarray],
) -> None:
    """Writes the page of a video, with what is made in the end, the truth and J of each frame.

    Memory holds what the page does, and one frame.

    Args:
      workdir: of the run.
      data_set: its name in files, such as "davis2016-val".
      notes: (term, text) of what is told below the masks.
      video: with its origin.
      frame_j: see `score_run.Show`.

    Raises:
      OSError: the page cannot be written.
    """
    final, frames = list(video.rows.items())[-1]
    shown = {"J": final, **{name: (model, "none") for model, name in SHORT.items()}}
    j = {name: frame_j[row] for name, row in shown.items() if row in frame_j}
    scored = np.isfinite(j.get("J", np.empty(0)))
    page = Page(
        video_pages.path(workdir, data_set, video.name),
        VideoFacts(video.name, DEFAULT_FPS, Path(video.name), is_file=False),
        notes,
        overlay=None,
        told=[f"J {j['J'][scored].mean():.3f}"] if scored.any() else [],
        report=video_pages.link_back(workdir, data_set, video.name),
    )
    for t, frame in enumerate(_frames(video.origin, frames.maps)):
        truth = as_array(frames.truth[t]) if frames.has_truth(t) else None
        page.write(frame, truth, {name: _score(values[t]) for name, values in j.items()})
    page.close()


def _frames(origin: Origin, maps: Sequence) -> Iterator[SegmentedFrame]:
    """Makes what a prediction would give, one frame after the other."""
    for t, name in enumerate(origin.frames):
        trace = Trace(
            {gap: flow.astype(np.float32) for gap, flow in origin.flows(t).items()},
            *(as_array(origin.maps[model][t]) for model in ("phi", "chi", "fused")),
            *(float(origin.confidences[model][t]) for model in ("phi", "chi")),
        )
        yield SegmentedFrame(name, None, origin.image(t), as_array(maps[t]), trace)


def _score(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not scored"
