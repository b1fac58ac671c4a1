"""README, CONTRIBUTING and docs/ name what is there: commands, configs, fields, functions."""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from configs import davis
from dystab_jax import losses
from dystab_jax.evaluation.protocols.registry import DEFAULTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PATHS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = {path.name: path.read_text() for path in PATHS}
EVERYTHING = "\n".join(DOCUMENTS.values())
PLACEHOLDERS = {
    "NAME.py",
    "configs/NAME.py",
    "data_prep/datasets/NAME.py",
    "data_prep/flow/NAME.py",
}
CONFIG = davis.get_config()


def section(title: str, document: str = "README.md") -> str:
    """Returns the text below a heading, up to the next one."""
    text = DOCUMENTS[document]
    assert f"\n## {title}\n" in text, f"{document} has no section {title!r}"
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(table: str) -> list[list[str]]:
    """Returns the cells of a table's rows, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def find(name: str):
    """Returns what a dotted name below dystab_jax stands for; None where there is nothing."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(("dystab_jax", *parts[:length]))
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


def mentions(pattern: str) -> list[str]:
    """Returns what the pattern finds in any document, once each; NAME stands for any name."""
    found = re.finditer(pattern, EVERYTHING, re.MULTILINE)
    return sorted({match[match.lastindex] for match in found} - PLACEHOLDERS)


# -- README as a whole -----------------------------------------------------------------------------


def test_readme_is_short():
    assert len(README.split()) <= 1000


def test_readme_shows_the_two_commands():
    assert re.search(r"^make demo\b", section("Two commands"), re.MULTILINE)
    assert re.search(r"^make test\b", section("Two commands"), re.MULTILINE)


def test_linked_files_exist():
    for path in PATHS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_page_of_docs_can_be_reached():
    links = set(re.findall(r"\]\(docs/(\w+\.md)\)", README))
    assert links == {path.name for path in (ROOT / "docs").glob("*.md")}


# -- from the paper to the code --------------------------------------------------------------------

PAPER_TO_CODE = rows(section("From the paper to the code"))
NAMES = sorted({name for row in PAPER_TO_CODE for name in re.findall(r"`([^`]+)`", row[1])})


def test_the_table_has_all_equations_and_algorithm_1():
    parts = [row[0] for row in PAPER_TO_CODE]
    for part in (*(f"Eq. ({number})" for number in range(2, 9)), "Algorithm 1"):
        assert sum(one.startswith(part) for one in parts) == 1, f"{part} needs one row"
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_names_exists(name):
    assert find(name) is not None, f"dystab_jax.{name} is not there"


@pytest.mark.parametrize("number", range(2, 9))
def test_an_equation_stands_beside_its_function(number):
    (row,) = [row for row in PAPER_TO_CODE if row[0].startswith(f"Eq. ({number})")]
    first = re.findall(r"`([^`]+)`", row[1])[0]
    assert inspect.getdoc(find(first)).startswith(f"Eq. ({number}):")


def test_every_equation_is_one_function():
    text = Path(losses.__file__).read_text()
    for number in range(2, 9):
        assert text.count(f'"""Eq. ({number}):') == 1


def test_algorithm_1_stands_beside_its_code():
    (row,) = [row for row in PAPER_TO_CODE if row[0].startswith("Algorithm 1")]
    documented = [inspect.getdoc(find(name)) for name in re.findall(r"`([^`]+)`", row[1])]
    assert any("Algorithm 1" in text for text in documented)


# -- the tree --------------------------------------------------------------------------------------


