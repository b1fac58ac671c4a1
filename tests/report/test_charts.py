"""Charts: phases, long curves, and the same drawing every time."""

from xml.etree import ElementTree

import numpy as np
import pytest

from dystab_jax.report import charts
from tests.support.evaluations import make_evaluation, write_metrics


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return make_evaluation(tmp_path_factory.mktemp("run"))


def test_phases_follow_each_other(tmp_path):
    lines = write_metrics(tmp_path / "metrics.jsonl")
    assert charts.phase_spans(lines) == [
        ("0-warm_up", 0, 40),
        ("0-dynamic", 40, 180),
        ("1-static", 180, 200),
    ]


def test_long_curves_are_averaged_down():
    points = np.stack([np.arange(1000.0), np.full(1000, 3.0)], 1)
    thin = charts._thin(points)
    assert thin.shape == (charts.MOST_POINTS, 2)
    np.testing.assert_allclose(thin[:, 1], 3)
    np.testing.assert_allclose(thin[[0, -1], 0], [1.5, 998])  # means of four and of three
    np.testing.assert_array_equal(charts._thin(points[:10]), points[:10])


def test_charts_are_the_same_every_time(evaluation):
    for draw in (
        lambda: charts.confidence_histograms(evaluation.confidences),
        lambda: charts.confidence_against_j(evaluation.confidences, evaluation.frame_j),
    ):
        chart = draw()
        assert chart == draw()
        assert "currentColor" in chart and "#010203" not in chart


def test_confidence_against_j_counts_scored_frames_only(evaluation):
    chart = charts.confidence_against_j(evaluation.confidences, evaluation.frame_j)
    videos = len(evaluation.frame_j)
    assert f"φ, {videos} frames" in chart
    assert f"χ, {2 * videos} frames" in chart


@pytest.mark.parametrize(
    "name", ["$5_vs_$500_pizza", "$", "a\\$b$c", "x\ty\nz\x01", "_hidden", "日本 & <b>"]
)
def test_names_are_drawn_as_they_are(name):
    confidences = {
        name: {"phi": np.array([0.5, 1]), "chi": np.array([0.25, 1])},
        "b": {"phi": np.ones(2), "chi": np.ones(2)},
    }
    scores = {name: {"j": 0.5}, "b": {"j": 0.25}}
    rows = [{"model": "fused", "crf": "none", "per_sequence": scores}]
    shown = name.replace("\t", "·").replace("\n", "·").replace("\x01", "·")
    for chart in (charts.confidence_histograms(confidences), charts.scores_by_sequence(rows)):
        texts = ElementTree.fromstring(charts.as_file(chart)).iter(
            "{http://www.w3.org/2000/svg}text"
        )
        assert shown in ["".join(text.itertext()) for text in texts]
