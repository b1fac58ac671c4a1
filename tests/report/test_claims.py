"""Claims of the paper: which results stand in which panel, what is averaged, what is drawn."""

import dataclasses
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from dystab_jax.commands import train_and_score
from dystab_jax.report import claim_panels, claims
from dystab_jax.report.results import collect
from tests.support.eval_files import RULES, score

TITLES = (
    "L_TC helps φ",
    "L_χ weighed by confidence beats F_α",
    "Scores rise from round to round",
    "χ improves with the number of videos",
    "χ finds what φ cannot see",
)
REAL, DRAWN = "davis2016:val", "movers:test"


def panel(workdir, claim, data=REAL):
    """One panel as claims.json holds it."""
    panels = map(dataclasses.asdict, claims.fill(collect(workdir)))
    (found,) = [one for one in panels if (one["claim"], one["data"]) == (claim, data)]
    return found


def means(workdir, claim, data=REAL):
    """{model, or data set where it is another one: {x: mean}} of a panel."""
    return {
        curve["model"] if curve["data"] == data else curve["data"]: {
            point["x"]: round(point["mean"], 6) for point in curve["points"]
        }
        for curve in panel(workdir, claim, data)["curves"]
    }


def texts(workdir):
    """All texts of claims.svg after it is written."""
    root = ElementTree.fromstring(claims.write(workdir).read_text())
    return [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def score_rounds(workdir, dataset="davis2016", place="loop", seed=0, add=0.0, **changes):
    """Scores of φ, χ and both of a loop of three rounds, as evaluations write them."""
    run = {"place": f"{place}-{seed}", "seed": seed, "method": place} | changes
    for number in range(4):
        for model, value in (("phi", 0.4), ("chi", 0.5), ("fused", 0.6)):
            # χ is further ahead on dog after the first round, and on goat at the end.
            overlaps = {"dog": 0.9, "goat": 0.7}
            if model == "phi":
                overlaps = {"dog": 0.05 if number == 1 else 0.9, "goat": 0.1}
            parts = {"per_sequence": {name: {"j": j + add} for name, j in overlaps.items()}}
            if dataset == "movers":
                parts["per_group"] = {"never": {"j": overlaps["goat"] + add}, "moving": {"j": 0.8}}
            value += number / 100 + add
            phase = f"{number}-joint" if number else "0-dynamic"
            score(workdir, dataset, model, value, phase=phase, folder=phase, **parts, **run)


# -- which result stands where --------------------------------------------------------------------


def test_phi_by_the_weight_of_consistency(tmp_path):
    for number, weight in enumerate((0, 0.1, 1.0)):
        run = {"place": f"run{number}", "temporal_weight": weight, "method": f"m{number}"}
        score(tmp_path, row="phi", value=0.3 + weight / 10, phase="0-dynamic", **run)
        score(tmp_path, "movers", row="phi", value=0.5 + weight / 10, phase="0-dynamic", **run)
        # None of these is φ after the first game, without CRF and oracle, from all videos.
        score(tmp_path, row="phi+cis", value=0.9, phase="0-dynamic", **run)
        score(tmp_path, row="chi", value=0.9, phase="0-dynamic", **run)
        score(tmp_path, row="phi", value=0.9, phase="1-joint", **run)
        score(tmp_path, row="phi", value=0.9, phase="0-dynamic", **run, oracle=True)
        score(tmp_path, row="phi", value=0.9, phase="0-dynamic", **run, complete=False)
        score(tmp_path, row="phi", value=0.9, phase="0-dynamic", **run, videos=3)
        score(tmp_path, row="phi", value=0.9, phase="0-dynamic", **run, split="train")
    assert means(tmp_path, 1) == {"phi": {0: 0.3, 0.1: 0.31, 1.0: 0.4}}
    assert means(tmp_path, 1, DRAWN) == {"phi": {0: 0.5, 0.1: 0.51, 1.0: 0.6}}


def test_chi_by_its_loss(tmp_path):
    for loss, value in (("confidence", 0.7), ("f_measure", 0.6)):
        run = {"place": loss, "static": loss, "method": loss}
        score(tmp_path, row="chi", value=value, phase="1-static", **run)
        score(tmp_path, row="chi", value=0.9, phase="2-static", **run)
        score(tmp_path, row="fused", value=0.9, phase="1-static", **run)
    assert means(tmp_path, 2) == {"chi": {"F_α": 0.6, "L_χ": 0.7}}


def test_scores_by_round(tmp_path):
    score_rounds(tmp_path)
    assert means(tmp_path, 3) == {
        "phi": {0: 0.4, 1: 0.41, 2: 0.42, 3: 0.43},
        "chi": {1: 0.51, 2: 0.52, 3: 0.53},  # before the first round χ has learned nothing
        "fused": {1: 0.61, 2: 0.62, 3: 0.63},
    }


def test_chi_by_the_number_of_videos(tmp_path):
    for number in (3, 12, 0):
        run = {"place": f"run{number}", "videos": number, "method": f"m{number}"}
        score(tmp_path, row="chi", value=0.3 + number / 100, phase="1-static", **run)
        score(tmp_path, "ecssd", "chi", 0.5 + number / 100, phase="1-static", **run)
        score(tmp_path, "movers", "chi", 0.6 + number / 100, phase="1-static", **run)
    # Nothing says how many all videos (0) are, until a result does.
    assert means(tmp_path, 4) == {"chi": {3: 0.33, 12: 0.42}, "ecssd:test": {3: 0.53, 12: 0.62}}
    assert means(tmp_path, 4, DRAWN) == {"chi": {3: 0.63, 12: 0.72}}
    assert panel(tmp_path, 4)["curves"][1]["score"] == ["f_beta"]
    score(
        tmp_path, row="chi", value=0.5, phase="1-static", place="run0", method="m0", all_videos=30
    )
    assert means(tmp_path, 4)["chi"] == {3: 0.33, 12: 0.42, 30: 0.5}


def test_runs_of_other_lengths_are_not_one_curve(tmp_path):
    for number in (3, 12):
        for phase in ("1-static", "2-joint"):
            value = 0.4 + (phase == "2-joint") / 10
            run = {"place": f"{phase}{number}", "videos": number, "method": f"{phase}{number}"}
            score(tmp_path, row="chi", value=value, phase=phase, **run)
    score(tmp_path, row="chi", value=0.9, phase="2-joint", videos=6, method="x", place="x")
    assert means(tmp_path, 4) == {"chi": {3: 0.5, 6: 0.9, 12: 0.5}}


def test_what_phi_cannot_see(tmp_path):
    score_rounds(tmp_path)
    score_rounds(tmp_path, "movers", add=0.05)
    for data, part, add in ((REAL, "goat", 0), (DRAWN, "never moves", 0.05)):
        assert panel(tmp_path, 5, data)["part"] == part
        assert means(tmp_path, 5, data) == {
            "phi": dict.fromkeys(range(4), round(0.1 + add, 6)),
            "chi": dict.fromkeys(range(1, 4), round(0.7 + add, 6)),
        }
    assert panel(tmp_path, 5)["curves"][0]["score"] == ["per_sequence", "goat", "j"]
    assert panel(tmp_path, 5, DRAWN)["curves"][0]["score"] == ["per_group", "never", "j"]


def test_runs_that_have_seen_the_scored_videos_do_not_count(tmp_path):
    score_rounds(tmp_path, train="davis2016:train+davis2016:val")
    assert claims.fill(collect(tmp_path)) == []


# -- seeds and methods ----------------------------------------------------------------------------


def test_seeds_are_averaged_and_listed(tmp_path):
    for seed, add in ((0, 0.0), (1, 0.02), (2, 0.1)):
        score_rounds(tmp_path, seed=seed, add=add)
    # The same seed scored once more, on fewer frames: not another run.
    score(tmp_path, row="phi", value=0.9, phase="3-joint", method="loop", place="a", frames=100)
    point = panel(tmp_path, 3)["curves"][0]["points"][3]
    values = [0.43, 0.45, 0.53]
    assert point["x"] == 3
    assert point["mean"] == pytest.approx(np.mean(values))
    assert point["std"] == pytest.approx(np.std(values, ddof=1))
    assert [run["seed"] for run in point["runs"]] == [0, 1, 2]
    assert [run["score"] for run in point["runs"]] == pytest.approx(values)
    for run in point["runs"]:
        report = json.loads((tmp_path / run["file"]).read_text())
        assert (report["run"]["seed"], report["phase"]) == (run["seed"], "3-joint")
        assert report["rows"][0]["mean_j"] == run["score"]


def test_a_single_run_has_no_deviation(tmp_path):
    score_rounds(tmp_path)
    points = panel(tmp_path, 3)["curves"][0]["points"]
    assert [(point["std"], len(point["runs"])) for point in points] == [(None, 1)] * 4


def test_methods_do_not_mix_and_most_seeds_count(tmp_path):
    for seed in (0, 1):
        score_rounds(tmp_path, place="b", seed=seed)
    score_rounds(tmp_path, place="a", seed=2, add=0.3)
    # Other rules of fusion are another method, and so are a single phase's many seeds.
    score_rounds(tmp_path, place="b", seed=3, add=0.3, rules=RULES | {"fusion": "mean"})
    for seed in range(5):
        score(tmp_path, row="phi", phase="0-dynamic", method="c", place=f"c{seed}", seed=seed)
    for claim in (3, 5):
        for curve in panel(tmp_path, claim)["curves"]:
            assert {point["method"] for point in curve["points"]} == {curve["points"][0]["method"]}
            for point in curve["points"]:
                assert [run["seed"] for run in point["runs"]] == [0, 1]
    assert means(tmp_path, 3)["fused"] == {1: 0.61, 2: 0.62, 3: 0.63}


def test_of_several_methods_at_one_weight_most_seeds_count(tmp_path):
    def add(weight, value, method, seeds, **changes):
        for seed in range(seeds):
            run = {"temporal_weight": weight, "method": method, "seed": seed}
            place = f"{method}-{seed}"
            score(
                tmp_path, row="phi", value=value, phase="0-dynamic", place=place, **run, **changes
            )

    add(0, 0.3, "a", 2)
    add(1.0, 0.4, "b", 2)
    add(1.0, 0.9, "c", 1)
    # Other networks or training data are not compared with these.
    add(0, 0.8, "d", 3, networks="large")
    add(1.0, 0.8, "e", 1, train="fbms59:train")
    assert means(tmp_path, 1) == {"phi": {0: 0.3, 1.0: 0.4}}


def test_different_parts_of_the_data_are_not_averaged(tmp_path):
    for seed, (value, sequences) in enumerate(((0.4, 9), (0.5, 9), (0.9, 20))):
        for weight in (0, 0.1):
            run = {"temporal_weight": weight, "method": f"{weight}", "place": f"{seed}-{weight}"}
            part = {"sequences": sequences, "frames": 60 * sequences, "seed": seed}
            score(tmp_path, row="phi", value=value, phase="0-dynamic", **run, **part)
    assert means(tmp_path, 1) == {"phi": {0: 0.45, 0.1: 0.45}}
    assert panel(tmp_path, 1)["curves"][0]["sequences"] == 9
    assert "2 runs, 9 of 20 videos" in texts(tmp_path)


# -- the drawing ----------------------------------------------------------------------------------


def test_the_drawing_has_all_panels_and_says_what_is_missing(tmp_path):
    for seed in (0, 1):
        score_rounds(tmp_path, seed=seed)
    found = texts(tmp_path)
    joined = " ".join(found)
    for number, title in enumerate(TITLES, 1):
        assert f"{number} {title}" in joined
    # φ after the first game stands in the first panel, too.
    assert found.count(claim_panels.NO_RESULT) == 2
    assert [bool(panel(tmp_path, number)["curves"]) for number in range(1, 6)] == [
        True, False, True, False, True
    ]  # fmt: skip
    assert "goat, 2 runs" in found and "2 runs" in found
    assert f"{REAL}, J" in found and f"{DRAWN}, J" not in found


def test_both_rows_are_drawn(tmp_path):
    score_rounds(tmp_path)
    score_rounds(tmp_path, "movers")
    found = texts(tmp_path)
    assert f"{REAL}, J" in found and f"{DRAWN}, J" in found
    assert "never moves, 1 run" in found


def test_the_drawing_is_the_same_every_time(tmp_path):
    score_rounds(tmp_path)
    panels = claims.fill(collect(tmp_path))
    assert claim_panels.draw(panels) == claim_panels.draw(panels)


def test_files_stand_beside_the_tables(tmp_path):
    score_rounds(tmp_path)
    train_and_score.write_tables(tmp_path)
    drawn = [tmp_path / "tables" / f"claims.{ending}" for ending in ("svg", "json")]
    assert drawn[0].exists() and (tmp_path / "tables" / "table1.md").exists()
    panels = json.loads(drawn[1].read_text())["panels"]
    assert panels == [dataclasses.asdict(one) for one in claims.fill(collect(tmp_path))]
    # Once no result belongs to a claim, nothing is left of them.
    for path in (tmp_path / "loop-0" / "eval").rglob("*.json"):
        path.unlink()
    score(tmp_path, "fbms59")
    train_and_score.write_tables(tmp_path)
    assert not any(path.exists() for path in drawn)
