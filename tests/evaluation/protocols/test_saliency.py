"""Scores of soft maps: by hand, and against the golden numbers of the usual tools."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols import registry, saliency
from dystab_jax.evaluation.protocols.base import Video

TRUTH = np.array([[1, 1, 0, 0]], np.uint8)
SOFT = np.array([[0.8, 0.4, 0.4, 0.0]])


def f(precision, recall):
    return 1.3 * precision * recall / (0.3 * precision + recall)


def test_curve_by_hand():
    curve = saliency.curve(SOFT, TRUTH)
    assert curve.precision.shape == (256,)
    # Level 204 = 0.8 · 255 is reached from threshold 204 on, 102 from threshold 102.
    at = {threshold: 255 - threshold for threshold in (255, 205, 204, 103, 102, 1, 0)}
    for threshold in (255, 205):
        assert [values[at[threshold]] for values in curve] == [0, 0, 0]
    for threshold in (204, 103):
        expected = [1, 0.5, f(1, 0.5)]
        assert [values[at[threshold]] for values in curve] == pytest.approx(expected)
    for threshold in (102, 1):
        expected = [2 / 3, 1, f(2 / 3, 1)]
        assert [values[at[threshold]] for values in curve] == pytest.approx(expected)
    assert [values[at[0]] for values in curve] == pytest.approx([0.5, 1, f(0.5, 1)])


def test_curve_of_an_empty_truth_is_zero():
    curve = saliency.curve(SOFT, np.zeros_like(TRUTH))
    assert not np.any(curve)


def test_adaptive_f_by_hand():
    # Twice the mean is 0.8, which the first pixel reaches.
    assert saliency.adaptive_f(SOFT, TRUTH) == pytest.approx(f(1, 0.5))
    # 1.8 is beyond the maximum: the threshold stays at 1.
    bright = np.array([[1.0, 1.0, 0.8, 0.8]])
    assert saliency.adaptive_f(bright, TRUTH) == 1
    assert saliency.adaptive_f(bright, 1 - TRUTH) == 0


def test_stretch():
    np.testing.assert_allclose(saliency.stretch(SOFT / 2 + 0.1), SOFT / 0.8)
    np.testing.assert_array_equal(saliency.stretch(np.full((2, 2), 0.3)), np.full((2, 2), 0.3))
    assert saliency.stretch(np.array([[False, True]])).tolist() == [[0, 1]]


def test_s_measure_of_blank_truths():
    assert saliency.s_measure(SOFT, np.zeros_like(TRUTH)) == pytest.approx(1 - 0.4)
    assert saliency.s_measure(SOFT, np.ones_like(TRUTH)) == pytest.approx(0.4)


def test_s_measure_by_hand():
    truth = np.zeros((4, 4), np.uint8)
    truth[1:3, 1:3] = 1
    assert saliency.s_measure(truth, truth) == pytest.approx(1)
    # A constant map c: both parts of the object score are 2c/(c² + 1) and 2(1-c)/((1-c)² + 1).
    # The centre, pixel (2, 2) after rounding, ends the first quarter: 3x3, 3x1, 1x3 and 1x1. The
    # first has no covariance and scores 0; in the others truth and map are constant, which is 1.
    c = 0.25
    of_object = 1 / 4 * 2 * c / (c**2 + 1) + 3 / 4 * 2 * (1 - c) / ((1 - c) ** 2 + 1)
    constant = np.full((4, 4), c)
    expected = 0.5 * of_object + 0.5 * 7 / 16
    assert saliency.s_measure(constant, truth) == pytest.approx(expected)
    assert saliency.s_measure(constant, truth, alpha=1.0) == pytest.approx(of_object)


def test_s_measure_of_one_pixel_objects_is_finite():
    truth = np.zeros((4, 4), np.uint8)
    truth[3, 3] = 1
    assert saliency.s_measure(truth, truth) == pytest.approx(1)
    assert 0 <= saliency.s_measure(np.linspace(0, 1, 16).reshape(4, 4), truth) < 1
    assert saliency.s_measure(1 - truth, 1 - truth) == pytest.approx(1)


def test_s_measure_cannot_fall_below_zero():
    truth = np.zeros((6, 6), np.uint8)
    truth[2:4, 2:4] = 1
    assert saliency.s_measure(1.0 - truth, truth) == 0


@pytest.mark.parametrize("score", [saliency.curve, saliency.adaptive_f, saliency.s_measure])
def test_maps_outside_the_unit_interval_are_refused(unchecked, score):
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\]"):
        score(SOFT * 255, TRUTH)
    with pytest.raises(ValueError, match="differ in size"):
        score(SOFT[:, 1:], TRUTH)


def test_protocol_averages_over_images_and_not_over_videos():
    inverse = np.array([[0.0, 0.4, 0.4, 0.8]])
    videos = {
        "a": Video(truth=[TRUTH, TRUTH], maps=[SOFT, SOFT]),
        "b": Video(truth=[TRUTH], maps=[inverse]),
    }
    result = registry.saliency(videos, jobs=2)
    assert (result["protocol"], result["frames"], result["sequences"]) == ("saliency", 3, 2)
    assert json.loads(json.dumps(result)) == result
    # Above one half: the first pixel, or the last one.
    assert result["f_beta"] == pytest.approx(2 / 3 * f(1, 0.5))
    assert result["mean_j"] == pytest.approx(2 / 3 * 0.5)
    assert result["mae"] == pytest.approx((0.3 * 2 + 0.7) / 3)
    assert result["per_sequence"]["b"]["mae"] == pytest.approx(0.7)
    assert result["per_sequence"]["a"]["j"] == 0.5
    # P, R at the thresholds 0.8, 0.4 and 0: SOFT 1, 1/2; 2/3, 1; 1/2, 1. inverse 0, 0; 1/3, 1/2;
    # 1/2, 1. Means at 0.8: 2/3, 1/3; at 0.4: 5/9, 5/6; at 0: 1/2, 1.
    assert result["max_f"] == pytest.approx(max(f(2 / 3, 1 / 3), f(5 / 9, 5 / 6), f(1 / 2, 1)))
    of_mean = [2 * f(1, 0.5) / 3, (2 * f(2 / 3, 1) + f(1 / 3, 0.5)) / 3, f(0.5, 1)]
    assert result["max_mean_f"] == pytest.approx(max(of_mean))
    # 51 thresholds above 204, then 204 ... 103, 102 ... 1 and 0.
    assert result["curve_mean_f"] == pytest.approx(np.dot([102, 102, 1], of_mean) / 256)
    # Stretched, 0.4 becomes 0.5 and 0.8 becomes 1.
    assert result["stretched"]["mae"] == pytest.approx((0.25 * 2 + 0.75) / 3)
    assert "f_beta" not in result["stretched"]


def test_hard_masks_are_maps_too():
    result = registry.saliency({"a": Video(truth=[TRUTH], masks=[TRUTH])})
    assert result["f_beta"] == result["max_f"] == result["s_measure"] == 1
    assert result["mae"] == 0


def zipped(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.fixture(scope="module")
def sod300(shared) -> Video:
    """DSS on the 300 images of SOD."""
    with zipfile.ZipFile(shared / "refdata" / "sod300" / "sod_gt_and_DSS_maps.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("gt/"))
        return Video(
            truth=[zipped(archive, name) > 128 for name in names],
            maps=[zipped(archive, name.replace("gt/", "DSS/")) / 255 for name in names],
        )


def test_sod300_golden(sod300, shared):
    golden = json.loads((shared / "refdata" / "sod300" / "golden.json").read_text())["DSS"]
    matlab, python = golden["matlab_toolbox"], golden["pysodmetrics"]
    scores = registry.saliency({"sod": sod300}, jobs=2)
    assert scores["frames"] == 300
    expected = {
        "f_beta": golden["fixed_0p5_per_image_F_DeepUSPS"],
        "mean_j": golden["fixed_0p5_per_image_IoU"],
        "mae": matlab["MAE"],
        "s_measure": matlab["S_measure"],
        "adaptive_f": matlab["adaptive_P_R_F"][2],
        "max_f": matlab["maxF_from_mean_PR"],
        "max_mean_f": python["max_of_mean_per_image_F"],
        "curve_mean_f": python["mean_of_curve"],
    }
    for key, value in expected.items():
        # All digits given but the last few: the MATLAB toolbox adds its ε in other places.
        assert scores[key] == pytest.approx(value, abs=1e-8), key
        if key in scores["stretched"]:
            # These maps already reach from 0 to 1.
            assert scores["stretched"][key] == pytest.approx(value, abs=1e-8), key


def test_sod300_golden_by_image_and_by_threshold(sod300, shared):
    golden = np.load(shared / "refdata" / "sod300" / "DSS_matlab.npz")
    pairs = list(zip(sod300.maps, sod300.truth, strict=True))
    adaptive = [saliency.adaptive_f(*pair) for pair in pairs]
    np.testing.assert_allclose(adaptive, golden["mean_Fmeasure_image"][:, 2], atol=1e-8)
    structure = [saliency.s_measure(*pair) for pair in pairs]
    np.testing.assert_allclose(structure, golden["S_measure_image"], atol=1e-8)
    curves = np.mean([saliency.curve(*pair) for pair in pairs], axis=0)
    np.testing.assert_allclose(curves[0], golden["Pre"], atol=1e-8)
    np.testing.assert_allclose(curves[1], golden["Recall"], atol=1e-8)
    np.testing.assert_allclose(saliency.f_from(*curves[:2]), golden["Fmeasure_Curve"], atol=1e-8)


def test_pysodmetrics_golden(shared):
    folder = shared / "refdata" / "pysodmetrics"
    golden = json.loads((folder / "version_performance.json").read_text())["v1_4_0"]
    masks = sorted((folder / "test_data" / "masks").glob("*.png"))
    assert len(masks) == 3
    video = Video(
        truth=[cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 128 for path in masks],
        maps=[
            cv2.imread(str(folder / "test_data" / "preds" / path.name), cv2.IMREAD_GRAYSCALE) / 255
            for path in masks
        ],
    )
    result = registry.saliency({"all": video})
    expected = {
        "mae": golden["MAE"],
        "s_measure": golden["Smeasure"],
        "adaptive_f": golden["adpFm"],
        "max_mean_f": golden["maxFm"],
        "curve_mean_f": golden["meanFm"],
    }
    for key, value in expected.items():
        assert result["stretched"][key] == pytest.approx(value, abs=1e-10), key
    # That library stretches every map to [0, 1], which is not what these maps are by themselves.
    assert result["mae"] != pytest.approx(golden["MAE"], abs=1e-6)


def test_mae_and_f_beta_are_those_of_metrics():
    result = registry.saliency({"a": Video(truth=[TRUTH], maps=[SOFT])})
    assert result["mae"] == metrics.mae(SOFT, TRUTH)
    assert result["f_beta"] == metrics.f_beta(SOFT, TRUTH)
