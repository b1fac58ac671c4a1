"""Snapshots, their scores, masks, figures and pages: from one tiny run, and from outside."""

import contextlib
import dataclasses
import io
import json
import re
import shutil
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import jax
import numpy as np
import pytest

from dystab_jax import inference
from dystab_jax.commands import masks, runs, score_masks, train_and_score
from dystab_jax.data.spool import Spool
from dystab_jax.evaluation import mask_layouts, score_run, snapshot_choice, snapshots
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation.protocols.base import as_array
from dystab_jax.report import figures, tables
from tests.support.evaluations import sample
from tests.support.player_pages import data_of, decode
from tests.support.tiny_runs import Compiled, prepare_stills

VIDEOS, IMAGES = "folder-tiny-val", "ecssd-test"
VIDEO_ROWS = [(model, "none") for model in eval_options.MODELS] + [("fused", "guided")]
IMAGE_ROWS = [("chi", "none"), ("chi", "guided")]


@pytest.fixture(scope="module")
def session(new_tiny_config, tiny_data, tmp_path_factory):
    """A config and the workdir of its run: trained, scored and reported; and what it printed."""
    root = tmp_path_factory.mktemp("evaluation")
    shutil.copytree(tiny_data, root / "data")
    prepare_stills(root / "ecssd", root / "data")
    config = new_tiny_config()
    config.data.dir = str(root / "data")
    config.data.still_size = (32, 32)
    # One step for each phase that is scored.
    config.bootstrap.warm_up_epochs = 0.0
    for name in ("dynamic", "static", "joint"):
        config.bootstrap[f"{name}_epochs"] = 1 / 3
    config.eval.update(
        data="folder/tiny:val, davis2016:val, ecssd:test",
        protocol="default",
        phases="0-dynamic,1-static,1-joint,last",
        crf="guided",
        still_crf="guided",
    )
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            train_and_score.train(config, root / "run")
        said = said.getvalue().splitlines()
        yield SimpleNamespace(
            config=config, workdir=root / "run", said=said, root=root, data=tiny_data
        )


@pytest.fixture
def scored(session, monkeypatch):
    """Which (phase, data set) are scored from here on."""
    calls, own = [], score_run.score

    def record(run, snapshot, spec, *more):
        calls.append((snapshot.phase, spec))
        return own(run, snapshot, spec, *more)

    monkeypatch.setattr(score_run, "score", record)
    return calls


def changed(session, **options):
    """The config with other fields in section eval."""
    config = session.config.copy_and_resolve_references()
    config.eval.update(options)
    return config


def open_run(session):
    (run,) = runs.open_runs(None, session.workdir, "eval")
    return run


def report_of(workdir, name, phase=""):
    return json.loads((workdir / "eval" / phase / f"{name}.json").read_text())


# -- what is written ------------------------------------------------------------------------------


def test_scores_lie_by_phase(session):
    files = {
        path.relative_to(session.workdir / "eval").as_posix()
        for path in (session.workdir / "eval").rglob("*.json")
    }
    # 1-joint is the end of the run, so that its scores are those of the run.
    assert files == {
        f"{phase}{name}.json" for phase in ("", "0-dynamic/", "1-static/") for name in
        (VIDEOS, IMAGES)
    }  # fmt: skip
    for phase, name, step in (
        ("0-dynamic", "0-dynamic", 1),
        ("1-static", "1-static", 2),
        ("", "1-joint", 3),
    ):
        for data in (VIDEOS, IMAGES):
            report = report_of(session.workdir, data, phase)
            assert (report["phase"], report["checkpoint"]) == (name, step)
            assert report["complete"] is True
            assert report["run"]["train"] == "folder/tiny:train"
            assert report["run"]["all_videos"] == 3


