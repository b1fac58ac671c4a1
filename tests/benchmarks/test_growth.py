"""Tests the comparison of runs that grew with runs anew."""

import pytest

from benchmarks import growth


def report(videos, j, chi=0.5):
    """Scores of two videos; ``j`` is the fused one of each."""
    rows = [
        {"model": model, "crf": "none", "mean_j": mean, "per_sequence": {}}
        for model, mean in (("phi", 0.25), ("chi", chi))
    ]
    scores = {name: {"j": value} for name, value in j.items()}
    mean = sum(j.values()) / len(j)
    rows.append({"model": "fused", "crf": "none", "mean_j": mean, "per_sequence": scores})
    trust = {"phi": 1.0, "chi": 0.75}
    return {
        "run": {"all_videos": videos}, "rows": rows, "mean_confidence": trust,
        "checkpoint": 10 * videos,
    }  # fmt: skip


def test_what_is_forgotten_is_told():
    reports = [report(6, {"a": 0.5, "b": 0.6}), report(12, {"a": 0.7, "b": 0.58}),
               report(18, {"a": 0.6, "b": 0.65})]  # fmt: skip
    lost = list(growth.losses(reports))
    # Against the best of what came before, whenever that was.
    assert lost[0] == pytest.approx({"a": -0.2, "b": 0.02})
    assert lost[1] == pytest.approx({"a": 0.1, "b": -0.05})


def test_table_by_hand():
    grown = [[report(6, {"a": 0.5}), report(12, {"a": 0.7 + 0.02 * seed})] for seed in (0, 1)]
    lines = growth.table([*grown, [report(12, {"a": 0.6})]]).splitlines()
    assert lines[1].split() == ["6", "grown", "2", *"0.250 ± 0.000 0.500 ± 0.000".split(),
        *"0.500 ± 0.000 1.000 ± 0.000 0.750 ± 0.000 60".split()]  # fmt: skip
    anew, after = (line.split() for line in lines[2:])
    assert anew[:6] == ["12", "anew", "1", "0.250", "0.500", "0.600"]
    assert after[9:12] == ["0.710", "±", "0.014"] and after[-4:] == ["0", "of", "2,", "-0.20"]
