"""What is written for TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.datasets import folder
from data_prep.video import Recipe, prepare_video
from tests.support.tiny_sets import prepare_in
from tests.support.tiny_videos import sliding_texture, write_frames


def test_plain_tfds_reads_a_prepared_set(tmp_path):
    frames = sliding_texture(3)
    write_frames(tmp_path / "videos" / "a", frames)
    directory = prepare_in(tmp_path, dataset="folder", source=tmp_path / "videos")
    builder = tfds.builder_from_directory(directory)
    assert builder.info.full_name == "folder/videos/1.0.0"
    example = builder.as_data_source("train")[0]
    np.testing.assert_array_equal(example["image"], frames[0])
    assert example["flow_forward"].shape == (2 * 48, 64, 1)
    assert example["video"] == b"a" and example["mask"] == b""


@pytest.mark.parametrize("limit", [1, 60_000, 1 << 30])
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
    elif limit == 60_000:
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
    with pytest.raises(ValueError, match="python -m data_prep.prepare --dataset=movers"):
        tfds.builder("movers", data_dir=tmp_path).download_and_prepare()
