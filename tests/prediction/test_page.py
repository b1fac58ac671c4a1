"""The page of a video: what it draws of a frame, and which masks it calls unsure, and why."""

import re

import cv2
import numpy as np
import pytest

from dystab_jax.prediction import doubts
from dystab_jax.prediction.page import Page
from dystab_jax.prediction.segmented import SegmentedFrame, Trace, VideoFacts
from tests.support.browser import patiently, run_page
from tests.support.player_pages import data_of, decode

LEFT = np.zeros((24, 32), np.float32)
LEFT[:, :16] = 1
RIGHT = 1 - LEFT
NONE = np.zeros_like(LEFT)
STRIPE = np.zeros_like(LEFT)
STRIPE[:, :4] = 1


def make_trace(**more):
    flow = np.zeros((24, 32, 2), np.float32)
    flow[:, :16] = (3, 0)
    facts = {"flows": {1: flow, -1: -flow}, "phi": LEFT, "chi": LEFT, "fused": LEFT}
    return Trace(**{**facts, "confidence_phi": 1.5, "confidence_chi": 1.25, **more})


def make_frame(soft=LEFT, size=(48, 64), **more):
    image = np.full((*size, 3), 120, np.uint8)
    large = cv2.resize(soft, size[::-1], interpolation=cv2.INTER_NEAREST)
    facts = {"name": "00000", "time": 0.0, "trace": make_trace(fused=soft), **more}
    return SegmentedFrame(image=image, soft=large, **facts)


def write(path, frames, name="goat", **more):
    page = Page(path, VideoFacts(name, 25.0, path.parent / "secret" / "a.mp4", True), **more)
    for frame in frames:
        page.write(frame)
    page.close()
    return path.read_text()


def reasons(frame, area_before=None):
    found = doubts.doubts(frame, area_before)
    assert all(0 <= doubt <= 1 for doubt in found.values())
    return {reason for reason, doubt in found.items() if doubt > doubts.UNSURE}


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        ({}, None),
        ({"phi": RIGHT}, "φ and χ disagree"),
        ({"phi": STRIPE}, "φ and χ disagree"),
        ({"phi": 0.4 * LEFT}, "φ sees no object"),
        ({"chi": NONE}, "χ sees no object"),
        ({"phi": NONE, "chi": NONE}, None),  # they agree
        ({"phi": 0.6 * LEFT}, None),
        ({"confidence_phi": 0.4, "confidence_chi": 0.4}, "nothing moves in the mask"),
        ({"confidence_phi": 0.4, "confidence_chi": 0.6}, None),
        ({"confidence_phi": 0.6, "confidence_chi": 0.0}, None),
        ({"confidence_phi": 0.0, "confidence_chi": 0.0}, "nothing moves in the mask"),
        ({"fused": STRIPE}, "refinement changed much of the mask"),
        ({"fused": RIGHT}, "refinement changed much of the mask"),
        ({"fused": NONE}, "refinement changed much of the mask"),
    ],
)
def test_reasons_of_a_trace(trace, reason):
    assert reasons(make_frame(trace=make_trace(**trace))) == ({reason} if reason else set())


def test_an_empty_mask_has_one_reason():
    empty = make_trace(phi=NONE, chi=LEFT, fused=NONE, confidence_phi=0.0)
    for trace in (empty, None):
        assert doubts.doubts(make_frame(NONE, trace=trace), 0.5) == {"no object found": 1.0}
    assert reasons(make_frame(0.5 * LEFT)) == {"no object found"}


@pytest.mark.parametrize("trace", [None, make_trace()])
def test_vague_masks(trace):
    assert reasons(make_frame(0.7 * LEFT, trace=trace)) == {"much of the mask is vague"}
    assert reasons(make_frame(0.8 * LEFT + 0.2 * RIGHT, trace=trace)) == set()
    third = LEFT.copy()
    third[:8, :16] = 0.6
    assert reasons(make_frame(third, trace=trace)) == set()
    found = doubts.doubts(make_frame(third, trace=trace))
    assert found["much of the mask is vague"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("before", "jumps"), [(None, False), (0.0, False), (0.5, False), (0.26, False), (0.24, True),
                          (0.99, False), (0.01, True)],
)  # fmt: skip
def test_jumps(before, jumps):
    assert reasons(make_frame(), before) == ({"the mask's size jumps"} if jumps else set())


def test_a_jump_over_a_cut_is_none(tmp_path):
    cuts = ((STRIPE, 0), (LEFT, 1), (STRIPE, 1))
    frames = [
        make_frame(soft, shot=shot, trace=make_trace(phi=soft, chi=soft, fused=soft))
        for soft, shot in cuts
    ]
    html = write(tmp_path / "a.html", frames)
    told = [frame["reasons"] for frame in data_of(html)["frames"]]
    assert told == [[], [], ["the mask's size jumps"]]
    assert "2 shots" in html and "unsure in 1<" in html


def test_reasons_come_strongest_first(tmp_path):
    trace = make_trace(phi=RIGHT, confidence_phi=0.45, confidence_chi=0.0)
    html = write(tmp_path / "a.html", [make_frame(trace=trace)])
    [frame] = data_of(html)["frames"]
    assert frame["reasons"] == ["φ and χ disagree", "nothing moves in the mask"]
    assert frame["doubt"] == 1