def test_rows_are_models_and_their_refinement(session):
    report = report_of(session.workdir, VIDEOS)
    assert (report["dataset"], report["split"]) == ("folder/tiny", "val")
    assert (report["protocol"], report["sequences"], report["frames"]) == ("all_frames", 3, 12)
    assert [(row["model"], row["crf"]) for row in report["rows"]] == VIDEO_ROWS
    report = report_of(session.workdir, IMAGES)
    assert (report["protocol"], report["sequences"], report["frames"]) == ("saliency", 5, 5)
    assert [(row["model"], row["crf"]) for row in report["rows"]] == IMAGE_ROWS


def test_what_is_not_prepared_is_said_and_the_others_are_scored(session):
    (line,) = [text for text in session.said if "will not be scored" in text]
    assert "davis2016" in line and "data_prep.prepare" in line
    assert not list((session.workdir / "eval").rglob("davis*"))


def test_nothing_prepared_at_all_is_an_error(session):
    run = dataclasses.replace(open_run(session), config=changed(session, data="davis2016:val"))
    with pytest.raises(FileNotFoundError, match="data_prep.prepare --dataset=davis2016"):
        eval_options.prepared(run.config)


def test_masks_are_those_of_the_last_phase(session):
    folders = {path.name for path in (session.workdir / "masks" / VIDEOS).iterdir()}
    assert folders == {"phi", "chi", "fused", "fused-guided"}
    masks = sorted((session.workdir / "masks" / VIDEOS / "phi").rglob("*.png"))
    assert len(masks) == 12
    assert {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in masks} == {(48, 64)}
    folders = {path.name for path in (session.workdir / "masks" / IMAGES).iterdir()}
    assert folders == {"chi", "chi-guided"}
    maps = sorted((session.workdir / "masks" / IMAGES / "chi").iterdir())
    read = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in maps]
    assert [path.name for path in maps] == [f"{number:04d}.png" for number in range(5)]
    assert [one.shape for one in read] == [(48 + 4 * n, 64 - 2 * n) for n in range(5)]
    assert all(len(np.unique(one)) > 2 for one in read)  # soft


# -- the same numbers from outside ----------------------------------------------------------------


def score_from_outside(session, tmp_path, name, spec, row):
    folder = session.workdir / "masks" / name / "-".join(part for part in row if part != "none")
    output = tmp_path / "scores.json"
    arguments = [f"--masks={folder}", f"--truth={spec}", "--jobs=1", f"--output={output}"]
    assert score_masks.main([*arguments, f"--data_dir={session.root / 'data'}"]) == 0
    (scores,) = json.loads(output.read_text())["rows"]
    return scores


@pytest.mark.parametrize("row", VIDEO_ROWS)
def test_masks_of_videos_score_the_same_from_outside(session, tmp_path, row):
    rows = report_of(session.workdir, VIDEOS)["rows"]
    (own,) = [one for one in rows if (one["model"], one["crf"]) == row]
    found = score_from_outside(session, tmp_path, VIDEOS, "folder/tiny:val", row)
    assert own["mean_j"] > 0
    for key in ("mean_j", "recall_j", "decay_j", "mean_f", "recall_f", "frame_mean_j"):
        assert found[key] == pytest.approx(own[key], abs=1e-12), key
    for video, scores in own["per_sequence"].items():
        assert found["per_sequence"][video]["j"] == pytest.approx(scores["j"], abs=1e-12)


@pytest.mark.parametrize("row", IMAGE_ROWS)
def test_maps_of_images_score_the_same_from_outside(session, tmp_path, row):
    rows = report_of(session.workdir, IMAGES)["rows"]
    (own,) = [one for one in rows if (one["model"], one["crf"]) == row]
    found = score_from_outside(session, tmp_path, IMAGES, "ecssd:test", row)
    assert own["f_beta"] > 0
    for key in ("f_beta", "mean_j"):
        assert found[key] == pytest.approx(own[key], abs=1e-12), key
    # A file has 256 levels.
    for key in ("mae", "s_measure"):
        assert found[key] == pytest.approx(own[key], abs=1 / 255), key


