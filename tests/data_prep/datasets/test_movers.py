"""The data set that is drawn."""

import numpy as np

from data_prep.builder import Plan
from data_prep.datasets import movers
from data_prep.datasets.drawing import draw_video
from dystab_jax.data.mask_files import encode_mask
from dystab_jax.data.records import decode_record, open_source
from tests.support.tiny_sets import prepare_in


def test_are_the_drawn_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(movers, "VIDEOS", {"train": 1, "val": 0, "test": 1})
    prepare_in(tmp_path, dataset="movers", max_gap=1)
    train = open_source(tmp_path / "data", "movers:train")
    assert not any("mask" in raw for raw in train) and set(train.groups) == {""}
    assert {key.video for key in train.keys} == {"train-000"}

    test = open_source(tmp_path / "data", "movers:test")
    drawn = draw_video("test", 0)
    assert [key.frame for key in test.keys if key.gap == 1] == list(range(len(drawn.frames) - 1))
    for raw, group in zip(test, test.groups, strict=True):
        record = decode_record(raw)
        t = record["frame"]
        assert np.abs(record["image"].astype(int) - drawn.frames[t]).mean() < 6
        assert raw["mask"] == encode_mask(drawn.masks[t])
        assert record["group"] == group == drawn.groups[t]
        assert record["flow_forward"].shape == (*drawn.frames.shape[1:3], 2)  # not enlarged


def test_plan_is_complete():
    plan = movers.plan()
    assert isinstance(plan, Plan) and len(plan.train) == movers.VIDEOS["train"]
    assert {split: len(names) for split, names in plan.truth.items()} == {
        split: count for split, count in movers.VIDEOS.items() if split != "train"
    }
