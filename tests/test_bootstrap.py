"""Algorithm 1 as a whole: its schedule, a complete run, kills and resumes, and when to stop."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import kills, loop
from configs import davis, demo
from dystab_jax import bootstrap
from dystab_jax.bootstrap import shortages
from dystab_jax.data import pipeline, records
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.runtime import parallel
from dystab_jax.runtime.interruption import Interrupted, Interruption
from dystab_jax.runtime.monitor import ADVICE, Guard, Log, TrainingStopped
from dystab_jax.schedule import Bootstrap, Phase, schedule
from dystab_jax.state import State
from tests.support.training import Trainer, assert_bitwise, copy, metrics_of, wait_for

# -- the schedule ---------------------------------------------------------------------------------

PAPER = {
    "rounds": 3,
    "growth_rounds": 1,
    "warm_up_epochs": 2.0,
    "dynamic_epochs": 30.0,
    "static_epochs": 15.0,
    "joint_epochs": 15.0,
    "label_flows": 6,
    "label_vote": True,
    "label_cut": 0.5,
    "label_crf": "none",
    "label_fused": False,
    "phi_updates": 3,
    "psi_updates": 1,
    "chi_updates": 1,
    "smallest_mask": 0.01,
    "patience": 20,
    "least_updates": 0,
}
SMALL = PAPER | {
    "warm_up_epochs": 0.0,
    "dynamic_epochs": 1.0,
    "static_epochs": 1.5,
    "joint_epochs": 0.5,
    "psi_updates": 0,
    "least_updates": 80,
}


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("label_cut", 1.0, "bootstrap.label_cut is 1.0; expected between 0 and 1"),
        ("label_crf", "dense", "bootstrap.label_crf is 'dense'; there are none, cis, light"),
        ("label_flows", 0, "bootstrap.label_flows is 0; expected 1 or more"),
    ],
)
def test_wrong_values_are_named(field, value, said):
    with pytest.raises(ValueError, match=said):
        Bootstrap(**PAPER | {field: value})


def test_schedule_of_the_paper_by_hand():
    # 2,000 frames, batches of 16: an epoch is 125 minibatches. A round of the game shows φ three.
    phases = schedule(Bootstrap(**PAPER), frames=2000, batch_size=16)
    assert phases == (
        Phase("0-warm_up", "warm_up", 0, 250, updates=1, first=False),
        Phase("0-dynamic", "dynamic", 250, 1500, updates=4, first=False),
        Phase("1-static", "static", 1500, 3375, updates=1, first=True),
        Phase("1-joint", "joint", 3375, 4000, updates=4, first=False),
        Phase("2-static", "static", 4000, 5875, updates=1, first=False),
        Phase("2-joint", "joint", 5875, 6500, updates=4, first=False),
        Phase("3-static", "static", 6500, 8375, updates=1, first=False),
        Phase("3-joint", "joint", 8375, 9000, updates=4, first=False),
    )


def test_a_step_of_chi_may_be_several_updates():
    options = Bootstrap(**PAPER | {"chi_updates": 8, "rounds": 1})
    warm_up, game, static, joint = schedule(options, frames=2000, batch_size=16)
    # 15 epochs of 125 minibatches are 1,875 updates of χ, 234 times eight.
    assert (static.end - static.start, static.updates) == (234, 8)
    assert (warm_up.updates, game.updates, joint.updates) == (1, 4, 4)
    (*_, refined) = schedule(options, 2000, 16, [("self_training", "self_training", 1600)])
    assert (refined.end - refined.start, refined.updates) == (12, 8)


def test_videos_that_are_added_make_rounds_of_their_own():
    options = Bootstrap(**PAPER | {"rounds": 1, "warm_up_epochs": 0.0, "joint_epochs": 3.0})
    before = schedule(options, frames=160, batch_size=16)
    after = schedule(options, 160, 16, growth=[(320, 2), (480, 1)])
    assert after[:3] == before
    # 320 and 480 frames in batches of 16: 15 epochs of χ, 3 of φ in steps of 3 updates.
    assert [(phase.name, phase.end - phase.start, phase.stage) for phase in after[3:]] == [
        ("2-static", 300, 1), ("2-joint", 20, 1), ("3-static", 300, 1), ("3-joint", 20, 1),
        ("4-static", 450, 2), ("4-joint", 30, 2),
    ]  # fmt: skip
    assert not any(phase.first for phase in after[3:])


def test_phases_without_steps_are_left_out():
    options = PAPER | {"rounds": 1, "warm_up_epochs": 0.0, "joint_epochs": 0.0}
    phases = schedule(Bootstrap(**options), frames=100, batch_size=10)
    assert [(phase.name, phase.start, phase.end) for phase in phases] == [
        ("0-dynamic", 0, 100),
        ("1-static", 100, 250),
    ]
    # Half an epoch of 100 frames in batches of 16 is 3.125 steps.
    options |= {"rounds": 0, "warm_up_epochs": 0.5, "dynamic_epochs": 0.0}
    (phase,) = schedule(Bootstrap(**options), frames=100, batch_size=16)
    assert (phase.name, phase.end) == ("0-warm_up", 3)


def updates_of(options, frames, batch_size=8):
    """Updates of each phase's learner up to the end of round 1."""
    phases = schedule(Bootstrap(**options), frames, batch_size)
    return {
        phase.name: (phase.end - phase.start) * (1 if phase.kind in ("warm_up", "static") else 3)
        for phase in phases
        if phase.name[0] in "01"
    }


