"""What stands around a flow network: sizes, batches, devices; and the options that choose it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.flow import FlowOptions
from data_prep.flow.network import NetworkEstimator
from data_prep.flow.published import fill


class Places(nn.Module):
    """Its "flow" tells, at each pixel, what the second frame shows there, and the column."""

    def encode(self, images):
        assert images.shape[1] % 8 == images.shape[2] % 8 == 0
        return {"images": images}

    def match(self, firsts, seconds):
        shown = seconds["images"][..., 0] - firsts["images"][..., 0]
        columns = jnp.broadcast_to(jnp.arange(shown.shape[2], dtype=jnp.float32), shown.shape)
        return jnp.stack([shown, columns], -1)


def make(fit):
    return NetworkEstimator(Places(), {}, multiple=8, fit=fit)


def frames(count, height=21, width=30):
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3)).astype(np.uint8)


def test_padding_is_cut_off_where_it_was_put():
    estimator, (first, second) = make("pad"), frames(2)
    encoded = [estimator.encode(frame) for frame in (first, second)]
    (flow,) = estimator.match(encoded[:1], encoded[1:])
    assert flow.shape == (21, 30, 2) and flow.dtype == np.float32
    np.testing.assert_array_equal(flow[..., 0], np.float32(second[..., 0]) - first[..., 0])
    np.testing.assert_array_equal(flow[0, :, 1], np.arange(30) + 1)  # 30 of 32 columns
    padded = np.asarray(encoded[0][1]["images"])[0]
    assert padded.shape == (24, 32, 3)
    np.testing.assert_array_equal(padded[0, 1:-1], first[0])  # repeats the border


def test_vectors_of_stretched_frames_are_shrunk_back():
    estimator = make("resize")
    first, second = np.zeros((21, 30, 3), np.uint8), np.full((21, 30, 3), 64, np.uint8)
    (flow,) = estimator.match([estimator.encode(first)], [estimator.encode(second)])
    assert flow.shape == (21, 30, 2)
    np.testing.assert_allclose(flow[..., 0], 64 * 30 / 32, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_pairs(count):
    estimator, images = make("pad"), frames(count + 1)
    encoded = [estimator.encode(image) for image in images]
    flows = estimator.match(encoded[:-1], encoded[1:])
    assert flows.shape == (count, 21, 30, 2)
    np.testing.assert_array_equal(flows[..., 0], np.diff(np.float32(images[..., 0]), axis=0))


def test_a_thread_computes_on_its_own_device():
    estimator, image = make("pad"), frames(1)[0]
    for device in jax.local_devices()[:2]:
        with jax.default_device(device):
            _, encoded = estimator.encode(image)
        assert encoded["images"].devices() == {device}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "raft"}, "no flow estimator 'raft'; there are: .'dis'"),
        ({"precision": "float16"}, "flow_precision is 'float16'; expected one of"),
        ({"iterations": 0}, "flow_iterations is 0; it must be at least 1"),
        ({"estimator": "raft_small"}, "--flow=raft_small needs --flow_weights"),
        ({"weights": "w.pth"}, "--flow_weights is for the networks .*; --flow=dis has none"),
        ({"estimator": "pwcnet", "weights": "w.pth"}, "w.pth: no such file; check --flow_weights"),
    ],
)
def test_options_that_make_no_sense(options, message, tmp_path):
    if "weights" in options:
        options = options | {"weights": tmp_path / options["weights"]}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        FlowOptions(**options).check()


def test_what_flow_depends_on_is_recorded(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"one")
    small = FlowOptions("raft_small", tmp_path / "w.pth")
    described = small.describe_network()
    assert described["iterations"] == 12 and described["precision"] == "float32"
    (tmp_path / "w.pth").write_bytes(b"two")
    assert small.describe_network()["weights"] != described["weights"]
    assert "iterations" not in FlowOptions("pwcnet", tmp_path / "w.pth").describe_network()
    assert FlowOptions().describe_network() is None


def test_parameters_find_their_places_or_are_named():
    shapes = {"params": {"a": {"kernel": np.empty((1, 3, 2, 4)), "bias": np.empty(4)}}}
    names = {"a.weight": ("params", "a", "kernel"), "a.bias": ("params", "a", "bias")}
    arrays = {"a.weight": np.arange(24.0).reshape(4, 2, 1, 3), "a.bias": np.ones(4)}
    kernel = fill(shapes, arrays, names, "f.pth")["params"]["a"]["kernel"]
    assert kernel.dtype == np.float32 and kernel[0, 2, 1, 3] == arrays["a.weight"][3, 1, 0, 2]
    for change, message in (
        ({"a.bias": np.ones(5)}, r"f.pth holds a.bias of shape \(5,\), which does not fit \(4,\)"),
        ({"b.bias": np.ones(4)}, "f.pth holds b.bias, which this network does not have"),
        ({"a.bias": np.full(4, np.inf)}, "f.pth holds numbers in a.bias that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            fill(shapes, arrays | change, names, "f.pth")
    with pytest.raises(ValueError, match="f.pth lacks a.weight; choose the --flow"):
        fill(shapes, {"a.bias": np.ones(4)}, names, "f.pth")
