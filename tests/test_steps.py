"""Who learns in which step, from what, and whether behaviour has drifted."""

import dataclasses
from functools import cache, partial

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_prep.datasets.drawing import draw_video
from data_prep.flow.dis import Dis
from dystab_jax import losses
from dystab_jax.flow_ops import normalise_flow
from dystab_jax.losses import LossOptions
from dystab_jax.networks.inpainter import Inpainter, draw_ellipses
from dystab_jax.object_choice import canonicalise, fuse_masks
from dystab_jax.runtime import parallel
from dystab_jax.state import Trainable, parameter_count
from dystab_jax.steps import object_probability, to_image
from tests.support.tiny_networks import HEIGHT, LEARNERS, WIDTH, tiny_batch, tiny_state, tiny_steps

STEPS = tiny_steps()
BATCH = tiny_batch()


@cache
def compiled(name, steps=STEPS, **fixed):
    """A step on one device, compiled once for all tests."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    axis = 1 if name.endswith("round") else 0
    step = parallel.map_step(partial(getattr(steps, name), **fixed), mesh, axis)

    def run(state, batch):
        # The step's input is donated: the caller keeps the original.
        own = jax.tree.map(jnp.copy, parallel.replicate(state, mesh))
        return jax.device_get(step(own, parallel.shard(batch, mesh, axis)))

    return run


@pytest.fixture(scope="module")
def state():
    return jax.device_get(tiny_state(STEPS))


def same(first, second):
    """Bitwise, leaf by leaf."""
    leaves = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def changed(before, after):
    return [name for name in LEARNERS if not same(getattr(before, name), getattr(after, name))]


# -- who learns -----------------------------------------------------------------------------------

UPDATES = {
    "warm_up_psi": ("psi", {}),
    "update_psi": ("psi", {}),
    "update_phi": ("phi", {"with_static": False}),
    "update_phi, joint": ("phi", {"with_static": True}),
    "update_chi": ("chi", {"first": False}),
    "update_chi, first": ("chi", {"first": True}),
}


@pytest.mark.parametrize("key", UPDATES)
def test_who_learns(state, key):
    learner, fixed = UPDATES[key]
    after, metrics = compiled(key.partition(",")[0], **fixed)(state, BATCH)
    assert changed(state, after) == [learner]
    assert same(state.chi_previous, after.chi_previous)
    assert after.step == state.step  # rounds count steps, updates do not
    assert all(name.startswith(f"{learner}/") for name in metrics)
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())

    before, now = getattr(state, learner), getattr(after, learner)
    assert now.updates == before.updates + 1
    # Every single array of the network has its part in the loss.
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b), before.variables["params"], now.variables["params"]
    )
    assert all(jax.tree.leaves(moved))
    # The average follows closely at first: nine tenths new, one tenth old.
    for average, new, old in zip(
        *(jax.tree.leaves(tree) for tree in (now.average, now.variables, before.average)),
        strict=True,
    ):
        np.testing.assert_allclose(average, 0.9 * new + 0.1 * old, rtol=1e-5, atol=1e-6)


def test_steps_go_downhill(state):
    # The same batch again: each learner's own loss is lower after its step. Soft masks and short
    # steps, since the gradient through a hard cut is not that of the loss.
    soft = tiny_steps(mask_mode="soft", optimizer=optax.sgd(0.01))
    for key, (learner, fixed) in UPDATES.items():
        options = {"steps": soft} if learner == "phi" else {}
        run = compiled(key.partition(",")[0], **options, **fixed)
        after, before_metrics = run(state, BATCH)
        _, after_metrics = run(after, BATCH)
        name = f"{learner}/loss"
        assert after_metrics[name] < before_metrics[name], key


# -- averages and optimizers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decay", "expected"),
    # Weights of the old average: min(decay, 1/10), min(decay, 2/11), min(decay, 3/12).
    [
        (0.999, [0.1 * 0 + 0.9 * 1, 2 / 11 * 0.9 + 9 / 11 * 2, 0.25 * (1.8 / 11 + 18 / 11) + 2.25]),
        (0.05, [0.95, 0.05 * 0.95 + 0.95 * 2, 0.05 * (0.0475 + 1.9) + 0.95 * 3]),
        (0.0, [1, 2, 3]),
    ],
)
def test_averages_follow_as_documented(decay, expected):
    trained = Trainable(network=None, optimizer=optax.sgd(1.0), average_decay=decay)
    start = {"params": {"w": jnp.zeros(2)}, "batch_stats": {"mean": jnp.zeros(2)}}
    learner = trained.start(start)
    for number, value in enumerate(expected, 1):
        # The parameters move to 1, 2, 3; the statistics are set to the same.
        learner = trained.update(
            learner, {"w": -jnp.ones(2)}, {"batch_stats": {"mean": jnp.full(2, float(number))}}
        )
        np.testing.assert_allclose(learner.variables["params"]["w"], number)
        np.testing.assert_allclose(learner.average["params"]["w"], value, rtol=1e-6)
        np.testing.assert_allclose(learner.average["batch_stats"]["mean"], value, rtol=1e-6)
        assert learner.updates == number


def test_a_long_average_reaches_its_decay():
    trained = Trainable(network=None, optimizer=optax.sgd(0.0), average_decay=0.5)
    learner = trained.start({"params": {"w": jnp.ones(1)}})
    # After 1000 updates (1 + n)/(10 + n) is far above one half.
    learner = learner.replace(
        updates=jnp.array(1000), variables={"params": {"w": jnp.full(1, 3.0)}}
    )
    learner = trained.update(learner, {"w": jnp.zeros(1)}, {})
    np.testing.assert_allclose(learner.average["params"]["w"], 2)


def test_parameters_are_counted_without_statistics():
    assert parameter_count({"params": {"w": jnp.ones((2, 3))}, "batch_stats": jnp.ones(5)}) == 6


# -- rounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unrolled", [True, False])
def test_a_round_is_three_updates_of_phi_and_one_of_psi(state, unrolled):
    batch = tiny_batch(updates=4)
    steps = dataclasses.replace(STEPS, unrolled=unrolled)
    run = compiled("dynamic_round", steps, phi_updates=3, psi_updates=1, with_static=True)
    after, metrics = run(state, batch)
    assert changed(state, after) == ["phi", "psi"]
    assert after.step == 1
    assert (after.phi.updates, after.psi.updates) == (3, 1)

    # The same, one by one, on one minibatch after the other.
    one_by_one, measured = state, {}
    for number in range(4):
        minibatch = {name: array[number] for name, array in batch.items()}
        key = "update_phi" if number < 3 else "update_psi"
        fixed = {"with_static": True} if number < 3 else {}
        one_by_one, values = compiled(key, **fixed)(one_by_one, minibatch)
        measured |= values
    assert metrics.keys() == measured.keys()
    for name, value in measured.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5),
        (after.phi, after.psi),
        (one_by_one.phi, one_by_one.psi),
    )


@pytest.mark.parametrize(
    ("update", "fixed"),
    [("update_chi", {"first": False}), ("warm_up_psi", {})],
)
def test_other_rounds_are_one_update(state, update, fixed):
    after, metrics = compiled("single_round", update=update, **fixed)(state, tiny_batch(updates=1))
    expected, measured = compiled(update, **fixed)(state, tiny_batch(seed=0))
    assert after.step == 1
    for key, value in measured.items():
        np.testing.assert_allclose(metrics[key], value, rtol=1e-5)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        after.replace(step=expected.step),
        expected,
    )


@pytest.mark.parametrize("unrolled", [True, False])
def test_several_updates_of_chi_are_those_one_by_one(state, unrolled):
    batch = tiny_batch(updates=2)
    steps = dataclasses.replace(STEPS, unrolled=unrolled)
    run = compiled("single_round", steps, update="update_chi", first=False)
    after, metrics = run(state, batch)
    assert (after.step, after.chi.updates) == (1, 2)
    one_by_one = state
    for number in range(2):
        minibatch = {name: array[number] for name, array in batch.items()}
        one_by_one, measured = compiled("update_chi", first=False)(one_by_one, minibatch)
    for name, value in measured.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), after.chi, one_by_one.chi
    )


# -- what phi and psi learn from ------------------------------------------------------------------


def test_phi_is_advised_by_the_average_of_chi(state):
    run = compiled("update_phi", with_static=True)
    advised, _ = run(state, BATCH)
    other = jax.tree.map(lambda leaf: leaf + np.float32(0.1), state.chi.variables)
    assert same(
        run(state.replace(chi=state.chi.replace(variables=other)), BATCH)[0].phi, advised.phi
    )
    average = jax.tree.map(lambda leaf: -leaf, state.chi.average)
    moved, _ = run(state.replace(chi=state.chi.replace(average=average)), BATCH)
    assert not same(moved.phi.variables, advised.phi.variables)


def test_phi_does_not_know_of_chi_in_the_initial_game(state):
    run = compiled("update_phi", with_static=False)
    chi = jax.tree.map(lambda leaf: -leaf, state.chi)
    assert same(run(state.replace(chi=chi), BATCH)[0].phi, run(state, BATCH)[0].phi)


def test_losses_of_the_game_are_those_of_the_equations(state):
    # Recomputed by hand from the predictions: Eqs. (3), (4), (5), (6), (8).
    forward, backward = (jnp.float32(BATCH[f"flow_{way}"]) for way in ("forward", "backward"))
    image = to_image(jnp.asarray(BATCH["image"]))

    @jax.jit
    def masks(variables, flow):
        return losses.centre(object_probability(STEPS.phi.network.apply(variables, flow)))

    mask1, mask2 = (masks(state.phi.variables, flow) for flow in (forward, backward))
    hard = jnp.float32(mask1 > 0.5)
    scaled = normalise_flow(forward, 0.5)
    apply = jax.jit(STEPS.psi.network.apply)
    inside = apply(state.psi.variables, hard, (1 - hard) * scaled, image)
    outside = apply(state.psi.variables, 1 - hard, hard * scaled, image)
    score = losses.adversarial(hard, scaled, inside, outside, 1e-2, 1.0)
    inconsistency = losses.temporal_consistency(mask1, mask2, forward, backward)
    canonical, _ = canonicalise(mask1)
    static_mask = jax.jit(STEPS.static_mask)(state.chi.average, image)
    agreement = losses.f_measure(canonical, static_mask, STEPS.options.alpha2)
    loss = -score + 0.1 * inconsistency + (1 - agreement)
    expected = {
        "phi/separation": score,
        "phi/inconsistency": inconsistency,
        "phi/mask_area": canonical > 0.5,
        "phi/agreement": agreement,
        "phi/loss": loss,
    }
    _, metrics = compiled("update_phi", with_static=True)(state, BATCH)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], jnp.mean(value), rtol=1e-4, err_msg=name)
    # ψ minimises the same ratios without their bound.
    free = losses.adversarial(hard, scaled, inside, outside, 1e-2)
    _, metrics = compiled("update_psi")(state, BATCH)
    np.testing.assert_allclose(metrics["psi/loss"], jnp.mean(free), rtol=1e-4)


def test_psi_warms_up_on_ellipses(state):
    image, flow = to_image(jnp.asarray(BATCH["image"])), jnp.float32(BATCH["flow_forward"])
    mask = draw_ellipses(jnp.asarray(BATCH["ellipse"]), HEIGHT, WIDTH)
    scaled, inside, outside = jax.jit(STEPS.inpaint)(state.psi.variables, mask, flow, image)
    expected = jnp.mean(losses.adversarial(mask, scaled, inside, outside, 1e-2))
    _, metrics = compiled("warm_up_psi")(state, BATCH)
    np.testing.assert_allclose(metrics["psi/loss"], expected, rtol=1e-4)


def loss_of_psi(steps, name, state):
    """The loss that one update of ψ reports, with other options than those of STEPS."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    own = parallel.replicate(jax.tree.map(jnp.asarray, state), mesh)
    step = parallel.map_step(getattr(steps, name), mesh, 0)
    return step(own, parallel.shard(BATCH, mesh, 0))[1]["psi/loss"]


