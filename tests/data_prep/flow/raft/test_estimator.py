"""RAFT: its parts against brute force, the whole against a PyTorch twin, and real weights."""

import re

import cv2
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.flow import FlowOptions, make_estimator
from data_prep.flow.raft.all_pairs import correlate, look_up
from data_prep.flow.raft.estimator import SIZES, Raft
from data_prep.flow.raft.layers import enlarge, enlarge_convexly
from data_prep.flow.raft.names import convert, original_name, torchvision_name

# --- Parts ----------------------------------------------------------------------------------------


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sample(plane, x, y):
    """Bilinear, zero outside."""
    left, top = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += plane[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def test_windows_hold_the_correlations_where_the_flow_points():
    first, second = draw(2, 6, 5, 8), draw(2, 6, 5, 8, seed=1)
    centres = np.random.default_rng(2).uniform(-4, 9, (2, 6, 5, 2)).astype(np.float32)
    centres[0, 0, 0], centres[0, 0, 1] = (1e9, -1e9), (2, 3)  # far away; on a position
    radius, levels = 2, 2
    pyramid = correlate(jnp.asarray(first), jnp.asarray(second), levels, radius)
    found = np.asarray(look_up(pyramid, jnp.asarray(centres), radius))
    volume = np.einsum("bijc,byxc->bijyx", first, second) / np.sqrt(8)
    coarse = volume[..., :6, :4].reshape(2, 6, 5, 3, 2, 2, 2).mean((4, 6))
    expected = [
        sample(plane[b, i, j], x / 2**level + right, y / 2**level + down)
        for b, i, j in np.ndindex(2, 6, 5)
        for x, y in [centres[b, i, j]]
        for level, plane in enumerate((volume, coarse))
        for right in range(-radius, radius + 1)
        for down in range(-radius, radius + 1)
    ]
    np.testing.assert_allclose(found.ravel(), expected, atol=2e-5)
    assert np.all(found[0, 0, 0] == 0)


def test_bilinear_enlargement_keeps_the_corners():
    flow = draw(1, 3, 4, 2)
    fine = np.asarray(enlarge(jnp.asarray(flow)))
    assert fine.shape == (1, 24, 32, 2)
    for i, j in ((0, 0), (0, 31), (23, 31), (5, 17), (12, 1)):
        expected = [sample(flow[0, ..., c], j * 3 / 31, i * 2 / 23) for c in (0, 1)]
        np.testing.assert_allclose(fine[0, i, j], expected, atol=1e-5)


def test_convex_enlargement_weighs_the_nine_positions_around():
    flow, logits = draw(1, 2, 3, 2), draw(1, 2, 3, 576)
    fine = np.asarray(enlarge_convexly(jnp.asarray(flow), jnp.asarray(logits)))
    padded = np.pad(flow[0], ((1, 1), (1, 1), (0, 0)))
    for i, j in np.ndindex(16, 24):
        row, column = i // 8, j // 8
        weights = np.exp(logits[0, row, column].reshape(9, 8, 8)[:, i % 8, j % 8])
        around = padded[row : row + 3, column : column + 3].reshape(9, 2)
        expected = weights @ around / weights.sum()
        np.testing.assert_allclose(fine[0, i, j], expected, rtol=1e-4, atol=1e-5)


# --- The whole network ----------------------------------------------------------------------------


def shapes_of(name):
    module = Raft(SIZES[name])
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image, image)


def draw_checkpoint(name):
    """Random parameters that keep the size of the features, under the original names."""
    places = flax.traverse_util.flatten_dict(shapes_of(name))
    generator, arrays = np.random.RandomState(7), {}
    for key, place in sorted((original_name(place), place) for place in places):
        shape = places[place].shape
        shape = (*shape[3:], *shape[2:3], *shape[:2])[: len(shape)] if len(shape) == 4 else shape
        values = generator.random_sample(shape).astype(np.float32) - np.float32(0.5)
        if len(shape) == 4:
            values *= np.float32((24 / np.prod(shape[1:])) ** 0.5)
        elif "norm" in key or "downsample.1" in key:
            values += np.float32(1.0 if key.endswith(("var", "weight")) else 0.0)
        arrays[key] = values
    return arrays


