"""Which frames count and how scores are averaged: by hand and against published numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.registry import Video

FULL = np.ones((4, 6), np.uint8)
EMPTY = np.zeros((4, 6), np.uint8)
HALF = np.repeat([[1, 1, 1, 0, 0, 0]], 4, axis=0).astype(np.uint8)
# Against the full mask J is 1 (FULL), 1/2 (HALF) and 0 (EMPTY). HALF alone has a boundary, so F is
# 1, 0 and 1.


def video(*masks, **more) -> Video:
    return Video(truth=[FULL] * len(masks), masks=list(masks), **more)


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


def test_frames_are_loaded_when_they_are_scored_and_not_otherwise():
    loaded = []

    def load(number):
        loaded.append(number)
        return HALF

    frames = [lambda number=number: load(number) for number in range(4)]
    assert registry.davis2016({"a": Video(truth=[HALF] * 4, masks=frames)})["mean_j"] == 1
    assert loaded == [1, 2]


def test_the_result_is_json_and_does_not_depend_on_jobs():
    random = np.random.default_rng(0)
    videos = {
        name: Video(
            truth=list(random.random((5, 20, 30)) > 0.5),
            masks=list(random.random((5, 20, 30)) > 0.5),
            groups=["x", "y", "x", "y", "x"],
        )
        for name in "abc"
    }
    alone = registry.davis2016(videos, jobs=1)
    assert json.loads(json.dumps(alone)) == alone
    assert registry.davis2016(videos, jobs=4) == alone
    assert 0 < alone["mean_j"] < 1


def test_videos_one_at_a_time_give_the_same_result():
    random = np.random.default_rng(1)
    videos = {
        name: Video(
            regions=list(random.integers(0, 3, (5, 20, 30), np.uint8)),
            objects=list(random.integers(0, 4, (5, 20, 30), np.uint8)),
            maps=list(random.random((5, 20, 30))),
            groups=["x", "y", "x", "y", "x"],
        )
        for name in "ab"
    }
    for protocol in registry.PROTOCOLS.values():
        together = protocol(videos, jobs=2)
        scores = {name: protocol.score(name, video) for name, video in videos.items()}
        assert protocol.summarise(scores) == together
        assert together["protocol"] == protocol.name
        assert 0 < together[protocol.main] < 1
        assert set(protocol.columns.values()) <= set(together)
        assert set(protocol.sequence_columns.values()) <= set(together["per_sequence"]["a"])
        with pytest.raises(ValueError, match=f"protocol {protocol.name} got no video"):
            protocol.summarise({})


def test_frames_without_truth_are_not_scored():
    truth = [FULL, None, FULL, None, FULL]
    masks = [HALF, None, FULL, EMPTY, EMPTY]
    with_gaps = Video(truth=truth, masks=masks)
    assert registry.all_frames({"a": with_gaps})["frames"] == 3
    assert registry.all_frames({"a": with_gaps})["mean_j"] == 0.5
    # The ends are those of the video.
    assert registry.davis2016({"a": with_gaps})["frames"] == 1
    for protocol in (registry.fbms59, registry.davis2017, registry.saliency):
        assert protocol({"a": Video(regions=truth, masks=masks)})["frames"] == 3
    with pytest.raises(ValueError, match="video a has 2 frames, of which protocol all_frames"):
        registry.all_frames({"a": Video(truth=[None, None], masks=[FULL, FULL])})


def test_truth_decides_what_is_object_and_regions_what_is_void():
    regions = FULL.copy()
    regions[:, :3] = 255
    regions[0] = 2
    # Object of the truth is the right half; in the left one void leaves the first row alone.
    truth = 1 - HALF
    one = Video(truth=[truth], regions=[regions], masks=[FULL])
    # Truth 4x3 pixels, prediction the same and three pixels of the first row.
    assert registry.all_frames({"a": one})["mean_j"] == pytest.approx(12 / 15)
    merged = Video(regions=[regions], masks=[FULL])
    assert registry.all_frames({"a": merged})["mean_j"] == 1


def test_predicted_objects_alone_are_a_mask():
    result = registry.all_frames({"a": Video(truth=[FULL], objects=[HALF * 3])})
    assert result["mean_j"] == 0.5
    # Masks that are given as well are what is scored where objects are not told apart.
    both = Video(truth=[FULL], objects=[HALF * 3], masks=[FULL])
    assert registry.all_frames({"a": both})["mean_j"] == 1


def test_numbers_must_be_whole():
    for field in ("regions", "objects"):
        fields = {"truth": [FULL], "masks": [FULL], field: [FULL * 0.5]}
        with pytest.raises(ValueError, match=f"video a, frame 0: {field} has type float64"):
            registry.fbms59({"a": Video(**fields)})
        fields[field] = [FULL[1:]]
        with pytest.raises(ValueError, match="video a, frame 0: .* differ in size"):
            registry.fbms59({"a": Video(**fields)})


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


def test_missing_prediction_is_named_unless_its_frame_is_dropped():
    with_gap = video(None, FULL, FULL, None, frame_names=["f0", "f1", "f2", "f3"])
    assert registry.davis2016({"a": with_gap})["mean_j"] == 1
    with pytest.raises(ValueError, match="video a, f0: there is no prediction"):
        registry.all_frames({"a": with_gap})


def test_size_mismatch_names_video_frame_and_sizes():
    videos = {"b": video(FULL, FULL, FULL), "a": video(FULL, FULL[1:], FULL)}
    message = re.escape("video a, frame 1: prediction (3, 6) and truth (4, 6) differ")
    with pytest.raises(ValueError, match=message):
        registry.davis2016(videos)


def test_videos_that_cannot_be_scored_are_refused():
    with pytest.raises(ValueError, match="no video"):
        registry.davis2016({})
    with pytest.raises(ValueError, match="video short has 2 frames, of which protocol davis2016"):
        registry.davis2016({"short": video(FULL, FULL)})
    with pytest.raises(ValueError, match="needs predictions"):
        Video(truth=[FULL])
    with pytest.raises(ValueError, match="needs truth"):
        Video(masks=[FULL])
    with pytest.raises(ValueError, match="groups has 1 entries and truth 2"):
        video(FULL, FULL, groups=["moving"])


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
