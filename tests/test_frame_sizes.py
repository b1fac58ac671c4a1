"""Wide and portrait videos in one run: trained, killed and resumed, labelled, scored, predicted."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import cv2
import jax
import numpy as np
import pytest

from data_prep.video import Recipe
from dystab_jax import bootstrap, build
from dystab_jax.commands import predict
from dystab_jax.data import records
from dystab_jax.evaluation import score_run, snapshots
from dystab_jax.prediction.engine import Engine
from dystab_jax.pseudo_labels import PseudoLabels
from tests.support.tiny_runs import Compiled
from tests.support.tiny_sets import prepare_mixed
from tests.support.tiny_videos import sliding_texture, write_frames

WIDE, TALL = (32, 48), (48, 32)
"""Of the networks; frames have 48x64 and 64x48 pixels."""


@pytest.fixture(scope="module")
def whole(new_tiny_config, tmp_path_factory):
    """A run of two steps of the game and six of χ, with all its checkpoints."""
    root = tmp_path_factory.mktemp("sizes")
    prepare_mixed(root, frames=6, wide=(48, 64), tall=(64, 48))
    config = new_tiny_config()
    config.data.update(dir=str(root / "data"), train="folder/mixed:train")
    config.bootstrap.update(
        warm_up_epochs=0.0, dynamic_epochs=2 / 3, static_epochs=2.0, joint_epochs=0.0
    )
    config.loss.static = "f_measure"  # so that χ learns of random φ and ψ, too
    config.eval.update(data="folder/mixed:val", crf="guided", flows_per_frame=2)
    config.log.update(checkpoint_every=1, keep_checkpoints=10)
    compiled = Compiled()
    with pytest.MonkeyPatch.context() as patch:
        compiled.install(patch)
        run = build.Run.of(config, root / "whole")
        sizes = []
        step_sizes(patch, sizes)
        end = jax.device_get(bootstrap.train(run))
        yield SimpleNamespace(run=run, end=end, root=root, sizes=sizes)


def step_sizes(patch, sizes):
    """Notes the size of every batch that a step is given."""
    shard = bootstrap.parallel.shard

    def noted(batch, mesh, batch_axis=1):
        if batch_axis == 1:
            sizes.append(batch["image"].shape[2:4])
        return shard(batch, mesh, batch_axis)

    patch.setattr(bootstrap.parallel, "shard", noted)


def killed_after(whole, step, workdir):
    """Returns a run whose newest checkpoint is that of a step."""
    shutil.copytree(whole.run.workdir, workdir)
    for folder in ("checkpoints", "phases"):
        for path in (workdir / folder).glob("[0-9]*"):
            if int(path.name) > step:
                shutil.rmtree(path)
    return dataclasses.replace(whole.run, workdir=workdir)


def test_every_phase_sees_both_sizes(whole):
    assert whole.end.step == 8
    assert whole.sizes == [TALL, WIDE] * 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole.end))
    source = records.open_source(whole.root / "data", "folder/mixed:train")
    for position, key in enumerate(source.keys):
        record = records.decode_record(source[position])
        # Frames are shrunk to --flow_size, 64x48, for flow: turned for upright videos.
        size = {"wide": (48, 64), "tall": (64, 48)}[key.video]
        assert record["image"].shape[:2] == record["flow_forward"].shape[:2] == size


def test_labels_have_the_size_of_their_video(whole):
    labels = PseudoLabels.load(whole.run.workdir / "pseudo_labels" / "1-static.npz")
    expected = [TALL] * 6 + [WIDE] * 6  # in the order of their names
    assert [labels[number]["motion_mask"].shape[:2] for number in range(12)] == expected
    assert [labels[number]["static_mask"].shape[:2] for number in range(12)] == expected
    assert 0 < np.mean([labels[number]["motion_mask"].mean() for number in range(12)]) < 1


@pytest.mark.parametrize("killed", [1, 5, 6])
def test_a_killed_run_ends_where_the_undisturbed_one_did(whole, tmp_path, killed):
    done = len(whole.sizes)
    end = jax.device_get(bootstrap.train(killed_after(whole, killed, tmp_path / "run")))
    assert whole.sizes[done:] == whole.sizes[killed:8]
    del whole.sizes[done:]
    leaves = zip(jax.tree.leaves_with_path(end), jax.tree.leaves(whole.end), strict=True)
    for (path, one), other in leaves:
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(path))


def test_labels_of_squeezed_portrait_videos_are_refused(whole, tmp_path):
    run = killed_after(whole, 5, tmp_path / "run")
    path = tmp_path / "run" / "pseudo_labels" / "1-static.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"size": np.array(WIDE)})
    with pytest.raises(ValueError, match="1-static.npz holds masks of other sizes.*remove it"):
        bootstrap.train(run)


def test_portrait_videos_are_scored_and_drawn(whole):
    score_run.score(whole.run, snapshots.newest(whole.run), "folder/mixed:val")
    report = json.loads((whole.run.workdir / "eval" / "folder-mixed-val.json").read_text())
    assert {row["crf"] for row in report["rows"]} == {"none", "guided"}
    for name, size in (("wide", (48, 64)), ("tall", (64, 48))):
        masks = list((whole.run.workdir / "masks").rglob(f"{name}/*.png"))
        assert len(masks) >= 6
        assert {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2] for path in masks} == {size}


@pytest.mark.parametrize(("frame", "size"), [((50, 66), WIDE), ((66, 50), TALL)])
def test_portrait_videos_are_predicted_at_their_size(whole, tmp_path, monkeypatch, frame, size):
    video, seen = whole.run.predictor.video, []

    def noted(variables, name, frames, images, pairs, *rules):
        seen.append((images.shape[1:3], {pair.flow.shape[:2] for pair in pairs}, pairs))
        return video(variables, name, frames, images, pairs, *rules)

    monkeypatch.setattr(whole.run.predictor, "video", noted)
    source = write_frames(tmp_path / "in", sliding_texture(3, *frame))
    averages = whole.run.averages(whole.end)
    written = predict.predict(Engine(whole.run, averages, Recipe()), source, tmp_path / "out")
    masks = [path for path in written if path.parent.name == "masks"]
    assert {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape for path in masks} == {frame}
    [(images, flows, pairs)] = seen
    assert images == size and flows == {size}
    middle = np.median(np.float32(pairs[0].flow), (0, 1))
    expected = np.array([2, 1]) * [size[1] / frame[1], size[0] / frame[0]]
    np.testing.assert_allclose(np.abs(middle), expected, atol=0.25)
