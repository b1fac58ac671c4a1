"""Self-training, supervised fine-tuning, parts of the videos, and what χ learns from F_α alone."""

import dataclasses
import shutil
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dystab_jax import bootstrap, build, losses, pseudo_labels
from dystab_jax.data import pipeline, records
from dystab_jax.evaluation import snapshots
from dystab_jax.pseudo_labels import PseudoLabels
from dystab_jax.refinement import crf
from dystab_jax.runtime import parallel
from dystab_jax.schedule import Bootstrap, Phase, SelfTraining, Supervised, schedule
from tests.support.tiny_networks import tiny_batch, tiny_state, tiny_steps
from tests.support.tiny_runs import Compiled, prepare_stills

LEARNERS = ("phi", "psi", "chi")
SELF_TRAINING = {"data": "ecssd:test", "crf": "deepusps", "epochs": 3.2}
SUPERVISED = {
    "data": "folder/tiny:val",  # truth is kept of this split alone
    "select": "folder/tiny:val",
    "epochs": 4 / 3,
    "checks": 2,
}


@pytest.fixture(scope="module")
def new_config(new_tiny_config, tiny_data, tmp_path_factory):
    """Makes configs without a loop; ``ecssd:test`` has five images."""
    root = tmp_path_factory.mktemp("phases")
    shutil.copytree(tiny_data, root / "data")
    prepare_stills(root / "ecssd", root / "data")

    def new(**sections):
        config = new_tiny_config()
        config.data.update(dir=str(root / "data"), still_size=(32, 32))
        config.bootstrap.update(rounds=0, warm_up_epochs=0.0, dynamic_epochs=0.0)
        for name, options in sections.items():
            config[name].update(options)
        return config

    return new


# -- the schedule ---------------------------------------------------------------------------------


def test_refinements_follow_the_loop():
    options = Bootstrap(
        rounds=1, growth_rounds=1, warm_up_epochs=0.0, dynamic_epochs=3.0, static_epochs=1.0,
        joint_epochs=0.0,
        label_flows=1, label_vote=True, label_cut=0.5, label_crf="none", label_fused=False,
        phi_updates=3, psi_updates=1, chi_updates=1, smallest_mask=0.0, patience=1, least_updates=0,
    )  # fmt: skip
    refinements = [("self_training", "self_training", 90.0), ("supervised-1", "supervised", 25.0)]
    assert schedule(options, 40, 10, refinements) == (
        Phase("0-dynamic", "dynamic", 0, 4, updates=4, first=False),
        Phase("1-static", "static", 4, 8, updates=1, first=True),
        # 90 and 25 examples in batches of 10: φ's several updates are of the game alone.
        Phase("self_training", "self_training", 8, 17, updates=1, first=False),
        Phase("supervised-1", "supervised", 17, 19, updates=1, first=False),
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SelfTraining("a:b", "dense", 1.0), "self_training.crf is 'dense'; there are"),
        (lambda: Supervised("a:b", "", 1.0, 3), "supervised.select is empty; name held-out"),
        (lambda: Supervised("a:b", "a:c", 1.0, 0), "supervised.checks is 0; expected 1 or more"),
    ],
)
def test_impossible_refinements_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_without_data_nothing_is_asked():
    assert Supervised("", "", 1.0, 0).data == ""


# -- real runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled():
    return Compiled()


@pytest.fixture(scope="module", params=["self_training", "supervised"])
def whole(request, compiled, new_config, tmp_path_factory):
    """One undisturbed run of four steps of a refinement, with all its checkpoints."""
    name = request.param
    options = {"self_training": SELF_TRAINING, "supervised": SUPERVISED}[name]
    config = new_config(**{name: options}, log={"checkpoint_every": 1, "keep_checkpoints": 10})
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        compiled.install(patch)
        run = build.Run.of(config, tmp_path_factory.mktemp(name))
        compiled.before = lambda state: seen.update({int(state.step): jax.device_get(state)})
        end = jax.device_get(bootstrap.train(run))
    compiled.before = lambda state: None
    assert end.step == 4
    return SimpleNamespace(name=name, run=run, start=seen[0], end=end)