def test_options_of_the_game_act(state):
    image, flow = to_image(jnp.asarray(BATCH["image"])), jnp.float32(BATCH["flow_forward"])
    inpaint = jax.jit(STEPS.inpaint)
    # Soft masks are neither centred nor cut.
    soft = tiny_steps(mask_mode="soft")
    mask = jax.jit(soft.dynamic_mask)(state.phi.variables, flow)
    logits = jax.jit(STEPS.phi.network.apply)(state.phi.variables, flow)
    np.testing.assert_allclose(mask, object_probability(logits), rtol=1e-5)
    expected = losses.adversarial(mask, *inpaint(state.psi.variables, mask, flow, image), 1e-2)
    found = loss_of_psi(soft, "update_psi", state)
    np.testing.assert_allclose(found, jnp.mean(expected), rtol=1e-4)
    # The un-normalised objective of ψ: the numerators of Eq. (3).
    mask = draw_ellipses(jnp.asarray(BATCH["ellipse"]), HEIGHT, WIDTH)
    expected = losses.inpainting_error(mask, *inpaint(state.psi.variables, mask, flow, image))
    found = loss_of_psi(tiny_steps(psi_objective="error"), "warm_up_psi", state)
    np.testing.assert_allclose(found, jnp.mean(expected), rtol=1e-4)
    # Both players' ratios have the sizes of the guesses in the denominator.
    guesses = inpaint(state.psi.variables, mask, flow, image)
    expected = losses.adversarial(mask, *guesses, 1e-2, denominator="both")
    found = loss_of_psi(tiny_steps(denominator="both"), "warm_up_psi", state)
    np.testing.assert_allclose(found, jnp.mean(expected), rtol=1e-4)
    assert found < 2


