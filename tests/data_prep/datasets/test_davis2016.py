"""DAVIS-2016 in its original layout, whole and in parts."""

import shutil

import cv2
import numpy as np
import pytest

from data_prep.datasets import davis2016
from dystab_jax.data.records import decode_record, open_source
from tests.support.tiny_sets import prepare_in, write_davis


def test_splits_bytes_and_truth(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    shutil.rmtree(source / "Annotations/480p/bear")  # truth for training is never looked at
    prepare_in(tmp_path, dataset="davis2016", source=source)
    train = open_source(tmp_path / "data", "davis2016:train")
    val = open_source(tmp_path / "data", "davis2016:val")
    assert {key.video for key in train.keys} == {"bear"}
    assert not any("mask" in raw for raw in train)
    assert [key for key in val.keys if key.video == "goat"] == [
        ("goat", t, gap) for t in range(3) for gap in (-2, -1, 1, 2) if 0 <= t + gap < 3
    ]
    assert len({key.video for key in val.keys}) == 2
    for raw in val:
        name = f"480p/{raw['video'].decode()}/{raw['frame_name'].decode()}"
        assert raw["image"] == (source / f"JPEGImages/{name}.jpg").read_bytes()
        truth = cv2.imread(str(source / f"Annotations/{name}.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode_record(raw)["mask"], truth > 0)


def test_says_what_is_absent(tmp_path):
    plan = davis2016.plan(write_davis(tmp_path))
    assert len(plan.notes) == 2
    assert "train is not complete: 1 of 30 sequences, 3 of 2079 frames" in plan.notes[0]
    assert "val is not complete: 2 of 20 sequences, 6 of 1376 frames" in plan.notes[1]
    assert "soapbox" in plan.notes[1] and "goat" not in plan.notes[1]


def test_knows_the_whole_benchmark():
    for split, count in (("train", 30), ("val", 20)):
        assert len(set(davis2016.SEQUENCES[split])) == count
    assert not set(davis2016.SEQUENCES["train"]) & set(davis2016.SEQUENCES["val"])


def test_one_list_is_enough(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    (source / "ImageSets/480p/train.txt").unlink()
    plan = davis2016.plan(source)
    assert plan.train == () and plan.truth == {"val": ("dog", "goat")}


def test_refuses_what_is_not_davis(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory; check --source"):
        davis2016.plan(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="holds JPEGImages, Annotations and ImageSets"):
        davis2016.plan(tmp_path)
    source = write_davis(tmp_path / "empty", train=(), val=())
    with pytest.raises(ValueError, match="no frame is listed"):
        davis2016.plan(source)
    source = write_davis(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=f"ImageSets: use --source={source}$"):
        davis2016.plan(source / "JPEGImages")
    (source / "ImageSets/480p/val.txt").write_text("bear\ndog\n")
    with pytest.raises(ValueError, match="val.txt line 1: 'bear'; expected the paths of an image"):
        davis2016.plan(source)


def test_sample_of_the_reference_data(shared):
    plan = davis2016.plan(shared / "data" / "DAVIS2016")
    (note,) = plan.notes  # all 30 sequences for training are there
    assert "9 of 20 sequences, 561 of 1376 frames" in note
    assert len(plan.videos) == 39 and len(plan.train) == 30
    assert all(path.is_file() for video in plan.videos for path in video.paths)
    for video in plan.videos:
        assert len(video.masks) == (0 if video.name in plan.train else len(video.paths))