def same(first, second):
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_who_learns(whole):
    learners = {"self_training": ["chi"], "supervised": ["phi", "chi"]}[whole.name]
    start, end = whole.start, whole.end
    changed = [name for name in LEARNERS if not same(getattr(start, name), getattr(end, name))]
    assert changed == learners
    for name in learners:
        assert getattr(end, name).updates == 4
        moved = jax.tree.map(
            lambda a, b: not np.array_equal(a, b),
            getattr(start, name).variables["params"],
            getattr(end, name).variables["params"],
        )
        assert all(jax.tree.leaves(moved))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end))


def test_each_check_leaves_a_snapshot(whole):
    expected = {
        "self_training": {"self_training": 4},
        "supervised": {"supervised-1": 2, "supervised-2": 4},
    }[whole.name]
    assert snapshots.phase_steps(whole.run) == expected
    last = snapshots.at_end_of(whole.run, list(expected)[-1])
    assert same(last.variables, whole.run.averages(whole.end))


# In the middle of a phase, and between two supervised ones.
@pytest.mark.parametrize("step", [1, 2])
def test_a_killed_run_ends_where_the_undisturbed_one_did(
    whole, compiled, tmp_path, step, monkeypatch
):
    compiled.install(monkeypatch)
    shutil.copytree(whole.run.workdir, tmp_path / "run")
    for folder in ("checkpoints", "phases"):
        for path in (tmp_path / "run" / folder).glob("[0-9]*"):
            if int(path.name) > step:
                shutil.rmtree(path)
    # Labels are read from where they were made, not made of χ as it is by now.
    monkeypatch.setattr(pseudo_labels, "refine_predictions", None)
    steps = []
    compiled.before = lambda state: steps.append(int(state.step))
    run = dataclasses.replace(whole.run, workdir=tmp_path / "run")
    end = jax.device_get(bootstrap.train(run))
    compiled.before = lambda state: None
    assert steps == list(range(step, 4))
    leaves = zip(jax.tree.leaves_with_path(end), jax.tree.leaves(whole.end), strict=True)
    for (path, one), other in leaves:
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(path))
    assert snapshots.phase_steps(run) == snapshots.phase_steps(whole.run)


def test_labels_are_the_refined_predictions_of_chi(whole):
    path = whole.run.workdir / "pseudo_labels"
    if whole.name == "supervised":
        assert not path.exists()
        return
    labels = PseudoLabels.load(path / "self_training.npz")
    source = records.open_source(whole.run.config.data.dir, "ecssd:test")
    images = np.stack([pipeline.decode(raw, (32, 32), ("image",))["image"] for raw in source])
    # χ's average, from before the phase.
    soft = whole.run.predictor.static(whole.start.chi.average, images)[..., 0]
    assert len(labels) == len(images) == 5
    for number, image in enumerate(images):
        target = labels[number]["target"]
        refined = crf.refine(image, soft[number], "deepusps")
        np.testing.assert_array_equal(target[..., 0], refined > 0.5)
    assert 0 < np.mean([labels[number]["target"] for number in range(5)]) < 1


# -- what a phase is given ------------------------------------------------------------------------


@pytest.fixture
def batches(monkeypatch, compiled):
    """Runs whose networks say nothing: by kind of step, the batches that it is given."""
    taken = {}
    compiled.install(monkeypatch)

    def map_step(step, mesh):
        name = step.keywords.get("update", step.func.__name__)
        name += "".join(f", {key}" for key, value in step.keywords.items() if value is True)

        def count(state, batch):
            taken.setdefault(name, []).append(jax.device_get(batch))
            return state.replace(step=state.step + 1), {}

        return count

    def map_prediction(predict, mesh):
        def constant(variables, batch):
            (size, height, width, _), *_ = (array.shape for array in batch.values())
            of_masks = (size, height, width, 1)
            return jnp.full((size, 4) if "mask" in batch else of_masks, 0.25)

        return constant

    monkeypatch.setattr(parallel, "map_step", map_step)
    monkeypatch.setattr(parallel, "map_prediction", map_prediction)
    return taken