@pytest.mark.parametrize(
    ("frames", "by_epochs", "lengthened"),
    [
        # A round of the game is three updates of φ: 27 rounds are the fewest with 80.
        (10, {"1-static": 2}, {"0-dynamic": 81, "1-static": 80, "1-joint": 81}),
        (
            60,
            {"0-dynamic": 6, "1-static": 11, "1-joint": 3},
            {"0-dynamic": 81, "1-static": 80, "1-joint": 81},
        ),
        (1385, *[{"0-dynamic": 174, "1-static": 260, "1-joint": 87}] * 2),
    ],
)
def test_phases_of_a_small_corpus_are_lengthened(frames, by_epochs, lengthened):
    assert updates_of(SMALL | {"least_updates": 0}, frames) == by_epochs
    assert updates_of(SMALL, frames) == lengthened


@pytest.mark.parametrize(
    ("make", "frames"),
    [
        (lambda: davis.get_config("small"), 1385),  # 21 of DAVIS-2016's training videos
        (lambda: davis.get_config("small"), 2079),  # all 30
        (davis.get_config, 2079),
        (lambda: davis.get_config("literal"), 2079),
        (demo.get_config, 960),  # movers
    ],
)
def test_the_corpora_of_the_configs_are_large_enough(make, frames):
    config = make()
    options, batch_size = Bootstrap(**config.bootstrap), config.data.batch_size
    assert options.least_updates > 0
    by_epochs = dataclasses.replace(options, least_updates=0)
    assert schedule(options, frames, batch_size) == schedule(by_epochs, frames, batch_size)
    assert shortages(options, frames, batch_size) == []


def test_no_epochs_leave_a_phase_out_on_purpose():
    options = SMALL | {"joint_epochs": 0.0}
    assert updates_of(options, 10) == {"0-dynamic": 81, "1-static": 80}
    said, few = shortages(Bootstrap(**options), 5, 8)
    assert "joint" not in said and "warm_up" not in said
    # 5 frames: 80 updates of 8 are 128 epochs.
    assert "dynamic 130 epochs in place of 1, static 128 epochs in place of 1.5" in said
    assert "5 frames are fewer than one batch (data.batch_size=8)" in few