def folders_of_the_tree() -> list[str]:
    """Returns the folders that the tree of README names, as paths; nesting is by indentation."""
    found, above = [], []
    for line in section("Rooms").partition("```")[2].partition("```")[0].splitlines():
        indent, name = re.match(r"( *)(\S*)", line).groups()
        if name.endswith("/"):
            above = [*above[: len(indent) // 2], name.strip("/")]
            found.append("/".join(above))
    return found


@pytest.mark.parametrize("package", ["dystab_jax", "data_prep"])
def test_the_tree_names_every_folder(package):
    there = {
        path.parent.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("__init__.py")
    }
    named = [folder for folder in folders_of_the_tree() if folder.split("/")[0] == package]
    assert sorted(named) == sorted(there)


def test_the_tree_names_nothing_that_is_absent():
    missing = [folder for folder in folders_of_the_tree() if not (ROOT / folder).is_dir()]
    assert missing == []


# -- what the documents name -----------------------------------------------------------------------


@pytest.mark.parametrize("name", mentions(r"configs/(\w+\.py(?::\w+)?)|`(\w+\.py:\w+)`"))
def test_every_config_can_be_made(name):
    file, _, variant = name.partition(":")
    assert (ROOT / "configs" / file).exists(), f"configs/{file} is not there"
    if file not in ("common.py", "saved.py"):
        module = importlib.import_module(f"configs.{file.removesuffix('.py')}")
        module.get_config(*([variant] if variant else []))


@pytest.mark.parametrize(
    "name", mentions(r"python -m ((?:benchmarks|data_prep|dystab_jax)[\w.]*\w)")
)
def test_every_command_has_a_module(name):
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"python -m {name}: no such module"
    source = Path(spec.origin).read_text()
    assert '__name__ == "__main__"' in source, f"python -m {name} does nothing"


@pytest.mark.parametrize("target", mentions(r"(?:`|^|\n)make ([a-z][a-z-]*)"))
def test_every_make_target_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "path", mentions(r"`((?:benchmarks|configs|data_prep|docs|dystab_jax|tests)/[\w./]*\w/?)`")
)
def test_every_file_is_there(path):
    assert (ROOT / path).exists(), f"{path} is not there"


@pytest.mark.parametrize(
    "field",
    mentions(
        rf"(?:--config\.|(?<![\w./])(?={'|'.join(CONFIG)}))((?:{'|'.join(CONFIG)})\.[a-z_0-9.]+)"
    ),
)
def test_every_field_of_a_config_is_there(field):
    found = CONFIG
    for part in field.rstrip(".").split("."):
        if found is not None and part not in found:
            assert find(field) is not None, f"neither a field of configs/davis.py nor code: {field}"
            return
        found = found[part]


def flags_of(*files: str) -> set[str]:
    """Returns the flags that some modules define, by their source."""
    texts = [(ROOT / file).read_text() for file in files]
    absl = {name for text in texts for name in re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text)}
    return absl | {name for text in texts for name in re.findall(r'"--([\w-]+)"', text)}


COMMANDS = {
    "run.py": flags_of("dystab_jax/commands/main.py") | {"config"},
    "-m data_prep.prepare": flags_of("data_prep/prepare.py", "data_prep/arguments.py"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_shown_command_is_there(command):
    shown = re.findall(rf"^\S*.*?python {command}((?:[^\n]|(?<=\\)\n)*)", EVERYTHING, re.MULTILINE)
    assert len(shown) > 5
    for arguments in shown:
        arguments = re.sub(r'"[^"]*"|#.*', "", arguments.partition("`")[0])
        for flag in re.findall(r"(?<=\s)--(\w+)", arguments):
            assert flag in COMMANDS[command], f"python {command} has no --{flag}"


# -- pages of docs/ --------------------------------------------------------------------------------


def test_every_data_set_and_protocol_is_documented():
    text = DOCUMENTS["data_sets.md"]
    for name in {*DEFAULTS, *(one for row in DEFAULTS.values() for one in row)}:
        assert f"`{name}`" in text


@pytest.mark.parametrize(
    "row", rows(section("What the configs take", "method.md")), ids=lambda row: row[0]
)
def test_the_configs_take_what_the_table_says(row):
    configs = (
        davis.get_config("literal"),
        davis.get_config(),
        davis.get_config("small"),
        importlib.import_module("configs.demo").get_config(),
    )
    for cell, config in zip(row[1:5], configs, strict=True):
        value = config
        for part in row[0].strip("`").split("."):
            value = value[part]
        expected = "" if cell == "none" else cell.strip("`")
        if not isinstance(value, str):
            expected = ast.literal_eval(expected)
        assert value == expected


def test_the_results_are_of_an_adversary_that_learns_nothing():
    for config in (davis.get_config("small"), importlib.import_module("configs.demo").get_config()):
        assert config.psi.model.widths == () and config.bootstrap.psi_updates == 0
