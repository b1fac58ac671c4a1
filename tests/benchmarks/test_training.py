"""The PyTorch side of `benchmarks.training` computes what ours does, and the benchmark runs."""

import importlib
import json
import re
import sys
from functools import cache, partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from benchmarks import training
from dystab_jax import build, losses, object_choice
from dystab_jax.networks.deeplab import DeepLab
from dystab_jax.networks.inpainter import Inpainter
from dystab_jax.networks.optimizers import make_optimizer
from dystab_jax.runtime import parallel
from dystab_jax.state import Trainable
from tests.support.tiny_networks import LEARNERS, draw_variables, tiny_batch, tiny_state, tiny_steps

torch = pytest.importorskip("torch")
# Below the check that torch is there.
dystab, deeplab, inpainter, weights = (
    importlib.import_module(f"benchmarks.pytorch.{name}")
    for name in ("dystab", "deeplab", "inpainter", "weights")
)

# Of ml_collections, when it loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

LAYOUT = torch.channels_last
RATE = 0.1


def stirred(tree, seed=0):
    """Variables whose biases, scales and moments are no longer all zero or one."""
    rng = np.random.default_rng(seed)

    def stir(leaf):
        if leaf.ndim != 1:
            return leaf
        return leaf + 0.2 * rng.uniform(-1, 1, leaf.shape).astype(np.float32)

    return jax.tree.map(stir, jax.device_get(tree))


def planes(array):
    return dystab.to_tensor(np.asarray(array), LAYOUT)


def back(tensor):
    return np.moveaxis(tensor.detach().numpy(), -3, -1)