def test_what_too_few_frames_change_is_said():
    (said,) = shortages(Bootstrap(**SMALL), 60, 8)
    assert said.startswith("60 frames in batches of 8 make few updates")
    assert "bootstrap.least_updates=80" in said
    changes = "dynamic 10.8 epochs in place of 1, static 10.7 epochs in place of 1.5, joint 10.8"
    assert changes in said
    # Without a minimum 10 frames leave the game out.
    (said,) = shortages(Bootstrap(**SMALL | {"least_updates": 0}), 10, 8)
    assert "dynamic 0 epochs in place of 1, joint 0 epochs in place of 0.5" in said
    assert "static" not in said
    # Nothing is said of phases that no round has.
    (said,) = shortages(Bootstrap(**SMALL | {"rounds": 0}), 60, 8)
    assert "dynamic" in said and "static" not in said


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"least_updates": -1}, "least_updates is -1"),
        ({"phi_updates": 0}, "phi_updates is 0"),
        ({"psi_updates": -1}, "psi_updates is -1"),
        ({"chi_updates": 0}, "chi_updates is 0"),
        ({"joint_epochs": -0.5}, "joint_epochs is -0.5"),
        ({"rounds": -1}, "rounds is -1"),
    ],
)
def test_impossible_schedules_stop(option, said):
    with pytest.raises(ValueError, match=f"bootstrap.{said}"):
        Bootstrap(**PAPER | option)


def test_a_step_is_handed_its_networks_and_no_others(monkeypatch):
    state = State(step=5, phi="φ", psi="ψ", chi="χ", chi_previous="χ′")

    def step(own, batch):
        assert own == State(step=5, phi=None, psi=None, chi="χ", chi_previous=None)
        return own.replace(step=6, chi="learned from " + batch), {"loss": 1.0}

    monkeypatch.setattr(bootstrap, "step_of", lambda *_: step)
    monkeypatch.setattr(parallel, "map_step", lambda step, mesh: step)
    phase = Phase("1-static", "static", 0, 1, updates=1, first=True)
    function = bootstrap.map_phase(phase, None, Bootstrap(**PAPER), None)
    after, metrics = function(state, "a batch")
    assert after == state.replace(step=6, chi="learned from a batch")
    assert metrics == {"loss": 1.0}


# -- a complete run -------------------------------------------------------------------------------

STEPS = 18
BOUNDARIES = {3: "0-warm_up", 6: "0-dynamic", 9: "1-static", 12: "1-joint", 15: "2-static"}


# After how many steps a run is killed: the step it goes on from. Within each kind of phase, and at
# a border between two.
KILLED = {2: 2, 5: 4, 9: 9, 14: 14, 17: 16}
# Killed while the newest checkpoint may still be being written.
KILLED_AT_WORK = (1, 8)


@pytest.fixture(scope="module")
def session(new_tiny_config, tmp_path_factory):
    """A trainer, the state after an undisturbed run, and its workdir before every step."""
    config = new_tiny_config()
    config.bootstrap.rounds = 2
    with pytest.MonkeyPatch.context() as patch:
        trainer = Trainer(config, patch)
        root = tmp_path_factory.mktemp("runs")

        def kill(step):
            if step in KILLED:
                wait_for(root / "whole" / "checkpoints" / str(KILLED[step]))
            copy(root / "whole", root / f"killed-{step}")

        trainer.before = kill
        state = trainer.train(root / "whole", log__checkpoint_every=2)
        trainer.before = lambda step: None
        yield trainer, state, root


def test_a_complete_run(session):
    _, state, root = session
    assert state.step == STEPS
    # Warm-up, dynamic and two joint phases of ψ; dynamic and joint of φ; two static ones of χ.
    assert (state.psi.updates, state.phi.updates, state.chi.updates) == (12, 9, 6)
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()
    labels = sorted(path.name for path in (root / "whole" / "pseudo_labels").iterdir())
    assert labels == ["1-static.npz", "2-static.npz"]

    lines = metrics_of(root / "whole")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    phases = [line["phase"] for line in lines]
    assert phases == [name for name in [*BOUNDARIES.values(), "2-joint"] for _ in range(3)]
    learners = [
        sorted({key.partition("/")[0] for key in line} - {"step", "phase"}) for line in lines
    ]
    game = [["phi", "psi"]] * 3
    assert learners == [["psi"]] * 3 + game + ([["chi"]] * 3 + game) * 2


@pytest.mark.parametrize("killed", [*KILLED, *KILLED_AT_WORK])
def test_a_killed_run_ends_where_the_undisturbed_one_did(session, tmp_path, killed):
    trainer, expected, root = session
    shutil.copytree(root / f"killed-{killed}", tmp_path / "run")
    ran = []
    trainer.before = ran.append
    assert_bitwise(trainer.train(tmp_path / "run"), expected)
    trainer.before = lambda step: None
    assert ran == list(range(ran[0], STEPS))
    assert ran[0] == KILLED[killed] if killed in KILLED else ran[0] <= killed
    assert metrics_of(tmp_path / "run") == metrics_of(root / "whole")


