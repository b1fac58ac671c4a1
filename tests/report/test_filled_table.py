"""Filled tables as files: Markdown that is well formed and json that says the same."""

import json
import re
from itertools import pairwise

import pytest

from dystab_jax.report import tables
from dystab_jax.report.filled_table import FilledTable
from tests.support.eval_files import FACTS, fill_everything, score


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
        assert FilledTable.from_json(content).as_markdown() == text
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
