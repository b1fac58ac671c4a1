"""Protocols by name and by data set, and their report."""

import pytest

from dystab_jax.evaluation.protocols import registry
from tests.support.half_masks import EMPTY, FULL, HALF, video


def test_default_protocols():
    for dataset, names in registry.DEFAULTS.items():
        assert registry.default_protocols(dataset) == names
        assert all(registry.protocol(name).name == name for name in names)
    assert registry.default_protocols("davis2016") == ("davis2016",)
    assert registry.default_protocols("davis2017") == ("all_frames", "davis2017")
    assert registry.default_protocols("fbms59") == ("fbms59",)
    assert registry.default_protocols("ecssd") == ("saliency",)
    assert registry.default_protocols("folder/mine") == ("all_frames",)
    with pytest.raises(ValueError, match="'davis' has no default protocol"):
        registry.default_protocols("davis")


def test_unknown_protocol():
    assert registry.protocol("davis2016") is registry.davis2016
    assert registry.protocol("all_frames") is registry.all_frames
    with pytest.raises(ValueError, match="'davis' is unknown; there are davis2016, all_frames"):
        registry.protocol("davis")


@pytest.mark.parametrize("protocol", registry.PROTOCOLS.values(), ids=registry.PROTOCOLS)
def test_readers_of_a_report_learn_what_each_score_means(protocol):
    assert protocol.description
    assert set(protocol.columns.values()) <= protocol.meanings.keys()
    for key, meaning in protocol.meanings.items():
        smaller = "smaller" in meaning or "loses" in meaning
        assert (key in protocol.smaller_is_better) == smaller, key


def test_report_has_one_row_per_model():
    phi = registry.all_frames({"a": video(HALF, FULL)})
    chi = registry.all_frames({"a": video(HALF, EMPTY)})
    report = registry.report(
        "movers", "test", {("phi", "none"): phi, ("phi", "cis"): chi}, oracle=True
    )
    rows = report.pop("rows")
    assert report == {
        "dataset": "movers",
        "split": "test",
        "oracle": True,
        "protocol": "all_frames",
        "frames": 2,
        "sequences": 1,
    }
    assert [(row["model"], row["crf"], row["mean_j"]) for row in rows] == [
        ("phi", "none", 0.75),
        ("phi", "cis", 0.25),
    ]
    assert rows[0]["per_sequence"] == phi["per_sequence"]
    assert registry.report("movers", "test", {("phi", "none"): phi})["oracle"] is False


def test_report_refuses_results_that_cannot_be_compared():
    one = registry.all_frames({"a": video(HALF, FULL, FULL)})
    other = registry.davis2016({"a": video(HALF, FULL, FULL)})
    with pytest.raises(ValueError, match="one protocol on the same frames.*davis2016"):
        registry.report("movers", "test", {("phi", "none"): one, ("chi", "none"): other})
    with pytest.raises(ValueError, match="one protocol on the same frames"):
        registry.report("movers", "test", {})
