"""The rooms: arrows between them run one way, and the tree can be taken in at a glance."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("dystab_jax", "data_prep")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
}
PAPER = {
    "bootstrap",
    "build",
    "flow_ops",
    "inference",
    "losses",
    "object_choice",
    "schedule",
    "pseudo_labels",
    "state",
    "steps",
}
"""Modules of dystab_jax that lie in no room; array_types, which all share, is below all rooms."""
MAY_IMPORT = {
    "runtime": set(),
    "networks": {"runtime"},
    "data": {"runtime"},
    "refinement": set(),
    "paper": {"networks", "data", "refinement", "runtime"},
    "evaluation": {"paper", "networks", "data", "refinement", "runtime"},
    "report": {"evaluation", "paper", "data", "runtime"},
    "prediction": {"report", "evaluation", "paper", "networks", "data", "refinement", "runtime"},
}
"""Beside itself; ``commands`` may import everything."""
READ_VIDEOS = {"commands", "prediction"}
"""May import data_prep."""
GROUND_FLOOR = {
    "dystab_jax.array_types",
    "dystab_jax.data.array_files",
    "dystab_jax.data.dataset_registry",
    "dystab_jax.data.encodings",
    "dystab_jax.data.folders",
    "dystab_jax.data.mask_files",
    "dystab_jax.data.mask_rule",
    "dystab_jax.data.record_keys",
    "dystab_jax.data.records",
    "dystab_jax.data.resize",
    "dystab_jax.data.text_files",
    "dystab_jax.networks.torch_files",
    "dystab_jax.runtime.atomic_files",
    "dystab_jax.runtime.disk",
    "dystab_jax.runtime.huge_pages",
    "dystab_jax.runtime.paths",
}
"""All that data_prep may know: what a record holds, and files. Nothing of the method."""


def imports(path: Path) -> set[tuple[int, str]]:
    """Line and name of every module of ours that a file imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(node.lineno, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add((node.lineno, whole if whole in MODULES else node.module))
    return {
        (line, name) for line, name in found if name.split(".")[0] in ("dystab_jax", "data_prep")
    }


def room(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 2:
        return parts[1]
    return {"array_types": "below", "evaluate": "commands"}.get(parts[1], "paper")


OURS = sorted(name for name in MODULES if name.startswith("dystab_jax"))
THEIRS = sorted(name for name in MODULES if name.startswith("data_prep"))


@pytest.mark.parametrize("module", OURS)
def test_arrows_run_one_way(module):
    own = room(module)
    if own in ("commands",):
        return
    allowed = MAY_IMPORT.get(own, set()) | {own, "below"}
    for line, name in sorted(imports(MODULES[module])):
        place = f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        if name.startswith("data_prep"):
            assert own in READ_VIDEOS, f"{place}; only {' and '.join(sorted(READ_VIDEOS))} may"
            continue
        assert room(name) in allowed, f"{place}; {own} may import {', '.join(sorted(allowed))}"


@pytest.mark.parametrize("module", THEIRS)
def test_preparing_knows_nothing_of_the_method(module):
    for line, name in sorted(imports(MODULES[module])):
        place = f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        assert name.startswith("data_prep") or name in GROUND_FLOOR, place


def test_no_circle():
    arrows = {
        module: {name for _, name in imports(path) if name in MODULES}
        for module, path in MODULES.items()
    }
    while arrows:
        leaves = {module for module, targets in arrows.items() if not targets & arrows.keys()}
        assert leaves, f"a circle of imports among {', '.join(sorted(arrows))}"
        arrows = {module: targets for module, targets in arrows.items() if module not in leaves}


def test_what_lies_in_no_room_is_the_paper():
    files = {path.stem for path in (ROOT / "dystab_jax").glob("*.py")}
    assert files == PAPER | {"__init__", "array_types", "evaluate"}


def test_the_tree_can_be_taken_in_at_a_glance():
    entries = [path for path in (ROOT / "dystab_jax").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 21
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    assert len((ROOT / "run.py").read_text().splitlines()) <= 100
