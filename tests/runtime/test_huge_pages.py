"""The program that is started anew is the same program, with the allocator told."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys, warnings
sys.path.insert(0, sys.argv[1])
from dystab_jax.runtime.huge_pages import restart_with_huge_pages
restart_with_huge_pages()
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), sys.argv[2:], sys.flags.optimize]))
"""


def run_program(tmp_path, root, **environment):
    (tmp_path / "program.py").write_text(PROGRAM)
    clean = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-O", "program.py", str(root), "--a=b c", ""],
        cwd=tmp_path,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_the_program_starts_anew_with_its_arguments(tmp_path, pytestconfig):
    tunables, arguments, optimize = run_program(tmp_path, pytestconfig.rootpath)
    assert tunables == "glibc.malloc.hugetlb=1"
    assert (arguments, optimize) == (["--a=b c", ""], 1)


def test_a_choice_of_the_user_stays(tmp_path, pytestconfig):
    tunables, _, _ = run_program(tmp_path, pytestconfig.rootpath, GLIBC_TUNABLES="a.b=1")
    assert tunables == "a.b=1"
