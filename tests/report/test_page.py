"""The report of a run that never was: everything in it, well formed, and nothing from outside."""

import base64
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import cv2
import numpy as np
import pytest

from configs import demo
from dystab_jax.evaluation.options import MODELS
from dystab_jax.report import page as report_page
from dystab_jax.report import video_pages
from tests.support.evaluations import VIDEOS, J, make_evaluation, write_metrics

VOID = {"meta", "img", "br", "link", "path", "use", "input"}


class Page(HTMLParser):
    """Collects what a page holds and checks that its elements close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Page, its path and the evaluation it shows."""
    workdir = tmp_path_factory.mktemp("run")
    evaluation = make_evaluation(workdir)
    write_metrics(workdir / "metrics.jsonl", ending='{"step": 220, "pha')
    path = report_page.write_report(workdir, [evaluation], demo.get_config())
    return Page(path.read_text(encoding="utf-8")), path, evaluation


def test_page_needs_nothing_from_outside(written):
    page, path, _ = written
    assert path.parts[-2:] == ("report", "index.html")
    assert not page.all("script") and not page.all("link")
    raw = path.read_text()
    assert "@import" not in raw and not re.search(r"url\((?!#)", raw)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    outside = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("href", "src", "xlink:href") and value.startswith(("http", "//", "/"))
    ]
    assert outside == []
    assert str(path.parents[2]) not in raw  # nor does it tell where it was made


def test_links_lead_to_the_files_of_the_run(written):
    page, path, evaluation = written
    targets = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    found = {(path.parent / target).resolve() for target in targets}
    workdir = path.parents[1]
    assert found == {
        evaluation.path,
        workdir / "masks" / "movers-test",
        workdir / "config.json",
        workdir / "metrics.jsonl",
        workdir / "report" / "overview.jpg",
    }
    assert all(target.exists() for target in found)
    anchors = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    assert anchors == {heading["id"] for heading in page.all("h2")}


def test_scores_and_run_are_told(written):
    page, _, evaluation = written
    config = demo.get_config()
    for row in evaluation.report["rows"]:
        for key in ("mean_j", "recall_j", "frame_mean_j", "mean_f", "recall_f", "f_beta", "mae"):
            assert f"{row[key]:.3f}" in page.text
        for group in ("moving", "never"):
            assert f"{row['per_group'][group]['j']:.3f}" in page.text
    for text in (
        "DyStaB-JAX on movers:test", "4 sequences, 8 frames", "step 1234", "oracle: no",
        "the object never moves in its video", "movers:train at 160×96",
        f"DeepLab on {config.chi.model.backbone}", f"{config.bootstrap.rounds} rounds",
        "at least 80 updates in each phase",
        "affine fit of the context in closed form, which learns nothing",
        "straight through masks", "χ alone where its L_A is greater",
    ):  # fmt: skip
        assert text in page.text
    # L_A of χ exceeds that of φ in the second frame of each video.
    assert "In 50% of the frames χ's mask separates better, and fusion takes it" in page.text
    assert "φ 1.38, χ 1.25" in page.text


def test_best_scores_stand_out(written):
    _, path, evaluation = written
    rows = {row["model"]: row for row in evaluation.report["rows"]}
    best = max(rows.values(), key=lambda row: row["mean_j"])["mean_j"]
    raw = path.read_text()
    assert f"<td><b>{best:.3f}</b></td>" in raw
    assert f"<td><b>{rows['phi']['mean_j']:.3f}</b></td>" not in raw