def test_page_of_a_video(tmp_path):
    frames = [make_frame(name=f"{t:05d}", time=t / 10) for t in range(4)]
    frames[2] = make_frame(NONE, name="00002", time=0.2)
    path = tmp_path / "out" / "index.html"
    html = write(path, frames, notes=[("CRF", "none, <b>")])
    for text in ("<h1>goat</h1>", "4 frames", "no object found in 1<", "unsure in 1<",
                 "<dt>CRF</dt><dd>none, &lt;b&gt;</dd>", 'href="overlay.mp4"',
                 "not a probability of being right"):  # fmt: skip
        assert text in html
    assert "shots" not in re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert str(tmp_path) not in html and "secret" not in html  # nor does it tell where it was made
    assert not re.search("https?:", html)
    shown = data_of(html)["frames"]
    assert [(frame["name"], frame["time"]) for frame in shown] == [
        (f"{t:05d}", t / 10) for t in range(4)
    ]
    for t, frame in enumerate(shown):
        assert list(frame["pictures"]) == ["image", "flow", "phi", "chi", "fused"]
        fused = decode(frame["pictures"]["fused"])
        assert (fused[:, :30] > 127).all() == (t != 2) and not (fused[:, 34:] > 127).any()
        assert (decode(frame["pictures"]["phi"])[:, :15] > 127).all()
        red, white = decode(frame["pictures"]["flow"])[12, [4, 28]]
        assert red[2] > 230 and red[:2].max() < 25 and white.min() > 230
    assert dict(shown[0]["numbers"]) == {
        "mask": "50.0% of the image",
        "IoU of φ and χ": "1.00",
        "L_A of φ": "1.50",
        "L_A of χ": "1.25",
        "flow": "to frame +1, up to 9.4% of the width",
    }


def test_truth_and_scores_where_they_are_known(tmp_path):
    page = Page(tmp_path / "a.html", VideoFacts("goat", 25.0, tmp_path, False), told=["J 0.250"])
    page.write(make_frame(), (RIGHT > 0).astype(np.uint8), {"J": "0.250"})
    page.write(make_frame())
    page.close()
    html = (tmp_path / "a.html").read_text()
    assert "unsure in none</span><span>J 0.250</span>" in html
    assert re.findall(r'data-key="(\w+)"', html)[-2:] == ["fused", "truth"]
    known, unknown = data_of(html)["frames"]
    truth = decode(known["pictures"]["truth"])
    assert (truth[:, 17:] > 127).all() and not (truth[:, :15] > 127).any()
    assert known["main"] == "fused" and known["numbers"][0] == ["J", "0.250"]
    assert "truth" not in unknown["pictures"] and unknown["numbers"][0][0] == "mask"


def test_page_of_an_image_by_itself(tmp_path):
    html = write(tmp_path / "a.html", [make_frame(time=None, trace=None)], overlay=None)
    [frame] = data_of(html)["frames"]
    assert list(frame["pictures"]) == ["image", "chi"] and frame["main"] == "chi"
    assert "1 frame<" in html and "overlay" not in html and "disagree" not in html
    assert not frame["timed"] and 'id="slider"' not in html


def test_a_frame_without_flow(tmp_path):
    frames = [make_frame(), make_frame(trace=make_trace(flows={}))]
    html = write(tmp_path / "a.html", frames)
    assert [list(frame["pictures"]) for frame in data_of(html)["frames"]] == [
        ["image", "flow", "phi", "chi", "fused"],
        ["image", "phi", "chi", "fused"],
    ]


def test_noise_in_the_flow_does_not_look_like_motion(tmp_path):
    trace = make_trace(flows={2: np.full((24, 32, 2), (0.01, 0), np.float32)})
    html = write(tmp_path / "a.html", [make_frame(trace=trace)])
    assert decode(data_of(html)["frames"][0]["pictures"]["flow"]).min() > 240


def test_no_frame(tmp_path):
    html = write(tmp_path / "a.html", [])
    assert "There are no frames." in html and "overlay" not in html


def test_all_frames_count_but_few_are_kept(tmp_path):
    frames = [make_frame(NONE if t % 2 else LEFT, name=str(t), time=None) for t in range(150)]
    html = write(tmp_path / "a.html", frames)
    assert "150 frames" in html and "no object found in 75<" in html and "every 2nd of 150" in html
    shown = data_of(html)["frames"]
    assert [frame["name"] for frame in shown] == [str(t) for t in range(0, 150, 2)]
    assert all(frame["worst"]["reasons"] == ["no object found"] for frame in shown)
    assert shown[3]["time"] == pytest.approx(6 / 25)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write(tmp_path / "file" / "index.html", [make_frame()])


@pytest.mark.parametrize("size", [(49, 65), (65, 49), (1080, 1920)])
@patiently
def test_page_in_a_browser(tmp_path, size):
    frames = [make_frame(size=size, name=f"{t:05d}", time=t / 25) for t in range(3)]
    frames.append(make_frame(NONE, size=size, name="00003", time=3 / 25))
    write(tmp_path / "a.html", frames)
    script = 'document.getElementById("next").click();'
    dom = run_page(tmp_path / "a.html", script=script)
    assert 'data-painted="3"' in dom and "unsure: no object found" in dom
    [width, height] = re.search(r'id="large".*?width="(\d+)" height="(\d+)"', dom).groups()
    assert int(width) / int(height) == pytest.approx(size[1] / size[0], rel=0.01)