def close(found, expected, tolerance=1e-4, err_msg=""):
    """Within a share of the greatest number there is."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, err_msg
    allowed = tolerance * np.abs(expected).max() + 1e-7
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed, err_msg=err_msg)


# -- networks -------------------------------------------------------------------------------------

HEIGHT, WIDTH = 36, 52  # halves to 9x13 and 5x7
FLOW, IMAGE = {"inputs": "flow"}, {"inputs": "image"}
NETWORKS = {
    "small": FLOW | dict(norm="batch", output_stride=8, width=16),
    "small, shrunken": FLOW | dict(norm="group", output_stride=4, camera="quadratic", shrink=2),
    "small, images": IMAGE | dict(norm="frozen", output_stride=16),
    "resnet34": IMAGE | dict(norm="batch", output_stride=8),
    "resnet50": FLOW | dict(norm="batch", output_stride=8),
    "efficientnet_lite0": IMAGE | dict(norm="frozen", output_stride=16),
    "efficientnet_lite0, batch": IMAGE | dict(norm="batch", output_stride=8),
    "efficientnet_lite2": IMAGE | dict(norm="frozen", output_stride=8),
}


def draw_input(module):
    height, width = HEIGHT * module.shrink, WIDTH * module.shrink
    rng = np.random.default_rng(1)
    if module.inputs == "image":
        return rng.random((2, height, width, 3), np.float32)
    camera = np.linspace(0, 5, width, dtype=np.float32)[:, None]
    return 2 * rng.standard_normal((2, height, width, 2), np.float32) + camera


@pytest.mark.parametrize("name", NETWORKS)
def test_deeplab_gives_the_same_logits(name):
    module = DeepLab(name.partition(",")[0], **NETWORKS[name])
    x = draw_input(module)
    variables = stirred(draw_variables(module, x))
    twin = deeplab.DeepLab(module, LAYOUT)
    weights.load(twin, variables)
    # Only "batch" tells training from predicting; the EfficientNets share the latter.
    predicts = name != "efficientnet_lite0, batch"
    trains = module.norm == "batch"

    @jax.jit
    def apply(variables, x):
        return (
            module.apply(variables, x) if predicts else None,
            module.apply(variables, x, train=True, mutable=["batch_stats"]) if trains else None,
        )

    predicted, trained = apply(variables, x)
    with torch.no_grad():
        if predicts:
            close(back(twin.eval()(planes(x))), predicted)
        counts = count_samples(twin)
        logits = back(twin.train()(planes(x)))
    if trains:
        # Moments of 70 numbers, layer after layer: float32 is 1.4e-4 off float64 on both sides.
        close(logits, trained[0], 1e-3)
        check_statistics(twin, variables, trained[1], counts)
    else:
        close(logits, predicted)


def count_samples(network):
    """By layer, over how many numbers batch normalisation averages; known after a pass."""
    counts = {}

    def note(name, module, inputs, output):
        counts[name] = inputs[0].numel() // inputs[0].shape[1]

    for name, module in network.named_modules():
        if type(module) is torch.nn.BatchNorm2d:
            module.register_forward_hook(partial(note, name))
    return counts


def check_statistics(network, before, after, counts):
    """PyTorch's running variance divides by n − 1, Flax's by n."""
    old, new = weights.convert(before), weights.convert(after)
    state = network.state_dict()
    for name, values in new.items():
        if name.endswith("running_var"):
            n = counts[name.removesuffix(".running_var")]
            values = 0.9 * old[name] + (values - 0.9 * old[name]) * n / (n - 1)
        if "running" in name:
            close(state[name].numpy(), values, 1e-3, name)


PSI = {
    "network": dict(parametric="affine", widths=(4, 6, 8), reweightings=2),
    "network, shrunken": dict(parametric="none", widths=(4, 6), shrink=2),
    "fit": dict(parametric="quadratic", widths=(), shrink=2),
}


@pytest.mark.parametrize("name", PSI)
def test_psi_fills_in_the_same_flow(name):
    module = Inpainter(**PSI[name])
    rng = np.random.default_rng(2)
    flow, image = draw_input(DeepLab("small", "flow")), draw_input(DeepLab("small", "image"))
    mask = np.float32(rng.random((2, 1, WIDTH, 1)) > 0.6) * np.ones((1, HEIGHT, 1, 1), np.float32)
    mask[1] = 1  # hides everything
    regions = np.concatenate([mask, 1 - mask])
    contexts = np.concatenate([(1 - mask) * flow, mask * flow])
    variables = stirred(draw_variables(module, regions, contexts, image))
    twin = inpainter.Inpainter(module, LAYOUT)
    weights.load(twin, variables)
    expected = jax.jit(module.apply)(variables, regions, contexts, image)
    found = back(twin(planes(regions), planes(contexts), planes(image)))
    close(found, expected)
    assert [each.any() for each in found] == [True, False, True, False]


def test_bfloat16_is_computed_in_bfloat16():
    flow, image = draw_input(DeepLab("small", "flow")), draw_input(DeepLab("small", "image"))
    mask = np.zeros((2, HEIGHT, WIDTH, 1), np.float32)
    mask[:, 5:20, 10:30] = 1
    small = dict(backbone="small", norm="group", output_stride=4, **FLOW)
    purely = dict(parametric="none", widths=(4, 6))
    for kind, twin_kind, options, inputs in (
        (DeepLab, deeplab.DeepLab, small, (flow,)),
        (Inpainter, inpainter.Inpainter, purely, (mask, (1 - mask) * flow, image)),
    ):
        halves = kind(**options, dtype="bfloat16")
        variables = stirred(draw_variables(halves, *inputs))
        twins = []
        for module in (halves, kind(**options)):
            twins.append(twin_kind(module, LAYOUT).eval())
            weights.load(twins[-1], variables)
        with torch.no_grad():
            found, exact = (twin(*map(planes, inputs)) for twin in twins)
        assert found.dtype == torch.float32
        difference = (found - exact).abs().max() / exact.abs().max()
        assert 1e-4 < difference < 0.05
        close(back(found), jax.jit(halves.apply)(variables, *inputs), 0.05)


# -- updates --------------------------------------------------------------------------------------

STEPS = tiny_steps("batch", denominator="both", ratio_clip=None, optimizer=optax.sgd(RATE))
BATCH = tiny_batch(2)


@pytest.fixture(scope="module")
def state():
    return stirred(tiny_state(STEPS))


def twin_of(steps, state, optimizer=None):
    optimizer = optimizer or partial(torch.optim.SGD, lr=RATE)
    twin = dystab.Steps(steps, dict.fromkeys(LEARNERS, optimizer), LAYOUT)
    twin.load(state)
    return twin


def tensors(batch):
    return {name: dystab.to_tensor(array, LAYOUT) for name, array in batch.items()}


def ours(steps, name, state, batch, **fixed):
    mesh = parallel.make_mesh(jax.devices()[:1])
    axis = 1 if name.endswith("round") else 0
    step = parallel.map_step(partial(getattr(steps, name), **fixed), mesh, axis)
    return jax.device_get(step(parallel.replicate(state, mesh), parallel.shard(batch, mesh, axis)))


def check_learner(twin, before, after, tolerance):
    """What an update changed is the same, but for running variances (see the networks' test)."""
    for network, given, expected in (
        (twin.network, before.variables, after.variables),
        (twin.average, before.average, after.average),
    ):
        old, new = weights.convert(given), weights.convert(expected)
        found = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        names = [name for name in new if not name.endswith("running_var")]
        whole = max(np.abs(new[name] - old[name]).max() for name in names)
        assert whole > 1e-3
        for name in names:
            change = new[name] - old[name]
            allowed = tolerance * np.abs(change).max() + 1e-3 * tolerance * whole + 1e-7
            np.testing.assert_allclose(
                found[name] - old[name], change, rtol=0, atol=allowed, err_msg=name
            )


UPDATES = {
    "phi": ("update_phi", {"with_static": False}),
    "phi, joint": ("update_phi", {"with_static": True}),
    "psi": ("update_psi", {}),
    "chi": ("update_chi", {"first": False}),
}


@pytest.mark.parametrize("key", UPDATES)
def test_updates_agree(state, key):
    name, fixed = UPDATES[key]
    learner = key.partition(",")[0]
    after, expected = ours(STEPS, name, state, BATCH, **fixed)
    twin = twin_of(STEPS, state)
    metrics = getattr(twin, name)(tensors(BATCH), **fixed)
    assert metrics.keys() == expected.keys()
    for metric, value in expected.items():
        close(metrics[metric], value, 1e-5, metric)
    # Of the changes, not of the weights: subtracting these leaves them three or four digits.
    check_learner(getattr(twin, learner), getattr(state, learner), getattr(after, learner), 5e-4)
    for other in set(LEARNERS) - {learner}:
        variables = weights.convert(getattr(state, other).variables)
        network = getattr(twin, other).network.state_dict()
        assert all(np.array_equal(network[name], array) for name, array in variables.items())


def test_a_round_is_its_updates_one_by_one(state):
    batch = tensors(tiny_batch(2, updates=3))
    together, apart = twin_of(STEPS, state), twin_of(STEPS, state)
    metrics = together.dynamic_round(batch, phi_updates=2, psi_updates=1, with_static=True)
    expected = {}
    for index, update in enumerate(
        (*[partial(apart.update_phi, with_static=True)] * 2, apart.update_psi)
    ):
        expected |= update({name: tensor[index] for name, tensor in batch.items()})
    assert metrics == expected
    for name in LEARNERS:
        pairs = (getattr(each, name).network.state_dict().values() for each in (together, apart))
        assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


@pytest.mark.parametrize(
    "section",
    [
        dict(name="adam", learning_rate=0.1, b1=None, gradient_clip=None),
        dict(name="sgd", learning_rate=0.1, momentum=0.5),
    ],
)
def test_optimizers_and_averages_agree(section):
    start = np.linspace(-1, 2, 6, dtype=np.float32)
    scale = np.float32([3, 1, 1e-3, 0, 2, -1])
    trained = Trainable(None, make_optimizer(**section), average_decay=0.25)
    learner = trained.start({"params": {"weight": start}})
    network = torch.nn.Linear(6, 1, bias=False)
    network.weight.data[:] = torch.from_numpy(start)
    twin = dystab.Learner(network, dystab.make_optimizer(**section), 0.25)
    for _ in range(4):
        gradients = {"weight": 2 * scale * learner.variables["params"]["weight"]}
        learner = trained.update(learner, gradients, {})
        twin.learn(lambda: ((torch.from_numpy(scale) * network.weight**2).sum(), {}))
    for found, expected in ((twin.network, learner.variables), (twin.average, learner.average)):
        close(found.weight.detach()[0], expected["params"]["weight"], 1e-5)
    assert (twin.updates, twin.network.training) == (4, False)


def test_what_has_no_counterpart_is_said():
    with pytest.raises(ValueError, match="optimizer 'lamb' .* has no counterpart .* adam"):
        dystab.make_optimizer("lamb", 0.1)
    with pytest.raises(ValueError, match="'cosine' .* has no counterpart"):
        dystab.make_optimizer("adam", 0.1, "cosine", 10)
    with pytest.raises(ValueError, match="remat=True"):
        deeplab.DeepLab(DeepLab("small", "flow", remat=True), LAYOUT)


# -- predictions ----------------------------------------------------------------------------------


def test_predictions_and_confidences_agree(state):
    # As published: ratios of the observed flow alone, here bounded by one.
    steps = tiny_steps("batch")
    twin, given = twin_of(steps, state), tensors(BATCH)
    flow, image = BATCH["flow_forward"], BATCH["image"]

    @jax.jit
    def predict(state, flow, image, mask):
        batch = {"flow": flow, "image": image, "mask": mask}
        return (
            steps.predict_dynamic(state.phi.average, batch),
            steps.predict_static(state.chi.average, batch),
            losses.confidence(
                steps.measure_evidence(state.psi.average, batch), steps.options.ratio_clip
            ),
        )

    phi, chi, confidence = predict(state, flow, image, BATCH["motion_mask"])
    close(back(twin.predict_dynamic(given["flow_forward"])), phi)
    close(back(twin.predict_static(given["image"])), chi)
    arguments = given["flow_forward"], given["image"]
    close(twin.measure_confidence(given["motion_mask"], *arguments), confidence)
    for vote, rule in (
        (True, object_choice.canonicalise_sequence),
        (False, object_choice.canonicalise),
    ):
        canonical = rule(np.asarray(phi))[0]
        trusts = (twin.measure_confidence(planes(m > 0.5), *arguments) for m in (canonical, chi))
        expected = object_choice.fuse_masks(
            canonical, np.asarray(chi), *(trust.numpy() for trust in trusts)
        )
        close(back(twin.predict_fused(*arguments, vote, 4.0, 0.5)), expected)


# -- the benchmark --------------------------------------------------------------------------------

TINY = ["--config=configs/demo.py", "--size", "32", "48", "--batch", "1", "--repeats", "2", "--set"]
TINY += [f"{name}.model.width=16" for name in ("phi", "chi")]
TINY += ["psi.model.widths=(4,)", "bootstrap.psi_updates=1"]


@pytest.fixture
def quick(monkeypatch):
    """One device, drawn weights; and steps that are not compiled, which alone takes a minute."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(parallel, "make_mesh", lambda *_: mesh)
    monkeypatch.setattr(build, "initialise", lambda module, key, *x: draw_variables(module, *x))
    monkeypatch.setattr(parallel, "map_prediction", cache(parallel.map_prediction))
    mapped = []

    def map_step(step, mesh):
        def note(state, batch):
            mapped.append((step, batch))
            return state, {}

        return note

    monkeypatch.setattr(parallel, "map_step", map_step)
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    return mapped


def test_the_benchmark_has_a_row_for_each_step(quick, tmp_path, capsys):
    training.main([*TINY, "--json", str(tmp_path / "times.json")])
    lines = capsys.readouterr().out.splitlines()
    rows = [tuple(line.split()[:2]) for line in lines[4:]]
    assert rows == [(row, by) for row in training.ROWS for by in ("jax", "torch")]
    assert re.fullmatch(r"phi +torch +[\d.]+ +[\d.]+ +[\d.]+ \([\d.]+, [\d.]+\)", lines[5])
    assert re.fullmatch(r"predict_fused +jax( +[\d.]+){3}", lines[-2])
    saved = json.loads((tmp_path / "times.json").read_text())
    assert saved["overrides"][-1] == "data.image_size=(32, 48)"
    assert all(len(saved["seconds"][row][by]) == 2 for row, by in rows)
    # What ours were given is a batch of training, and what they do a step of it.
    games = {(step.func.__name__, *sorted(step.keywords.items())) for step, _ in quick}
    counts = {"phi_updates": 3, "psi_updates": 1}
    for with_static in (True, False):
        for game in (counts, {"phi_updates": 1, "psi_updates": 0}):
            whole = game | {"with_static": with_static}
            assert ("dynamic_round", *sorted(whole.items())) in games
    assert ("single_round", ("first", False), ("update", "update_chi")) in games
    step, batch = next(
        (step, batch) for step, batch in quick if step.func.__name__ == "single_round"
    )
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "image": ((1, 1, 32, 48, 3), np.uint8),
        "motion_mask": ((1, 1, 32, 48, 1), np.uint8),
        "static_mask": ((1, 1, 32, 48, 1), np.uint8),
        "confidence_phi": ((1, 1), np.float32),
        "confidence_chi": ((1, 1), np.float32),
    }


def test_a_turn_is_several_steps_that_nothing_waits_for(monkeypatch):
    clock, events = count(), []
    time = SimpleNamespace(perf_counter=lambda: next(clock), sleep=lambda _: None)
    monkeypatch.setattr(training, "time", time)
    side = SimpleNamespace(wait=lambda last: events.append(f"waits for {last}"))

    def step():
        events.append("step")
        return len(events)

    # The clock ticks once between the start and the end of a turn.
    found = training.take_turns({"jax": side}, {"jax": step}, repeats=2, length=4)
    assert found == {"jax": [0.25, 0.25]}
    start, turn = ["step"] * 2 + ["waits for 2"], ["step", "waits for {}", *["step"] * 4]
    expected = [*start, *turn, "waits for {}", *turn, "waits for {}"]
    assert events == [event.format(index) for index, event in enumerate(expected)]


def test_memory_is_measured_beyond_the_imports(quick):
    run = training.open_run(training._parse(TINY))
    found = training.memory_of("torch", run, "chi", "channels_last")
    assert found.keys() == {"step", "whole"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config=configs/none.py"], "there is no file configs/none.py"),
        (["--set", "phi.model.backbon=x"], "config.phi.model has no field 'backbon'; it has backb"),
        (["--set", "phi.model.backbone=x"], "backbone is 'x', expected one of: resnet50"),
        (["--set", "phi.optimizer.name=lamb"], "'lamb' with schedule 'constant'"),
        (["--config=configs/table1.py:small"], "stands for several runs"),
    ],
)
def test_mistakes_are_told_in_a_line(quick, arguments, said):
    with pytest.raises(SystemExit, match=re.escape(said)):
        training.main([*TINY, *arguments])


def test_unknown_rows_and_a_missing_torch_are_told(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        training.main(["--only", "psy"])
    assert "invalid choice: 'psy'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit):
        training.main([])
    assert "pip install torch" in capsys.readouterr().err
