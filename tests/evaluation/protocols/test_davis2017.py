"""DAVIS-2017: assignments and averages by hand, and the published numbers."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from dystab_jax.data import mask_files
from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols import registry
from dystab_jax.evaluation.protocols.base import Video
from tests.support.object_rows import EMPTY, TRUTH, relabelled, row


def davis2017(truth, **prediction):
    return registry.davis2017({"a": Video(regions=truth, **prediction)})


def test_davis2017_finds_the_numbers_by_itself():
    swapped = relabelled(TRUTH, n1=7, n2=3)
    result = davis2017([TRUTH, TRUTH], objects=[swapped, swapped])
    assert (result["protocol"], result["frames"], result["objects"]) == ("davis2017", 2, 2)
    assert result["j_and_f"] == result["mean_j"] == result["mean_f"] == 1
    assert result["per_sequence"]["a"]["proposals"] == 7
    assert list(result["per_object"]) == ["a_1", "a_2"]


def test_davis2017_assigns_once_for_the_whole_sequence():
    swapped = relabelled(TRUTH, n1=2, n2=1)
    result = davis2017([TRUTH] * 3, objects=[TRUTH, swapped, TRUTH])
    assert result["mean_j"] == pytest.approx(2 / 3)
    assert result["recall_j"] == pytest.approx(2 / 3)
    assert result["per_object"]["a_1"]["j"] == pytest.approx(2 / 3)


def test_davis2017_assigns_by_j_and_f_together():
    truth = np.zeros((60, 60), np.uint8)
    truth[20:40, 20:40] = 1
    outline = np.zeros_like(truth)
    # Number 1: right boundary, few pixels. Number 2: most pixels, boundary too far away.
    outline[20:40, 20:40] = 1
    outline[22:38, 22:38] = 2
    scores = [
        (metrics.jaccard(outline == number, truth), metrics.boundary_f(outline == number, truth))
        for number in (1, 2)
    ]
    assert scores[0][0] < scores[1][0] and scores[0][1] > scores[1][1]
    best = max(scores, key=sum)
    result = davis2017([truth], objects=[outline])
    assert (result["mean_j"], result["mean_f"]) == pytest.approx(best)
    assert result["j_and_f"] == pytest.approx(sum(best) / 2)
    assert best == scores[0]


def test_davis2017_with_fewer_proposals_than_objects():
    """The object without proposal is scored against empty masks."""
    only = relabelled(TRUTH, n2=0)
    result = davis2017([TRUTH, TRUTH], objects=[only, only])
    assert result["mean_j"] == result["mean_f"] == 0.5
    assert result["per_object"]["a_2"]["j"] == 0
    assert davis2017([TRUTH], masks=[EMPTY])["j_and_f"] == 0


def test_davis2017_with_more_proposals_than_objects():
    truth = relabelled(TRUTH, n2=0)
    surplus = row(5, 5, 4, 4, 1, 1, 1, 1, 3, 3, 2, 2)
    result = davis2017([truth], objects=[surplus])
    assert result["j_and_f"] == 1
    assert result["per_sequence"]["a"] == pytest.approx(
        result["per_object"]["a_1"] | {"frames": 1, "objects": 1, "proposals": 5}
    )


def test_davis2017_object_that_vanishes():
    """Where truth and proposal are both empty, J and F are 1; where one is, they are 0."""
    gone = relabelled(TRUTH, n2=0)
    right = davis2017([TRUTH, gone], objects=[TRUTH, gone])
    assert right["j_and_f"] == 1
    still = davis2017([TRUTH, gone, gone], objects=[TRUTH, TRUTH, gone])
    assert still["per_object"]["a_2"]["j"] == pytest.approx(2 / 3)
    assert still["per_object"]["a_2"]["f"] == pytest.approx(2 / 3)
    lost = davis2017([TRUTH, TRUTH], objects=[TRUTH, gone])
    assert lost["per_object"]["a_2"]["j"] == pytest.approx(1 / 2)
    assert lost["per_object"]["a_1"]["j"] == 1


def test_davis2017_counts_the_objects_of_the_first_frame():
    first = relabelled(TRUTH, n2=0)
    result = davis2017([first, TRUTH], objects=[first, first])
    assert result["objects"] == 1 and result["j_and_f"] == 1
    # A number that the first frame skips is an object that is not there.
    skipped = relabelled(TRUTH, n1=0)
    assert davis2017([skipped], objects=[skipped])["objects"] == 2
    with pytest.raises(ValueError, match="video a: its first frame has no object"):
        davis2017([EMPTY, TRUTH], objects=[TRUTH, TRUTH])


def test_davis2017_averages_over_objects_and_not_over_sequences():
    one = relabelled(TRUTH, n2=0)
    videos = {
        "two": Video(regions=[TRUTH], objects=[TRUTH]),
        "one": Video(regions=[one], objects=[EMPTY]),
    }
    result = registry.davis2017(videos, jobs=2)
    assert result["mean_j"] == pytest.approx(2 / 3)
    assert (result["objects"], result["sequences"]) == (3, 2)
    assert result["per_sequence"]["one"]["j"] == 0
    assert json.loads(json.dumps(result)) == result


def test_davis2017_decay_is_that_of_every_object():
    gone = relabelled(TRUTH, n2=0)
    result = davis2017([TRUTH] * 5, objects=[TRUTH] * 3 + [gone] * 2)
    assert result["per_object"]["a_2"]["decay_j"] == pytest.approx(1)
    assert result["decay_j"] == pytest.approx(0.5)


def test_davis2017_takes_twenty_proposals():
    many = np.arange(1, 25, dtype=np.uint8)[None]
    truth = (many == 3).astype(np.uint8)
    assert davis2017([truth], objects=[np.where(many > 20, 0, many)])["mean_j"] == 1
    with pytest.raises(ValueError, match="video a, frame 0: .* object 24; .* at most 20"):
        davis2017([truth], objects=[many])


def test_a_perfect_merged_mask_fails_the_protocol_of_davis2017():
    """Why the numbers of merged masks and of this protocol cannot be compared (Table 7)."""
    truth = np.zeros((48, 80), np.uint8)
    for number in range(3):
        truth[12:36, 8 + 24 * number : 24 + 24 * number] = number + 1
    video = Video(regions=[truth] * 4, masks=[truth > 0] * 4)
    assert registry.all_frames({"a": video})["mean_j"] == 1
    result = registry.davis2017({"a": video})
    # One of three objects gets the mask, of which it is a third.
    assert result["mean_j"] == pytest.approx(1 / 9)
    assert result["j_and_f"] < 0.3


def test_void_and_objects_of_real_truth(shared):
    """tennis of DAVIS-2017: a player, a racket, and void around them."""
    folder = shared / "data" / "DAVIS2017_palette_sample" / "Annotations" / "480p" / "tennis"
    truth = [mask_files.read_numbers(path) for path in sorted(folder.glob("*.png"))]
    assert all(np.unique(frame).tolist() == [0, 1, 2, 255] for frame in truth)
    # Void as object or as background: both are right.
    for void in (1, 0):
        predicted = [np.where(frame == 255, void, frame) for frame in truth]
        assert davis2017(truth, objects=predicted)["j_and_f"] == 1
        merged = Video(regions=truth, masks=[frame > 0 for frame in predicted])
        assert registry.all_frames({"a": merged})["mean_j"] == 1
        result = registry.davis2017({"a": merged})
        assert result["objects"] == 2 and result["mean_j"] < 0.5


@pytest.fixture(scope="module")
def osvos2017(shared):
    """Published masks of the single-object sequences whose truth is at hand, and the scores."""
    folder = shared / "refdata" / "davis17_single_object"
    golden = json.loads((folder / "golden.json").read_text())
    annotations = shared / "data" / "DAVIS2016" / "Annotations" / "480p"
    packed = np.load(shared / "refdata" / "davis16_val" / "mini_packbits.npz")

    def truth(name):
        files = sorted((annotations / name).glob("*.png"))
        if files:
            return [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0 for file in files]
        if f"gt/{name}" in packed:
            return list(np.unpackbits(packed[f"gt/{name}"], axis=-1)[..., :854])
        return None

    videos = {}
    with zipfile.ZipFile(folder / "osvos2017_masks.zip") as archive:
        for name in sorted(golden):
            if (true := truth(name)) is None:
                continue
            masks = [
                cv2.imdecode(
                    np.frombuffer(archive.read(f"{name}/{number:05d}.png"), np.uint8),
                    cv2.IMREAD_GRAYSCALE,
                )
                for number in range(len(true))
            ]
            videos[name] = Video(truth=true, masks=masks)
    return videos, golden


def test_davis17_single_object_golden(osvos2017):
    """J and F of one object, to the four decimals published; truth of DAVIS-2016."""
    videos, golden = osvos2017
    # The truth of the other six single-object sequences is not in the reference data.
    assert sorted(videos) == [
        "blackswan", "car-shadow", "dog", "drift-chicane", "goat", "libby", "parkour",
    ]  # fmt: skip
    # As published: semi-supervised, without the ends.
    inner = {
        name: Video(truth=video.truth[1:-1], masks=video.masks[1:-1])
        for name, video in videos.items()
    }
    result = registry.davis2017(inner, jobs=2)
    merged = registry.davis2016(videos, jobs=2)
    for name in videos:
        scores = result["per_object"][f"{name}_1"]
        assert round(scores["j"], 4) == golden[name]["J_published"]
        assert round(scores["f"], 4) == golden[name]["F_published"]
        assert scores["j"] == pytest.approx(golden[name]["J"], abs=1e-9)
        assert scores["f"] == pytest.approx(golden[name]["F"], abs=1e-9)
        # With one object, this protocol on these frames is the one of DAVIS-2016.
        for key in ("j", "f", "recall_j", "decay_j", "recall_f", "decay_f"):
            assert scores[key] == pytest.approx(merged["per_sequence"][name][key], abs=1e-12)
