"""Videos and protocols: what is loaded and scored, what void does, and what is refused."""

import json
import re

import numpy as np
import pytest

from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.base import Video
from tests.support.half_masks import EMPTY, FULL, HALF, video
from tests.support.object_rows import TRUTH, row


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


@pytest.mark.parametrize("protocol", ["all_frames", "davis2017", "fbms59"])
def test_void_is_left_out_of_truth_and_prediction(protocol):
    truth = TRUTH.copy()
    truth[0, :2] = truth[0, 6:8] = 255
    predicted = truth.copy()
    predicted[0, :2], predicted[0, 6:8] = 2, 3
    score = registry.protocol(protocol)
    clean = np.where(truth == 255, 0, truth)
    with_void = score({"a": Video(regions=[truth], objects=[predicted])})
    without = score({"a": Video(regions=[clean], objects=[clean])})
    for result in (with_void, without):
        for one in result.get("per_sequence").values():
            one.pop("proposals", None)
    assert with_void == without
    assert with_void[score.main] == 1


def test_void_pixels_of_soft_maps_do_not_count():
    truth = row(0, 1, 255, 255)
    soft = np.array([[0.25, 1.0, 1.0, 0.5]])
    result = registry.all_frames({"a": Video(regions=[truth], maps=[soft])})
    assert result["mean_j"] == 1
    assert result["mae"] == pytest.approx(0.25 / 4)
