"""Exported networks predict as the workdir does, elsewhere and without it."""

import json
import shutil

import cv2
import jax
import numpy as np
import pytest

from dystab_jax import bootstrap
from dystab_jax.commands import masks, train_and_score
from dystab_jax.commands.runs import open_runs
from dystab_jax.data import preparation
from dystab_jax.evaluation import score_run, snapshots
from tests.support.tiny_runs import Compiled


@pytest.fixture
def compiled():
    """Compiles once what the runs of a test have in common."""
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        yield


def trained(config, workdir):
    (run,) = open_runs(config, workdir, "train")
    bootstrap.train(run)
    return run


def test_exported_networks_predict_as_the_workdir_does(compiled, tiny_config, tmp_path, tiny_data):
    tiny_config.bootstrap.update(warm_up_epochs=0.0)
    workdir, output = tmp_path / "run", tmp_path / "elsewhere" / "networks"
    run = trained(tiny_config, workdir)
    before = snapshots.newest(run)
    run.config.eval.phi_cut = 0.45
    j = score_run.mean_j(run, before, "folder/tiny:val")
    tiny_config.eval.phi_cut = 0.45
    train_and_score.export_networks(tiny_config, workdir, output)
    assert sorted(path.name for path in output.iterdir()) == [
        "config.json",
        "networks.npz",
        "preparation.json",
    ]
    assert str(tmp_path) not in (output / "config.json").read_text()
    known = json.loads((output / preparation.FILE).read_text())
    assert known["folder/tiny:train"]["max_gap"] == 2
    shutil.rmtree(workdir)

    (exported,) = open_runs(None, output, "predict")
    assert exported.config.eval.phi_cut == 0.45
    exported.config.data.dir = str(tiny_data)
    after = snapshots.newest(exported)
    assert (after.phase, after.step, after.complete) == (before.phase, before.step, True)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-7),
        jax.device_get(before.variables),
        jax.device_get(after.variables),
    )
    assert score_run.mean_j(exported, after, "folder/tiny:val") == pytest.approx(j, abs=0.01)
    video = tiny_data.parent / "videos" / "video0"
    masks.predict_masks(None, output, video, tmp_path / "masks")
    written = sorted((tmp_path / "masks" / "masks").iterdir())
    assert len(written) == 4 and cv2.imread(str(written[0]), 0).shape == (48, 64)

    with pytest.raises(ValueError, match="holds exported networks, which do not go on learning"):
        next(open_runs(None, output, "train"))
    tiny_config.phi.model.width = 32
    with pytest.raises(ValueError, match=r"phi.model.width is 32, was 16"):
        next(open_runs(tiny_config, output, "predict"))


def test_networks_that_have_not_learned_are_refused(compiled, tiny_config, tmp_path):
    tiny_config.bootstrap.update(rounds=0, warm_up_epochs=0.0)
    trained(tiny_config, tmp_path / "run")
    with pytest.raises(ValueError, match="is in phase 0-dynamic: chi has learned nothing yet"):
        train_and_score.export_networks(None, tmp_path / "run", tmp_path / "networks")
    assert not (tmp_path / "networks").exists()


def test_a_run_is_not_exported_into_a_workdir(compiled, tiny_config, tmp_path):
    tiny_config.bootstrap.update(warm_up_epochs=0.0)
    trained(tiny_config, tmp_path)
    with pytest.raises(ValueError, match="is the workdir of a run; choose another folder"):
        train_and_score.export_networks(None, tmp_path, tmp_path)
