"""PWC-Net: its parts against brute force, the whole against a PyTorch twin, and the check."""

import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.flow import FlowOptions, make_estimator
from data_prep.flow import check as check_module
from data_prep.flow.check import compare, main
from data_prep.flow.pwcnet import estimator as pwcnet
from data_prep.flow.pwcnet.cost_volume import cost_volume, warp_inside
from data_prep.flow.pwcnet.estimator import Decoder, Enlarging, PwcNet, Refiner, convert
from tests.support.tiny_videos import sliding_texture

# --- Parts ----------------------------------------------------------------------------------------


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("width", [3, 16, 21])  # less than, as many as and more than one tile
def test_cost_volume_holds_mean_products_with_all_neighbours(width):
    first, second = draw(2, 4, width, 5), draw(2, 4, width, 5, seed=1)
    radius = 2
    found = np.asarray(jax.jit(cost_volume, static_argnums=2)(first, second, radius))
    expected = np.zeros((2, 4, width, 25))
    for b, y, x in np.ndindex(2, 4, width):
        for k, (down, right) in enumerate(np.ndindex(5, 5)):
            row, column = y + down - radius, x + right - radius
            if 0 <= row < 4 and 0 <= column < width:
                expected[b, y, x, k] = first[b, y, x] @ second[b, row, column] / 5
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_warping_gives_zero_where_a_sample_leaves_the_map():
    features = draw(2, 5, 6, 3)
    flow = 3 * draw(2, 5, 6, 2, seed=1)
    flow[0, 0, :5] = [(1e9, 0), (-1e30, 5), (0, 0), (0, -5e-4), (0, -2e-3)]
    found = np.asarray(jax.jit(warp_inside)(features, flow))
    expected = np.zeros_like(features)
    kept = 0
    for b, y, x in np.ndindex(2, 5, 6):
        at_x, at_y = x + float(flow[b, y, x, 0]), y + float(flow[b, y, x, 1])
        sample, inside = 0, 0
        for row, column in np.ndindex(5, 6):
            weight = max(0, 1 - abs(at_x - column)) * max(0, 1 - abs(at_y - row))
            sample, inside = sample + weight * features[b, row, column], inside + weight
        if inside > 0.999:
            expected[b, y, x], kept = sample, kept + 1
    assert 10 < kept < 50
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[0, 0, 2], features[0, 0, 2])
    assert found[0, 0, 3].any() and not found[0, 0, 4].any()  # 0.9995 and 0.998 inside


def test_warping_survives_flow_that_is_no_number():
    flow = np.full((1, 3, 4, 2), np.nan, np.float32)
    assert warp_inside(jnp.ones((1, 3, 4, 2)), flow).shape == (1, 3, 4, 2)


def test_enlarging_is_a_transposed_convolution():
    parts = [draw(2, 3, 4, 5), draw(2, 3, 4, 2, seed=1)]
    module = Enlarging()
    kernel, bias = draw(4, 4, 2, 7, seed=2), draw(2, seed=3)
    found = np.asarray(module.apply({"params": {"kernel": kernel, "bias": bias}}, parts))
    maps = np.concatenate(parts, -1)
    expected = np.zeros((2, 8, 10, 2)) + bias  # with the border that padding 1 cuts off
    for y, x, down, right in np.ndindex(3, 4, 4, 4):
        expected[:, 2 * y + down, 2 * x + right] += maps[:, y, x] @ kernel[down, right].T
    np.testing.assert_allclose(found, expected[:, 1:-1, 1:-1], atol=1e-5)


def test_refiner_is_a_chain_of_dilated_convolutions():
    parts = [draw(1, 16, 32, 3), draw(1, 16, 32, 4, seed=1)]
    module = Refiner(jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), parts)
    variables = jax.tree.map(lambda leaf: draw(*leaf.shape) / np.sqrt(leaf.size**0.5), shapes)
    expected = np.concatenate(parts, -1).astype(np.float64)
    for index, dilation in enumerate((1, 2, 4, 8, 16, 1, 1), 1):
        layer = variables["params"][f"conv{index}"]
        padded = np.pad(expected, ((0, 0), (dilation, dilation), (dilation, dilation), (0, 0)))
        expected = layer["bias"] + sum(
            padded[:, y * dilation :][:, :16, x * dilation :][:, :, :32] @ layer["kernel"][y, x]
            for y, x in np.ndindex(3, 3)
        )
        if index < 7:
            expected = np.where(expected > 0, expected, 0.1 * expected)
    found = np.asarray(jax.jit(module.apply)(variables, parts))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


