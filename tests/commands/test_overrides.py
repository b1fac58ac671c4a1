"""--config: files whose path absl cannot take by itself."""

from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from dystab_jax.commands import overrides

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
from ml_collections import ConfigDict

def get_config(size="plain"):
    return ConfigDict({"size": size, "seed": 0})
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    for place in (tmp_path / "plain.py", tmp_path / "take:1" / "a:b.py"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(CONFIG)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return tmp_path


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("form", ["--config={}", "-config={}", "--config {}"])
@pytest.mark.parametrize(
    ("file", "size"),
    [
        ("~/plain.py", "plain"),
        ("~/plain.py:small", "small"),
        ("~/take:1/a:b.py", "plain"),
        ("{home}/take:1/a:b.py", "plain"),
        ("{home}/take:1/a:b.py:small", "small"),
        ("{home}/plain.py:a:b", "a:b"),
    ],
)
def test_configs_anywhere(home, form, file, size):
    words = form.format(file.format(home=home)).split()
    argv = ["run.py", "--workdir=w", *words, "--config.seed=7"]
    overrides.check_config(argv)
    named = overrides.name_config_file(argv)
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=named)
    values(named)
    assert (values.config.size, values.config.seed, values.workdir) == (size, 7, "w")


def test_other_command_lines_stay(home):
    for words in (["--config=configs/davis.py:small"], ["--config", "configs/demo.py"], []):
        assert overrides.name_config_file(["run.py", *words]) == ["run.py", *words]


def test_a_file_that_is_not_there_is_named(home):
    with pytest.raises(FileNotFoundError, match="there is no file ~/none.py"):
        overrides.check_config(["run.py", "--config=~/none.py:small"])


@pytest.mark.parametrize(
    ("words", "workdir"),
    [
        (["--config=configs/davis.py"], "runs/davis"),
        (["--config", "configs/davis.py:small", "--config.seed=1"], "runs/davis-small"),
        (["-config={home}/take:1/a:b.py:a:b/c"], "runs/a-b-a-b-c"),
        (["--config=configs/demo.py", "--workdir=w"], "w"),
        (["--config=configs/demo.py", "-workdir", "w"], "w"),
        (["--mode=eval"], None),
    ],
)
def test_a_run_without_workdir_is_named_by_its_config(home, words, workdir):
    argv = ["run.py", *(word.format(home=home) for word in words)]
    named = overrides.name_workdir(argv)
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    values(named, known_only=True)
    assert values.workdir == workdir
    assert overrides.has_workdir(named) == (workdir is not None)
    given = any("workdir" in word for word in words)
    assert (named == argv) == (given or workdir is None)