def test_the_refined_masks_are_others(session):
    for name in (VIDEOS, IMAGES):
        *_, plain, refined = report_of(session.workdir, name)["rows"]
        assert plain["mean_j"] != refined["mean_j"]


def test_the_number_that_selects_is_that_of_the_fused_masks(session):
    run = open_run(session)
    before = sorted(path for path in session.workdir.rglob("*"))
    found = score_run.mean_j(run, snapshots.newest(run), "folder/tiny:val")
    fused = report_of(session.workdir, VIDEOS)["rows"][2]
    assert (fused["model"], found) == ("fused", fused["mean_j"])
    assert sorted(path for path in session.workdir.rglob("*")) == before


# -- snapshots ------------------------------------------------------------------------------------


def same(first, second):
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_snapshots_hold_the_averages_at_the_end_of_their_phase(session):
    run = open_run(session)
    assert snapshots.phase_steps(run) == {"0-dynamic": 1, "1-static": 2, "1-joint": 3}
    newest = snapshots.newest(run)
    assert (newest.phase, newest.step, newest.complete, newest.last) == ("1-joint", 3, True, True)
    joint, static, dynamic = (
        snapshots.at_end_of(run, name) for name in ("1-joint", "1-static", "0-dynamic")
    )
    assert (joint.last, static.last, dynamic.last) == (True, False, False)
    assert (static.phase, static.step, static.complete) == ("1-static", 2, True)
    assert same(joint.variables, newest.variables)
    # The phase after it changed φ and ψ and not χ; the one before it χ alone.
    assert same(static.variables["chi"], joint.variables["chi"])
    assert not same(static.variables["phi"], joint.variables["phi"])
    assert same(static.variables["phi"], dynamic.variables["phi"])
    assert not same(static.variables["chi"], dynamic.variables["chi"])


def test_a_phase_without_a_snapshot_is_named(session):
    said = (
        "eval.phases has '7-joint'; with this config there are last, 0-dynamic, 1-static, 1-joint"
    )
    with pytest.raises(ValueError, match=said):
        train_and_score.evaluate(changed(session, phases="7-joint"), session.workdir)
    with pytest.raises(ValueError, match=r"no snapshot of phase '7-joint'; there are: 0-dynamic,"):
        snapshots.at_end_of(open_run(session), "7-joint")


def test_without_snapshots_the_option_is_named(session, tmp_path):
    run = dataclasses.replace(open_run(session), workdir=tmp_path)
    assert snapshots.phase_steps(run) == {}
    with pytest.raises(ValueError, match=r"there are: none \(log.keep_phases=True\)"):
        snapshots.at_end_of(run, "1-joint")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet; train first"):
        snapshots.newest(run)


def test_supervised_is_refused_where_there_is_no_check(session):
    with pytest.raises(ValueError, match="has no supervised check; train with supervised.data"):
        list(snapshot_choice.chosen(open_run(session), "supervised"))


# -- again ----------------------------------------------------------------------------------------


def test_what_is_scored_is_not_scored_again_by_training(session, scored, capsys):
    train_and_score.train(session.config, session.workdir)
    assert scored == []
    out = capsys.readouterr().out
    assert "phase 1-joint is scored already; --mode=eval would do it again" in out


def test_eval_scores_again_and_finds_the_same(session, scored, tmp_path):
    before = report_of(session.workdir, IMAGES)
    shutil.copytree(session.workdir, tmp_path / "run")
    train_and_score.evaluate(changed(session, data="ecssd:test", phases="last"), tmp_path / "run")
    assert scored == [("1-joint", "ecssd:test")]
    assert report_of(tmp_path / "run", IMAGES) == before