@pytest.fixture
def garbage(monkeypatch):
    """Truth that cannot be decoded, in every record of every data set."""
    own = records.RecordSource.some
    truth = dict.fromkeys(records.TRUTH_FIELDS, b"garbage")
    monkeypatch.setattr(
        records.RecordSource, "some", lambda self, *asked: own(self, *asked) | truth
    )


def whole_loop(config):
    """One step in each phase of the loop."""
    for name in ("warm_up", "dynamic", "static", "joint"):
        config.bootstrap[f"{name}_epochs"] = 1 / 3
    config.bootstrap.rounds = 2
    return config


def test_training_without_labels_never_looks_at_truth(batches, garbage, new_config, tmp_path):
    # What is kept in memory is decoded as a whole.
    config = whole_loop(new_config(self_training=SELF_TRAINING, data={"keep_in_memory": True}))
    config.log.update(checkpoint_every=100, keep_phases=False)
    bootstrap.train(build.Run.of(config, tmp_path))
    assert set(batches) == {
        "warm_up_psi", "dynamic_round", "dynamic_round, with_static", "update_chi",
        "update_chi, first", "self_train_chi",
    }  # fmt: skip
    given = {name: set(taken[0]) for name, taken in batches.items()}
    game = {"image", "flow_forward", "flow_backward"}
    labels = {"motion_mask", "static_mask", "confidence_phi", "confidence_chi"}
    assert given["warm_up_psi"] == {"image", "flow_forward", "ellipse"}
    assert given["dynamic_round"] == given["dynamic_round, with_static"] == game
    assert given["update_chi"] == given["update_chi, first"] == {"image"} | labels
    assert given["self_train_chi"] == {"image", "target"}


def test_garbled_truth_stops_training_with_labels(batches, garbage, new_config, tmp_path):
    run = build.Run.of(new_config(supervised=SUPERVISED), tmp_path)
    with pytest.raises(ValueError, match="corrupt record: mask of video video"):
        bootstrap.train(run)


def test_labels_go_with_their_images(batches, new_config, tmp_path):
    plain = {"flip": False, "smallest_crop": 1.0, "color": 0.0}
    config = new_config(supervised=SUPERVISED, data={"augmentation": plain})
    bootstrap.train(build.Run.of(config, tmp_path))
    source = records.open_source(config.data.dir, "folder/tiny:val")
    decoded = [pipeline.decode(raw, (32, 48), ("image", "mask")) for raw in source]
    truths = {one["image"].tobytes(): one["truth"] for one in decoded}
    assert len(batches["supervise"]) == 4
    for batch in batches["supervise"]:
        assert batch["truth"].shape == (1, 4, 32, 48, 1)
        for image, truth in zip(batch["image"][0], batch["truth"][0], strict=True):
            np.testing.assert_array_equal(truth, truths[image.tobytes()])
    assert len({truth.tobytes() for truth in truths.values()}) > 1


def test_both_refinements_together_are_refused(batches, new_config, tmp_path):
    config = new_config(supervised=SUPERVISED, self_training=SELF_TRAINING)
    with pytest.raises(ValueError, match="both given; both start from the end of the loop"):
        bootstrap.train(build.Run.of(config, tmp_path))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"select": ""}, ValueError, "supervised.select is empty"),
        ({"data": "ecssd:test"}, ValueError, "is ecssd:test, which has no videos with truth"),
        ({"data": "folder/tiny:train"}, ValueError, "train, which has no videos with truth"),
        ({"select": "davis2016:val"}, FileNotFoundError, "--dataset=davis2016"),
        ({"data": "davis2016:train"}, FileNotFoundError, "--dataset=davis2016"),
    ],
)
def test_unusable_labels_stop_before_the_first_step(
    batches, new_config, tmp_path, changes, error, said
):
    config = new_config(supervised=SUPERVISED | changes)
    with pytest.raises(error, match=said):
        bootstrap.train(build.Run.of(config, tmp_path))
    assert batches == {}