# -- what chi learns from -------------------------------------------------------------------------


def chi_after(state, first=False, **changes):
    return compiled("update_chi", first=first)(state, BATCH | changes)[0].chi


def test_chi_stays_where_it_is_the_more_confident_one(state):
    less = {"confidence_phi": BATCH["confidence_chi"] + np.float32(0.1)}  # by less than δ
    settled = chi_after(state, **less)
    nothing = np.zeros_like(BATCH["motion_mask"])
    assert same(settled, chi_after(state, **less, motion_mask=nothing))
    # It still has its own earlier masks to agree with.
    assert not same(settled, chi_after(state, **less, static_mask=nothing))
    # A single sample that φ is sure of is learned from.
    one = {"confidence_phi": BATCH["confidence_phi"] * np.float32([1, 0, 0, 0])}
    assert not same(chi_after(state, **one), chi_after(state, **one, motion_mask=nothing))


def test_chi_learns_from_phi_alone_the_first_time(state):
    first = chi_after(state, first=True)
    nothing = np.zeros_like(BATCH["static_mask"])
    others = np.full_like(BATCH["confidence_chi"], 2)
    assert same(first, chi_after(state, True, static_mask=nothing, confidence_chi=others))
    assert not same(first, chi_after(state, True, motion_mask=nothing))