# --- The whole network ----------------------------------------------------------------------------

WORDS = ("", "One", "Two", "Thr", "Fou", "Fiv", "Six")
PYRAMID = (16, 32, 64, 96, 128, 196)
DENSE = (128, 128, 96, 64, 32)


def list_layers():
    """Layers of the official release: name, name in the re-implementation, shape of the weight."""
    entering = 3
    for level, width in enumerate(PYRAMID, 1):
        for index, letters in enumerate(("a", "aa", "b") if level < 6 else ("aa", "a", "b")):
            other = f"netExtractor.net{WORDS[level]}.{2 * index}"
            yield f"conv{level}{letters}.0", other, (width, entering, 3, 3)
            entering = width
    for level in (6, 5, 4, 3, 2):
        here, below = f"net{WORDS[level]}", f"net{WORDS[level - 1]}"
        channels = 81 if level == 6 else 81 + PYRAMID[level - 1] + 4
        for index, width in enumerate(DENSE):
            other = f"{here}.net{WORDS[index + 1]}.0"
            yield f"conv{level}_{index}.0", other, (width, channels, 3, 3)
            channels += width
        yield f"predict_flow{level}", f"{here}.netSix.0", (2, channels, 3, 3)
        yield f"deconv{level}", f"{below}.netUpflow" if level > 2 else None, (2, 2, 4, 4)
        if level > 2:
            yield f"upfeat{level}", f"{below}.netUpfeat", (channels, 2, 4, 4)
    for index, width in enumerate((128, 128, 128, 96, 64, 32), 1):
        yield f"dc_conv{index}.0", f"netRefiner.netMain.{2 * index - 2}", (width, channels, 3, 3)
        channels = width
    yield "dc_conv7", "netRefiner.netMain.12", (2, channels, 3, 3)


def draw_checkpoint():
    """Random parameters that keep the size of the features and give flow of some 10 px."""
    generator, arrays = np.random.RandomState(7), {}
    for name, _, shape in list_layers():
        transposed = name.startswith(("deconv", "upfeat"))
        entering = 4 * shape[0] if transposed else np.prod(shape[1:])
        size = 0.5 if name.startswith(("predict_flow", "dc_conv7", "upfeat")) else 1.0
        values = generator.random_sample(shape).astype(np.float32) - np.float32(0.5)
        arrays[f"{name}.weight"] = values * np.float32(size * (30 / entering) ** 0.5)
        leaving = shape[1] if transposed else shape[0]
        biases = generator.random_sample(leaving).astype(np.float32) - np.float32(0.5)
        arrays[f"{name}.bias"] = biases * np.float32(0.2)
    return arrays


def rename(arrays, spelled="net"):
    """To the names of the re-implementation, which lacks the unused ``deconv2``."""
    names = {name: other for name, other, _ in list_layers() if other}
    return {
        f"{names[layer]}.{leaf}".replace("net", spelled): array
        for name, array in arrays.items()
        for layer, leaf in [name.rsplit(".", 1)]
        if layer in names
    }


def draw_images(height=64, width=128):
    """Two frames whose features differ."""
    return np.random.RandomState(8).randint(0, 256, (2, 1, height, width, 3)).astype(np.float32)


def convert_here(arrays):
    module = PwcNet()
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image, image)
    return convert(shapes, arrays, "file.pth")


def flow_of(arrays, **options):
    apply = jax.jit(PwcNet(**options).apply)
    return np.asarray(apply(convert_here(arrays), *draw_images()))


@pytest.fixture(scope="module")
def checkpoint():
    return draw_checkpoint()


@pytest.fixture(scope="module")
def flow(checkpoint):
    return flow_of(checkpoint)


def pick(flow):
    return np.concatenate([flow[0, 3, 5], flow[0, 31, 70], flow[0, 63, 127]])


# Measured with the twin below.
GOLDEN = [-0.196768, 4.10135, -5.08538, -2.96574, -1.96236, -0.390671]


def test_converted_network_gives_the_golden_flow(flow):
    assert flow.shape == (1, 64, 128, 2)
    np.testing.assert_allclose(pick(flow), GOLDEN, atol=1e-4 * np.abs(flow).max())