def test_an_interrupted_run_has_saved_what_it_began_to_save(session, tmp_path):
    trainer, expected, root = session

    def interrupt(step):
        if step == 8:
            raise KeyboardInterrupt

    trainer.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        trainer.train(tmp_path / "run", log__checkpoint_every=8)
    ran = []
    trainer.before = ran.append
    # Half a line, as a kill may leave it.
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "pha')
    assert_bitwise(trainer.train(tmp_path / "run"), expected)
    trainer.before = lambda step: None
    assert ran == list(range(8, STEPS))
    assert metrics_of(tmp_path / "run") == metrics_of(root / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [7, 8])  # within a phase, and at its end
def test_a_signal_saves_the_step_under_way(session, tmp_path, number, step):
    trainer, expected, root = session
    trainer.before = lambda now: os.kill(os.getpid(), number) if now == step else None
    with Interruption() as interruption, pytest.raises(Interrupted) as caught:
        trainer.train(tmp_path / "run", interruption)
    assert f"{number.name}: saved at step {step + 1} of {STEPS}" in str(caught.value)
    assert caught.value.exit_status == 128 + number
    ran = []
    trainer.before = ran.append
    assert_bitwise(trainer.train(tmp_path / "run"), expected)
    trainer.before = lambda step: None
    assert ran == list(range(step + 1, STEPS))
    assert metrics_of(tmp_path / "run") == metrics_of(root / "whole")


def test_a_finished_run_returns_at_once(session):
    trainer, expected, root = session

    def fail(step):
        raise AssertionError("nothing is left to do")

    trainer.before = fail
    before = (root / "whole" / "metrics.jsonl").read_bytes()
    assert_bitwise(trainer.train(root / "whole"), expected)
    trainer.before = lambda step: None
    assert (root / "whole" / "metrics.jsonl").read_bytes() == before


def test_training_says_that_its_data_are_few(session, tmp_path, capsys):
    trainer, _, root = session
    shutil.copytree(root / "whole", tmp_path / "run")
    trainer.train(tmp_path / "run")
    assert "warning" not in capsys.readouterr().out
    trainer.before = lambda step: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(tmp_path / "new", bootstrap__least_updates=30)
    trainer.before = lambda step: None
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert said.startswith("warning: folder/tiny:train: 12 frames in batches of 4 make few")
    assert "warm_up 10 epochs in place of 1, dynamic 10 epochs in place of 1" in said


def test_labels_and_previous_chi_belong_to_their_phase(session):
    _, state, root = session
    # χ′ is the average of χ from before the second static phase, unlike χ by now.
    leaves = [jax.tree.leaves(tree) for tree in (state.chi_previous, state.chi.average)]
    assert not all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))
    first, second = (np.load(root / "whole" / "pseudo_labels" / f"{n}-static.npz") for n in (1, 2))
    assert not np.array_equal(first["motion_mask"], second["motion_mask"])
    assert not np.array_equal(first["confidence_chi"], second["confidence_chi"])


def test_how_often_is_told_is_how_often_was_asked(session, tmp_path):
    trainer, expected, root = session
    assert_bitwise(trainer.train(tmp_path / "run", log__every=4), expected)
    told = [line["step"] for line in metrics_of(tmp_path / "run")]
    # Every fourth step and where phases end, each once.
    assert told == [3, 4, 6, 8, 9, 12, 15, 16, 18]
    whole = {line["step"]: line for line in metrics_of(root / "whole")}
    assert metrics_of(tmp_path / "run") == [whole[step] for step in told]