def test_metrics_of_chi(state):
    confidence = np.float32([1.5, 0.1, 1.5, 1.5])
    # Another α² than the paper's: no metric has one of its own.
    update = compiled("update_chi", tiny_steps(alpha2=0.3), first=False)
    _, metrics = update(state, BATCH | {"confidence_phi": confidence})
    assert metrics["chi/trusted"] == 0.75
    image = to_image(jnp.asarray(BATCH["image"]))
    prediction = jax.jit(STEPS.static_mask)(state.chi.variables, image)
    target = jnp.float32(BATCH["motion_mask"])
    agreement = jnp.mean(losses.f_measure(prediction, target, 0.3))
    np.testing.assert_allclose(metrics["chi/agreement"], agreement, rtol=1e-4)
    np.testing.assert_allclose(metrics["chi/mask_area"], jnp.mean(prediction > 0.5), rtol=1e-4)


# -- predictions ----------------------------------------------------------------------------------


def confidence(psi, batch, steps=STEPS):
    """The trust in masks by one flow each."""
    evidence = steps.measure_evidence(psi, batch)
    return losses.confidence(evidence, steps.options.ratio_clip)


def test_confidence_does_not_tell_a_mask_from_its_complement(state):
    batch = {"image": jnp.asarray(BATCH["image"]), "flow": jnp.asarray(BATCH["flow_forward"])}
    measure = jax.jit(confidence)
    mask = jnp.asarray(BATCH["motion_mask"], bool)
    found = measure(state.psi.variables, batch | {"mask": mask})
    complement = measure(state.psi.variables, batch | {"mask": ~mask})
    np.testing.assert_allclose(found, complement, rtol=1e-5)
    assert found.shape == (4,) and (found > 0).all() and (found <= 2).all()
    # With a ψ that only fits: moving objects cannot be told from the camera's motion.
    fit = jax.tree.map(jnp.zeros_like, state.psi.variables)
    true = measure(fit, batch | {"mask": mask})
    shifted = measure(fit, batch | {"mask": jnp.roll(mask, 10, 2)})
    assert (true > shifted + 0.05).all()


