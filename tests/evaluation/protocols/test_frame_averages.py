"""Which frames count and how scores are averaged: by hand and against published numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.base import Video
from tests.support.half_masks import EMPTY, FULL, HALF, video


def test_davis2016_drops_the_ends_and_averages_over_sequences():
    videos = {
        "a": video(EMPTY, FULL, EMPTY),
        "b": video(EMPTY, HALF, HALF, EMPTY, EMPTY, EMPTY, EMPTY),
    }
    result = registry.davis2016(videos)
    assert (result["protocol"], result["frames"], result["sequences"]) == ("davis2016", 6, 2)
    # a: 1. b: 1/2, 1/2, 0, 0, 0.
    assert result["per_sequence"]["a"]["j"] == 1
    assert result["per_sequence"]["b"]["j"] == pytest.approx(0.2)
    assert result["mean_j"] == pytest.approx(0.6)
    assert result["frame_mean_j"] == pytest.approx(2 / 6)
    assert result["recall_j"] == pytest.approx((1 + 0) / 2)
    # Quarters of b: frames 1-2 and 4-5.
    assert result["decay_j"] == pytest.approx((0 + 0.5) / 2)
    assert result["mean_f"] == pytest.approx((1 + 3 / 5) / 2)
    assert result["frame_mean_f"] == pytest.approx(4 / 6)
    assert result["recall_f"] == pytest.approx((1 + 3 / 5) / 2)
    assert result["decay_f"] == pytest.approx((0 - 1) / 2)
    assert result["mae"] == pytest.approx((0 + 0.8) / 2)
    # HALF: P = 1, R = 1/2.
    assert result["f_beta"] == pytest.approx((1 + 2 / 5 * 1.3 * 0.5 / (0.3 + 0.5)) / 2)
    assert "per_group" not in result


def test_all_frames_drops_none():
    result = registry.all_frames({"a": video(HALF, FULL, EMPTY)})
    assert (result["protocol"], result["frames"]) == ("all_frames", 3)
    assert result["mean_j"] == pytest.approx(0.5)
    assert result["per_sequence"]["a"]["frames"] == 3


def test_groups_are_means_over_their_frames():
    videos = {
        "a": video(EMPTY, FULL, HALF, groups=("paused", "moving", "")),
        "b": video(HALF, EMPTY, groups=("moving", "moving")),
        "c": video(FULL),
    }
    assert registry.all_frames(videos)["per_group"] == {
        "moving": {"frames": 3, "j": 0.5, "f": pytest.approx(2 / 3)},
        "paused": {"frames": 1, "j": 0.0, "f": 1.0},
    }
    # The ends belong to no group once they are dropped.
    assert registry.davis2016({"a": videos["a"]})["per_group"] == {
        "moving": {"frames": 1, "j": 1.0, "f": 1.0}
    }


def test_maps_serve_f_beta_and_mae_and_masks_by_default():
    soft = np.where(HALF, 0.75, 0.5).astype(np.float32)
    one = registry.all_frames({"a": Video(truth=[FULL], maps=[soft])})
    # One half itself is background.
    assert one["mean_j"] == 0.5
    assert one["mae"] == pytest.approx((0.25 + 0.5) / 2)
    other = registry.all_frames({"a": Video(truth=[FULL], maps=[soft], masks=[FULL])})
    assert other["mean_j"] == 1
    assert other["mae"] == one["mae"] and other["f_beta"] == one["f_beta"]


@pytest.fixture(scope="module")
def refdata(shared) -> Path:
    return shared / "refdata"


def published_frames(path: Path, sequences) -> dict:
    """Official scores per frame, rounded to 3 decimals, as rows J, F, 0, 0."""
    published = json.loads(path.read_text())
    return {
        name: [
            (float(j), float(f), 0.0, 0.0)
            for j, f in zip(published[name]["J"], published[name]["F"], strict=True)
        ]
        for name in sequences
    }


def test_averages_reproduce_the_published_tables(refdata):
    """From the official scores per frame to the official table, for all of the 12 methods."""
    folder = refdata / "davis16_val" / "official"
    text = (folder / "global_eval_val_2016.js").read_text()
    # MATNet has scores for the 20 validation sequences and nothing else.
    matnet = json.loads((folder / "matnet_davis.json").read_text())
    sequences = [name for name in matnet if name != "id"]
    assert len(sequences) == 20
    means = {"Jmean": "mean_j", "Jdecay": "decay_j", "Fmean": "mean_f", "Fdecay": "decay_f"}
    recalls = {"Jrecall": "recall_j", "Frecall": "recall_f"}
    methods = sorted(path.name.removesuffix("_davis.json") for path in folder.glob("*_davis.json"))
    assert len(methods) == 12
    for method in methods:
        scores = published_frames(folder / f"{method}_davis.json", sequences)
        result = registry.average(scores)
        # Frames published as 0.500 can have been on either side of one half.
        lifted = {name: np.add(rows, 1e-6) for name, rows in scores.items()}
        at_most = registry.average(lifted)
        table = re.search(rf'"{re.escape(method)}": {{(.*?)}}', text, re.DOTALL).group(1)
        official = {name: float(value) for name, value in re.findall(r'"(\w+)": "(.*?)"', table)}
        for column, key in means.items():
            assert result[key] == pytest.approx(official[column], abs=6e-4), (method, column)
        for column, key in recalls.items():
            low, high = result[key] - 6e-4, at_most[key] + 6e-4
            assert low <= official[column] <= high, (method, column)


def test_averages_tell_the_averaging_rules_apart(refdata):
    golden = json.loads((refdata / "davis16_val" / "golden.json").read_text())
    for method, numbers in golden.items():
        path = refdata / "davis16_val" / "official" / f"{method}_davis.json"
        result = registry.average(published_frames(path, numbers["per_seq_J"]))
        assert result["mean_j"] == pytest.approx(numbers["J_official"], abs=1e-4)
        assert result["frame_mean_j"] == pytest.approx(numbers["J_frame_mean"], abs=1e-4)


def test_davis16_golden_frame_by_frame(refdata):
    """Every single J lies within the rounding of the official one."""
    packed = np.load(refdata / "davis16_val" / "mini_packbits.npz")
    golden = json.loads((refdata / "davis16_val" / "golden.json").read_text())["matnet"]
    path = refdata / "davis16_val" / "official" / "matnet_davis.json"
    names = ("libby", "scooter-black")
    videos = {
        name: Video(
            truth=np.unpackbits(packed[f"gt/{name}"], axis=-1)[..., :854],
            masks=np.unpackbits(packed[f"matnet/{name}"], axis=-1)[..., :854],
        )
        for name in names
    }
    result = registry.davis2016(videos, jobs=2)
    for name in names:
        scores = result["per_sequence"][name]
        assert scores["j"] == pytest.approx(golden["per_seq_J"][name], abs=1e-9)
        assert scores["f"] == pytest.approx(golden["mini_seq_F"][name], abs=1e-9)
        pairs = zip(videos[name].masks[1:-1], videos[name].truth[1:-1], strict=True)
        j = np.array([metrics.jaccard(*pair) for pair in pairs])
        official = np.array(published_frames(path, [name])[name])[:, 0]
        np.testing.assert_allclose(j, official, rtol=0, atol=5.01e-4)