def draw_images():
    """Two frames whose features differ."""
    return np.random.RandomState(8).randint(0, 256, (2, 1, 128, 128, 3)).astype(np.float32)


def flow_of(name, arrays, iterations=2, **options):
    module = Raft(SIZES[name], iterations, **options)
    variables = convert(shapes_of(name), arrays, "file.pth")
    first, second = draw_images()
    return np.asarray(jax.jit(module.apply)(variables, first, second))


def pick(flow):
    return np.concatenate([flow[0, 3, 5], flow[0, 64, 70], flow[0, 127, 127]])


# Measured with the twin below.
GOLDEN = {
    "raft_small": [0.442271, 34.4985, 25.8655, 42.7168, 7.57709, 2.64021],
    "raft_large": [8.16689, -6.0637, 19.9628, -8.63413, -0.652794, -0.645956],
}


@pytest.mark.parametrize(("name", "count"), [("raft_small", 990_162), ("raft_large", 5_257_536)])
def test_number_of_parameters(name, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(name)["params"])) == count


@pytest.mark.parametrize(
    ("name", "minimal"), [("raft_small", False), ("raft_small", True), ("raft_large", False)]
)
def test_converted_networks_give_the_golden_flow(name, minimal):
    flow = flow_of(name, draw_checkpoint(name), minimal=minimal)
    assert flow.shape == (1, 128, 128, 2)
    np.testing.assert_allclose(pick(flow), GOLDEN[name], atol=1e-4 * np.abs(flow).max())


@pytest.mark.parametrize("name", GOLDEN)
def test_converted_networks_agree_with_a_torch_twin(name):
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch import raft as torch_raft

    arrays = draw_checkpoint(name)
    twin = torch_raft.Raft(SIZES[name], 2).eval()
    # The original release holds each normalisation of a shortcut twice.
    doubled = {
        key: arrays[re.sub(r"norm[34]", "downsample.1", key)]
        for key in twin.state_dict()
        if re.search(r"layer\d\.0\.norm[34]\.(?!num)", key)
    }
    state = {key: torch.from_numpy(array) for key, array in (arrays | doubled).items()}
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        expected = twin(*(torch.from_numpy(image.transpose(0, 3, 1, 2)) for image in draw_images()))
    expected = expected.numpy().transpose(0, 2, 3, 1)
    saved = {key: tensor.numpy() for key, tensor in twin.state_dict().items()}
    for minimal in (False, True):
        flow = flow_of(name, saved, minimal=minimal)
        assert np.abs(flow - expected).max() <= 1e-4 * np.abs(expected).max()


def test_torchvision_names_the_same_parameters_differently():
    for name in SIZES:
        arrays = draw_checkpoint(name)
        renamed = {torchvision_name(key): array for key, array in arrays.items()}
        assert len(renamed) == len(arrays) and set(renamed) != set(arrays)
        assert "update_block.recurrent_block.convgru1.convz.weight" in renamed
        expected, found = (convert(shapes_of(name), each, "f") for each in (arrays, renamed))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    # As `torchvision.models.optical_flow.raft_large().state_dict()` has them.
    for key in (
        "feature_encoder.convnormrelu.0.weight",
        "feature_encoder.layer1.0.convnormrelu1.0.bias",
        "feature_encoder.conv.weight",
        "context_encoder.convnormrelu.1.running_mean",
        "context_encoder.layer2.0.downsample.0.weight",
        "context_encoder.layer2.0.downsample.1.running_var",
        "context_encoder.layer3.1.convnormrelu2.1.weight",
        "update_block.motion_encoder.convcorr2.0.weight",
        "update_block.motion_encoder.convflow1.0.weight",
        "update_block.motion_encoder.conv.0.bias",
        "update_block.recurrent_block.convgru1.convz.weight",
        "update_block.recurrent_block.convgru2.convq.bias",
        "update_block.flow_head.conv2.weight",
        "mask_predictor.convrelu.0.weight",
        "mask_predictor.conv.bias",
    ):
        assert key in renamed, key