@pytest.fixture(scope="module")
def disc():
    """A disc in the image's middle: its mask, and how it and the rest of 48x64 pixels move."""
    y, x = np.mgrid[:48, :64].astype(np.float32)
    mask = ((y - 24) ** 2 + (x - 32) ** 2 < 100)[None, ..., None]
    steps = tiny_steps(denominator="both", slowest_flow=1.0, confidence_camera="quadratic")
    steps = dataclasses.replace(
        steps, psi=dataclasses.replace(steps.psi, network=Inpainter("affine", ()))
    )
    measure = jax.jit(partial(confidence, steps=steps))
    image = np.zeros((1, 48, 64, 3), np.uint8)

    def trust(flow, mask=mask):
        return float(measure({}, {"flow": flow, "image": image, "mask": mask})[0])

    return trust, mask, np.stack([x / 32 - 1, y / 24 - 1], -1)[None]


def test_confidence_is_of_what_moves(disc):
    trust, mask, zoom = disc
    noise = np.random.default_rng(0).normal(0, 1, (1, 48, 64, 2)).astype(np.float32)
    moving = np.where(mask, np.float32([4, 0]), np.float32([0, 0])) + 0.05 * noise
    # Noise of the flow, whatever the mask: the estimator's is a twentieth to a tenth of a pixel.
    for sigma in (0.02, 0.05, 0.1):
        for region in (mask, np.roll(mask, 20, 2)):
            assert trust(sigma * noise, region) < 0.25
    assert trust(moving) > 1.4
    # A camera that pans or zooms ten pixels takes nothing from it.
    assert trust(moving + np.float32([10, 3])) > 1.4
    assert trust(moving + 10 * zoom) > 1.2
    # A slow object convinces less, and a wrong mask less than the right one.
    slow = trust(np.where(mask, np.float32([1, 0]), np.float32([0, 0])) + 0.05 * noise)
    assert 0.7 < slow < 1.2
    assert trust(moving, np.roll(mask, 10, 2)) < trust(moving) - 0.3
    for nothing in (np.zeros_like(mask), np.ones_like(mask)):
        assert trust(moving, nothing) == 0


def test_noise_of_a_still_shot_does_not_outvote_chi(disc):
    trust = disc[0]
    rng = np.random.default_rng(0)
    estimator = Dis()
    for number in range(5):
        still = draw_video("test", number, frames=2, height=48, width=64).frames[0]
        noisy = (still + rng.normal(0, 3, (2, *still.shape))).clip(0, 255).astype(np.uint8)
        first, second = (estimator.encode(image) for image in noisy)
        flow = estimator.match([first], [second]).astype(np.float32)
        # The mask that the noise would choose: where it moves most.
        speed = cv2.GaussianBlur(np.linalg.norm(flow[0], axis=-1), (0, 0), 2)
        moving = trust(flow, (speed > np.quantile(speed, 0.95))[None, ..., None])
        assert moving < 0.25
        phi, chi = np.ones((1, 1, 2, 1), np.float32), np.float32([[[[0.4], [0.6]]]])
        fused = fuse_masks(phi, chi, np.float32([moving]), np.float32([0]))
        np.testing.assert_allclose(fused, chi, atol=0.04)


def test_evidence_of_several_flows_is_weighed_by_how_much_moves():
    errors, sizes = np.float32([[4, 2], [0.01, 0.01]]), np.float32([[5, 4], [1, 1]])
    evidence = np.concatenate([errors, sizes], 1)
    together = losses.confidence(evidence.sum(0, keepdims=True))
    np.testing.assert_allclose(together, [4.01 / 6 + 2.01 / 5], rtol=1e-6)
    apart = losses.confidence(evidence)
    np.testing.assert_allclose(apart, [4 / 5 + 2 / 4, 0.02], rtol=1e-5)


def test_predictions_are_those_of_the_networks(state):
    phi = jax.jit(STEPS.predict_dynamic)(state.phi.average, {"flow": BATCH["flow_forward"]})
    chi = jax.jit(STEPS.predict_static)(state.chi.average, {"image": BATCH["image"]})
    assert phi.shape == chi.shape == (4, HEIGHT, WIDTH, 1)
    logits = jax.jit(STEPS.chi.network.apply)(state.chi.average, BATCH["image"] / np.float32(255))
    expected = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    np.testing.assert_allclose(chi[..., 0], expected, rtol=1e-5)


# -- small parts ----------------------------------------------------------------------------------


def test_flow_is_scaled_by_its_mean_length():
    # Lengths 5 and 15: mean 10. The slow sample is scaled by the smallest unit instead.
    fast = np.array([[[3, 4], [9, 12]]], np.float32)
    scaled = normalise_flow(np.stack([fast, fast / 100]), slowest=0.5)
    np.testing.assert_allclose(scaled[0], fast / 10, rtol=1e-6)
    np.testing.assert_allclose(scaled[1], fast / 100 / 0.5, rtol=1e-6)
    assert not normalise_flow(np.zeros((1, 2, 2, 2), np.float32), slowest=0.5).any()


