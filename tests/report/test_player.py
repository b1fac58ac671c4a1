"""The page that plays masks: what is kept of a video, what the page holds, what its script does."""

import json
import re

import cv2
import numpy as np
import pytest

from dystab_jax.report.player import (
    COLORS,
    LIMIT,
    MOST_BYTES,
    MOST_BYTES_OF_OTHERS,
    Player,
    PlayerFrame,
)
from tests.support.browser import patiently, run_page
from tests.support.player_pages import data_of, decode

NASTY = '</script><b>"x"</b> &amp; {{ 7 }} \' ünïcödé \u2028'


def make_frame(name="00000", height=48, width=64, **more):
    """A grey frame whose masks are the left (χ, fused) or the right (φ) half."""
    image = np.full((height, width, 3), 120, np.uint8)
    left = np.zeros((height, width), np.float32)
    left[:, : width // 2] = 1
    facts = {
        "image": image,
        "maps": {"phi": 1 - left[::2, ::2], "chi": left[::2, ::2], "fused": left},
        "pictures": {"flow": np.full((24, 32, 3), (255, 0, 0), np.uint8)},
        "numbers": {"L_A of φ": "1.25"},
    }
    return PlayerFrame(name, **{**facts, **more})


def fill(count, limit=120, **more):
    player = Player(25, limit)
    for t in range(count):
        player.add(make_frame(f"{t:05d}", **{k: v[t] for k, v in more.items()}))
    return player


@pytest.mark.parametrize(
    ("count", "limit", "kept", "stride"),
    [
        (0, 4, [], 1),
        (1, 4, [0], 1),
        (4, 4, [0, 1, 2, 3], 1),
        (5, 4, [0, 2, 4], 2),
        (8, 4, [0, 2, 4, 6], 2),
        (9, 4, [0, 4, 8], 4),
        (33, 4, [0, 16, 32], 16),
        (3, 3, [0, 1, 2], 1),
        (4, 3, [0, 2], 2),
        (7, 3, [0, 4], 4),
        (5, 1, [0], 8),
    ],
)
def test_every_kth_frame_is_kept(count, limit, kept, stride):
    player = fill(count, limit)
    assert (player.kept, player.stride) == (kept, stride)


def test_as_many_as_the_limit_says_by_default():
    player = fill(241)
    assert player.kept == list(range(0, 241, 4))
    html = player.html("long", whole="all of it.mp4")
    assert "every 4th of 241 frames" in html and 'href="all%20of%20it.mp4"' in html
    data = data_of(html)
    assert [frame["index"] for frame in data["frames"]] == player.kept
    assert data["total"] == 241


def test_doubts_of_dropped_frames_stay_with_the_frame_before():
    doubt = [0.1] * 20
    reasons = [()] * 20
    doubt[3], reasons[3] = 0.7, ("φ and χ disagree",)
    doubt[11], reasons[11] = 0.6, ("weaker",)
    doubt[9], reasons[9] = 0.9, ("stronger",)
    doubt[8], reasons[8] = 1.0, ("on its own",)
    player = fill(20, 4, doubt=doubt, reasons=reasons)
    assert player.kept == [0, 8, 16]
    frames = data_of(player.html("v"))["frames"]
    assert [frame["worst"]["index"] for frame in frames] == [3, 9, 17]
    assert frames[0]["worst"]["reasons"] == ["φ and χ disagree"]
    assert frames[1]["reasons"] == ["on its own"]
    assert frames[0]["reasons"] == [] and frames[0]["doubt"] == 0.1
    assert all("pictures" not in frame["worst"] for frame in frames)


def test_page_holds_all_pictures_of_all_frames():
    html = fill(3).html("goat", ["3 frames"], "worth a look", [("CRF", "none")])
    data = data_of(html)
    assert re.findall(r'data-key="(\w+)"', html) == ["image", "flow", "phi", "chi", "fused"]
    for t, frame in enumerate(data["frames"]):
        assert list(frame["pictures"]) == ["image", "flow", "phi", "chi", "fused"]
        assert (frame["name"], frame["time"]) == (f"{t:05d}", t / 25)
        assert frame["main"] == "fused" and frame["size"] == [64, 48]
        assert frame["numbers"] == [["L_A of φ", "1.25"]]
        assert decode(frame["pictures"]["image"]).shape == (48, 64, 3)
        fused = decode(frame["pictures"]["fused"])
        assert fused.shape == (48, 64) and fused[5, 5] > 240 and fused[5, 60] < 15
        assert decode(frame["pictures"]["phi"]).shape == (24, 32)
        assert (decode(frame["pictures"]["flow"])[..., 2] > 240).all()
    for text in ("<h1>goat</h1>", "3 frames", "worth a look", "<dt>CRF</dt><dd>none</dd>"):
        assert text in html
    assert "every" not in re.sub("<style>.*?</style>|<script>.*?</script>", "", html, flags=re.S)


def test_page_needs_nothing_from_outside():
    html = fill(2).html("goat", whole="overlay.mp4")
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|src=|<link", html)
    assert re.findall(r'href="(.*?)"', html) == ["overlay.mp4"]
    assert not re.search(r"<[^>]* on\w+=", html)  # no inline handlers
    assert "overlay" not in fill(2).html("goat")


def test_any_text_is_shown_as_it_is():
    frame = make_frame(NASTY, reasons=(NASTY,), numbers={NASTY: NASTY})
    player = Player(25)
    player.add(frame)
    html = player.html(NASTY, [NASTY], NASTY, [(NASTY, NASTY)], whole=NASTY)
    assert "<b>" not in html.replace("<b>,", "") and html.count("</script>") == 2
    assert html.count("&lt;/script&gt;&lt;b&gt;") == 7
    [shown] = data_of(html)["frames"]
    assert shown["name"] == NASTY and shown["reasons"] == [NASTY]
    assert shown["numbers"] == [[NASTY, NASTY]]


def test_names_that_are_not_utf8():
    name = b"caf\xe9.mp4".decode(errors="surrogateescape")
    player = Player(25)
    player.add(make_frame(name))
    html = player.html(name, whole=name)
    html.encode()
    assert "<h1>caf?.mp4</h1>" in html and 'href="caf%E9.mp4"' in html


@pytest.mark.parametrize("size", [(1, 1), (49, 65), (65, 49), (2001, 17), (17, 2001), (720, 1280)])
def test_sizes(size):
    player = Player(25)
    player.add(make_frame("a", *size, maps={"chi": np.ones(size)}, pictures={}))
    [frame] = data_of(player.html("v"))["frames"]
    shown = decode(frame["pictures"]["image"])
    assert max(shown.shape[:2]) == min(640, max(size))
    assert decode(frame["pictures"]["chi"]).shape == shown.shape[:2]
    assert frame["size"] == [size[1], size[0]] and frame["main"] == "chi"


def test_no_pixel_crosses_the_cut():
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(rng.random((200, 300), np.float32), (0, 0), 2)
    soft[:100] = np.minimum(soft[:100], 0.5)  # a half is no object yet
    player = Player(25)
    player.add(make_frame("a", 200, 300, maps={"fused": soft}, pictures={}))
    grey = decode(data_of(player.html("v"))["frames"][0]["pictures"]["fused"])
    assert not (grey[:92] > 127).any()
    assert ((grey > 127) == (soft > 0.5)).mean() > 0.97


@pytest.mark.parametrize("size", [(480, 640), (640, 640)])
def test_a_page_stays_small(size):
    """Noise, of which no larger JPEGs can be made."""
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    soft = noise[..., 0] / np.float32(255)
    player = Player(25)
    maps = {"truth": soft, "phi": soft, "chi": soft, "fused": soft}
    player.add(make_frame("a", image=noise, maps=maps, pictures={"flow": noise[:192, :352]}))
    html = player.html("v")
    frame = len(json.dumps(data_of(html)["frames"][0]))
    assert 60_000 < frame < 100_000
    assert frame * LIMIT + len(html) < 12e6


def test_no_page_can_be_larger():
    others = ("flow", "phi", "chi", "truth")
    pictures = sum(MOST_BYTES.values()) + len(others) * MOST_BYTES_OF_OTHERS
    assert (4 / 3 * pictures + 1_000) * LIMIT + 50_000 < 12e6


def test_no_frame():
    html = fill(0).html("empty", ["0 frames"])
    assert "There are no frames." in html and "<script" not in html and "<canvas" not in html


def test_a_single_image_has_no_time():
    player = Player(25)
    player.add(make_frame(maps={"chi": np.ones((48, 64))}, pictures={}))
    html = player.html("one")
    assert re.findall(r'data-key="(\w+)"', html) == ["image", "chi"]
    assert 'id="slider"' not in html and 'id="play"' not in html


def test_doubt_that_is_no_number_counts_as_doubt():
    assert data_of(fill(1, doubt=[np.nan]).html("v"))["frames"][0]["doubt"] == 1


# ---- in a browser ----


def place(dom):
    return re.sub("<.*?>", " ", re.search(r'<p id="place">(.*?)</p>', dom, re.S)[1]).split()


def verdict(dom):
    return re.search(r'<p id="verdict".*?>(.*?)</p>', dom, re.S)[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index ä.html"
    reasons = [(), (), (), ("φ and χ disagree",), (), ("no object found",)]
    times = [t / 25 for t in range(6)]
    path.write_text(fill(6, reasons=reasons, time=times).html("goat"))
    return path


@patiently
def test_the_address_chooses_the_frame(written):
    first, fourth = run_page(written), run_page(written, "#frame=4&view=chi")
    assert place(first) == ["00000", "0:00.00", "frame", "1", "of", "6"]
    assert place(fourth) == ["00003", "0:00.12", "frame", "4", "of", "6"]
    assert verdict(first) == "no doubt found" and verdict(fourth) == "unsure: φ and χ disagree"
    assert 'data-painted="0"' in first and 'data-painted="3"' in fourth
    pressed = r'data-key="(\w+)" aria-pressed="true"'
    assert re.findall(pressed, first) == ["fused"] and re.findall(pressed, fourth) == ["chi"]
    assert 'aria-label="χ, appearance of 00003"' in fourth
    assert len(re.findall(r'<i [^>]*class="unsure"', first)) == 2


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("ArrowRight,ArrowRight", "00002"),
        ("End,ArrowRight", "00005"),
        ("End,ArrowLeft,Home,ArrowLeft", "00000"),
        ("n", "00003"),
        ("n,n", "00005"),
        ("n,n,n", "00003"),
        ("p", "00005"),
    ],
)
@patiently
def test_keys_step(written, keys, name):
    script = f"""for (const key of "{keys}".split(","))
      document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key, bubbles: true }}));"""
    dom = run_page(written, script=script)
    assert place(dom)[0] == name and f'data-painted="{int(name)}"' in dom


