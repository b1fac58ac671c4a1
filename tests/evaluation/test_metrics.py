"""Scores of single frames: by hand, against a slow twin, and against published numbers."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dystab_jax.evaluation import metrics

EMPTY = np.zeros((2, 2), np.uint8)
LEFT = np.array([[1, 0], [1, 0]], np.uint8)
TOP = np.array([[1, 1], [0, 0]], np.uint8)
FULL = np.ones((2, 2), np.uint8)


def slow_boundary(mask):
    """Boundary pixels by the definition, one pixel at a time."""
    height, width = mask.shape
    pixels = set()
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if y == height - 1:
                neighbours = [(y, x + 1)]
            if x == width - 1:
                neighbours = [(y + 1, x)]
            inside = [(v, u) for v, u in neighbours if v < height and u < width]
            if any(mask[v, u] != mask[y, x] for v, u in inside):
                pixels.add((y, x))
    return pixels


def slow_boundary_f(prediction, truth, bound):
    """F by distances between all pairs of boundary pixels; no morphology, no cropping."""
    predicted, true = slow_boundary(prediction), slow_boundary(truth)
    if not predicted or not true:
        return float(predicted == true)
    height, width = truth.shape
    radius = np.ceil(bound * (height**2 + width**2) ** 0.5)

    def matched(some, others):
        near = [any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in some]
        return sum(near) / len(near)

    precision, recall = matched(predicted, true), matched(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (LEFT, TOP, 1 / 3),
        (LEFT, LEFT, 1),
        (LEFT, FULL, 1 / 2),
        (LEFT, 1 - LEFT, 0),
        (EMPTY, EMPTY, 1),
        (EMPTY, LEFT, 0),
        (LEFT, EMPTY, 0),
    ],
)
def test_jaccard_by_hand(prediction, truth, expected):
    assert metrics.jaccard(prediction, truth) == pytest.approx(expected)
    assert metrics.jaccard(truth, prediction) == pytest.approx(expected)


def test_every_value_but_zero_is_object():
    assert metrics.jaccard(LEFT * 255, LEFT.astype(bool)) == 1
    assert metrics.boundary_f(LEFT * 2, LEFT * 5) == 1
    assert metrics.mae(LEFT, LEFT * 255) == 0


def test_boundary_f_by_hand():
    # The boundary of one pixel is that pixel and its W, N and NW neighbours: 2x2 pixels.
    prediction, truth = np.zeros((2, 9, 12), np.uint8)
    prediction[4, 3] = truth[4, 5] = 1
    # Diagonal 15. Columns 2-3 against 4-5: at 1 px columns 3 and 4 match, at 2 px all do.
    assert metrics.boundary_f(prediction, truth, bound=1 / 15) == pytest.approx(0.5)
    assert metrics.boundary_f(prediction, truth, bound=1.01 / 15) == 1
    # Three apart: nothing is within 1 px.
    assert metrics.boundary_f(prediction, np.roll(truth, 1, axis=1), bound=1 / 15) == 0


def test_boundary_f_precision_and_recall_by_hand():
    # The prediction finds one of two far objects: P = 1, R = 1/2.
    prediction = np.zeros((9, 12), np.uint8)
    prediction[2, 2] = 1
    truth = prediction.copy()
    truth[6, 9] = 1
    assert metrics.boundary_f(prediction, truth) == pytest.approx(2 / 3)
    assert metrics.boundary_f(truth, prediction) == pytest.approx(2 / 3)


@pytest.mark.parametrize("blank", [EMPTY, FULL], ids=["empty", "full"])
def test_boundary_f_without_a_boundary(blank):
    assert metrics.boundary_f(blank, blank) == 1
    assert metrics.boundary_f(blank, LEFT) == 0
    assert metrics.boundary_f(LEFT, blank) == 0


@pytest.mark.parametrize("bound", [0.008, 0.05, 0.12, 0.3])
def test_boundary_f_equals_the_slow_twin(bound):
    random = np.random.default_rng(0)
    compared = 0
    for height, width in [(1, 9), (9, 1), (5, 5), (17, 23), (24, 16)]:
        for _ in range(6):
            # Blobs, also touching the image border, and noise.
            noise = random.random((2, height, width)).astype(np.float32)
            blobs = [cv2.blur(plane, (3, 3)) for plane in noise]
            for pair in (noise > 0.8, np.array(blobs) > 0.55):
                fast = metrics.boundary_f(*pair, bound=bound)
                slow = slow_boundary_f(*pair, bound)
                assert fast == pytest.approx(slow, abs=1e-12)
                compared += 0 < slow < 1
    assert compared > 10


def test_boundary_f_table_equals_single_pairs():
    random = np.random.default_rng(2)
    noise = [cv2.blur(plane, (5, 5)) for plane in random.random((5, 30, 40)).astype(np.float32)]
    predictions = [*(np.array(noise[:3]) > 0.55), np.zeros((30, 40), bool)]
    truths = [*(np.array(noise[3:]) > 0.55), np.ones((30, 40), bool)]
    scores = metrics.boundary_f_table(predictions, truths, bound=0.03)
    expected = [[slow_boundary_f(one, other, 0.03) for other in truths] for one in predictions]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert len(np.unique(scores)) == 8 and scores[3, 2] == 1
    assert metrics.boundary_f_table([], truths).shape == (0, 3)


def test_boundary_f_does_not_see_complement_or_order():
    random = np.random.default_rng(1)
    prediction, truth = random.random((2, 20, 30)) > 0.9
    f = metrics.boundary_f(prediction, truth)
    assert 0 < f < 1
    assert metrics.boundary_f(truth, prediction) == pytest.approx(f)
    assert metrics.boundary_f(~prediction, ~truth) == f


def test_f_beta_by_hand():
    truth = np.array([[1, 1, 1, 1, 0]], np.uint8)
    soft = np.array([[0.9, 0.6, 0.5, 0.1, 0.7]])
    # Above one half: pixels 0, 1, 4, of which two are right: P = 2/3, R = 2/4.
    precision, recall = 2 / 3, 2 / 4
    expected = 1.3 * precision * recall / (0.3 * precision + recall)
    assert metrics.f_beta(soft, truth) == pytest.approx(expected)
    # β² = 1: the harmonic mean; threshold 0.05 finds all: P = 4/5, R = 1.
    assert metrics.f_beta(soft, truth, beta2=1.0, threshold=0.05) == pytest.approx(8 / 9)


def test_f_beta_of_empty_masks():
    assert metrics.f_beta(EMPTY, EMPTY) == 1
    assert metrics.f_beta(EMPTY, LEFT) == 0
    assert metrics.f_beta(LEFT, EMPTY) == 0


def test_mae_by_hand():
    soft = np.array([[0.75, 0.5], [1.0, 0.25]], np.float32)
    assert metrics.mae(soft, LEFT) == pytest.approx((0.25 + 0.5 + 0 + 0.25) / 4)
    assert metrics.mae(1 - soft, 1 - LEFT) == pytest.approx(0.25)
    assert metrics.mae(FULL, EMPTY) == 1


def test_recall_by_hand():
    assert metrics.recall([0.5, 0.51, 0.2, 0.9]) == 0.5


def test_decay_by_hand():
    # n = 9: quarters between frames 1, 3, 5, 7, 9, ends included: 1-3 and 7-9.
    assert metrics.decay([0.9, 0.8, 0.7, 0, 0, 0, 0.3, 0.2, 0.1]) == pytest.approx(0.6)
    # n = 3: ends 1, 1.5, 2, 2.5, 3; both halves go up: frames 1-2 and 3-3.
    assert metrics.decay([0.9, 0.6, 0.1]) == pytest.approx(0.75 - 0.1)
    assert metrics.decay([0.4]) == 0


@pytest.mark.parametrize("score", [metrics.jaccard, metrics.boundary_f, metrics.f_beta])
def test_bad_masks_are_refused(unchecked, score):
    with pytest.raises(ValueError, match=r"\(2, 2\) and truth \(2, 3\) differ in size"):
        score(LEFT, np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"shape \(2, 2, 1\), expected \(height, width\)"):
        score(LEFT[..., None], LEFT[..., None])
    with pytest.raises(ValueError, match="truth has type float64, expected a hard mask"):
        score(LEFT, LEFT * 0.5)


def test_soft_predictions_are_refused_where_hard_ones_are_meant(unchecked):
    with pytest.raises(ValueError, match="prediction has type float64.*threshold"):
        metrics.jaccard(LEFT * 0.5, LEFT)


@pytest.mark.parametrize("score", [metrics.f_beta, metrics.mae])
@pytest.mark.parametrize("bad", [255, -1, np.nan])
def test_maps_outside_the_unit_interval_are_refused(score, bad):
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\]"):
        score(LEFT * float(bad), LEFT)


@pytest.fixture(scope="module")
def davis16(shared) -> Path:
    return shared / "refdata" / "davis16_val"


@pytest.mark.parametrize("method", ["matnet", "andiff", "fseg", "osvos"])
def test_davis16_golden(davis16, method):
    golden = json.loads((davis16 / "golden.json").read_text())[method]
    packed = np.load(davis16 / "mini_packbits.npz")
    for name in ("car-shadow", "drift-chicane", "libby", "scooter-black"):
        prediction, truth = (
            np.unpackbits(packed[f"{kind}/{name}"], axis=-1)[1:-1, :, :854]
            for kind in (method, "gt")
        )
        pairs = list(zip(prediction, truth, strict=True))
        j = np.mean([metrics.jaccard(*pair) for pair in pairs])
        f = np.mean([metrics.boundary_f(*pair) for pair in pairs])
        assert j == pytest.approx(golden["per_seq_J"][name], abs=1e-9)
        assert f == pytest.approx(golden["mini_seq_F"][name], abs=1e-9)
