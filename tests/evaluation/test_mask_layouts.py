"""Files in the official layouts, and that they score as what was written."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dystab_jax.commands import score_masks
from dystab_jax.data.dataset_registry import DATA_SETS
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.evaluation import mask_layouts
from dystab_jax.evaluation.protocols import registry
from tests.support.mask_encodings import random_masks

SOFT = np.array([[0.0, 0.2, 0.5], [0.51, 0.998, 1.0]], np.float32)
HARD = [[0, 0, 0], [1, 1, 1]]


def written_as(pixels):
    """Names of the data sets whose predictions are masks, numbers or maps."""
    return [one.name for one in DATA_SETS.values() if one.layout.pixels == pixels]


@pytest.mark.parametrize("dataset", [*written_as("mask"), "folder/mine"])
def test_masks(dataset, tmp_path):
    path = mask_layouts.write(tmp_path, dataset, "cat", "00001", SOFT)
    assert path == tmp_path / "cat" / "00001.png"
    with Image.open(path) as image:
        assert image.mode == "L"
        assert (np.asarray(image) == np.multiply(HARD, 255)).all()


@pytest.mark.parametrize(("dataset", "inside"), [("davis2017", ""), ("youtube_vos", "Annotations")])
def test_numbers(dataset, inside, tmp_path):
    path = mask_layouts.write(tmp_path, dataset, "cat", "00001", SOFT)
    assert path == tmp_path / inside / "cat" / "00001.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == HARD
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


@pytest.mark.parametrize("dataset", written_as("map"))
def test_maps(dataset, tmp_path):
    path = mask_layouts.write(tmp_path, dataset, "0001", "0001", SOFT)
    assert path == tmp_path / "0001.png"
    with Image.open(path) as image:
        # 255 · 0.5 = 127.5 goes to the even neighbour.
        assert np.asarray(image).tolist() == [[0, 51, 128], [130, 254, 255]]


def test_palette_is_that_of_davis(shared):
    colours = davis_palette()
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert colours[[0, 1, 2, 3, 7, 8, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [128, 128, 128],
        [64, 0, 0],
        [224, 224, 192],
    ]
    folder = shared / "data" / "DAVIS2017_palette_sample" / "Annotations" / "480p" / "bear"
    with Image.open(min(folder.glob("*.png"))) as image:
        used = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    np.testing.assert_array_equal(colours[: len(used)], used)


def test_what_is_no_map_or_no_data_set_is_refused(unchecked, tmp_path):
    for bad in (SOFT * 255, SOFT - 0.1, np.where(SOFT, SOFT, np.nan), SOFT[..., None]):
        message = re.escape(f"video cat, frame 7: a map of shape {bad.shape}, expected")
        with pytest.raises(ValueError, match=message):
            mask_layouts.write(tmp_path, "ecssd", "cat", "7", bad)
    with pytest.raises(ValueError, match="no data set 'davis'; there are: movers, davis2016"):
        mask_layouts.write(tmp_path, "davis", "cat", "7", SOFT)
    assert not list(tmp_path.iterdir())


def test_every_data_set_with_a_protocol_has_a_layout():
    layouts = {name for pixels in ("mask", "numbers", "map") for name in written_as(pixels)}
    assert set(registry.DEFAULTS) == layouts


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    old = mask_layouts.write(tmp_path, "ecssd", "1", "1", SOFT)
    before = old.read_bytes()

    def broken(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    for name in ("1", "2"):
        with pytest.raises(OSError, match="disk full"):
            mask_layouts.write(tmp_path, "ecssd", name, name, 1 - SOFT)
    assert [path.name for path in tmp_path.iterdir()] == ["1.png"]
    assert old.read_bytes() == before


@pytest.mark.parametrize("dataset", ["davis2016", "davis2017", "youtube_vos", "ecssd"])
@pytest.mark.parametrize("protocol", [None, "davis2017"])
def test_what_is_written_scores_as_it_was(dataset, protocol, tmp_path):
    """Through the files of predictions and of truth."""
    random = np.random.default_rng(0)
    soft = random.random((4, 24, 36)).astype(np.float32)
    truth = random_masks(1)
    names = [f"{number:05d}" for number in range(4)]
    stills = dataset in written_as("map")
    for name, one, true in zip(names, soft, truth, strict=True):
        mask_layouts.write(tmp_path / "masks", dataset, name if stills else "cat", name, one)
        mask_layouts.write(tmp_path / "truth", "ecssd" if stills else "folder", "cat", name, true)
    flags = [f"--{name}={tmp_path / name}" for name in ("masks", "truth")]
    output = tmp_path / "o.json"
    chosen = [f"--protocol={protocol}"] if protocol else []
    assert score_masks.main([*flags, f"--output={output}", *chosen]) == 0
    report = json.loads(output.read_text())
    if stills:
        videos = {
            name: registry.Video(truth=[true], maps=[one])
            for name, one, true in zip(names, soft, truth, strict=True)
        }
    else:
        videos = {"cat": registry.Video(truth=truth, maps=soft)}
    main = registry.protocol(report["protocol"])
    # Rounding to 255 levels moves a map by 1/510 at most.
    tolerance = 2e-2 if stills else 1e-12
    assert report["rows"][0][main.main] == pytest.approx(main(videos)[main.main], abs=tolerance)
