"""The command that comes with an installed package."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def dystab(*words, cwd):
    """Runs the entry point in a process of its own, as the installed script does."""
    code = "import sys; sys.argv[0] = 'dystab'; from dystab_jax.commands.console import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": "", "GLIBC_TUNABLES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_it_is_the_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"dystab": "dystab_jax.commands.console:run"}


def test_help_shows_examples_and_flags(tmp_path):
    said = dystab("--help", cwd=tmp_path).stdout
    assert "dystab predict --input=dog.mp4 --output=masks" in said
    for flag in ("--input", "--output", "--mode", "--format", "--config"):
        assert flag in said


def test_it_works_in_any_folder(tmp_path):
    done = dystab("predict", "--input=nowhere.mp4", "--output=out", cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: --input={tmp_path / 'nowhere.mp4'}: no such file or folder" in done.stderr
    done = dystab("eval", "--config=configs/demo.py", "--workdir=none", cwd=tmp_path)
    assert "--workdir" in done.stderr and "holds no run; train first" in done.stderr
