"""Videos that are added to a run: it goes on with all of them, whenever it is killed."""

import dataclasses
import json
import os
import re
import shutil
import signal

import cv2
import numpy as np
import pytest

from dystab_jax.commands import train_and_score
from dystab_jax.data.stages import Stage, plan
from dystab_jax.data.training_set import TrainingSet
from dystab_jax.evaluation import snapshots
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.report import growth
from dystab_jax.runtime.interruption import Interrupted, Interruption
from tests.support.training import Trainer, assert_bitwise, copy, metrics_of, wait_for

# One video of 4 frames makes one step in each phase, two make two, three make three.
PHASES = [
    ("0-warm_up", 1), ("0-dynamic", 1), ("1-static", 1), ("1-joint", 1),
    ("2-static", 2), ("2-joint", 2), ("3-static", 3), ("3-joint", 3),
]  # fmt: skip
# After so many steps of growing; drawn at random once.
KILLED = (4, 5, 7, 9, 12)


@pytest.fixture(scope="module")
def session(new_tiny_config, tmp_path_factory):
    """A trainer, the state of a run grown from one video to two and three, and its workdirs."""
    with pytest.MonkeyPatch.context() as patch:
        trainer = Trainer(new_tiny_config(), patch)
        root = tmp_path_factory.mktemp("runs")

        def kill(step):
            if step in KILLED:
                wait_for(root / "grown" / "checkpoints" / str(step))
                copy(root / "grown", root / f"killed-{step}")

        trainer.before = kill
        once = {"log__checkpoint_every": 1}
        trainer.train(root / "grown", data__videos=1, **once)
        shutil.copytree(root / "grown", root / "one")
        trainer.train(root / "grown", data__videos=2, **once)
        state = trainer.train(root / "grown", data__videos=0, **once)
        trainer.before = lambda step: None
        yield trainer, state, root


def phases_of(workdir):
    found = {}
    for line in metrics_of(workdir):
        found[line["phase"]] = found.get(line["phase"], 0) + 1
    return list(found.items())


def stages_of(workdir, step):
    text = (workdir / "checkpoints" / str(step) / "position" / "metadata").read_text()
    return [Stage(**stage) for stage in json.loads(text)["stages"]]


def test_rounds_follow_on_all_videos_that_there_are(session):
    _, state, root = session
    assert phases_of(root / "grown") == PHASES
    assert metrics_of(root / "grown")[:4] == metrics_of(root / "one")
    labels = root / "grown" / "pseudo_labels"
    labelled = [len(PseudoLabels.load(labels / f"{n}-static.npz")) for n in (1, 2, 3)]
    assert labelled == [4, 8, 12]
    stages = stages_of(root / "grown", 14)
    assert [(len(one.videos), one.frames, one.rounds) for one in stages] == [
        (1, 4, 1), (2, 8, 1), (3, 12, 1),
    ]  # fmt: skip
    assert (state.chi.updates, state.phi.updates) == (6, 7)


@pytest.mark.parametrize("killed", KILLED)
def test_a_run_killed_while_it_grows_ends_like_the_undisturbed_one(session, tmp_path, killed):
    trainer, expected, root = session
    shutil.copytree(root / f"killed-{killed}", tmp_path / "run")
    ran = []
    trainer.before = ran.append
    if killed < 8:
        trainer.train(tmp_path / "run", data__videos=2)
    assert_bitwise(trainer.train(tmp_path / "run", data__videos=3), expected)
    trainer.before = lambda step: None
    assert ran == list(range(killed, 14))
    assert metrics_of(tmp_path / "run") == metrics_of(root / "grown")