# -- when to stop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("poisoned", [4, 5])
def test_a_loss_that_is_not_finite_stops_the_run(session, tmp_path, poisoned):
    # The update that ends step 4 (where a checkpoint is due) or 5 breaks φ.
    trainer, expected, root = session

    def poison(state, metrics):
        if int(state.step) == poisoned:
            broken = jax.tree.map(lambda leaf: leaf * jnp.nan, state.phi.variables)
            state = state.replace(phi=state.phi.replace(variables=broken))
        return state, metrics

    trainer.after = poison
    with pytest.raises(TrainingStopped) as caught:
        trainer.train(tmp_path / "run", log__checkpoint_every=4)
    trainer.after = lambda state, metrics: (state, metrics)
    assert "0-dynamic" in str(caught.value) and ADVICE in str(caught.value)
    # What was saved is whole: without the poison the run goes on from there to the same end.
    saved = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert max(saved) == {4: 3, 5: 4}[poisoned]
    if poisoned == 4:
        assert_bitwise(trainer.train(tmp_path / "run"), expected)
        assert metrics_of(tmp_path / "run") == metrics_of(root / "whole")


def test_collapsed_masks_stop_the_run(session, tmp_path):
    trainer, _, _ = session
    options = {"bootstrap__smallest_mask": 0.49, "bootstrap__patience": 1}
    with pytest.raises(TrainingStopped, match=r"masks have collapsed in phase 0-dynamic") as caught:
        trainer.train(tmp_path / "run", **options)
    assert "under bootstrap.smallest_mask=0.49" in str(caught.value)
    assert "2 measurements" in str(caught.value) and ADVICE in str(caught.value)
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == [1, 2, 3, 4, 5]


def test_guard_counts_measurements_in_a_row():
    guard = Guard(smallest_mask=0.1, patience=2)
    for area in (0.05, 0.95, 0.5, 0.0, 1.0):
        guard.check("1-joint", {"phi/mask_area": area})
    # φ and χ are counted apart.
    guard.check("1-static", {"chi/mask_area": 0.0})
    with pytest.raises(TrainingStopped, match=r"phi/mask_area is 0.0500 .* for 3 measurements"):
        guard.check("1-joint", {"phi/mask_area": 0.05})


@pytest.mark.parametrize("area", [0.001, 0.999])
def test_guard_warns_of_masks_of_nothing_or_all(area, capsys):
    guard = Guard(0.01, 20)
    for value in (area, area, 0.5, area, area):
        guard.check("1-static", {"chi/mask_area": value})
    assert not capsys.readouterr().out
    for _ in range(3):
        guard.check("1-static", {"chi/mask_area": area})
    said = capsys.readouterr().out
    assert said.count("warning: phase 1-static: chi/mask_area is") == 1
    assert "bootstrap.least_updates" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_guard_stops_at_what_is_not_finite(value):
    with pytest.raises(TrainingStopped, match=f"psi/loss is {value} in phase 0-warm_up"):
        Guard(0.01, 20).check("0-warm_up", {"psi/loss": value})


def test_guard_says_once_that_nothing_is_trusted_any_more(capsys):
    guard = Guard(0.01, 20)
    for trusted in (0, 0, 0, 0, 0.25, 0, 0, 0, 0):
        guard.check("1-static", {"chi/trusted": trusted})
        guard.check("1-joint", {"phi/loss": 1.0})
    assert not capsys.readouterr().out
    for _ in range(3):
        guard.check("1-static", {"chi/trusted": 0.0})
    assert capsys.readouterr().out.count("5 measured batches in a row") == 1


def test_log_forgets_what_will_be_measured_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path, 0)
    for step in (1, 2, 3):
        log.write(step, "0-warm_up", {"psi/loss": step / 3})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 1')
    log = Log(path, 2)
    log.write(3, "0-warm_up", {"psi/loss": 7})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "phase": "0-warm_up", "psi/loss": 0.333333},
        {"step": 2, "phase": "0-warm_up", "psi/loss": 0.666667},
        {"step": 3, "phase": "0-warm_up", "psi/loss": 7},
    ]


# -- what stops before the first step -------------------------------------------------------------


@pytest.mark.parametrize("field", ["every", "checkpoint_every", "keep_checkpoints"])
def test_intervals_of_zero_stop(session, tmp_path, field):
    trainer, _, _ = session
    with pytest.raises(ValueError, match=rf"log.{field} is 0; expected 1 or more"):
        trainer.train(tmp_path / "run", **{f"log__{field}": 0})


def test_threads_below_zero_stop(session, tmp_path):
    trainer, _, _ = session
    with pytest.raises(ValueError, match="data.threads is -1; expected 0 or more"):
        trainer.train(tmp_path / "run", data__threads=-1)