def test_other_rules_are_scored_anew(session):
    run = open_run(session)
    snapshot = snapshots.newest(run)
    assert score_run.is_scored(run, snapshot, "ecssd:test")
    assert not score_run.is_scored(run, snapshot, "ecssd:train")
    assert not score_run.is_scored(run, dataclasses.replace(snapshot, step=4), "ecssd:test")
    for options, expected in (
        ({"still_crf": "none"}, False),
        ({"fusion": "mean"}, False),
        ({"oracle": True}, False),
        ({"jobs": 2, "data": "ecssd:test", "save_masks": False}, True),
    ):
        other = dataclasses.replace(run, config=changed(session, **options))
        assert score_run.is_scored(other, snapshot, "ecssd:test") is expected, options


def test_oracles_are_asked_only_by_option_and_said(session, tmp_path):
    plain = report_of(session.workdir, VIDEOS)
    assert plain["oracle"] is False
    shutil.copytree(session.workdir, tmp_path / "run")
    options = {"oracle": True, "data": "folder/tiny:val", "phases": "last"}
    train_and_score.evaluate(changed(session, **options), tmp_path / "run")
    told = report_of(tmp_path / "run", VIDEOS)
    assert told["oracle"] is True and told["rules"]["oracle"] is True
    before, after = ({row["model"]: row for row in one["rows"][:3]} for one in (plain, told))
    assert after["chi"]["mean_j"] == before["chi"]["mean_j"]
    assert after["phi"]["mean_j"] >= before["phi"]["mean_j"]
    folder = tmp_path / "run" / "report"
    assert "upper bounds" in (folder / "index.html").read_text()
    assert "the truth has chosen" in (folder / "videos" / VIDEOS / "video0.html").read_text()


# -- confidence and quality ---------------------------------------------------------------------


def test_a_video_in_pieces_scores_as_a_whole_one(session, tmp_path, monkeypatch):
    # By rules that decide each frame by itself.
    config = changed(session, vote=False, fusion="mean", trust="none", flow_average=0.0)
    shutil.copytree(session.workdir, tmp_path / "run")
    (run,) = runs.open_runs(config, tmp_path / "run", "eval")
    (snapshot,) = snapshot_choice.chosen(run, "last")
    kept, keep = [], Spool.keep
    monkeypatch.setattr(Spool, "keep", lambda self, one: kept.append(1) or keep(self, one))

    def score():
        shown = {}

        def show(video, frame_j):
            origin = video.origin
            shown[video.name] = [
                [as_array(soft) for maps in origin.maps.values() for soft in maps],
                [origin.flows(t) for t in range(len(origin.frames))],
                [origin.image(t) for t in range(len(origin.frames))],
                frame_j,
            ]

        found = score_run.score(run, snapshot, "folder/tiny:val", show)
        pictures = [found.samples, *found.strips.values()]
        drawn = [dataclasses.asdict(one) for some in pictures for one in some]
        return found.report, found.confidences, found.frame_j, drawn, shown

    whole = score()
    assert not kept
    monkeypatch.setattr(inference, "PIECE", 2)
    in_pieces = score()
    assert len(kept) == 12 * (3 + 1)  # of each frame the maps of three models, and a refined one
    jax.tree.map(np.testing.assert_array_equal, whole, in_pieces)
    assert jax.tree.structure(whole) == jax.tree.structure(in_pieces)


def test_rank_correlation_leaves_out_what_is_not_scored():
    confidences = {"a": {"phi": np.array([9.0, 1, 2])}, "b": {"phi": np.array([3.0, 4])}}
    frame_j = {"a": {"phi": np.array([np.nan, 0.1, 0.2])}, "b": {"phi": np.array([0.3, 0.9])}}
    assert score_run.rank_correlation(confidences, frame_j, "phi") == pytest.approx(1)
    frame_j["b"]["phi"] = np.array([0.3, 0.0])
    # Ranks 1 2 3 4 against 2 3 4 1: 1 - 6 (1 + 1 + 1 + 9) / (4 (16 - 1)).
    assert score_run.rank_correlation(confidences, frame_j, "phi") == pytest.approx(-0.2)


