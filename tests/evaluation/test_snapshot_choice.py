"""The best of the supervised checks: which is taken, and what is measured for it."""

import json
from types import SimpleNamespace

import pytest

from dystab_jax.evaluation import score_run, snapshot_choice, snapshots
from dystab_jax.evaluation.snapshots import Snapshot


@pytest.fixture
def supervised(monkeypatch, tmp_path):
    """A run with three supervised checks; ``scores`` says J, ``measured`` what was asked for."""
    steps = {"3-joint": 9, "supervised-1": 10, "supervised-2": 11, "supervised-3": 12}
    measured, scores = [], {"supervised-1": 0.5, "supervised-2": 0.7, "supervised-3": 0.6}
    config = SimpleNamespace(supervised=SimpleNamespace(select="set:select", checks=3))
    run = SimpleNamespace(workdir=tmp_path, config=config)

    def mean_j(_, snapshot, spec):
        measured.append((snapshot.phase, spec))
        return scores[snapshot.phase]

    monkeypatch.setattr(snapshots, "phase_steps", lambda _: steps)
    monkeypatch.setattr(
        snapshots, "at_end_of", lambda _, name: Snapshot(name, True, steps[name], False, {})
    )
    monkeypatch.setattr(score_run, "mean_j", mean_j)
    return SimpleNamespace(run=run, measured=measured, scores=scores)


@pytest.mark.parametrize("phases", ["last", "supervised"])
def test_the_check_with_the_highest_j_is_taken(supervised, phases, capsys):
    (best,) = snapshot_choice.chosen(supervised.run, phases)
    assert (best.phase, best.step, best.last) == ("supervised-2", 11, True)
    assert best.complete
    supervised.run.config.supervised.checks = 4  # one is still to come
    (best,) = snapshot_choice.chosen(supervised.run, phases)
    assert not best.complete
    assert supervised.measured == [(f"supervised-{n}", "set:select") for n in (1, 2, 3)]
    assert "supervised-2 is taken" in capsys.readouterr().out
    stored = json.loads((supervised.run.workdir / "phases" / "selection.json").read_text())
    assert stored == {"set:select": supervised.scores}


def test_the_selection_is_measured_once_for_each_set(supervised):
    list(snapshot_choice.chosen(supervised.run, "last"))
    (again,) = snapshot_choice.chosen(supervised.run, "last")
    assert again.phase == "supervised-2"
    assert len(supervised.measured) == 3
    supervised.run.config.supervised.select = "set:other"
    supervised.scores["supervised-1"] = 0.9
    (other,) = snapshot_choice.chosen(supervised.run, "last")
    assert other.phase == "supervised-1"
    assert supervised.measured[3:] == [(f"supervised-{n}", "set:other") for n in (1, 2, 3)]
    stored = json.loads((supervised.run.workdir / "phases" / "selection.json").read_text())
    assert stored.keys() == {"set:select", "set:other"}


def test_other_phases_of_a_supervised_run_can_be_had(supervised):
    (loop,) = snapshot_choice.chosen(supervised.run, "3-joint")
    assert (loop.phase, supervised.measured) == ("3-joint", [])
    names = [
        one.phase for one in snapshot_choice.chosen(supervised.run, "3-joint, supervised-3, last")
    ]
    assert names == ["3-joint", "supervised-3", "supervised-2"]