def test_missing_data_tells_how_to_prepare_them(session, tmp_path):
    trainer, _, _ = session
    with pytest.raises(FileNotFoundError, match="data_prep.prepare --dataset=davis2016 --source"):
        trainer.train(tmp_path / "run", data__train="davis2016:train")


def test_a_run_does_not_go_on_with_other_data(session, tmp_path, monkeypatch):
    trainer, _, root = session
    shutil.copytree(root / "whole", tmp_path / "run")
    grouped = pipeline.frames_of
    monkeypatch.setattr(pipeline, "frames_of", lambda source: grouped(source)[:-1])
    expected = (
        r"folder/tiny:train is not what \S+checkpoints was trained on: it held 3 videos, 12 "
        r"frames, \d+ pairs, and holds 3 videos, 11 frames, \d+ pairs now; 1 changed \(such as "
        r"folder/tiny:train/video2\). Videos may be added, and .* Prepare it as it was"
    )
    with pytest.raises(ValueError, match=expected):
        trainer.train(tmp_path / "run")


def test_replaced_data_are_noticed(session, tmp_path, monkeypatch):
    trainer, _, root = session
    shutil.copytree(root / "whole", tmp_path / "run")
    content = records.RecordSource.contents
    monkeypatch.setattr(
        records.RecordSource,
        "contents",
        lambda self: {k: one._replace(digest="another") for k, one in content(self).items()},
    )
    with pytest.raises(ValueError, match="now with other content; 3 changed"):
        trainer.train(tmp_path / "run")


def test_a_corrupt_record_is_named(session, tmp_path, tiny_data):
    trainer, _, _ = session
    shutil.copytree(tiny_data, tmp_path / "data")
    for path in (tmp_path / "data").rglob("*train*array_record*"):
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 2000] = bytes(2000)
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"folder/tiny:train.*video\d.*--overwrite"):
        trainer.train(tmp_path / "run", data__dir=str(tmp_path / "data"))


# -- benchmarks of it -----------------------------------------------------------------------------


def test_the_benchmark_of_the_loop_trains_as_training_does(session, tmp_path):
    trainer, *_ = session
    ran = []
    trainer.before = ran.append
    run = dataclasses.replace(trainer.run, workdir=tmp_path)
    measured = dict(loop.measure(run, loop.PHASES, most=2))
    trainer.before = lambda step: None
    assert tuple(measured) == loop.PHASES
    # Of each kind two steps to start with, two in the loop, two by themselves.
    assert ran == list(range(18))
    for one in measured.values():
        assert one.steps == 2 and min(one.loop, one.alone, one.data) > 0
    assert (tmp_path / "checkpoints" / "12").exists()
    with pytest.raises(ValueError, match="no phase of kind supervised"):
        next(loop.measure(run, ["supervised"], most=2))


def test_what_killed_runs_are_compared_by(session, tmp_path):
    trainer, _, root = session
    runs = [tmp_path / name for name in ("one", "other")]
    for run in runs:
        shutil.copytree(root / "whole", run)
    assert kills.differences(*runs) == []
    lines = (runs[1] / "metrics.jsonl").read_text().replace('"psi/loss": ', '"psi/loss": 1')
    (runs[1] / "metrics.jsonl").write_text(lines)
    labels = PseudoLabels.load(runs[1] / "pseudo_labels" / "2-static.npz")
    bits = labels._bits["motion_mask"].copy()
    bits[0, 0] ^= 1
    labels._bits["motion_mask"] = bits
    labels.save(runs[1] / "pseudo_labels" / "2-static.npz")
    shutil.rmtree(runs[1] / "phases" / "6")
    shutil.copytree(runs[1] / "phases" / "9", runs[1] / "phases" / "6")
    found = kills.differences(*runs)
    assert "metrics.jsonl" in found
    assert "pseudo_labels/2-static.npz: motion_mask" in found
    assert any(one.startswith("phases/6: ['chi']") for one in found)
    shutil.rmtree(runs[1] / "checkpoints" / "18")
    assert any(one.startswith("checkpoints: ") for one in kills.differences(*runs))
