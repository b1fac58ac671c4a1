"""The pages that play scored videos: what is shown of a video that is made by hand."""

import re
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from dystab_jax.evaluation.protocols.base import Video
from dystab_jax.evaluation.soft_maps import Origin, Predicted
from dystab_jax.inference import VideoPrediction
from dystab_jax.prediction import report_videos
from dystab_jax.refinement.flow_average import FramePair
from dystab_jax.report import video_pages
from tests.support.browser import patiently, run_page
from tests.support.player_pages import data_of, decode

LEFT = np.zeros((24, 32), np.float32)
LEFT[:, :16] = 1
RIGHT = 1 - LEFT
FRAMES = 3
J = {
    ("phi", "none"): np.array([0, 0, np.nan]),
    ("fused", "none"): np.array([0.1, 0.1, np.nan]),
    ("fused", "cis"): np.array([0.25, 0.5, np.nan]),
}


def native(soft):
    return cv2.resize(soft, (64, 48), interpolation=cv2.INTER_NEAREST)


def predicted(name="goat", refined=True, truth=True):
    """φ says right, χ and the fusion left, what a CRF makes of it right again; truth: right."""
    asked = []
    right = np.repeat(RIGHT[None, ..., None], FRAMES, 0)
    left = 1 - right
    moving = np.zeros((24, 32, 2), np.float16)
    moving[:, :16] = (3, 0)
    pairs = [
        FramePair(t, gap, gap * moving)
        for t in range(FRAMES)
        for gap in (-2, -1, 1, 2)
        if 0 <= t + gap < FRAMES
    ]
    prediction = VideoPrediction(
        name, ("a", "b", "c"), ("",) * FRAMES, right, left, np.array([1.5, 0.5, 0.25]),
        np.array([1.25, 0, 0]), np.zeros((FRAMES, 24, 32, 3), np.uint8), pairs, np.zeros(FRAMES),
    )  # fmt: skip

    def image(t):
        asked.append(t)
        return np.full((48, 64, 3), 100 + t, np.uint8)

    def video(soft):
        true = [lambda: native(RIGHT).astype(np.uint8)] * FRAMES if truth else [None] * FRAMES
        return Video(truth=true, maps=[lambda: native(soft)] * FRAMES)

    rows = {("phi", "none"): video(RIGHT), ("fused", "none"): video(LEFT)}
    if refined:
        rows["fused", "cis"] = video(RIGHT)
    maps = {"phi": right[..., 0], "chi": left[..., 0], "fused": left[..., 0]}
    confidences = {"phi": prediction.confidence_phi, "chi": prediction.confidence_chi}
    origin = Origin(prediction.frames, maps, prediction.flows.__getitem__, confidences, image)
    return Predicted(name, rows, [], None, origin), asked


def write(tmp_path, video, frame_j=J):
    report_videos.write(tmp_path, "a-val", [("CRF", "cis")], video, frame_j)
    path = video_pages.path(tmp_path, "a-val", video.name)
    assert path.is_relative_to(tmp_path / "report" / "videos" / "a-val")
    return path, path.read_text()


def test_page_of_a_scored_video(tmp_path):
    video, asked = predicted()
    _, html = write(tmp_path, video)
    assert asked == [0, 1, 2]
    for text in ("<h1>goat</h1>", "3 frames", "J 0.375</span>", "<dt>CRF</dt><dd>cis</dd>"):
        assert text in html
    assert "overlay" not in html and str(tmp_path) not in html
    frames = data_of(html)["frames"]
    assert [frame["name"] for frame in frames] == ["a", "b", "c"]
    assert [frame["timed"] for frame in frames] == [False] * FRAMES
    for t, frame in enumerate(frames):
        on_left = {
            key: bool((decode(frame["pictures"][key])[12, 4] > 127).all())
            for key in ("phi", "chi", "fused", "truth")
        }
        assert on_left == {"phi": False, "chi": True, "fused": False, "truth": False}
        assert abs(int(decode(frame["pictures"]["image"])[5, 5, 0]) - 100 - t) <= 1
        assert "φ and χ disagree" in frame["reasons"]
        assert "refinement changed much of the mask" in frame["reasons"]
    numbers = [dict(frame["numbers"]) for frame in frames]
    assert [one["J"] for one in numbers] == ["0.250", "0.500", "not scored"]
    assert [one["J of φ"] for one in numbers] == ["0.000", "0.000", "not scored"]
    assert "J of χ" not in numbers[0]
    assert [one["L_A of φ"] for one in numbers] == ["1.50", "0.50", "0.25"]
    # The smallest gap first, of two the later frame.
    told = [one["flow"].split(",")[0] for one in numbers]
    assert told == ["to frame +1", "to frame +1", "to frame -1"]


@pytest.mark.parametrize("name", ["goat", "dogs & cats/a dog"])
def test_page_leads_back_to_the_report(tmp_path, name):
    path, html = write(tmp_path, predicted(name)[0])
    link = re.search('<a href="([^"]+)">report of the run</a>', html)[1]
    assert (path.parent / unquote(link)).resolve() == tmp_path / "report" / "a-val.html"


def test_what_is_made_in_the_end_is_shown(tmp_path):
    video, _ = predicted(refined=False)
    _, html = write(tmp_path, video)
    frames = data_of(html)["frames"]
    assert (decode(frames[0]["pictures"]["fused"])[:, :30] > 127).all()
    assert dict(frames[0]["numbers"])["J"] == "0.100" and "J 0.100</span>" in html
    assert "refinement" not in str(frames[0]["reasons"])


@pytest.mark.parametrize(
    ("truth", "frame_j"), [(False, {}), (True, {}), (True, {("fused", "cis"): np.full(3, np.nan)})]
)
def test_where_j_or_truth_is_not_known(tmp_path, truth, frame_j):
    video, _ = predicted(truth=truth)
    _, html = write(tmp_path, video, frame_j)
    for frame in data_of(html)["frames"]:
        assert ("truth" in frame["pictures"]) == truth
        assert dict(frame["numbers"]).get("J") == ("not scored" if frame_j else None)
    assert "<span>J " not in html


@patiently
def test_page_in_a_browser(tmp_path):
    video, _ = predicted("a<b& #1")
    path, _ = write(tmp_path, video)
    dom = run_page(path, "#frame=2&view=truth")
    assert 'data-painted="1"' in dom and 'aria-label="truth of b"' in dom
    assert "<dt>J</dt><dd>0.500</dd>" in dom