def test_converted_network_agrees_with_a_torch_twin(checkpoint, flow):
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch import pwcnet as torch_pwcnet

    twin = torch_pwcnet.PwcNet().eval()
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.items()})
    with torch.no_grad():
        expected = twin(*(torch.from_numpy(image.transpose(0, 3, 1, 2)) for image in draw_images()))
    expected = expected.numpy().transpose(0, 2, 3, 1)
    assert 5 < np.abs(expected).max() < 100
    assert np.abs(flow - expected).max() <= 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(pick(expected), GOLDEN, rtol=1e-3)
    for spelled in ("net", "module"):
        renamed = torch_pwcnet.rename(checkpoint, spelled)
        assert renamed.keys() == rename(checkpoint, spelled).keys()


@pytest.mark.parametrize("spelled", ["net", "module"])
def test_the_other_names_give_the_same_variables(checkpoint, spelled):
    expected = convert_here(checkpoint)
    found = convert_here(rename(checkpoint, spelled))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # The official full model, but for the 66 parameters of its unused deconv2.
    assert sum(leaf.size for leaf in jax.tree.leaves(found)) == 9_374_274


@pytest.mark.parametrize("spelled", ["official", "net", "module"])
@pytest.mark.parametrize(
    ("layer", "array", "message"),
    [
        ("conv6a.0", None, "file.pth lacks NAME.weight"),
        ("upfeat4", np.zeros((2, 2, 4, 4)), r"holds NAME.weight of shape \(2, 2, 4, 4\)"),
        ("dc_conv7", np.full((2, 32, 3, 3), np.inf), "holds numbers in NAME.weight that are not"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_the_difference(
    checkpoint, spelled, layer, array, message
):
    changed = dict(checkpoint)
    changed[f"{layer}.weight"] = array
    name = layer
    if spelled != "official":
        changed = rename(changed, spelled)
        other = {official: other for official, other, _ in list_layers()}[layer]
        name = other.replace("net", spelled)
    changed = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(ValueError, match=message.replace("NAME", name)):
        convert_here(changed)


def test_a_checkpoint_with_more_names_what_it_has(checkpoint):
    with pytest.raises(ValueError, match=r"file.pth holds conv7a.0.weight, which this network"):
        convert_here(checkpoint | {"conv7a.0.weight": np.zeros(1)})


def test_bfloat16_stays_close(checkpoint, flow):
    rough = flow_of(checkpoint, dtype=jnp.bfloat16)
    assert rough.dtype == np.float32
    difference = np.linalg.norm(flow - rough, axis=-1).mean()
    assert 0 < difference < 0.05 * np.linalg.norm(flow, axis=-1).mean()


def test_bfloat16_is_for_convolutions_only(monkeypatch):
    seen = []

    def watch(function):
        def watched(first, second, *rest):
            seen.extend([first.dtype, second.dtype])
            return function(first, second, *rest)

        return watched

    for name in ("cost_volume", "warp_inside"):
        monkeypatch.setattr(pwcnet, name, watch(getattr(pwcnet, name)))
    module = PwcNet(jnp.bfloat16)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image, image)
    seen.clear()

    def run(variables, image):
        watched = {"capture_intermediates": lambda layer, _: isinstance(layer, Decoder | Refiner)}
        return module.apply(variables, image, image, mutable=["intermediates"], **watched)

    _, kept = jax.eval_shape(run, shapes, image)
    assert seen == [jnp.float32] * 18  # five cost volumes, four warps
    (correction,) = kept["intermediates"].pop("refiner")["__call__"]
    assert correction.dtype == jnp.float32
    assert len(kept["intermediates"]) == 5
    for level in kept["intermediates"].values():
        ((flow, parts),) = level["__call__"]
        assert flow.dtype == jnp.float32
        assert all(maps.dtype == jnp.bfloat16 for maps in parts)


def test_estimator_takes_frames_of_any_size(checkpoint, flow, monkeypatch):
    monkeypatch.setattr(pwcnet, "read_checkpoint", {"file.pth": checkpoint}.get)
    estimator = make_estimator(FlowOptions("pwcnet", "file.pth"), "video")
    frames = [estimator.encode(np.uint8(image[0])) for image in draw_images()]
    (same,) = estimator.match(frames[:1], frames[1:])
    np.testing.assert_allclose(same, flow[0], atol=1e-4 * np.abs(flow).max())
    small = [cv2.resize(np.uint8(image[0]), (90, 50)) for image in draw_images()]
    (found,) = estimator.match(*([estimator.encode(image)] for image in small))
    assert found.shape == (50, 90, 2)


# --- The check against a reference ----------------------------------------------------------------

SHIFT = (2, 1)


@pytest.fixture
def sliding(tmp_path):
    """Paths of two frames and of their flow, by direction."""
    for name, frame in zip("ab", sliding_texture(2, 60, 90, shift=SHIFT), strict=True):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), frame[..., ::-1])
    flow = np.tile(np.float32(SHIFT), (60, 90, 1))
    np.savez(tmp_path / "both.npz", forward=flow, backward=-flow)
    return tmp_path


