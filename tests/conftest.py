"""Shared by every test: strict JAX settings, four CPU devices, tiny data and a config for it."""

import os
import tempfile
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = "cpu"
# What one worker or one process of a test has compiled, the others find; not beyond this run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Read when jax starts. Tests choose among the devices with jax.devices()[:n]; they compile much
# and compute little, so less optimisation makes them faster, and so do XLA's older emitters: of a
# round of the game, 12 s in place of 32.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        # Later versions have the newer ones alone, and end at a flag that they do not know.
        "--xla_cpu_use_fusion_emitters=false" * version("jax").startswith("0.10."),
    ]
)

import re
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import jaxtyping
import pytest
from absl import flags
from ml_collections import ConfigDict

from configs import demo

ROOT = Path(__file__).resolve().parents[1]

# In modules whose annotations carry shapes, each call is compared with its function's annotations,
# and each dataclass with its fields'. Works on what is imported from here on; configs import none.
jaxtyping.install_import_hook(
    [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("dystab_jax", "data_prep")
        for path in (ROOT / package).rglob("*.py")
        if re.search("jaxtyping|array_types", path.read_text())
    ],
    # An int passes for a float, as type checkers have it.
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
jax.config.update("jax_numpy_rank_promotion", "raise")
# tensorflow_datasets registers absl flags when imported and reads them later.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Returns the reference data beside the checkout; skips where it is absent."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("the reference data (../shared beside the checkout) is absent")
    return path


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """Lets wrong shapes and types through to our functions, for tests of their own refusals."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def ctrl_c():
    """Has SIGINT raise KeyboardInterrupt; a shell starts its background jobs without that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Prepares folder/tiny: splits train and val, three videos of four 48x64 frames."""
    from data_prep.datasets.drawing import draw_video
    from data_prep.prepare import prepare

    root = tmp_path_factory.mktemp("tiny")
    for index in range(3):
        video = draw_video("train", index, frames=4, height=48, width=64)
        for kind, images in (("videos", video.frames[..., ::-1]), ("masks", video.masks * 255)):
            folder = root / kind / f"video{index}"
            folder.mkdir(parents=True)
            for number, image in enumerate(images):
                assert cv2.imwrite(str(folder / f"{number:05d}.png"), image)
    prepare(
        dataset="folder",
        source=root / "videos",
        masks=root / "masks",
        name="tiny",
        data_dir=root / "data",
        max_gap=2,
        flow_size="native",
        jobs=1,
        progress=False,
    )
    return root / "data"


@pytest.fixture(scope="session")
def mixed_data(tmp_path_factory) -> Path:
    """Prepares folder/mixed: a wide video (48x64), a portrait one (64x48) and one of 48x40."""
    from tests.support.tiny_sets import prepare_mixed

    root = tmp_path_factory.mktemp("mixed")
    return prepare_mixed(root, wide=(48, 64), tall=(64, 48), square=(48, 40))


@pytest.fixture(scope="session")
def new_tiny_config(tiny_data) -> Callable[[], ConfigDict]:
    """Makes ``demo.py`` with the smallest networks and three steps in each phase, on tiny_data."""

    def new() -> ConfigDict:
        config = demo.get_config()
        config.data.dir = str(tiny_data)
        config.data.train = "folder/tiny:train"
        config.data.image_size = (32, 48)
        config.data.batch_size = 4
        for name in ("phi", "chi"):
            config[name].model.update(backbone="small", width=16, output_stride=8, norm="group")
            config[name].pretrained = ""
        config.psi.model.update(widths=(4,), reweightings=1)
        # 12 frames in batches of 4, one update of each learner in a step: 3 steps in an epoch.
        config.bootstrap.update(rounds=1, phi_updates=1, psi_updates=1, least_updates=0)
        for name in ("warm_up", "dynamic", "static", "joint"):
            config.bootstrap[f"{name}_epochs"] = 1.0
        config.eval.update(data="folder/tiny:val", protocol="all_frames", batch_size=4, jobs=1)
        config.log.update(every=1, checkpoint_every=2)
        return config

    return new


@pytest.fixture
def tiny_config(new_tiny_config) -> ConfigDict:
    """Returns one config of ``new_tiny_config``, to be changed at will."""
    return new_tiny_config()
