"""What a user meets: run.py, its errors, and one small run from training to masks."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from absl.testing import flagsaver

from benchmarks.settings import load_config
from data_prep.flow import FlowOptions
from data_prep.video import Recipe
from dystab_jax.commands import main, masks, overrides, predict, runs, train_and_score
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation import saved_config
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.prediction.flow_of_training import Asked
from dystab_jax.runtime import locks

ROOT = Path(__file__).resolve().parents[2]


def run_py(*arguments):
    command = [sys.executable, "run.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def open_run(config, workdir, mode):
    """The single run of a config."""
    (run,) = runs.open_runs(config, workdir, mode)
    return run


def test_help_explains_every_flag():
    text = run_py("--help").stdout
    for flag in ("--config", "--workdir", "--mode", "--input", "--output", "--flow_weights"):
        assert flag in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode=tables"], "--workdir or --config is needed, such as --config=configs/demo.py"),
        (["--workdir=w", "--mode=export"], "--mode=export needs --output"),
        (["--workdir=w", "x"], "unexpected arguments ['x']; flags start with --"),
    ],
)
def test_what_a_command_lacks_is_said_in_one_line(words, said):
    done = run_py(*words)
    assert done.returncode != 0 and not done.stdout
    assert done.stderr == f"error: {said}; --help lists the flags\n"


def test_a_run_without_workdir_says_where_it_is():
    done = run_py("--config=configs/davis.py:literal", "--mode=eval")
    assert done.stdout == f"workdir {ROOT / 'runs' / 'davis-literal'}\n"
    assert "holds no run; train first" in done.stderr


def test_a_misspelt_override_stops_with_the_accepted_names(tmp_path):
    done = run_py(
        "--config=configs/demo.py", f"--workdir={tmp_path / 'w'}", "--config.phi.optimizr.name=sgd"
    )
    assert done.returncode != 0
    assert "has no field 'optimizr'; it has average_decay, model, optimizer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


def test_a_misspelt_optimizer_stops_before_anything_is_written(tmp_path):
    done = run_py(
        "--config=configs/demo.py", f"--workdir={tmp_path / 'w'}", "--config.phi.optimizer.name=adm"
    )
    assert done.returncode != 0
    assert "optimizer 'adm' is unknown; choose one of adam, adamw" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


def test_a_misspelt_variant_stops_in_one_line(tmp_path):
    done = run_py("--config=configs/davis.py:smal", f"--workdir={tmp_path / 'w'}")
    assert done.returncode != 0
    assert "no variant 'smal'; there are davis.py:literal, davis.py:small" in done.stderr
    assert "Traceback" not in done.stderr


def test_overrides_arrive(tmp_path):
    done = run_py(
        "--config=configs/davis.py:small",
        f"--workdir={tmp_path}",
        f"--config.data.dir={tmp_path}",
        "--config.phi.optimizer.name=adamw",
        "--config.phi.optimizer.weight_decay=1e-4",
        "--config.data.image_size=(64,96)",
    )
    # The networks are built, and then there is nothing to train on.
    assert done.returncode != 0
    assert f"--dataset=davis2016 --source=DIR --data_dir={tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["phi"]["optimizer"]["name"] == "adamw"
    assert config["phi"]["optimizer"]["weight_decay"] == 1e-4
    assert config["data"]["image_size"] == [64, 96]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config=configs/none.py"], "there is no file configs/none.py"),
        (["--config", "configs/none.py"], "there is no file configs/none.py"),
        (["--config=configs/davis.py:tiny"], "no variant 'tiny'; there are davis.py:literal"),
        (["--config=configs/demo.py:small"], "configs/demo.py has no variants, got 'small'"),
    ],
)
def test_a_config_that_cannot_be_had(monkeypatch, words, said):
    monkeypatch.chdir(ROOT)
    with pytest.raises((FileNotFoundError, ValueError), match=said):
        overrides.check_config(["run.py", *words, "--workdir=w"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config=configs/demo.py"], "config.log.evry=3: config.log has no field 'evry'; it has"),
        (
            ["--config", "configs/demo.py"],
            "config.log has no field 'evry'; it has checkpoint_every",
        ),
        (["-config=configs/davis.py:small"], "config.log has no field 'evry'"),
        (["--config=configs/demo.py", "--config.seed.x=1"], "config.seed has no field 'x'"),
    ],
)
def test_overrides_are_explained(monkeypatch, words, said):
    monkeypatch.chdir(ROOT)
    overrides.check_config(["run.py", *words])
    explained = overrides.explain_override(["run.py", *words, "--config.log.evry=3"], KeyError("?"))
    assert said in explained


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_overrides_alone_change_the_config_of_the_workdir(tmp_path, tiny_config, monkeypatch):
    monkeypatch.chdir(ROOT)
    tiny_config.eval.crf = "cis"
    open_run(tiny_config, tmp_path, "train")
    words = ["run.py", f"--workdir={tmp_path}", "--config.eval.crf=guided"]
    _, given, *others = overrides.name_saved_config(words)
    assert others == words[1:]
    path = given.partition("=")[2]
    changed = load_config(path, ["eval.crf=guided"])
    assert changed.eval.crf == "guided"
    changed.eval.crf = "cis"
    assert changed.to_dict() == saved_config.read(tmp_path).to_dict()
    for sufficient in ([*words, "--config=configs/demo.py"], words[:-1], [words[0], words[-1]]):
        assert overrides.name_saved_config(sufficient) == sufficient

    done = run_py(*words[1:], "--mode=predict", "--config.eval.crff=guided")
    assert "config.eval has no field 'crff'; it has adaptation, batch_size, crf, " in done.stderr
    done = run_py(f"--workdir={tmp_path / 'absent'}", *words[2:])
    assert "holds no run; train first" in done.stderr


def test_predict_needs_input_and_output(tmp_path):
    done = run_py(f"--workdir={tmp_path}", "--mode=predict")
    assert done.returncode != 0
    assert "needs --input and --output" in done.stderr + done.stdout


def test_eval_without_a_run_says_how_to_train(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run; train first"):
        train_and_score.evaluate(None, tmp_path)


def test_eval_before_the_first_checkpoint(tmp_path, tiny_config):
    open_run(tiny_config, tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet; train first"):
        train_and_score.evaluate(None, tmp_path)


def test_training_needs_a_config(tmp_path):
    with pytest.raises(ValueError, match="--config is needed to train"):
        train_and_score.train(None, tmp_path)


def test_a_workdir_that_cannot_be_written(tmp_path, tiny_config):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written.*choose another"):
        open_run(tiny_config, tmp_path / "file" / "run", "train")


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"seed": ', "is not json"), ("[1, 2]", "holds a list where a config is expected")],
)
def test_a_damaged_config_json_is_named(tmp_path, tiny_config, text, said):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config.json {said}"):
        open_run(tiny_config, tmp_path, "train")


def test_a_run_at_work_is_left_alone(tmp_path, tiny_config):
    with locks.hold(tmp_path), pytest.raises(ValueError, match=f"{tmp_path} is in use by process"):
        next(runs.open_runs(tiny_config, tmp_path, "train"))
    assert not (tmp_path / "config.json").exists()


def test_a_run_is_free_again_when_the_next_one_begins(tmp_path, tiny_config):
    tiny_config.runs = (("one", ()), ("two", (("seed", 1),)))
    opened = runs.open_runs(tiny_config, tmp_path, "train")
    next(opened)
    with pytest.raises(ValueError, match="in use"), locks.hold(tmp_path / "one"):
        pass
    next(opened)
    with locks.hold(tmp_path / "one"):
        pass
    opened.close()
    with locks.hold(tmp_path / "two"):
        pass


def test_another_config_is_refused_once_there_are_checkpoints(tmp_path, tiny_config):
    open_run(tiny_config, tmp_path, "train")
    tiny_config.seed = 5
    open_run(tiny_config, tmp_path, "train")  # nothing to lose yet
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    tiny_config.seed = 6
    with pytest.raises(ValueError, match="seed is 6, was 5.*another --workdir"):
        open_run(tiny_config, tmp_path, "train")
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 5
    tiny_config.seed = 5
    tiny_config.eval.jobs = 2  # scoring may change
    tiny_config.data.threads = 1
    open_run(tiny_config, tmp_path, "train")


def test_rounds_can_be_added_and_not_taken_away(tmp_path, tiny_config):
    tiny_config.bootstrap.rounds = 2
    open_run(tiny_config, tmp_path, "train")
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    tiny_config.bootstrap.rounds = 3
    open_run(tiny_config, tmp_path, "train")
    assert json.loads((tmp_path / "config.json").read_text())["bootstrap"]["rounds"] == 3
    tiny_config.bootstrap.rounds = 2
    with pytest.raises(ValueError, match="bootstrap.rounds is 2, was 3"):
        open_run(tiny_config, tmp_path, "train")


def test_no_rounds_can_be_added_before_a_phase_that_follows_the_loop(tmp_path, tiny_config):
    tiny_config.self_training.data = "msra_b:all"
    open_run(tiny_config, tmp_path, "train")
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    tiny_config.bootstrap.rounds += 1
    with pytest.raises(ValueError, match="bootstrap.rounds is"):
        open_run(tiny_config, tmp_path, "train")


def test_another_config_says_all_that_differs(tmp_path, tiny_config):
    open_run(tiny_config, tmp_path, "train")
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    tiny_config.loss.margin = 0.3
    tiny_config.phi.optimizer.name = "sgd"
    with pytest.raises(ValueError) as caught:
        open_run(tiny_config, tmp_path, "train")
    assert "loss.margin is 0.3, was 0.2; phi.optimizer.name is 'sgd', was 'adam'" in str(
        caught.value
    )


def test_the_stored_config_gives_the_same_run(tmp_path, tiny_config):
    given = open_run(tiny_config, tmp_path, "train")
    stored = open_run(None, tmp_path, "predict")
    assert stored.config.to_dict() == given.config.to_dict()
    assert stored.steps.psi.network == given.steps.psi.network


def test_missing_data_name_the_command(tmp_path, tiny_config):
    tiny_config.data.train = "folder/absent:train"
    with pytest.raises(FileNotFoundError, match="data_prep.prepare --dataset=folder"):
        train_and_score.train(tiny_config, tmp_path)


def test_from_training_to_masks(tmp_path, tiny_config, capsys):
    """One tiny run through train (with evaluation and report), eval and predict."""
    workdir = tmp_path / "run"
    train_and_score.train(tiny_config, workdir)
    said = capsys.readouterr().out
    assert "J by group" not in said  # a folder data set has no groups
    assert re.search(r"parameters: phi [\d,]+, psi [\d,]+, chi [\d,]+; state: \d+ MB", said)
    assert re.search(r"time    1-static: [\d.]+ min, 3 steps, [\d.]+ a second", said)
    assert list((workdir / "tensorboard").glob("*.tfevents.*"))
    name = "folder-tiny-val"
    report = json.loads((workdir / "eval" / f"{name}.json").read_text())
    assert [(row["model"], row["crf"]) for row in report["rows"]] == [
        *((model, "none") for model in eval_options.MODELS),
        ("fused", tiny_config.eval.crf),
    ]
    assert report["oracle"] is False
    assert report["sequences"] == 3
    assert (workdir / "report" / "index.html").stat().st_size > 10_000
    written = sorted((workdir / "masks" / name / "fused").rglob("*.png"))
    assert len(written) == report["frames"] == 12
    assert set(np.unique(cv2.imread(str(written[0]), cv2.IMREAD_UNCHANGED))) <= {0, 255}

    train_and_score.evaluate(None, workdir)
    again = json.loads((workdir / "eval" / f"{name}.json").read_text())
    assert again == report

    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8))
    masks.predict_masks(None, workdir, image, tmp_path / "out")
    assert cv2.imread(str(tmp_path / "out" / "image.png"), 0).shape == (50, 70)
    assert "note:" not in capsys.readouterr().out  # an image needs no flow
    kept = json.loads((workdir / "preparation.json").read_text())
    assert kept == {"folder/tiny:train": {"flow": "dis", "flow_size": "native", "max_gap": 2}}


def test_prediction_takes_flow_as_in_training(tmp_path, tiny_config, monkeypatch, capsys):
    tiny_config.data.dir, asked_for = str(tmp_path / "gone"), []
    kept = {"flow": "dis", "flow_size": "320x192", "max_gap": 1}
    (tmp_path / "preparation.json").write_text(json.dumps({"folder/tiny:train": kept}))
    run = SimpleNamespace(config=tiny_config, workdir=tmp_path)
    snapshot = Snapshot("1-joint", True, 3, True, {"chi": {}})
    monkeypatch.setattr(masks, "open_runs", lambda *_: [run])
    monkeypatch.setattr(masks.snapshot_choice, "chosen", lambda *_: [snapshot])
    monkeypatch.setattr(masks, "Engine", lambda *given: given[-1])
    monkeypatch.setattr(masks.predict, "predict", lambda *given: asked_for.append(given[0]) or [])
    masks.predict_masks(None, tmp_path, tmp_path, tmp_path)
    said = capsys.readouterr().out
    assert "note: flow as in training: --flow=dis --flow_size=320x192 --max_gap=1\n" in said
    masks.predict_masks(None, tmp_path, tmp_path, tmp_path, Asked(max_gap=2))
    assert asked_for == [
        Recipe(FlowOptions("dis"), 1, (320, 192)),
        Recipe(FlowOptions("dis"), 2, (320, 192)),
    ]


def test_the_flags_of_prediction_arrive(tmp_path, monkeypatch):
    arrived = []
    monkeypatch.setattr(masks, "predict_masks", lambda *given: arrived.append(given[4:]))
    with flagsaver.flagsaver(
        workdir=str(tmp_path), mode="predict", input="in", output="out", flow="raft_small",
        flow_weights=str(tmp_path / "w.pth"), flow_size="320x192", flow_iterations=6,
        flow_precision="bfloat16", max_gap=2, format=["soft", "coco"], instances=True, adapt=True,
    ):  # fmt: skip
        main._work(tmp_path)
    with flagsaver.flagsaver(workdir=str(tmp_path), mode="predict", input="in", output="out"):
        main._work(tmp_path)
    flow = Asked("raft_small", tmp_path / "w.pth", 6, "bfloat16", "320x192", 2)
    wanted = predict.Wanted(["soft", "coco"], instances=True)
    assert arrived == [
        (flow, wanted, True),
        (Asked(), predict.Wanted(["png", "video"], instances=False), None),
    ]


def test_an_unknown_format_is_refused_before_anything_is_loaded(tmp_path):
    done = run_py("predict", f"--input={tmp_path}", f"--output={tmp_path / 'out'}", "--format=jpg")
    assert done.returncode == 1
    assert "error: format 'jpg'; expected some of png, soft, rgba, video, coco" in done.stderr


def test_the_first_word_may_be_the_mode(tmp_path):
    assert overrides.name_mode(["run.py", "predict", "--input=a"]) == [
        "run.py",
        "--mode=predict",
        "--input=a",
    ]
    for words in (["run.py"], ["run.py", "--mode=eval", "predict"], ["run.py", "guess"]):
        assert overrides.name_mode(words) == words


def test_configs_of_the_program_are_found_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = ROOT / "configs" / "davis.py"
    words = ["dystab", "--config=configs/davis.py:small", "--config.seed=1"]
    found = overrides.name_installed_config(words)
    assert found == ["dystab", f"--config={own}:small", "--config.seed=1"]
    # One's own goes before it, and what is nowhere stays as it is written.
    assert overrides.name_installed_config(["dystab", "--config=mine.py"])[1] == "--config=mine.py"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "davis.py").write_text("")
    assert overrides.name_installed_config(words) == words