@patiently
def test_playing_goes_on_and_starts_anew(written):
    script = """const seen = new Set();
    new MutationObserver(() => seen.add(document.getElementById("place").firstChild.textContent))
      .observe(document.getElementById("place"), { childList: true });
    document.getElementById("play").click();
    setTimeout(() => { document.title = [...seen].join(" "); }, 3000);"""
    dom = run_page(written, script=script)
    title = re.search("<title>(.*?)</title>", dom)[1]
    assert title == "00001 00002 00003 00004 00005 00000"
    assert 'aria-label="pause"' in dom


@patiently
def test_masks_lie_where_they_are(written):
    """The left half is tinted, outlined at its edge, the right half is darker; φ the other way."""
    script = """const point = (x) => {
      const large = document.getElementById("large");
      return [...large.getContext("2d").getImageData(large.width * x, large.height / 2, 1, 1).data];
    };
    const after = (then) => setTimeout(then, 500);
    const found = {};
    after(() => {
      found.fused = [point(0.25), point(0.75), point(0.001)];
      document.querySelector("[data-key=phi]").click();
      after(() => {
        found.phi = [point(0.25), point(0.75), point(0.999)];
        document.getElementById("soft").click();
        after(() => {
          found.soft = [point(0.25), point(0.75), point(0.999)];
          document.querySelector("[data-key=flow]").click();
          after(() => { found.flow = [point(0.25)]; document.title = JSON.stringify(found); });
        });
      });
    });"""
    dom = run_page(written, script=script)
    found = json.loads(re.search("<title>(.*?)</title>", dom)[1])

    def is_color(point, color, near=12):
        return np.abs(np.array(point[:3]) - color).max() <= near

    gone = [84] * 3  # 120, of which 0.6 goes to its half
    tinted = {key: np.full(3, 78) + 0.35 * np.array(COLORS[key]) for key in ("fused", "phi")}
    assert is_color(found["fused"][0], tinted["fused"]) and is_color(found["fused"][1], gone)
    assert is_color(found["phi"][1], tinted["phi"]) and is_color(found["phi"][0], gone)
    assert is_color(found["fused"][2], COLORS["fused"]) and is_color(found["phi"][2], COLORS["phi"])
    assert is_color(found["soft"][0], [0] * 3) and is_color(found["soft"][1], [255] * 3)
    assert is_color(found["soft"][2], COLORS["phi"]) and is_color(found["flow"][0], [255, 0, 0])


@patiently
def test_any_text_and_all_shapes_in_a_browser(tmp_path):
    player = Player(0.5, limit=3)
    player.add(make_frame(NASTY, 49, 65, reasons=(NASTY,), numbers={NASTY: NASTY}))
    player.add(make_frame("wide", 17, 201))
    player.add(make_frame("image", 65, 49, maps={"chi": np.zeros((65, 49))}, pictures={}))
    player.add(make_frame("dropped", reasons=("no object found",)))
    path = tmp_path / "a.html"
    path.write_text(player.html(NASTY))
    dom = run_page(path, "#frame=1")
    assert 'data-painted="0"' in dom
    expected = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert verdict(dom) == f"unsure: {expected}"
    dom = run_page(path, "#frame=4&view=flow")  # which is not kept, nor has that frame any flow
    assert place(dom)[0] == "image" and 'data-painted="2"' in dom
    assert verdict(dom) == "unsure at dropped, not in this page: no object found"
    assert re.findall(r'class="absent" data-key="(\w+)"|data-key="(\w+)"[^>]*class="absent"', dom)
