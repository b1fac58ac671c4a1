"""SegTrack v2: one or several objects, frames and masks that differ in name."""

import shutil

import cv2
import numpy as np
import pytest

from data_prep.datasets import segtrackv2
from data_prep.datasets.segtrackv2 import ObjectFiles
from data_prep.prepare import prepare
from dystab_jax.data.records import decode_record, open_source
from tests.support.tiny_videos import sliding_texture, write_frames

LEFT = np.zeros((48, 64), np.uint8)
LEFT[10:30, 5:40] = 255
LEFT[10:30, 4] = 100  # soft border, darker than half
RIGHT = np.zeros((48, 64), np.uint8)
RIGHT[20:40, 30:60] = 255
RIGHT[20:40, 60] = 200


def write_masks(folder, mask, count=3, ending=".png", names="{}"):
    folder.mkdir(parents=True)
    for t in range(count):
        cv2.imwrite(str(folder / (names.format(t) + ending)), np.dstack([mask] * 3))


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "SegTrackv2"
    write_frames(root / "JPEGImages" / "frog", sliding_texture(3), ending=".bmp")
    write_masks(root / "GroundTruth" / "frog", LEFT)
    write_frames(root / "JPEGImages" / "bmx", sliding_texture(3))
    write_masks(root / "GroundTruth" / "bmx" / "1", LEFT, ending=".bmp")
    write_masks(root / "GroundTruth" / "bmx" / "2", RIGHT)
    return root


def test_objects_are_united_and_numbered(source, tmp_path):
    prepare(dataset="segtrackv2", source=source, data_dir=tmp_path / "data", jobs=1, progress=False)
    train = open_source(tmp_path / "data", "segtrackv2:train")
    test = open_source(tmp_path / "data", "segtrackv2:test")
    assert train.keys == test.keys and {key.video for key in test.keys} == {"frog", "bmx"}
    assert not any({"mask", "regions"} & set(raw) for raw in train)
    for raw in test:
        record = decode_record(raw)
        if record["video"] == "frog":
            np.testing.assert_array_equal(record["mask"], LEFT > 128)
            assert "regions" not in record
        else:
            np.testing.assert_array_equal(record["mask"], (LEFT > 128) | (RIGHT > 128))
            expected = np.where(RIGHT > 128, 2, LEFT > 128)
            np.testing.assert_array_equal(record["regions"], expected)


def test_absent_parts_are_said(source):
    shutil.rmtree(source / "GroundTruth/frog")
    (source / "GroundTruth/bmx/1/2.bmp").unlink()
    (source / "GroundTruth/bmx/2/2.png").unlink()
    plan = segtrackv2.plan(source)
    assert plan.notes == (
        "segtrackv2: bmx: 2 of 3 frames have a mask",
        "segtrackv2: frog: 0 of 3 frames have a mask",
        "segtrackv2 is not complete: 2 of 14 sequences, 6 of 976 frames, 2 of 24 objects",
    )
    assert plan.truth == {"test": ("bmx",)} and plan.train == ("bmx", "frog")


def test_masks_of_other_names_belong_by_order(source):
    shutil.rmtree(source / "GroundTruth/frog")
    write_masks(source / "GroundTruth/frog", LEFT, names="gt_{}")
    plan = segtrackv2.plan(source)
    assert "masks belong to frames by order, not by name" in plan.notes[0]
    frog = plan.videos[1]
    assert {name: truth.path.name for name, truth in frog.masks.items()} == {
        "0": "gt_0.png",
        "1": "gt_1.png",
        "2": "gt_2.png",
    }
    (source / "GroundTruth/frog/gt_2.png").unlink()
    with pytest.raises(ValueError, match="frog: 2 masks for 3 frames.* called like gt_0.png gt_1"):
        segtrackv2.plan(source)


def test_objects_that_differ_in_their_frames(source):
    (source / "GroundTruth/bmx/2/1.png").unlink()
    with pytest.raises(ValueError, match="bmx/2: every object needs .* and 1 differ at 1$"):
        segtrackv2.plan(source)


def test_objects_that_differ_in_size(tmp_path):
    for name, height in (("a", 5), ("b", 6)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((height, 5), np.uint8))
    with pytest.raises(ValueError, match="b.png: its size is not that of .*a.png"):
        ObjectFiles((tmp_path / "a.png", tmp_path / "b.png")).read((5, 5))


def test_source_at_another_level(source):
    for wrong in (source / "JPEGImages", source.parent):
        with pytest.raises(FileNotFoundError, match="holds JPEGImages and GroundTruth") as error:
            segtrackv2.plan(wrong)
        assert str(error.value).endswith(f"use --source={source}")
    for name in ("frog", "bmx"):
        shutil.rmtree(source / "JPEGImages" / name)
    with pytest.raises(ValueError, match="JPEGImages: no sequence in it"):
        segtrackv2.plan(source)


def test_real_sequence(shared, tmp_path):
    root = shared / "data" / "SegTrackv2"
    (whole,) = segtrackv2.plan(root).videos
    assert len(whole.paths) == len(whole.masks) == 21
    for kind in ("JPEGImages", "GroundTruth"):
        (tmp_path / "set" / kind / "girl").mkdir(parents=True)
        for path in sorted((root / kind / "girl").iterdir())[:3]:
            shutil.copy(path, tmp_path / "set" / kind / "girl")
    prepare(
        dataset="segtrackv2",
        source=tmp_path / "set",
        data_dir=tmp_path / "data",
        flow_size="40x32",
        jobs=1,
        progress=False,
    )
    record = decode_record(open_source(tmp_path / "data", "segtrackv2:test")[0])
    rows, columns = np.nonzero(record["mask"])
    assert record["image"].shape == (320, 400, 3) and 0.05 < record["mask"].mean() < 0.07
    assert 0.3 < rows.mean() / 320 < 0.8 and 0.4 < columns.mean() / 400 < 0.8
