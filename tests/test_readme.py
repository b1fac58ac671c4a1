"""What the README and docs/ say of the code is there."""

import importlib
import re
from pathlib import Path

import pytest

from dystab_jax.evaluation.protocols.registry import DEFAULTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TABLE = README.partition("## From the paper to the code")[2].partition("Another adversary")[0]
NAMES = sorted(set(re.findall(r"`([a-z_]+(?:\.\w+)*)`", TABLE)))
TREE = README.partition("run.py               flags")[2].partition("```")[0]


def test_the_table_names_all_equations():
    found = {int(number) for number in re.findall(r"Eq\. \((\d)\)", TABLE)}
    assert found == {2, 3, 4, 5, 6, 7, 8}
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_names_exists(name):
    module, *rest = name.split(".")
    found = importlib.import_module(f"dystab_jax.{module}")
    for part in rest:
        found = getattr(found, part, None)
    assert found is not None, f"dystab_jax.{name} is not there"


def test_every_equation_is_one_function():
    text = (ROOT / "dystab_jax" / "losses.py").read_text()
    for number in range(2, 9):
        assert text.count(f'"""Eq. ({number}):') == 1


@pytest.mark.parametrize("folder", ["dystab_jax", "data_prep"])
def test_the_tree_names_every_module(folder):
    abbreviated = {"davis2017.py", "davis2016_labelled.py", "fbms59.py", "segtrackv2.py"}
    abbreviated |= {"msra_b.py", "dut_omron.py", "folder.py"}
    modules = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"[\w/]+\.py", TREE))
    assert modules - named - abbreviated == set()


def test_linked_files_exist():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_data_set_and_protocol_is_documented():
    text = (ROOT / "docs" / "data_sets.md").read_text()
    for name in {*DEFAULTS, *(one for row in DEFAULTS.values() for one in row)}:
        assert f"`{name}`" in text