def run_check(folder, reference, *options, frames=("a.png", "b.png")):
    paths = [str(folder / name) for name in frames]
    reference = f"--reference={folder / reference}"
    return main(["--flow=dis", "--frames", *paths, reference, *options])


def test_check_accepts_the_right_flow_both_ways(sliding, capsys):
    assert run_check(sliding, "both.npz", "--tolerance=0.2") == 0
    forward, backward, sentence = capsys.readouterr().out.splitlines()
    for line, name in ((forward, "forward"), (backward, "backward")):
        assert line.startswith(f"{name}: end-point difference 0.")
        assert "over 5400 pixels" in line and line.endswith("reference 2.236 px")
    assert sentence.endswith("both.npz within 0.2 px")


def test_check_refuses_another_flow_by_name(sliding, capsys):
    flow = np.tile(np.float32(SHIFT), (60, 90, 1))
    np.savez(sliding / "both.npz", forward=flow, backward=flow)
    assert run_check(sliding, "both.npz", "--tolerance=0.2") == 1
    message = capsys.readouterr().err
    assert "--flow=dis differs" in message and "(backward) by more than the tolerance" in message


def test_check_refuses_flow_that_is_no_number(sliding, monkeypatch):
    class Broken:
        def encode(self, *frame):
            return None

        def match(self, firsts, seconds):
            return np.full((2, 60, 90, 2), np.nan, np.float32)

    monkeypatch.setattr(check_module, "make_estimator", lambda *options: Broken())
    assert run_check(sliding, "both.npz", "--tolerance=100") == 1


def test_check_against_truth_with_unknown_vectors(shared, capsys):
    folder = shared / "refdata" / "flow"
    frames = [f"rubberwhale_frame{t}.png" for t in (10, 11)]
    assert run_check(folder, "rubberwhale.npz", "--tolerance=0.12", frames=frames) == 0
    assert run_check(folder, "rubberwhale.npz", frames=frames) == 1
    out, err = capsys.readouterr()
    assert "difference 0.11" in out and "over 222970 pixels" in out  # Middlebury's mask
    assert "tolerance of 0.1 px" in err


def test_differences_by_hand():
    reference, flow = np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    flow[0, 0], flow[0, 1], reference[1, 1] = (3, 4), (50, 50), (0, 1)
    reference[0, 1] = np.nan
    mean, high, length, reference_length, pixels = compare(flow, reference)
    assert (mean, length, pixels) == (2, pytest.approx(5 / 3), 3)
    assert (high, reference_length) == (pytest.approx(4.92), pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("arrays", "options", "frames", "message"),
    [
        ({"other": np.zeros((60, 90, 2))}, (), "ab", "both.npz: holds arrays"),
        ({"forward": np.zeros((60, 90))}, (), "ab", r"both.npz: forward is float64 \(60, 90\)"),
        ({"forward": np.zeros((60, 80, 2))}, (), "ab", "both.npz: the reference is 80x60, the f"),
        ({"flow": np.full((60, 90, 2), 1.7e9)}, (), "ab", "both.npz: the reference is unknown"),
        ({"forward": np.full((60, 90, 2), 1.7e9)}, (), "ab", "both.npz: the reference is unknown"),
        (None, (), "ab", "both.npz: not a readable npz file"),
        ({}, (), "ac", "c.png: no such file"),
        ({}, (), "ad", "d.png is 40x30; the two frames must have one size"),
        ({}, ("--flow=pwcnet",), "ab", "--flow=pwcnet needs --flow_weights"),
        ({}, ("--flow=pwcnet", "--flow_weights=x.pth"), "ab", "x.pth: no such file"),
    ],
)
def test_check_says_what_is_wrong_with_its_input(sliding, capsys, arrays, options, frames, message):
    cv2.imwrite(str(sliding / "d.png"), np.zeros((30, 40, 3), np.uint8))
    if arrays is None:
        (sliding / "both.npz").write_bytes(b"PK\3\4 cut off")
    elif arrays:
        np.savez(sliding / "both.npz", **arrays)
    frames = [f"{name}.png" for name in frames]
    assert run_check(sliding, "both.npz", *options, frames=frames) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and re.search(message, error)
