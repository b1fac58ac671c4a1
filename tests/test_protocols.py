"""Which frames count and how scores are averaged: by hand and against published numbers."""

import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from dystab_jax import metrics, protocols
from dystab_jax.protocols import Video

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
    result = protocols.davis2016(videos)
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
    result = protocols.all_frames({"a": video(HALF, FULL, EMPTY)})
    assert (result["protocol"], result["frames"]) == ("all_frames", 3)
    assert result["mean_j"] == pytest.approx(0.5)
    assert result["per_sequence"]["a"]["frames"] == 3


def test_groups_are_means_over_their_frames():
    videos = {
        "a": video(EMPTY, FULL, HALF, groups=("paused", "moving", "")),
        "b": video(HALF, EMPTY, groups=("moving", "moving")),
        "c": video(FULL),
    }
    assert protocols.all_frames(videos)["per_group"] == {
        "moving": {"frames": 3, "j": 0.5, "f": pytest.approx(2 / 3)},
        "paused": {"frames": 1, "j": 0.0, "f": 1.0},
    }
    # The ends belong to no group once they are dropped.
    assert protocols.davis2016({"a": videos["a"]})["per_group"] == {
        "moving": {"frames": 1, "j": 1.0, "f": 1.0}
    }


def test_maps_serve_f_beta_and_mae_and_masks_by_default():
    soft = np.where(HALF, 0.75, 0.5).astype(np.float32)
    one = protocols.all_frames({"a": Video(truth=[FULL], maps=[soft])})
    # One half itself is background.
    assert one["mean_j"] == 0.5
    assert one["mae"] == pytest.approx((0.25 + 0.5) / 2)
    other = protocols.all_frames({"a": Video(truth=[FULL], maps=[soft], masks=[FULL])})
    assert other["mean_j"] == 1
    assert other["mae"] == one["mae"] and other["f_beta"] == one["f_beta"]


def test_frames_are_loaded_when_they_are_scored_and_not_otherwise():
    loaded = []

    def load(number):
        loaded.append(number)
        return HALF

    frames = [lambda number=number: load(number) for number in range(4)]
    assert protocols.davis2016({"a": Video(truth=[HALF] * 4, masks=frames)})["mean_j"] == 1
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
    alone = protocols.davis2016(videos, jobs=1)
    assert json.loads(json.dumps(alone)) == alone
    assert protocols.davis2016(videos, jobs=4) == alone
    assert 0 < alone["mean_j"] < 1


def test_unknown_protocol():
    assert protocols.protocol("davis2016") is protocols.davis2016
    assert protocols.protocol("all_frames") is protocols.all_frames
    with pytest.raises(ValueError, match="'davis' is unknown; there are davis2016, all_frames"):
        protocols.protocol("davis")


def test_missing_prediction_is_named_unless_its_frame_is_dropped():
    with_gap = video(None, FULL, FULL, None, frame_names=["f0", "f1", "f2", "f3"])
    assert protocols.davis2016({"a": with_gap})["mean_j"] == 1
    with pytest.raises(ValueError, match="video a, f0: there is no prediction"):
        protocols.all_frames({"a": with_gap})


def test_size_mismatch_names_video_frame_and_sizes():
    videos = {"b": video(FULL, FULL, FULL), "a": video(FULL, FULL[1:], FULL)}
    message = re.escape("video a, frame 1: prediction (3, 6) and truth (4, 6) differ")
    with pytest.raises(ValueError, match=message):
        protocols.davis2016(videos)


def test_videos_that_cannot_be_scored_are_refused():
    with pytest.raises(ValueError, match="no video"):
        protocols.davis2016({})
    with pytest.raises(ValueError, match="video short has 2 frames, of which protocol davis2016"):
        protocols.davis2016({"short": video(FULL, FULL)})
    with pytest.raises(ValueError, match="needs predictions"):
        Video(truth=[FULL])
    with pytest.raises(ValueError, match="groups has 1 entries and truth 2"):
        video(FULL, FULL, groups=["moving"])


def test_report_has_one_row_per_model():
    phi = protocols.all_frames({"a": video(HALF, FULL)})
    chi = protocols.all_frames({"a": video(HALF, EMPTY)})
    report = protocols.report(
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
    assert protocols.report("movers", "test", {("phi", "none"): phi})["oracle"] is False


def test_report_refuses_results_that_cannot_be_compared():
    one = protocols.all_frames({"a": video(HALF, FULL, FULL)})
    other = protocols.davis2016({"a": video(HALF, FULL, FULL)})
    with pytest.raises(ValueError, match="one protocol on the same frames.*davis2016"):
        protocols.report("movers", "test", {("phi", "none"): one, ("chi", "none"): other})
    with pytest.raises(ValueError, match="one protocol on the same frames"):
        protocols.report("movers", "test", {})


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
        result = protocols.average(scores)
        # Frames published as 0.500 can have been on either side of one half.
        lifted = {name: np.add(rows, 1e-6) for name, rows in scores.items()}
        at_most = protocols.average(lifted)
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
        result = protocols.average(published_frames(path, numbers["per_seq_J"]))
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
    result = protocols.davis2016(videos, jobs=2)
    for name in names:
        scores = result["per_sequence"][name]
        assert scores["j"] == pytest.approx(golden["per_seq_J"][name], abs=1e-9)
        assert scores["f"] == pytest.approx(golden["mini_seq_F"][name], abs=1e-9)
        pairs = zip(videos[name].masks[1:-1], videos[name].truth[1:-1], strict=True)
        j = np.array([metrics.jaccard(*pair) for pair in pairs])
        official = np.array(published_frames(path, [name])[name])[:, 0]
        np.testing.assert_allclose(j, official, rtol=0, atol=5.01e-4)


def test_davis17_single_object_golden(refdata, shared):
    """Masks as they were published, scored to the four decimals that were published."""
    folder = refdata / "davis17_single_object"
    golden = json.loads((folder / "golden.json").read_text())
    truth_folder = shared / "data" / "DAVIS2016" / "Annotations" / "480p"
    names = sorted(set(golden) & {path.name for path in truth_folder.iterdir()})
    assert len(names) >= 7
    with zipfile.ZipFile(folder / "osvos2017_masks.zip") as archive:
        videos = {}
        for name in names:
            paths = sorted((truth_folder / name).glob("*.png"))
            videos[name] = Video(
                truth=[lambda path=path: cv2.imread(str(path), 0) for path in paths],
                masks=[
                    cv2.imdecode(np.frombuffer(archive.read(f"{name}/{path.name}"), np.uint8), 0)
                    for path in paths
                ],
            )
        result = protocols.davis2016(videos, jobs=2)
    for name in names:
        scores = result["per_sequence"][name]
        assert round(scores["j"], 4) == golden[name]["J_published"]
        assert round(scores["f"], 4) == golden[name]["F_published"]
        assert scores["j"] == pytest.approx(golden[name]["J"], abs=1e-9)
        assert scores["f"] == pytest.approx(golden[name]["F"], abs=1e-9)