def test_checks_that_are_not_kept_are_refused(batches, new_config, tmp_path):
    config = new_config(supervised=SUPERVISED, log={"keep_phases": False})
    with pytest.raises(ValueError, match="supervised.data needs log.keep_phases=True"):
        bootstrap.train(build.Run.of(config, tmp_path))
    assert batches == {}


# -- parts of the videos --------------------------------------------------------------------------


def frames(videos, per_video=3):
    return [
        pipeline.TrainingFrame(f"v{number:02d}", f"{t}", "", (t,))
        for number in range(videos)
        for t in range(per_video)
    ]


def test_more_videos_hold_the_fewer_ones():
    everything = frames(20)
    chosen = [pipeline.choose_videos(everything, count, seed=3) for count in (1, 5, 12, 20)]
    names = [{frame.video for frame in part} for part in chosen]
    assert [len(one) for one in names] == [1, 5, 12, 20]
    assert names[0] < names[1] < names[2] < names[3]
    for part, own in zip(chosen, names, strict=True):
        assert part == [frame for frame in everything if frame.video in own]  # whole, in order
    others = {frame.video for frame in pipeline.choose_videos(everything, 12, seed=4)}
    assert others != names[2]
    # Not a matter of the order in which the data set lists them.
    assert {f.video for f in pipeline.choose_videos(everything[::-1], 12, seed=3)} == names[2]


@pytest.mark.parametrize("count", [-1, 0, 4])
def test_videos_that_are_not_there(count):
    with pytest.raises(ValueError, match=rf"data.videos is {count}; data.train has 3 videos"):
        pipeline.choose_videos(frames(3), count, seed=0)


def test_a_run_trains_on_the_videos_it_has_chosen(batches, new_config, tmp_path, capsys):
    plain = {"flip": False, "smallest_crop": 1.0, "color": 0.0}
    config = new_config(data={"videos": 2, "augmentation": plain})
    config.bootstrap.warm_up_epochs = 3.0  # of 8 frames, in batches of 4
    bootstrap.train(build.Run.of(config, tmp_path))
    assert "folder/tiny:train: 2 videos, 8 frames" in capsys.readouterr().out
    source = records.open_source(config.data.dir, "folder/tiny:train")
    own = {frame.video for frame in pipeline.choose_videos(pipeline.frames_of(source), 2, 0)}
    videos = {
        pipeline.decode(raw, (32, 48), ("image",))["image"].tobytes(): key.video
        for raw, key in zip(source, source.keys, strict=True)
    }
    seen = [image for batch in batches["warm_up_psi"] for image in batch["image"][0]]
    assert len(seen) == 24
    assert {videos[image.tobytes()] for image in seen} == own

    config.data.videos = 4
    with pytest.raises(ValueError, match=r"data.videos is 4; data.train has 3 videos"):
        bootstrap.train(build.Run.of(config, tmp_path / "more"))


# -- the losses -----------------------------------------------------------------------------------


def plane(*rows):
    """One mask [1, H, W, 1] from rows of numbers."""
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


PREDICTION = plane([0.5, 1.0], [0.25, 0.0])
TARGET = plane([1, 0], [1, 0])


def test_disagreement_by_hand():
    # Σpt = 0.75, Σt = 2, Σp = 1.75.
    expected = 1 - 2.5 * 0.75 / (1.5 * 2 + 1.75)
    np.testing.assert_allclose(losses.disagreement(PREDICTION, TARGET, 1.5), expected, rtol=1e-6)
    expected = 1 - 1.3 * 0.75 / (0.3 * 2 + 1.75)
    np.testing.assert_allclose(losses.disagreement(PREDICTION, TARGET, 0.3), expected, rtol=1e-6)
    assert losses.disagreement(TARGET, TARGET, 1.5) == 0
    assert losses.disagreement(1 - TARGET, TARGET, 1.5) == 1
    # Nothing to agree with.
    assert losses.disagreement(PREDICTION, jnp.zeros_like(TARGET), 1.5) == 0
    assert losses.disagreement(PREDICTION, jnp.full_like(TARGET, 0.5), 1.5) == 0


