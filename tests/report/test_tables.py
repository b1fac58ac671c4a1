"""Tables 1 to 7: which results stand in which row, and what is said of them."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest

from configs import demo
from dystab_jax.evaluation import run_facts
from dystab_jax.evaluation.protocols import registry
from dystab_jax.report import tables
from dystab_jax.report.paper_tables import TABLES

# Typed from the paper, row by row; None where it gives no number.
VIDEOS = (None, None, None)
PAPER = {
    1: [(59.2, 36.8, 45.6), (62.4, 40.0, 49.1)],
    2: [(73.8, 65.5, 65.7), (78.2, 68.7, 69.3)],
    3: [VIDEOS, (80.0, 73.2, 74.2), VIDEOS, (82.8, 75.8, 74.2)],
    # MSRA-B is scored whole and on its test images; the paper's number stands with the former.
    4: [(None,) * 4] * 3 + [(88.1, 89.7, None, 73.9)],
    5: [VIDEOS, (73.8, 65.5, 65.7), VIDEOS, (79.2, 71.7, 73.1), VIDEOS, (80.0, 73.2, 74.2)],
    6: [(48.3, 1.99), (52.4, 2.37), (54.9, 2.30), (58.8, 1.17), (61.4, 1.56)],
    7: [(None, None), (58.9, 47.2), (None, None), (None, None)],
}
FACTS = {
    "train": "davis2016:train",
    "videos": 0,
    "seed": 0,
    "temporal_weight": 0.1,
    "static": "confidence",
    "self_training": "",
    "labels": "",
    "networks": "φ small, χ small at 64×32",
    "method": "aaaa0000",
}
RULES = {"fusion": "weighted", "trust": "loss_a", "vote": True, "flows_per_frame": 6}
# Split, sequences and frames of the whole data set.
WHOLE = {
    "davis2016": ("val", 20, 1336),
    "fbms59": ("test", 30, 367),
    "segtrackv2": ("test", 14, 976),
    "ecssd": ("test", 1000, 1000),
    "msra_b": ("all", 5000, 5000),
    "dut_omron": ("test", 5168, 5168),
    "davis2017": ("val", 30, 1999),
    "youtube_vos": ("labelled", 3471, 3471),
}
KEYS = ("mean_j", "f_beta", "j_and_f", "mean_f", "max_f", "mae")


def score(workdir, dataset="davis2016", row="fused", value=0.5, place="run", **changes):
    """Writes PLACE/eval/…json as an evaluation does.

    Args:
      row: model, or model+crf.
      value: every score but ``frame_mean_j``, which is 0.01 more.
      changes: of the file's content and of its facts.
    """
    split, sequences, frames = WHOLE[dataset]
    content = {"split": split, "sequences": sequences, "frames": frames, "oracle": False}
    content |= {"phase": "3-joint", "complete": True, "checkpoint": 900, "rules": RULES}
    content |= {"protocol": registry.default_protocols(dataset)[0]}
    facts = FACTS | {key: changes.pop(key) for key in FACTS if key in changes}
    folder = changes.pop("folder", "")
    assert changes.keys() <= content.keys()
    content |= changes
    shared = {key: content.pop(key) for key in ("protocol", "frames", "sequences")}
    model, _, crf = row.partition("+")
    scores = shared | dict.fromkeys(KEYS, value) | {"frame_mean_j": value + 0.01}
    report = registry.report(
        dataset,
        content.pop("split"),
        {(model, crf or "none"): scores},
        oracle=content.pop("oracle"),
    )
    report |= content | {"run": facts}
    folder = workdir / place / "eval" / folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(report))


def table(workdir, number):
    """The json of one table after ``tables.write``."""
    tables.write(workdir)
    return json.loads((workdir / "tables" / f"table{number}.json").read_text())


def scores(workdir, number):
    """The rows that have a score: {label: scores of the columns}."""
    return {
        row["label"]: [cell and round(cell["score"], 6) for cell in row["ours"]]
        for row in table(workdir, number)["rows"]
        if any(row["ours"])
    }


def of_methods(found):
    """Scores by label and how many methods have it: their digests say nothing to a reader."""
    by_label = {}
    for label, row in found.items():
        by_label.setdefault(re.sub(r" \(method [^)]*\)", "", label), []).append(row)
    return {label: sorted(rows) for label, rows in by_label.items()}


def cell(workdir, number, label, column=0):
    (row,) = [row for row in table(workdir, number)["rows"] if row["label"] == label]
    return row["ours"][column]


# -- the paper ------------------------------------------------------------------------------------


def test_the_papers_numbers():
    filled = {table.number: tables.fill(table, []) for table in TABLES}
    filled[6] = tables.fill_videos([])
    found = {number: [tuple(row["paper"]) for row in one["rows"]] for number, one in filled.items()}
    assert found == PAPER
    assert [row["label"] for row in filled[6]["rows"]] == [
        f"{number} videos" for number in (12, 36, 60, 84, 108)
    ]
    for one in filled.values():
        assert all(len(row["paper"]) == len(one["columns"]) for row in one["rows"])


def test_facts_are_those_that_runs_write():
    assert run_facts.facts(demo.get_config(), "3-joint").keys() == FACTS.keys()


# -- which result stands where --------------------------------------------------------------------


def test_table_1_tells_consistency_by_its_weight(tmp_path):
    for number, weight in enumerate((0, 1.0)):
        of_run = {"place": f"run{number}", "temporal_weight": weight, "method": f"m{number}"}
        score(tmp_path, row="phi", value=0.3 + weight / 10, phase="0-dynamic", **of_run)
        # None of these is φ after the initial game, without CRF.
        score(tmp_path, row="phi+cis", phase="0-dynamic", **of_run)
        score(tmp_path, row="phi", phase="1-joint", **of_run)
        score(tmp_path, row="chi", phase="0-dynamic", **of_run)
    assert scores(tmp_path, 1) == {
        "φ without L_TC, Eq. (3) (CIS)": [0.3, None, None],
        "φ, Eq. (5)": [0.4, None, None],
    }


def test_table_2_tells_the_loss_of_chi(tmp_path):
    for number, loss in enumerate(("f_measure", "confidence")):
        of_run = {"place": loss, "static": loss, "method": loss}
        score(tmp_path, row="chi", value=0.6 + number / 10, phase="1-static", **of_run)
        score(tmp_path, row="chi", phase="2-static", **of_run)
        score(tmp_path, row="fused", phase="1-static", **of_run)
    assert scores(tmp_path, 2) == {
        "χ(F_α), Eq. (6)": [0.6, None, None],
        "χ(L_χ), Eq. (7)": [0.7, None, None],
    }


@pytest.mark.parametrize("crf", ["cis", "deepusps"])
def test_a_crf_and_labels_have_rows_of_their_own(tmp_path, crf):
    score(tmp_path, row="fused", value=0.6)
    score(tmp_path, row=f"fused+{crf}", value=0.61)
    score(tmp_path, row="fused+guided", value=0.9)
    of_run = {"place": "labelled", "labels": "davis2016_labelled:fit", "method": "b"}
    score(tmp_path, row="fused", value=0.7, phase="supervised-2", **of_run)
    score(tmp_path, row=f"fused+{crf}", value=0.71, phase="supervised-2", **of_run)
    assert scores(tmp_path, 3) == {
        "unsupervised, fused, no CRF": [0.6, None, None],
        "unsupervised, fused, CRF": [0.61, None, None],
        "supervised fine-tuning, fused, no CRF": [0.7, None, None],
        "supervised fine-tuning, fused, CRF": [0.71, None, None],
    }


def test_a_guided_filter_is_no_crf(tmp_path):
    score(tmp_path, row="fused+guided", value=0.9)
    assert scores(tmp_path, 3) == scores(tmp_path, 5) == {}


def test_table_4_tells_self_training_and_shows_f_beta(tmp_path):
    for number, phase in enumerate(("3-joint", "self_training")):
        for crf in ("", "+deepusps"):
            value = 0.5 + number / 10 + bool(crf) / 100
            score(tmp_path, "ecssd", f"chi{crf}", value, phase=phase)
    score(tmp_path, "msra_b", "chi", 0.8)
    score(tmp_path, "msra_b", "chi", 0.9, split="test", sequences=2000)
    score(tmp_path, "dut_omron", "chi", 0.4)
    # Single images have no φ; and a joined set is no set of the table.
    score(tmp_path, "ecssd", "fused", 0.99)
    assert scores(tmp_path, 4) == {
        "χ, no CRF": [0.5, 0.8, 0.9, 0.4],
        "χ, CRF": [0.51, None, None, None],
        "χ, self-trained, no CRF": [0.6, None, None, None],
        "χ, self-trained, CRF": [0.61, None, None, None],
    }
    assert cell(tmp_path, 4, "χ, no CRF", 2)["remark"] == ""


def test_table_5_tells_the_rounds(tmp_path):
    for number in (1, 2, 3):
        score(tmp_path, "fbms59", value=number / 10, phase=f"{number}-joint")
        score(tmp_path, "fbms59", "fused+cis", number / 10 + 0.05, phase=f"{number}-joint")
        score(tmp_path, "fbms59", value=0.99, phase=f"{number}-static")
    found = scores(tmp_path, 5)
    assert list(found) == [f"round {n}, fused, {c}CRF" for n in (1, 2, 3) for c in ("no ", "")]
    assert [row[1] for row in found.values()] == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    # The loop has ended with the third round.
    assert scores(tmp_path, 3)["unsupervised, fused, no CRF"] == [None, 0.3, None]


def test_table_7_has_the_official_protocol_on_a_line_of_its_own(tmp_path):
    for number, crf in enumerate(("", "+cis")):
        score(tmp_path, "davis2017", f"fused{crf}", 0.5 + number / 100)
        score(tmp_path, "davis2017", f"fused{crf}", 0.3 + number / 100, protocol="davis2017")
    score(tmp_path, "youtube_vos", value=0.4)
    assert scores(tmp_path, 7) == {
        "merged foreground, fused, no CRF": [0.5, 0.4],
        "merged foreground, fused, CRF": [0.51, None],
        "official unsupervised J&F, fused, no CRF": [0.3],
        "official unsupervised J&F, fused, CRF": [0.31],
    }


def test_several_methods_do_not_mix_in_the_official_line(tmp_path):
    for method, value in (("a", 0.3), ("b", 0.4)):
        score(tmp_path, "davis2017", value=value, protocol="davis2017", place=method, method=method)
    label = "official unsupervised J&F, fused, no CRF"
    assert of_methods(scores(tmp_path, 7)) == {label: [[0.3], [0.4]]}


def test_other_protocols_do_not_count(tmp_path):
    score(tmp_path, protocol="all_frames")
    assert scores(tmp_path, 3) == {}


# -- preferences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [0, 1])
def test_runs_trained_on_the_columns_data_are_preferred(tmp_path, column):
    dataset = ("davis2016", "fbms59")[column]
    for value, train in ((0.5, "davis2016:train"), (0.6, "segtrackv2:train+fbms59:train")):
        place = f"run{value}"
        score(tmp_path, dataset, value=value, train=train, place=place)
        score(tmp_path, dataset, "phi", value, phase="0-dynamic", train=train, place=place)
    assert scores(tmp_path, 3)["unsupervised, fused, no CRF"][column] == (0.5, 0.6)[column]
    # Table 1 is of one model, trained on DAVIS.
    assert scores(tmp_path, 1)["φ, Eq. (5)"][column] == 0.5


def test_other_training_data_count_where_there_is_nothing_better(tmp_path):
    score(tmp_path, "fbms59", value=0.6, train="davis2016:train")
    found = table(tmp_path, 3)
    assert found["rows"][0]["ours"][1]["score"] == 0.6
    assert found["sources"][0]["train"] == "davis2016:train"


def test_different_training_data_are_not_averaged(tmp_path):
    for value, train in ((0.6, "a:train"), (0.7, "b:train")):
        score(tmp_path, value=value, train=train, place=train)
    found = cell(tmp_path, 3, "unsupervised, fused, no CRF")
    assert (found["score"], found["runs"], found["std"]) == (0.6, 1, None)


def test_the_test_split_is_preferred_and_another_one_said(tmp_path):
    own = {"train": "fbms59:train"}
    score(tmp_path, "fbms59", value=0.7, split="train_labelled", sequences=29, **own)
    assert cell(tmp_path, 3, "unsupervised, fused, no CRF", 1)["remark"] == "train_labelled"
    score(tmp_path, "fbms59", value=0.6, split="test", **own)
    found = cell(tmp_path, 3, "unsupervised, fused, no CRF", 1)
    assert (found["score"], found["remark"], found["runs"]) == (0.6, "", 1)
    # On DAVIS there is nothing but the validation set.
    score(tmp_path, split="train", sequences=30)
    assert cell(tmp_path, 3, "unsupervised, fused, no CRF", 0) is None


def test_other_training_data_are_marked(tmp_path):
    score(tmp_path, "fbms59", value=0.6)  # trained on DAVIS
    score(tmp_path, value=0.7)
    cells = [cell(tmp_path, 3, "unsupervised, fused, no CRF", column) for column in (0, 1)]
    assert [one["remark"] for one in cells] == ["", "†"]
    shown = (tmp_path / "tables" / "table3.md").read_text()
    assert "60.0 / 61.0 (†) [2]" in shown and "\n† Not trained on the paper's data set" in shown
    assert "†" not in (tmp_path / "tables" / "table1.md").read_text()


def test_incomplete_sets_say_how_many(tmp_path):
    score(tmp_path, sequences=9)
    assert cell(tmp_path, 3, "unsupervised, fused, no CRF")["remark"] == "9 of 20"
    shown = (tmp_path / "tables" / "table3.md").read_text()
    assert "fused, no CRF | ours | 50.0 (9 of 20) [1] | not run | not run |" in shown


def test_the_seed_with_the_fewest_sequences_is_told(tmp_path):
    for seed, sequences in enumerate((20, 9, 14)):
        score(tmp_path, sequences=sequences, seed=seed, place=f"seed{seed}")
    assert cell(tmp_path, 3, "unsupervised, fused, no CRF")["remark"] == "9 of 20"


def test_oracles_stand_only_where_nothing_else_does_and_say_so(tmp_path):
    score(tmp_path, value=0.9, oracle=True, sequences=9)
    assert cell(tmp_path, 3, "unsupervised, fused, no CRF")["remark"] == "9 of 20, oracle"
    score(tmp_path, value=0.6, place="honest")
    found = cell(tmp_path, 3, "unsupervised, fused, no CRF")
    assert (found["score"], found["remark"]) == (0.6, "")


def test_shorter_loops_count_with_their_last_round(tmp_path):
    score(tmp_path, value=0.5, phase="1-joint")
    assert scores(tmp_path, 3)["unsupervised, fused, no CRF"][0] == 0.5
    score(tmp_path, value=0.4, phase="2-joint")
    assert scores(tmp_path, 3)["unsupervised, fused, no CRF"][0] == 0.4


def test_phases_under_way_count_for_no_table(tmp_path):
    score(tmp_path, complete=False)
    score(tmp_path, complete=False, labels="davis2016_labelled:fit", place="labelled")
    score(tmp_path, "ecssd", "chi", complete=False, videos=12, place="videos")
    for number in range(1, 8):
        assert scores(tmp_path, number) == {}


def test_parts_of_the_videos_count_for_table_6_alone(tmp_path):
    score(tmp_path, videos=12)
    score(tmp_path, "ecssd", "chi", videos=12)
    for number in (1, 2, 3, 4, 5, 7):
        assert scores(tmp_path, number) == {}
    assert scores(tmp_path, 6) == {"12 videos": [0.5, None]}


# -- seeds and methods ----------------------------------------------------------------------------


def test_seeds_are_averaged(tmp_path):
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        own = {"train": "fbms59:train"}
        score(tmp_path, "fbms59", value=value, seed=seed, place=f"seed{seed}", **own)
    found = cell(tmp_path, 3, "unsupervised, fused, no CRF", 1)
    assert found["score"] == pytest.approx(0.6)
    assert found["second"] == pytest.approx(0.61)
    assert found["std"] == pytest.approx(0.1)  # of a sample: √(2 · 0.1² / 2)
    assert found["runs"] == 3
    assert found["sources"] == [1, 2, 3]
    shown = (tmp_path / "tables" / "table3.md").read_text()
    assert "| 60.0 ± 10.0 / 61.0 [1] [2] [3] |" in shown
    score(tmp_path, "fbms59", value=0.6, seed=3, place="seed3", **own)
    # The same seed scored once more, on fewer frames: not another run.
    score(tmp_path, "fbms59", value=0.1, seed=3, place="again", frames=100, **own)
    tables.write(tmp_path)
    shown = (tmp_path / "tables" / "table3.md").read_text()
    assert "[1] [2] [3] … |" in shown and "\n4. seed3:" in shown


def test_methods_stand_one_below_the_other(tmp_path):
    for seed, value in enumerate((0.5, 0.6)):
        score(tmp_path, value=value, seed=seed, method="aaaa", place=f"a{seed}")
    score(tmp_path, value=0.8, method="bbbb", place="b")
    # Other rules of fusion are another method, too.
    score(tmp_path, value=0.7, method="bbbb", place="c", rules=RULES | {"fusion": "mean"})
    assert of_methods(scores(tmp_path, 3)) == {
        "unsupervised, fused, no CRF": [[0.55, None, None], [0.7, None, None], [0.8, None, None]]
    }
    labels = [row["label"] for row in table(tmp_path, 3)["rows"]]
    assert labels[3] == "unsupervised, fused, CRF"  # nobody's


# -- Table 6 --------------------------------------------------------------------------------------


def test_table_6_weighs_images_over_sets_and_spreads_over_seeds(tmp_path):
    values = {"ecssd": 0.2, "msra_b": 0.5, "dut_omron": 0.8}
    for seed in (0, 1):
        for dataset, value in values.items():
            place = f"seed{seed}-videos12"
            score(tmp_path, dataset, "chi", value + seed / 10, place=place, seed=seed, videos=12)
            # The last round counts, without CRF, and each image once.
            score(tmp_path, dataset, "chi", 0.9, place=place, videos=12, seed=seed, phase="2-joint")
            score(tmp_path, dataset, "chi+deepusps", 0.9, place=place, videos=12, seed=seed)
        score(tmp_path, "msra_b", "chi", 0.9, place=place, videos=12, seed=seed, split="test")
    mean, spread = table(tmp_path, 6)["rows"][0]["ours"]
    first = (1000 * 0.2 + 5000 * 0.5 + 5168 * 0.8) / 11168
    assert mean["score"] == pytest.approx(first + 0.05)
    assert spread["score"] == pytest.approx(np.sqrt(2 * 0.05**2))
    assert (mean["runs"], mean["remark"], len(mean["sources"])) == (2, "", 6)


def test_table_6_says_how_many_images_and_what_one_seed_cannot_tell(tmp_path):
    for dataset in ("ecssd", "dut_omron"):
        score(tmp_path, dataset, "chi", 0.4, videos=36)
    score(tmp_path, "ecssd", "chi", 0.4, videos=60, place="a", seed=0)
    score(tmp_path, "dut_omron", "chi", 0.4, videos=60, place="b", seed=1)
    assert cell(tmp_path, 6, "60 videos")["remark"] == "1000 of 11168"  # the fewest
    found = table(tmp_path, 6)
    (row,) = [row for row in found["rows"] if row["label"] == "36 videos"]
    assert row["ours"][0]["remark"] == "6168 of 11168"
    assert row["ours"][1] is None


def test_table_6_has_other_numbers_of_videos_and_methods(tmp_path):
    for method in ("a", "b"):
        score(tmp_path, "ecssd", "chi", 0.4, videos=20, method=method, place=method)
    # Another training set is not averaged with these, and other protocols do not count.
    score(tmp_path, "ecssd", "chi", 0.9, videos=20, method="a", train="fbms59:train", place="c")
    score(tmp_path, "ecssd", "chi", 0.9, videos=20, protocol="all_frames", place="d")
    labels = [row["label"] for row in table(tmp_path, 6)["rows"]]
    assert labels[0] == "12 videos" and labels[4] == "36 videos"
    assert all(label.startswith("20 videos (method ") for label in labels[1:4])
    assert sum(" on fbms59:train)" in label for label in labels) == 1
    assert table(tmp_path, 6)["rows"][1]["paper"] == [None, None]


# -- files ----------------------------------------------------------------------------------------


def test_results_are_found_in_folders_of_folders(tmp_path):
    score(tmp_path, place=".")
    score(tmp_path, "fbms59", place="a/b", folder="3-joint")
    score(tmp_path, "segtrackv2", place="eval/c")
    found = tables.collect(tmp_path)
    assert {(one.report["dataset"], one.place) for one in found} == {
        ("davis2016", "."), ("fbms59", "a/b"), ("segtrackv2", "eval/c")
    }  # fmt: skip
    assert {entry["run"] for entry in table(tmp_path, 3)["sources"]} == {".", "a/b", "eval/c"}


def test_other_files_are_left_alone(tmp_path):
    report = registry.report(
        "davis2016", "val", {("masks", "none"): {"protocol": "x", "frames": 1, "sequences": 1}}
    )
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "masks.json").write_text(json.dumps(report))  # of dystab_jax.evaluate
    (tmp_path / "config.json").write_text('{"run": 1}')
    assert tables.collect(tmp_path) == []
    assert tables.write(tmp_path) == []
    assert not (tmp_path / "tables").exists()


def test_a_damaged_file_is_named(tmp_path):
    score(tmp_path)
    (tmp_path / "run" / "eval" / "b.json").write_text('{"run": ')
    with pytest.raises(ValueError, match=r"b\.json is not json.*--mode=eval"):
        tables.collect(tmp_path)


def test_what_is_not_run_names_the_config(tmp_path):
    score(tmp_path)
    written = tables.write(tmp_path)
    assert [path.name for path in written] == [f"table{number}.md" for number in range(1, 8)]
    for number, path in enumerate(written, 1):
        assert f"no run in this folder has: `configs/table{number}.py`" in path.read_text()


def fill_everything(workdir):
    """Results for each cell of each table, two seeds of each."""
    for seed in (0, 1):
        for weight in (0, 0.1):
            run = {"seed": seed, "temporal_weight": weight, "place": f"t1-{seed}-{weight}"}
            run |= {"method": f"t1-{weight}"}
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, "phi", phase="0-dynamic", **run)
        for loss in ("f_measure", "confidence"):
            run = {"seed": seed, "static": loss, "place": f"t2-{seed}-{loss}", "method": loss}
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, "chi", phase="1-static", **run)
        run = {"seed": seed, "place": f"loop-{seed}"}
        labelled = {"seed": seed, "labels": "x:fit", "place": f"fit-{seed}", "method": "fit"}
        for crf in ("", "+cis"):
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, f"fused{crf}", phase="supervised-1", **labelled)
                for number in (1, 2, 3):
                    score(workdir, dataset, f"fused{crf}", phase=f"{number}-joint", **run)
            for phase in ("3-joint", "self_training"):
                for dataset in ("ecssd", "msra_b", "dut_omron"):
                    score(workdir, dataset, f"chi{crf}", phase=phase, **run)
                score(workdir, "msra_b", f"chi{crf}", phase=phase, split="test", **run)
            for dataset in ("davis2017", "youtube_vos"):
                score(workdir, dataset, f"fused{crf}", **run)
            score(workdir, "davis2017", f"fused{crf}", protocol="davis2017", **run)
        for videos in (12, 36, 60, 84, 108):
            for dataset in ("ecssd", "msra_b", "dut_omron"):
                place = f"videos-{seed}-{videos}"
                score(workdir, dataset, "chi", videos=videos, seed=seed, place=place)


def test_complete_tables_miss_nothing(tmp_path):
    fill_everything(tmp_path)
    for path in tables.write(tmp_path):
        assert tables.NOT_RUN not in path.read_text(), path.name


@pytest.mark.parametrize("complete", [False, True])
def test_markdown_is_well_formed_and_json_says_the_same(tmp_path, complete):
    if complete:
        fill_everything(tmp_path)
    else:
        score(tmp_path)
    for path in tables.write(tmp_path):
        text = path.read_text()
        content = json.loads(
            path.with_suffix(".json").read_text(), parse_constant=lambda name: pytest.fail(name)
        )
        assert tables.as_markdown(content) == text
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        assert lines[0].count("|") == len(content["columns"]) + 3
        assert re.fullmatch(r"\|(-+\|)+", lines[1])
        ours = [line for line in lines if "| ours |" in line]
        assert len(ours) == len(content["rows"])
        # One block, between empty lines.
        numbers = [n for n, line in enumerate(text.splitlines()) if line.startswith("|")]
        assert all(b - a == 1 for a, b in pairwise(numbers))
        cited = {int(number) for number in re.findall(r"\[(\d+)\]", "".join(lines))}
        listed = {int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)}
        assert cited <= listed == set(range(1, len(content["sources"]) + 1))


def test_sources_say_what_a_score_is_of(tmp_path):
    score(
        tmp_path, "fbms59", "fused+cis", 0.6, sequences=9, frames=111, seed=3, place="runs/a",
        oracle=True, checkpoint=77,
    )  # fmt: skip
    tables.write(tmp_path)
    text = (tmp_path / "tables" / "table3.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("1. ")]
    for part in (
        "runs/a: fbms59:test, protocol fbms59, 9 sequences, 111 frames; fused, CRF cis, oracle yes",
        "phase 3-joint, checkpoint 77", "trained on davis2016:train",
        "videos: all, self-training: none, labels: none, seed 3", FACTS["networks"],
    ):  # fmt: skip
        assert part in line