def test_checkpoint_of_another_network_is_refused_by_name():
    small, large = draw_checkpoint("raft_small"), draw_checkpoint("raft_large")
    with pytest.raises(ValueError, match=r"f.pth (lacks|holds) .*choose the --flow that"):
        convert(shapes_of("raft_large"), small, "f.pth")
    with pytest.raises(ValueError, match=r"f.pth (lacks|holds) .*choose the --flow that"):
        convert(shapes_of("raft_small"), large, "f.pth")
    del small["fnet.conv1.bias"]
    with pytest.raises(ValueError, match="f.pth lacks fnet.conv1.bias"):
        convert(shapes_of("raft_small"), small, "f.pth")
    small["fnet.conv1.bias"] = np.full(32, np.nan, np.float32)
    with pytest.raises(ValueError, match="f.pth holds numbers in fnet.conv1.bias that are not fin"):
        convert(shapes_of("raft_small"), small, "f.pth")


def test_bfloat16_stays_close():
    arrays = draw_checkpoint("raft_small")
    exact, rough = flow_of("raft_small", arrays), flow_of("raft_small", arrays, dtype=jnp.bfloat16)
    assert rough.dtype == np.float32
    difference = np.linalg.norm(exact - rough, axis=-1).mean()
    assert 0 < difference < 0.05 * np.linalg.norm(exact, axis=-1).mean()


# --- Real weights ---------------------------------------------------------------------------------


@pytest.fixture
def estimator(shared):
    weights = shared / "weights" / "raft-small.pth"
    return make_estimator(FlowOptions("raft_small", weights), "video")


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def flow_between(estimator, first, second):
    encoded = [estimator.encode(image, "", image.shape[:2]) for image in (first, second)]
    return estimator.match(encoded[:1], encoded[1:])[0]


def test_real_weights_find_the_flow_of_rubberwhale(shared, estimator):
    folder = shared / "refdata" / "flow"
    first, second = (read(folder / f"rubberwhale_frame{i}.png") for i in (10, 11))
    flow, truth = (
        flow_between(estimator, first, second),
        np.load(folder / "rubberwhale.npz")["flow"],
    )
    known = (np.abs(truth) < 1e9).all(axis=-1)
    assert flow.shape == truth.shape  # 584 x 388, no multiple of 8
    assert abs(np.linalg.norm(flow - truth, axis=-1)[known].mean() - 0.320) < 0.005


def test_real_weights_give_the_flow_of_the_torch_twin(shared, estimator):
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch import raft as torch_raft

    twin = torch_raft.Raft(SIZES["raft_small"]).eval()
    path = shared / "weights" / "raft-small.pth"
    saved = torch.load(path, map_location="cpu", weights_only=True)
    twin.load_state_dict({key.removeprefix("module."): value for key, value in saved.items()})
    folder = shared / "data/DAVIS2016/JPEGImages/480p/dog"
    images = [cv2.resize(read(folder / f"{t:05d}.jpg"), (320, 192)) for t in (10, 12)]
    with torch.no_grad():
        tensors = [torch.from_numpy(image.transpose(2, 0, 1)[None]).float() for image in images]
        expected = twin(*tensors).numpy()[0].transpose(1, 2, 0)
    difference = np.linalg.norm(flow_between(estimator, *images) - expected, axis=-1)
    assert difference.mean() <= 1e-3 and np.linalg.norm(expected, axis=-1).max() > 5


def test_real_weights_explain_real_frames(shared, estimator):
    for video in ("bear", "parkour"):
        folder = shared / "data/DAVIS2016/JPEGImages/480p" / video
        first, second = (cv2.resize(read(folder / f"{t:05d}.jpg"), (320, 176)) for t in (20, 21))
        flow = flow_between(estimator, first, second)
        columns, rows = np.meshgrid(
            np.arange(320, dtype=np.float32), np.arange(176, dtype=np.float32)
        )
        warped = cv2.remap(second, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        before, after = (np.abs(np.float32(first) - image).mean() for image in (second, warped))
        assert after < 0.6 * before, (video, before, after)