def test_supervised_by_hand():
    prediction = plane([0.5, 0.75], [0.25, 0.125])
    # Σpt = 0.75, Σt = 2, Σp = 1.625.
    region = 1 - 2.5 * 0.75 / (1.5 * 2 + 1.625)
    entropy = -(np.log(0.5) + np.log(0.25) + np.log(0.25) + np.log(0.875)) / 4
    np.testing.assert_allclose(
        losses.supervised(prediction, TARGET, 1.5), region + entropy, rtol=1e-5
    )
    # An empty truth leaves the cross entropy alone.
    entropy = -(np.log(0.5) + np.log(0.25) + np.log(0.75) + np.log(0.875)) / 4
    found = losses.supervised(prediction, jnp.zeros_like(TARGET), 1.5)
    np.testing.assert_allclose(found, entropy, rtol=1e-5)
    np.testing.assert_allclose(losses.supervised(TARGET, TARGET, 1.5), 0, atol=1e-5)


@pytest.mark.parametrize("loss", [losses.disagreement, losses.supervised])
@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize(
    "target", [TARGET, 0 * TARGET, 0 * TARGET + 1], ids="half empty full".split()
)
def test_masks_that_are_sure_have_finite_losses(loss, level, target):
    value, gradient = jax.value_and_grad(lambda p: loss(p, target, 1.5)[0])(
        jnp.full_like(TARGET, level)
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_who_is_wrong_is_drawn_to_the_truth():
    gradient = jax.grad(lambda p: losses.supervised(p, TARGET, 1.5)[0])(jnp.full_like(TARGET, 0.5))
    assert np.all(gradient[0, :, 0] < 0) and np.all(gradient[0, :, 1] > 0)


# -- Table 2 --------------------------------------------------------------------------------------


def test_f_measure_alone_is_what_chi_descends():
    steps = tiny_steps(static="f_measure", optimizer=optax.sgd(0.5), alpha2=0.8)
    mesh = parallel.make_mesh(jax.devices()[:1])
    update = parallel.map_step(partial(steps.update_chi, first=False), mesh, 0)
    state = jax.device_get(tiny_state(steps))
    batch = tiny_batch()
    batch["motion_mask"][3] = 0  # nothing to learn from

    def chi_after(**changes):
        own = parallel.replicate(jax.tree.map(jnp.asarray, state), mesh)
        after, metrics = update(own, parallel.shard(batch | changes, mesh, 0))
        return jax.device_get(after.chi.variables["params"]), metrics

    @jax.jit
    def descend(variables):
        def loss(params):
            logits = steps.chi.network.apply(
                variables | {"params": params}, jnp.float32(batch["image"]) / 255
            )
            p = jax.nn.softmax(logits)[..., 1].reshape(4, -1)
            m = jnp.float32(batch["motion_mask"]).reshape(4, -1)
            f = 1.8 * (p * m).sum(1) / (0.8 * m.sum(1) + p.sum(1))
            return (1 - f)[:3].sum() / 4

        value, gradient = jax.value_and_grad(loss)(variables["params"])
        return value, jax.tree.map(lambda w, g: w - 0.5 * g, variables["params"], gradient)

    value, expected = descend(state.chi.variables)
    found, metrics = chi_after()
    np.testing.assert_allclose(metrics["chi/loss"], value, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)
    # Not a matter of confidence, nor of χ's earlier masks.
    nothing = np.zeros(4, np.float32)
    unsure, _ = chi_after(
        confidence_phi=nothing, confidence_chi=nothing + 2, static_mask=1 - batch["static_mask"]
    )
    assert same(unsure, found)
    assert not same(chi_after(motion_mask=batch["static_mask"])[0], found)
