"""DeepLab: sizes, normalisations, what it sees of flow, and formulations that must agree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.deeplab import (
    DeepLab,
    standardise_flow,
    with_length,
    without_camera,
)
from dystab_jax.networks.motion_models import parametric_motion
from tests.support.tiny_motion import BOX, motion
from tests.support.tiny_networks import draw, fill_variables


def _flow_and_small(norm="batch", **kwargs):
    module = DeepLab("small", "flow", norm=norm, width=32, **kwargs)
    x = 3 * draw(2, 40, 56, 2)
    return module, fill_variables(module, x), x


def _parameters(**kwargs):
    channels = 2 if kwargs["inputs"] == "flow" else 3
    x = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    variables = jax.eval_shape(DeepLab(**kwargs).init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("backbone", "inputs", "millions"),
    [("resnet50", "flow", 23.6), ("resnet34", "image", 21.3), ("resnet18", "image", 11.2)],
)
def test_parameter_counts_are_those_of_the_paper(backbone, inputs, millions):
    assert _parameters(backbone=backbone, inputs=inputs) == pytest.approx(millions * 1e6, rel=0.01)


def test_small_has_a_quarter_of_a_million_parameters():
    assert _parameters(backbone="small", inputs="flow") == 243_314


@pytest.mark.parametrize(
    ("kwargs", "height", "width"),
    [
        ({"backbone": "small", "output_stride": 4, "width": 16}, 33, 47),
        ({"backbone": "small", "output_stride": 8, "width": 16}, 45, 32),
        ({"backbone": "small", "output_stride": 16, "width": 16}, 50, 61),
        ({"backbone": "resnet18", "output_stride": 8}, 33, 50),
        ({"backbone": "resnet18", "output_stride": 16}, 49, 39),
        ({"backbone": "efficientnet_lite0", "output_stride": 8}, 43, 38),
    ],
)
def test_logits_have_the_size_of_the_input(kwargs, height, width):
    module = DeepLab(inputs="image", **kwargs)
    x = jax.nn.sigmoid(draw(1, height, width, 3))
    logits = jax.jit(module.apply)(fill_variables(module, x), x)
    assert logits.shape == (1, height, width, 2)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


def test_flow_is_standardised_per_sample():
    flow = jnp.concatenate([5 + 2 * draw(1, 20, 30, 2), 0.1 * draw(1, 20, 30, 2, seed=4)])
    # 40 times the motion, plus a camera pan, is the same picture.
    other = 40 * flow + jnp.asarray([7.0, -3.0])[None, None, None, :]
    result = standardise_flow(flow, noise=1e-6)
    np.testing.assert_allclose(result.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(jnp.square(result).mean((1, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(standardise_flow(other, noise=1e-6), result, atol=1e-3)


def test_standardising_a_still_field_keeps_noise_small_and_gradients_finite():
    still = jnp.zeros((1, 8, 8, 2))
    gradient = jax.grad(lambda flow: jnp.square(standardise_flow(flow)).sum())(still)
    assert np.isfinite(gradient).all()
    noise = standardise_flow(0.01 * draw(1, 32, 32, 2))
    assert float(jnp.std(noise)) < 0.25


def test_a_network_that_shrinks_sees_means_of_cells():
    module = DeepLab("small", "flow", norm="group", width=32)
    flow = draw(2, 64, 96, 2)
    variables = fill_variables(module, flow)
    cells = np.asarray(flow).reshape(2, 32, 2, 48, 2, 2).mean((2, 4))
    expected = jax.image.resize(module.apply(variables, cells), (2, 64, 96, 2), "bilinear")
    shrinking = module.clone(shrink=2)
    np.testing.assert_allclose(shrinking.apply(variables, flow), expected, atol=1e-5)
    with pytest.raises(ValueError, match="64x97 pixels does not divide into cells of shrink=2"):
        shrinking.apply(variables, draw(1, 64, 97, 2))
    with pytest.raises(ValueError, match="at least 64 pixels"):
        shrinking.apply(variables, flow[:, :48])
    with pytest.raises(ValueError, match="shrink is 0"):
        module.clone(shrink=0)


def test_what_moves_against_the_camera_is_what_it_leaves():
    camera = jnp.asarray(motion(3, seed=0))
    flow = camera + 3 * jnp.asarray(BOX) * jnp.asarray([1.0, -1.0])[None, None, None, :]
    left = without_camera(flow, 3)
    length = np.asarray(jnp.linalg.norm(left, axis=-1))
    inside = BOX[..., 0] > 0
    assert length[~inside].max() < 0.3 < 1 < length[inside].min()
    # The camera does not matter, nor does the unit of the flow.
    np.testing.assert_allclose(without_camera(flow - camera, 3), left, atol=0.1)
    np.testing.assert_allclose(without_camera(5 * flow, 3, noise=0), left, atol=0.1)
    # A quadratic model takes out what an affine one leaves of a zooming, turning camera.
    camera = jnp.asarray(motion(6, seed=0))
    affine, quadratic = (camera - parametric_motion(camera, 1 + 0 * BOX, n) for n in (3, 6))
    assert jnp.abs(affine).mean() > 4 * jnp.abs(quadratic).mean()


def test_a_still_field_without_its_camera_is_zero():
    assert not jnp.any(without_camera(jnp.zeros((1, 32, 32, 2)), 6))


def test_a_network_without_the_camera_does_not_see_it():
    module = DeepLab("small", "flow", camera="quadratic", norm="group", width=32)
    flow = 0.1 * draw(4, 32, 48, 2) + 2 * BOX
    variables = fill_variables(module, flow)
    still, moving = (module.apply(variables, flow + extra) for extra in (0, motion(6, seed=1)))
    plain = DeepLab("small", "flow", norm="group", width=32)
    seen = [plain.apply(variables, flow + extra) for extra in (0, motion(6, seed=1))]
    assert jnp.abs(still - moving).mean() < 0.2 * jnp.abs(seen[0] - seen[1]).mean()


def test_the_length_is_the_same_in_both_directions():
    field = jnp.tile(jnp.asarray([3.0, -4.0]), (1, 2, 2, 1))
    np.testing.assert_allclose(with_length(field)[0, 0, 0], [3, -4, 5], rtol=1e-6)
    np.testing.assert_allclose(with_length(-field)[0, 0, 0], [-3, 4, 5], rtol=1e-6)
    gradient = jax.grad(lambda field: with_length(field).sum())(0 * field)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
def test_every_parameter_gets_a_finite_gradient(norm):
    module, variables, x = _flow_and_small(norm)
    assert ("batch_stats" in variables) == (norm != "group")
    state = {key: value for key, value in variables.items() if key != "params"}

    def loss(params):
        logits, updates = module.apply(
            {"params": params, **state}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.square(jax.nn.softmax(logits)[:, 3:9, ..., 1]).sum(), updates

    gradients, updates = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path
    changed = [
        not np.array_equal(new, old)
        for new, old in zip(
            jax.tree.leaves(updates.get("batch_stats", {})),
            jax.tree.leaves(state.get("batch_stats", {})),
            strict=True,
        )
    ]
    assert all(changed) if norm == "batch" else not any(changed)


def test_frozen_normalisation_reads_the_stored_statistics_while_training():
    module, variables, x = _flow_and_small("frozen")
    stored = jax.tree.map(lambda leaf: leaf + 0.5, variables["batch_stats"])
    other = {**variables, "batch_stats": stored}
    apply = jax.jit(partial(module.apply, train=True))
    np.testing.assert_array_equal(apply(other, x), jax.jit(module.apply)(other, x))
    assert np.abs(apply(other, x) - apply(variables, x)).max() > 1e-3


def test_batch_moments_are_those_of_all_devices_together():
    whole, variables, _ = _flow_and_small("batch")
    shards = DeepLab("small", "flow", width=32, axis_name="data")
    x = jnp.concatenate([2 * draw(2, 32, 40, 2), jnp.square(draw(2, 32, 40, 2, seed=5))])
    x = x * jnp.arange(1.0, 5.0)[:, None, None, None]

    def train(module, x):
        return module.apply(variables, x, train=True, mutable=["batch_stats"])

    expected, expected_state = jax.jit(partial(train, whole))(x)
    mapped = jax.vmap(partial(train, shards), axis_name="data")
    result, state = jax.jit(mapped)(x.reshape(2, 2, *x.shape[1:]))
    np.testing.assert_allclose(result.reshape(expected.shape), expected, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected_state), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(ours[0], ours[1])


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_bfloat16_stays_close_and_keeps_parameters_in_float32(norm):
    module, variables, x = _flow_and_small(norm)
    half = DeepLab("small", "flow", norm=norm, width=32, dtype="bfloat16")
    for leaf in jax.tree.leaves(jax.eval_shape(half.init, jax.random.key(0), x)):
        assert leaf.dtype == jnp.float32
    full = jax.jit(module.apply)(variables, x)
    rough = jax.jit(half.apply)(variables, x)
    assert rough.dtype == jnp.float32
    difference = np.abs(rough - full)
    assert 0 < difference.max() < 0.1 * np.abs(full).max()


def test_rematerialisation_recomputes_and_changes_no_gradient():
    module, variables, x = _flow_and_small("group")
    lean, _, _ = _flow_and_small("group", remat=True)

    def gradient(module):
        return jax.grad(lambda params: jnp.square(module.apply({"params": params}, x)).sum())

    params = variables["params"]
    assert "remat" in str(jax.make_jaxpr(gradient(lean))(params))
    assert "remat" not in str(jax.make_jaxpr(gradient(module))(params))
    ours, theirs = jax.jit(gradient(lean))(params), jax.jit(gradient(module))(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), ours, theirs)


def test_initial_masks_are_near_one_half_and_not_constant():
    module, _, x = _flow_and_small("group")
    logits = jax.jit(lambda x: module.init_with_output(jax.random.key(1), x)[0])(x)
    mask = jax.nn.softmax(logits)[..., 1]
    assert 0.3 < float(mask.min()) < float(mask.max()) < 0.7
    assert float(jnp.std(mask)) > 1e-3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"backbone": "resnet51"}, "resnet18, efficientnet_lite0, .*_lite1, .*_lite2, small"),
        ({"inputs": "rgb"}, "flow, image"),
        ({"norm": "layer"}, "batch, frozen, group"),
        ({"dtype": "float16"}, "float32, bfloat16"),
        ({"backbone": "resnet18", "output_stride": 4}, "8, 16"),
        ({"backbone": "resnet18", "width": 64}, "leave width at None"),
        ({"width": 24}, "multiple of 16"),
    ],
)
def test_unknown_choices_stop_at_construction(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DeepLab(**{"backbone": "small", "inputs": "flow", **kwargs})


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 31, 64, 2), (64, 64, 2)])
def test_inputs_of_another_shape_are_refused(unchecked, shape):
    with pytest.raises(ValueError, match="expected \\(B, H, W, 2\\)"):
        DeepLab("small", "flow").init(jax.random.key(0), jnp.zeros(shape))