def test_images_and_probabilities_by_hand():
    image = to_image(jnp.asarray([[[[0, 51, 255]]]], jnp.uint8))
    np.testing.assert_allclose(image, [[[[0, 0.2, 1]]]], rtol=1e-6)
    # Channel 1 is the object: 1 / (1 + exp(−ln 3)) = 3/4.
    probability = object_probability(jnp.array([[[[0, np.log(3)]]]]))
    np.testing.assert_allclose(probability, [[[[0.75]]]], rtol=1e-6)


def test_ellipses_by_hand():
    # Row 0.25, column 0.5; a quarter of the width along x, an eighth of the height along y.
    flat = draw_ellipses(jnp.array([[0.25, 0.5, 0.25, 0.125, 0]]), 101, 101)[0, ..., 0]
    rows, columns = np.nonzero(flat)
    assert (rows.min(), rows.max()) == (25 - 12, 25 + 12)
    assert (columns.min(), columns.max()) == (50 - 24, 50 + 24)
    assert float(flat.sum()) == pytest.approx(np.pi * 25 * 12.5, rel=0.01)
    # A quarter turn exchanges the radii; what lies beyond the image is cut.
    turned = draw_ellipses(jnp.array([[0.25, 0.5, 0.25, 0.125, np.pi / 2]]), 101, 101)[0, ..., 0]
    rows, columns = np.nonzero(turned)
    assert (rows.max(), columns.max()) == (25 + 24, 50 + 12)
    # Shares of the sides: an image of half the height has half as high an ellipse.
    wide = draw_ellipses(jnp.array([[0.25, 0.5, 0.25, 0.125, 0]]), 51, 101)
    assert wide.shape == (1, 51, 101, 1) and set(np.unique(wide)) == {0, 1}
    assert float(wide.sum()) == pytest.approx(float(flat.sum()) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"mask_mode": "hard"}, "mask_mode is 'hard'; choose straight_through or soft"),
        ({"denominator": "seen"}, "denominator is 'seen'; choose observed or both"),
        ({"psi_objective": "l1"}, "psi_objective is 'l1'; choose ratio or error"),
        ({"temporal_weight": -0.1}, "temporal_weight is -0.1; it must be ≥ 0"),
    ],
)
def test_wrong_options_stop(option, said):
    with pytest.raises(ValueError, match=said):
        LossOptions(**vars(STEPS.options) | option)


# -- drift ----------------------------------------------------------------------------------------

GOLDEN = {
    "warm_up_psi": {"psi/loss": 1.35953, "moved": 0.0506129},
    "update_psi": {"psi/loss": 1.52945, "moved": 0.0550086},
    "update_phi": {
        "phi/inconsistency": 0.190259,
        "phi/loss": -1.28289,
        "phi/mask_area": 0.400879,
        "phi/separation": 1.30192,
        "moved": 0.153948,
    },
    "update_phi, joint": {
        "phi/agreement": 0.541768,
        "phi/inconsistency": 0.190259,
        "phi/loss": -0.824663,
        "phi/mask_area": 0.400879,
        "phi/separation": 1.30192,
        "moved": 0.09501,
    },
    "update_chi": {
        "chi/agreement": 0.357351,
        "chi/loss": 0.928519,
        "chi/mask_area": 0.983887,
        "chi/trusted": 1.0,
        "moved": 0.119024,
    },
    "update_chi, first": {
        "chi/agreement": 0.357351,
        "chi/loss": 0.795407,
        "chi/mask_area": 0.983887,
        "chi/trusted": 1.0,
        "moved": 0.113355,
    },
}


@pytest.mark.parametrize("key", UPDATES)
def test_golden_step(state, key):
    """Where behaviour was meant to change, put the new numbers here."""
    learner, fixed = UPDATES[key]
    after, metrics = compiled(key.partition(",")[0], **fixed)(state, BATCH)
    before, now = (jax.tree.leaves(getattr(s, learner).variables["params"]) for s in (state, after))
    squares = [np.sum((b - a) ** 2) for a, b in zip(before, now, strict=True)]
    found = metrics | {"moved": np.sqrt(np.sum(squares))}
    assert found.keys() == GOLDEN[key].keys()
    for name, value in GOLDEN[key].items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
