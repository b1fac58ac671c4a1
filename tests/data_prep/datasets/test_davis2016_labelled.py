"""The labelled training part of DAVIS-2016, apart from the data of unsupervised runs."""

import pytest

from data_prep.datasets import davis2016_labelled
from data_prep.datasets.davis2016 import SEQUENCES
from data_prep.prepare import prepare
from dystab_jax.data.records import open_source
from tests.support.tiny_sets import write_davis


def test_five_of_thirty_are_for_selection():
    assert davis2016_labelled.SELECT == (
        "car-turn",
        "hike",
        "mallard-water",
        "scooter-gray",
        "train",
    )
    assert set(davis2016_labelled.SELECT) <= set(SEQUENCES["train"])


def test_splits_hold_masks_and_davis2016_train_does_not(tmp_path):
    source = write_davis(tmp_path / "DAVIS", train=("bear", "hike", "boat"))
    for dataset in ("davis2016", "davis2016_labelled"):
        prepare(dataset=dataset, source=source, data_dir=tmp_path / "data", jobs=1, progress=False)
    fit, select, train = (
        open_source(tmp_path / "data", spec)
        for spec in ("davis2016_labelled:fit", "davis2016_labelled:select", "davis2016:train")
    )
    assert {key.video for key in fit.keys} == {"bear", "boat"}
    assert {key.video for key in select.keys} == {"hike"}
    assert all("mask" in raw for raw in (*fit, *select))
    assert not any("mask" in raw for raw in train)
    plan = davis2016_labelled.plan(source)
    assert "train is not complete: 3 of 30 sequences, 9 of 2079 frames" in plan.notes[0]


def test_sources_that_will_not_do(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    for wrong in (source / "ImageSets", tmp_path):
        with pytest.raises(
            FileNotFoundError, match="there is no ImageSets/480p/train.txt"
        ) as error:
            davis2016_labelled.plan(wrong)
        assert str(error.value).endswith(f"use --source={source}")
    path = source / "ImageSets/480p/train.txt"
    path.write_text((source / "ImageSets/480p/val.txt").read_text())
    with pytest.raises(ValueError, match="train.txt: dog is not one of the 30 training sequences"):
        davis2016_labelled.plan(source)
    path.write_text("")
    with pytest.raises(ValueError, match="train.txt: no frame is listed"):
        davis2016_labelled.plan(source)
