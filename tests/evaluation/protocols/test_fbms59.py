"""FBMS-59: F of Ochs et al. and the averages, by hand."""

import json

import numpy as np
import pytest

from dystab_jax.evaluation.protocols import fbms59, registry
from dystab_jax.evaluation.protocols.base import Video
from tests.support.object_rows import EMPTY, MERGED, TRUTH, row


def test_ochs_by_hand():
    # Background 60 of 70 found; cluster 1 is 25 of the 30 pixels of region 1, with 10 others.
    counts = [[60, 5], [10, 25]]
    result = fbms59.ochs(counts)
    assert result["precision"] == pytest.approx((60 / 65 + 25 / 35) / 2)
    assert result["recall"] == pytest.approx((60 / 70 + 25 / 30) / 2)
    # F is 0.889 and 0.769; one of them is the background's.
    assert (result["objects"], result["objects_found"]) == (1, 1)


def test_ochs_with_fewer_clusters_than_regions():
    """A region without cluster has P = 1, R = 0."""
    result = fbms59.ochs([[60, 0, 2], [0, 20, 10]])
    # F: (60/62, 60/60), cluster 1 with region 1: P = 20/30, R = 1; region 2 gets none.
    assert result["precision"] == pytest.approx((60 / 62 + 20 / 30 + 1) / 3)
    assert result["recall"] == pytest.approx((1 + 1 + 0) / 3)
    assert result["objects"] == 2


def test_ochs_with_more_clusters_than_regions():
    """What is left over costs nothing but the pixels that it took."""
    result = fbms59.ochs([[60, 0], [0, 20], [0, 10], [4, 0]])
    assert result["precision"] == pytest.approx(1)
    assert result["recall"] == pytest.approx((60 / 64 + 20 / 30) / 2)
    assert result["objects_found"] == 1


def test_ochs_ignores_numbers_without_pixels():
    counts = np.array([[60, 5], [10, 25]])
    wide = np.zeros((5, 4), int)
    wide[np.ix_([0, 3], [0, 2])] = counts
    assert fbms59.ochs(wide) == fbms59.ochs(counts)


def test_ochs_of_nothing_predicted():
    result = fbms59.ochs([[60, 40]])
    # The one cluster goes to the background: F 0.75 against 0.57.
    assert result["precision"] == pytest.approx((0.6 + 1) / 2)
    assert result["recall"] == pytest.approx((1 + 0) / 2)
    assert result["objects_found"] == 0


def test_fbms59_matches_over_the_frames_together():
    # In the second frame the two predicted objects are swapped; the first frame has more pixels
    # of object 1 at stake.
    truth = [row(0, 0, 1, 1, 1, 2, 2, 2), row(0, 0, 0, 0, 1, 1, 2, 0)]
    predicted = [row(0, 0, 1, 1, 1, 2, 2, 2), row(0, 0, 0, 0, 2, 2, 1, 0)]
    result = registry.fbms59({"a": Video(regions=truth, objects=predicted)})
    sums = [[7, 0, 0], [0, 3, 1], [0, 2, 3]]
    expected = fbms59.ochs(sums)
    assert result["ochs_precision"] == pytest.approx((1 + 3 / 4 + 3 / 5) / 3)
    assert result["per_sequence"]["a"]["ochs_recall"] == expected["recall"]
    assert (result["objects"], result["objects_found"]) == (2, 0)
    # The merged foreground is perfect all the same.
    assert result["mean_j"] == result["f1"] == 1


def test_fbms59_averages_precision_and_recall_before_f():
    perfect = Video(regions=[TRUTH, None], objects=[TRUTH, EMPTY])
    nothing = Video(regions=[TRUTH], masks=[EMPTY])
    result = registry.fbms59({"good": perfect, "bad": nothing}, jobs=2)
    assert (result["protocol"], result["frames"], result["sequences"]) == ("fbms59", 2, 2)
    assert result["per_sequence"]["bad"]["ochs_precision"] == pytest.approx((4 / 12 + 1 + 1) / 3)
    precision, recall = (1 + 7 / 9) / 2, (1 + 1 / 3) / 2
    assert result["ochs_precision"] == pytest.approx(precision)
    assert result["ochs_recall"] == pytest.approx(recall)
    assert result["ochs_f"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert (result["objects"], result["objects_found"]) == (4, 2)
    assert result["mean_j"] == 0.5 and result["f1"] == 0.5
    assert json.loads(json.dumps(result)) == result


def test_fbms59_f1_is_the_mean_over_frames_and_sequences():
    half = row(*[0] * 4, *[1] * 4, *[0] * 4)
    videos = {
        "a": Video(regions=[TRUTH, TRUTH], masks=[half, MERGED]),
        "b": Video(truth=[MERGED], masks=[half]),
    }
    result = registry.fbms59(videos)
    # P = 1, R = 1/2.
    assert result["per_sequence"]["a"]["f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["f1"] == pytest.approx(((2 / 3 + 1) / 2 + 2 / 3) / 2)
