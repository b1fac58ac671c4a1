"""What is written for TFDS."""

import importlib

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.datasets import folder
from data_prep.video import Recipe, prepare_video
from dystab_jax.data import records
from dystab_jax.data.encodings import decode_image
from dystab_jax.data.mask_files import decode_mask
from dystab_jax.data.records import RecordSource
from tests.support.tiny_sets import prepare_in
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks


def test_plain_tfds_reads_a_prepared_set(tmp_path):
    frames = sliding_texture(3)
    write_frames(tmp_path / "videos" / "a", frames)
    directory = prepare_in(tmp_path, dataset="folder", source=tmp_path / "videos")
    builder = tfds.builder_from_directory(directory)
    assert builder.info.full_name == "folder/videos/1.0.0"
    example = builder.as_data_source("train")[0]
    np.testing.assert_array_equal(
        decode_image(example["image"], cv2.IMREAD_COLOR_RGB, "image"), frames[0]
    )
    assert example["flow_forward"].shape == (2 * 48, 64, 1)
    assert example["video"] == b"a" and example["mask"] == b""


def test_each_image_and_each_flow_is_stored_once(tmp_path):
    write_frames(tmp_path / "videos" / "a", sliding_texture(4))
    directory = prepare_in(tmp_path, dataset="folder", source=tmp_path / "videos", max_gap=2)
    stored = list(tfds.builder_from_directory(directory).as_data_source("train"))
    held = {(one["frame"], one["gap"]): one for one in stored}
    assert [key for key, one in held.items() if one["image"]] == [(0, 1), (1, -1), (2, -1), (3, -1)]
    assert not any(one["flow_backward"] for one in stored)
    source = RecordSource("folder/videos:train", directory, "train")
    for position, (t, gap) in enumerate(held):
        record = source[position]
        assert record["image"] == held[t, -1 if t else 1]["image"]
        reverse = source[list(held).index((t + gap, -gap))]
        assert record["flow_backward"] == reverse["flow_forward"] != record["flow_forward"]
        assert record["flow_forward"] == reverse["flow_backward"]


def test_frames_with_truth_alone_have_all_that_they_need(tmp_path):
    frames = sliding_texture(4)
    write_frames(tmp_path / "videos" / "a", frames)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20] = 255
    write_masks(tmp_path / "masks" / "a", {"1": mask})
    prepare_in(
        tmp_path, dataset="folder", source=tmp_path / "videos", masks=tmp_path / "masks", max_gap=2
    )
    both = [records.open_source(tmp_path / "data", f"folder/videos:{s}") for s in ("train", "val")]
    train, val = both
    assert [key[1:] for key in val.keys] == [(1, -1), (1, 1), (1, 2)]
    for position, key in enumerate(val.keys):
        record, whole = val[position], train[train.keys.index(key)]
        assert {k: record[k] for k in ("image", *records.FLOW_FIELDS)} == {
            k: whole[k] for k in ("image", *records.FLOW_FIELDS)
        }
        np.testing.assert_array_equal(decode_mask(record["mask"]), mask != 0)


@pytest.mark.parametrize("limit", [1, 15_000, 1 << 30])
def test_shards_hold_the_same_records_in_the_same_order(tmp_path, limit):
    write_frames(tmp_path / "videos" / "a", sliding_texture(3))
    write_frames(tmp_path / "videos" / "b", sliding_texture(4))
    plan = folder.plan(tmp_path / "videos")
    paths = {video.name: tmp_path / f"{video.name}.zip" for video in plan.videos}
    for video in plan.videos:
        prepare_video(video, Recipe(max_gap=2), paths[video.name])
    builder = folder.Folder(
        data_dir=tmp_path / "data", plan=plan, intermediates=paths, shard_bytes=limit
    )
    builder.download_and_prepare()
    shards = builder.info.splits["train"].shard_lengths
    assert sum(shards) == 6 + 10
    if limit == 1:
        assert shards == [1] * 16
    elif limit == 15_000:
        assert 2 < len(shards) < 16 and max(shards) > 1
    else:
        assert shards == [16]
    read = [
        (example["video"].decode(), example["frame"], example["gap"])
        for example in builder.as_data_source("train")
    ]
    assert read == [
        (name, t, gap)
        for name, length in (("a", 3), ("b", 4))
        for t in range(length)
        for gap in (-2, -1, 1, 2)
        if 0 <= t + gap < length
    ]


def test_builder_alone_says_how_to_prepare(tmp_path):
    importlib.import_module("data_prep.datasets.movers")  # TFDS knows it by that
    with pytest.raises(ValueError, match="python -m data_prep.prepare --dataset=movers"):
        tfds.builder("movers", data_dir=tmp_path).download_and_prepare()