def test_videos_added_too_early_wait_for_their_turn(session, tmp_path):
    trainer, expected, root = session
    interruption = Interruption()

    def stop(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.before = stop
    with interruption, pytest.raises(Interrupted):
        trainer.train(tmp_path / "run", interruption, data__videos=1)
    trainer.before = lambda step: None
    assert (tmp_path / "run" / "checkpoints" / "3").exists()
    trainer.train(tmp_path / "run", data__videos=2)
    assert phases_of(tmp_path / "run") == PHASES[:6]
    assert_bitwise(trainer.train(tmp_path / "run", data__videos=3), expected)


def test_rounds_on_what_was_added_may_be_more(session, tmp_path):
    trainer, _, root = session
    shutil.copytree(root / "grown", tmp_path / "run")
    trainer.train(tmp_path / "run", data__videos=3, bootstrap__growth_rounds=2)
    assert phases_of(tmp_path / "run") == [*PHASES, ("4-static", 3), ("4-joint", 3)]
    with pytest.raises(ValueError, match="bootstrap.growth_rounds is 1, and .* begun with 2"):
        trainer.train(tmp_path / "run", data__videos=3)


def test_what_is_no_growth_stops(session, tmp_path):
    trainer, _, root = session
    shutil.copytree(root / "grown", tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    expected = (
        r"folder/tiny:train is not what \S+checkpoints was trained on: it held 3 videos, 12 "
        r"frames, 30 pairs, and holds 2 videos, 8 frames, 20 pairs now; 1 gone \(such as "
        r"folder/tiny:train/video\d\). Videos may be added"
    )
    with pytest.raises(ValueError, match=expected):
        trainer.train(tmp_path / "run", data__videos=2)
    with pytest.raises(ValueError, match="bootstrap.rounds is 3, and .* has begun with 1"):
        trainer.train(tmp_path / "run", bootstrap__rounds=3)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == before
    assert phases_of(tmp_path / "run") == PHASES


def test_no_round_follows_self_training(session, tmp_path):
    trainer, _, root = session
    shutil.copytree(root / "one", tmp_path / "run")
    more = {"self_training__data": "folder/tiny:train", "self_training__crf": "none"}
    trainer.train(tmp_path / "run", data__videos=1, **more)
    with pytest.raises(ValueError, match="gone on to self_training, from where no round"):
        trainer.train(tmp_path / "run", data__videos=2, **more)


def test_the_report_tells_what_more_videos_bring(session, tmp_path):
    trainer, _, root = session

    def score(source, videos):
        shutil.copytree(root / source, tmp_path / "run", dirs_exist_ok=True)
        config = trainer.run.config.copy_and_resolve_references()
        config.data.videos, config.eval.crf = videos, "none"
        run = dataclasses.replace(trainer.run, config=config, workdir=tmp_path / "run")
        train_and_score._score(run, ["folder/tiny:val"], again=False)
        return json.loads((tmp_path / "run" / "eval" / "folder-tiny-val.json").read_text())

    alone = score("one", videos=1)
    assert alone["run"]["all_videos"] == alone["run"]["videos"] == 1
    page = tmp_path / "run" / "report" / "index.html"
    assert "With more videos" not in page.read_text()

    grown = score("grown", videos=0)
    assert grown["run"]["grown"] == [1, 2, 3] and grown["run"]["videos"] == 0
    # What was scored by then is kept, and what was not scored is.
    kept = {
        path.parent.name: json.loads(path.read_text())
        for path in (tmp_path / "run" / "eval").glob("*/folder-tiny-val.json")
    }
    assert kept["1-joint"] == alone
    assert kept.keys() == {"1-joint", "2-joint"} and kept["2-joint"]["run"]["grown"] == [1, 2]
    # Tables must not mean a run that grew with one that had all videos from the start.
    assert len({one["run"]["method"] for one in (*kept.values(), grown)}) == 3
    assert "With more videos" in page.read_text()
    assert "; of 1, then 2, then 3 videos" in page.read_text()
    assert ", 1 more for videos that were added" in page.read_text()
    reports = growth.reports(tmp_path / "run", grown, "folder-tiny-val")
    assert [one["run"]["all_videos"] for one in reports] == [1, 2, 3]
    other = grown | {"rules": grown["rules"] | {"phi_cut": 0.9}}
    assert growth.reports(tmp_path / "run", other, "folder-tiny-val") == []
    (texts,) = [re.findall(r"<text[^>]*>([^<]*)<", growth.chart(reports))]
    assert {"J", "mean L_A of a frame", "φ", "χ", "fused", "videos"} <= set(texts)


def test_without_truth_the_labels_tell(session):
    trainer, _, root = session
    run = dataclasses.replace(trainer.run, workdir=root / "grown")
    phases = snapshots.videos_by_phase(run)
    # The warm-up leaves no snapshot.
    assert phases == {name: int(name[0]) or 1 for name, _ in PHASES[1:]}
    found = growth.label_confidences(run.workdir, phases)
    assert found.keys() == {1, 2, 3} and found[1].keys() == {"phi"}
    stored = np.load(root / "grown" / "pseudo_labels" / "3-static.npz")
    assert found[3] == {
        "phi": pytest.approx(stored["confidence_phi"].mean(), rel=1e-6),
        "chi": pytest.approx(stored["confidence_chi"].mean(), rel=1e-6),
    }
    path = growth.write_label_confidences(run.workdir, phases)
    assert path == root / "grown" / "report" / "growth.svg"
    assert "mean L_A of a training frame" in path.read_text()
    path.unlink()
    assert growth.write_label_confidences(root / "one", {"0-dynamic": 1, "1-static": 1}) is None


# -- which videos those are -----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Prepares a folder of videos, and again when some are added, changed or removed."""
    from data_prep.datasets.drawing import draw_video
    from data_prep.prepare import prepare

    def make(*videos: tuple[str, int], name: str = "mine"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        for video, seed in videos:
            frames = draw_video("train", seed, frames=3, height=48, width=48).frames
            (tmp_path / name / video).mkdir(parents=True)
            for t, frame in enumerate(frames):
                assert cv2.imwrite(str(tmp_path / name / video / f"{t:05d}.png"), frame)
        options = {"data_dir": tmp_path / "data", "max_gap": 1, "flow_size": "native"}
        prepare(
            dataset="folder", source=tmp_path / name, name=name, jobs=1, progress=False, **options
        )

    return make


def stage_of(config, spec, tmp_path):
    config.data.dir = str(tmp_path / "data")
    return Stage.of(TrainingSet.open(config, spec), spec, 0, rounds=2)


def test_a_grown_folder_holds_the_videos_of_before(folder, tiny_config, tmp_path):
    folder(("b", 0), ("c", 1))
    before = stage_of(tiny_config, "folder/mine:train", tmp_path)
    folder(("a", 2), ("b", 0), ("c", 1))
    after = stage_of(tiny_config, "folder/mine:train", tmp_path)
    assert {name: after.videos[name] for name in before.videos} == before.videos
    stages = plan([before], after, 1, "there")
    assert [(stage.holds[:8], stage.rounds) for stage in stages] == [
        ("2 videos", 2),
        ("3 videos", 1),
    ]
    data = TrainingSet.open(tiny_config, "folder/mine:train")
    assert [frame.video for frame in data.frames] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    chosen = before.choose(data)
    assert [frame.video for frame in chosen.frames] == ["b"] * 3 + ["c"] * 3
    assert Stage.of(chosen, "folder/mine:train", 0, 2) == before

    folder(("a", 2), ("b", 7), ("c", 1))
    other = stage_of(tiny_config, "folder/mine:train", tmp_path)
    with pytest.raises(ValueError, match="1 changed .such as folder/mine:train/b"):
        plan([before], other, 1, "there")


def test_a_further_data_set_may_be_joined(folder, tiny_config, tmp_path):
    folder(("a", 0), ("b", 1))
    folder(("a", 2), name="yours")
    before = stage_of(tiny_config, "folder/mine:train", tmp_path)
    joined = "folder/yours:train+folder/mine:train"
    after = stage_of(tiny_config, joined, tmp_path)
    # Both have a video of this name, so that it bears its set's among the frames.
    assert list(after.videos) == [
        "folder/yours:train/a", "folder/mine:train/a", "folder/mine:train/b",
    ]  # fmt: skip
    assert len(plan([before], after, 1, "there")) == 2
    chosen = before.choose(TrainingSet.open(tiny_config, joined))
    assert [frame.video for frame in chosen.frames] == ["folder-mine-train-a"] * 3 + ["b"] * 3
    assert Stage.of(chosen, "folder/mine:train", 0, 2).videos == before.videos


def test_sets_of_earlier_versions_are_told_by_their_files(folder, tiny_config, tmp_path):
    folder(("a", 0), ("b", 1))

    def forget():
        (path,) = (tmp_path / "data").rglob("index-train.json")
        known = json.loads(path.read_text())
        path.write_text(
            json.dumps([{k: v for k, v in one.items() if k != "digest"} for one in known])
        )

    forget()
    before = stage_of(tiny_config, "folder/mine:train", tmp_path)
    assert stage_of(tiny_config, "folder/mine:train", tmp_path).videos == before.videos
    folder(("a", 0), ("b", 1), ("c", 2))
    forget()
    with pytest.raises(ValueError, match="2 changed"):
        plan([before], stage_of(tiny_config, "folder/mine:train", tmp_path), 1, "there")
