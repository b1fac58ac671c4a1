"""What every test shares: strict JAX settings, four CPU devices, tiny data and a config for it."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Read when jax starts. Tests choose among the devices with jax.devices()[:n]; they compile much
# and compute little, so less optimisation makes them faster.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=4",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)

from pathlib import Path

import cv2
import jax
import pytest
from absl import flags
from ml_collections import ConfigDict

from configs import demo

jax.config.update("jax_numpy_rank_promotion", "raise")
# tensorflow_datasets registers absl flags when imported and reads them later.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data beside the checkout; tests that need it skip where it is absent."""
    path = Path(__file__).resolve().parents[1].parent / "shared"
    if not path.is_dir():
        pytest.skip("the reference data (../shared beside the checkout) is absent")
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A data_dir with folder/tiny: splits train and val, three videos of four 48x64 frames."""
    from data_prep.drawing import draw_video
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


@pytest.fixture
def tiny_config(tiny_data) -> ConfigDict:
    """``demo.py`` with tiny networks and images, one step per phase or few, on tiny_data."""
    config = demo.get_config()
    config.data.dir = str(tiny_data)
    config.data.train = "folder/tiny:train"
    config.data.image_size = (32, 48)
    config.data.batch_size = 4
    for name in ("phi", "chi"):
        config[name].model.width = 16
        config[name].model.output_stride = 8
    config.psi.model.widths = (4, 8)
    config.bootstrap.update(
        rounds=1,
        warm_up_epochs=1.0,  # 12 frames, batches of 4: 3 steps
        dynamic_epochs=3.0,  # 9 updates of phi: 3 steps
        static_epochs=1.0,  # 3 steps
        joint_epochs=3.0,  # 3 steps
    )
    config.eval.data = "folder/tiny:val"
    config.eval.protocol = "all_frames"
    config.eval.batch_size = 4
    config.eval.jobs = 1
    config.log.update(every=1, checkpoint_every=2)
    return config
