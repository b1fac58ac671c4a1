"""Results: which files are read, and what is said of a damaged one."""

import json

import pytest

from dystab_jax.evaluation.protocols import registry
from dystab_jax.report import results, tables
from tests.support.eval_files import score, table


def test_results_are_found_in_folders_of_folders(tmp_path):
    score(tmp_path, place=".")
    score(tmp_path, "fbms59", place="a/b", folder="3-joint")
    score(tmp_path, "segtrackv2", place="eval/c")
    found = results.collect(tmp_path)
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
    assert results.collect(tmp_path) == []
    assert tables.write(tmp_path) == []
    assert not (tmp_path / "tables").exists()


def test_a_damaged_file_is_named(tmp_path):
    score(tmp_path)
    (tmp_path / "run" / "eval" / "b.json").write_text('{"run": ')
    with pytest.raises(ValueError, match=r"b\.json is not json.*--mode=eval"):
        results.collect(tmp_path)