def test_strips_show_all_videos_in_order_and_mark_the_worst(written):
    page, path, _ = written
    captions = re.findall(r"<figcaption><b>(.*?)</b>(.*?)</figcaption>", path.read_text(), re.S)
    assert [name for name, _ in captions] == ["a&lt;b&amp;c", "b-rests", "c-moves", "d-moves"]
    assert [name for name, rest in captions if "worst" in rest] == ["b-rests"]
    for (name, rest), video in zip(captions, sorted(VIDEOS), strict=True):
        assert f"<b>{J[video]:.3f}</b>" in rest and "00007" in rest, name
    images = page.all("img")
    assert len(images) == 6 * len(VIDEOS)
    for image in images:
        data = base64.b64decode(image["src"].partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (213, 320, 3)
        assert (image["height"], image["width"]) == ("213", "320")


def test_panels_show_their_own_masks(tmp_path):
    [sample] = make_evaluation(tmp_path, ("a<b&c",)).samples
    shown = report_page.panels(sample, width=600)
    assert list(shown) == ["image", "flow", "phi", "chi", "fused", "truth"]
    np.testing.assert_array_equal(shown["image"], sample.image)
    for model in (*MODELS, "truth"):
        colored = np.all(shown[model] == report_page.pictures.COLORS[model], -1)
        assert colored.any()  # the outline
        assert not colored[sample.masks[model] == 0].any()
    assert shown["flow"].shape == (400, 600, 3)


def test_the_page_tells_whether_confidence_means_quality(written):
    page, _, _ = written
    assert "rank correlation: φ 0.58, χ not defined" in page.text


def test_training_curves_name_the_phases(written):
    page, _, _ = written
    for text in ("0-warm up", "0-dynamic", "1-static", "Separation L_A", "inconsistency L_TC",
                 "Losses", "Mask area", "Trusted pseudo-labels"):  # fmt: skip
        assert text in page.text
    assert len(page.all("svg")) == 4
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_overview_is_a_picture(written):
    _, path, _ = written
    picture = cv2.imread(str(path.with_name("overview.jpg")))
    assert picture.shape[1] > 6 * 240 and picture.shape[0] > 4 * 160


@pytest.mark.parametrize("content", [None, "", "not json\n"])
def test_without_measurements_the_page_says_so(tmp_path, content):
    evaluation = make_evaluation(tmp_path, VIDEOS[:1], groups=False)
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    page = Page(report_page.write_report(tmp_path, [evaluation], demo.get_config()).read_text())
    assert "has no metrics.jsonl with measurements" in page.text
    assert "J by kind of frame" not in page.text
    assert "low" not in page.text.split("Masks")[-1].split()  # one video is not the worst of any


def test_oracle_results_are_called_upper_bounds(tmp_path):
    evaluation = make_evaluation(tmp_path, VIDEOS[:1])
    evaluation.report.update(oracle=True, rules={"fusion": "weighted", "trust": "loss_a"})
    page = Page(report_page.write_report(tmp_path, [evaluation], demo.get_config()).read_text())
    assert "upper bounds" in page.text and "oracle: no" not in page.text
    assert "χ's mask separates better and weighs more in the fusion." in page.text


def test_many_videos_are_cut_but_not_the_worst(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MOST_VIDEOS", 6)
    names = [f"video{number:02d}" for number in range(9)] + ["z1", "z2"]
    monkeypatch.setitem(J, "z2", 0.05)
    evaluation = make_evaluation(tmp_path, tuple(names))
    raw = report_page.write_report(tmp_path, [evaluation], demo.get_config()).read_text()
    captions = re.findall(r"<figcaption><b>(.*?)</b>", raw)
    assert captions == ["video00", "video01", "video02", "video03", "video04", "z2"]
    assert "6 of 11 are shown" in Page(raw).text


# -- pages that play the videos -------------------------------------------------------------------


def write_pages(workdir, data_set, names):
    for name in names:
        path = video_pages.path(workdir, data_set, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def pages_left(workdir):
    folder = workdir / "report" / "videos"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")}


def played(path):
    """Content of the pages to which a report links, by what the links say."""
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.all("script")
    links = [link for link in page.all("a") if link["href"].startswith("videos/")]
    return {
        # What follows # is no part of a file's name.
        link.get("aria-label"): (path.parent / unquote(urldefrag(link["href"]).url)).read_text()
        for link in links
    }


def test_the_report_links_to_the_videos_that_can_be_played(tmp_path):
    names = ("a<b&c #1", "b-rests", "ünï", "n" * 230)
    write_pages(tmp_path, "movers-test", [names[0], *names[2:]])
    path = report_page.write_report(tmp_path, [make_evaluation(tmp_path, names)], demo.get_config())
    assert played(path) == {f"play {name}": name for name in (names[0], *names[2:])}
    assert "doubtful. Marked: the 1 lowest" in Page(path.read_text()).text


def test_without_such_videos_none_are_mentioned(written):
    page, _, _ = written
    assert "▶" not in page.text and "frame. Marked: the 1 lowest" in page.text


def test_videos_without_pictures_of_their_own_are_linked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MOST_VIDEOS", 2)
    names = [f"video{number}" for number in range(4)]
    write_pages(tmp_path, "movers-test", names)
    evaluation = make_evaluation(tmp_path, tuple(names))
    path = report_page.write_report(tmp_path, [evaluation], demo.get_config())
    assert played(path).keys() == {"play video0", "play video1", None}
    assert "Further videos to play: video2 , video3 ." in Page(path.read_text()).text


def test_pages_of_an_earlier_evaluation_go(tmp_path):
    write_pages(tmp_path, "movers-test", [*VIDEOS, "gone", "sub/gone"])
    write_pages(tmp_path, "davis2016-val", ["bear"])
    write_pages(tmp_path, "fbms59-test", ["cats"])  # which has still a page of its own
    (tmp_path / "report" / "fbms59-test.html").write_text("")
    report_page.write_report(tmp_path, [make_evaluation(tmp_path)], demo.get_config())
    assert pages_left(tmp_path) == {f"movers-test/{name}.html" for name in VIDEOS} | {
        "fbms59-test/cats.html"
    }


def test_only_the_first_process_removes_pages(tmp_path, monkeypatch):
    write_pages(tmp_path, "movers-test", ["gone"])
    monkeypatch.setattr(video_pages.processes, "is_first", lambda: False)
    video_pages.remove_others(tmp_path, {"movers-test": set()})
    assert pages_left(tmp_path) == {"movers-test/gone.html"}


def test_metrics_leave_out_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = write_metrics(path, ending='{"step": 220, "phase": "1-sta')
    assert report_page.read_metrics(path) == lines
    assert report_page.read_metrics(tmp_path / "absent.jsonl") == []