def test_rank_correlation_of_what_does_not_vary():
    confidences = {"a": {"phi": np.array([1.0, 2, 3])}}
    assert score_run.rank_correlation(confidences, {"a": {"phi": np.ones(3)}}, "phi") is None


def test_a_report_tells_the_rank_correlation_of_its_frames(session):
    stored = json.loads((session.workdir / "eval" / f"{VIDEOS}.json").read_text())
    assert stored["confidence_rank_correlation"].keys() == {"phi", "chi"}
    assert all(v is None or -1 <= v <= 1 for v in stored["confidence_rank_correlation"].values())


# -- figures and pages ----------------------------------------------------------------------------


def test_figures_of_videos(session):
    folder = session.workdir / "figures" / VIDEOS
    names = {f"video{number}.jpg" for number in range(3)} | {"confidence.svg", "confidence_j.svg"}
    assert {path.name for path in folder.iterdir()} == names
    root = ElementTree.parse(folder / "confidence.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = "".join(root.itertext())
    assert all(f"video{number}" in text for number in range(3))
    # Four columns of 240 pixels with 4 between and around them; image, flow, four kinds of masks.
    sheet = cv2.imread(str(folder / "video1.jpg"))
    assert sheet.shape == (6 * (180 + 18 + 8), 4 * 244 + 4, 3)


def test_pictures_say_which_masks_went_through_a_crf(unchecked, session, monkeypatch):
    one = sample()
    assert [one.title(name) for name in ("phi", "truth")] == ["phi", "truth"]
    drawn = []
    monkeypatch.setattr(figures.pictures, "sheet", lambda rows: drawn.extend(rows))
    figures.strip([dataclasses.replace(one, refined={"fused": "cis"})])
    titles = [row[0][0] for row in drawn]
    assert titles[2:] == ["phi", "chi", "fused + cis", "truth"]
    page = (session.workdir / "report" / "index.html").read_text()
    assert "<span>fused + guided</span>" in page and "<span>φ, motion</span>" in page


def test_the_grid_of_images(session):
    folder = session.workdir / "figures" / IMAGES
    assert [path.name for path in folder.iterdir()] == ["grid.jpg"]
    sheet = cv2.imread(str(folder / "grid.jpg"))
    assert sheet.shape[1] == 3 * 244 + 4  # image, χ, truth
    heights = [round((48 + 4 * n) * 240 / (64 - 2 * n)) for n in range(5)]
    assert sheet.shape[0] == sum(height + 18 + 8 for height in heights)


def test_each_data_set_has_a_page_and_they_link_to_each_other(session):
    folder = session.workdir / "report"
    pages = {"index.html": "folder/tiny:val", f"{IMAGES}.html": "ecssd:test"}
    assert {path.name for path in folder.glob("*.html")} == set(pages)
    for name, title in pages.items():
        text = (folder / name).read_text()
        assert f"<title>DyStaB-JAX on {title}</title>" in text
        links = {link for link in re.findall(r'href="([^"]*)"', text) if link.endswith(".html")}
        played = {link for link in links if "/" in link}
        assert links - played == set(pages) - {name}
        videos = {f"videos/{VIDEOS}/video{number}.html" for number in range(3)}
        assert played == (videos if name == "index.html" else set())
        targets = [link for link in re.findall(r'href="([^"#]+)"', text)]
        assert all((folder / target).exists() for target in targets)
    for picture in ("overview.jpg", f"{IMAGES}.jpg"):
        assert cv2.imread(str(folder / picture)) is not None


def test_videos_can_be_played_with_their_truth(session):
    folder = session.workdir / "report" / "videos"
    assert {path.name for path in folder.iterdir()} == {VIDEOS}  # no still images
    scores = report_of(session.workdir, VIDEOS)["rows"]
    refined = session.workdir / "masks" / VIDEOS / "fused-guided"
    for number in range(3):
        html = (folder / VIDEOS / f"video{number}.html").read_text()
        frames = data_of(html)["frames"]
        assert [frame["name"] for frame in frames] == [f"{t:05d}" for t in range(4)]
        sources = session.data.parent / "videos" / f"video{number}"
        images = np.stack([cv2.imread(str(path)) for path in sorted(sources.iterdir())])
        for title, row in (("J", scores[3]), ("J of φ", scores[0]), ("J of χ", scores[1])):
            told = [float(dict(frame["numbers"])[title]) for frame in frames]
            j = row["per_sequence"][f"video{number}"]["j"]
            assert np.mean(told) == pytest.approx(j, abs=1e-3)
        assert f"J {scores[3]['per_sequence'][f'video{number}']['j']:.3f}<" in html
        for t, frame in enumerate(frames):
            assert set(frame["pictures"]) == {"image", "flow", "phi", "chi", "fused", "truth"}
            for key, root in (("truth", session.data.parent / "masks"), ("fused", refined)):
                path = root / f"video{number}" / f"{t:05d}.png"
                mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
                # JPEG moves some pixels of a ragged mask.
                assert ((decode(frame["pictures"][key]) > 127) == mask).mean() > 0.97
            shown = decode(frame["pictures"]["image"])
            assert np.abs(images - np.float32(shown)).mean((1, 2, 3)).argmin() == t
            assert "to frame" in dict(frame["numbers"])["flow"]
        assert "<dt>CRF</dt><dd>guided</dd>" in html and "phase 1-joint" in html
        assert "<dt>scored on</dt><dd>folder/tiny:val</dd>" in html and "oracle" not in html


def test_only_the_end_of_a_run_can_be_played(session, tmp_path):
    shutil.copytree(session.workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "report")
    options = {"data": "folder/tiny:val", "phases": "0-dynamic"}
    train_and_score.evaluate(changed(session, **options), tmp_path / "run")
    assert not (tmp_path / "run" / "report").exists()


def test_tables_have_the_scores(session):
    assert {(one.report["dataset"], one.place) for one in tables.collect(session.workdir)} == {
        ("folder/tiny", "."), ("ecssd", ".")
    }  # fmt: skip
    (cell,) = [
        row["ours"][0]
        for row in json.loads((session.workdir / "tables" / "table4.json").read_text())["rows"]
        if row["label"] == "χ, no CRF"
    ]
    assert cell["score"] == report_of(session.workdir, IMAGES)["rows"][0]["f_beta"]
    assert cell["remark"] == "†, 5 of 1000"


# -- use ------------------------------------------------------------------------------------------


def test_masks_of_new_pictures_are_made_by_the_last_snapshot(session, monkeypatch, tmp_path):
    used = []
    monkeypatch.setattr(masks, "Engine", lambda run, variables, *_: variables)
    monkeypatch.setattr(
        masks.predict, "predict", lambda variables, *_: used.append(variables) or []
    )
    masks.predict_masks(None, session.workdir, tmp_path / "in", tmp_path / "out")
    assert same(used, [snapshots.newest(open_run(session)).variables])


# -- what is refused ------------------------------------------------------------------------------


def test_a_set_without_truth_is_refused(session, monkeypatch):
    source = score_run.records.RecordSource
    own = source.__getitem__
    monkeypatch.setattr(
        source,
        "__getitem__",
        lambda self, n: {k: v for k, v in own(self, n).items() if k != "mask"},
    )
    with pytest.raises(ValueError, match="tiny:val has no truth to score by.*--mode=predict"):
        eval_options.prepared(open_run(session).config)


def test_file_names_of_data_sets():
    assert score_run.file_name("folder/mine:val") == "folder-mine-val"
    assert eval_options.data_sets(" a:b ,,c:d+e:f,") == ["a:b", "c:d+e:f"]


def test_the_layout_of_masks_is_the_submissions(session):
    folder = session.workdir / "masks" / VIDEOS / "fused"
    assert mask_layouts.path(folder, "folder/tiny", "video0", "00000").exists()
