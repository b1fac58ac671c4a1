"""Two programs cannot work in one folder, and no lock is ever stale."""

import json
import os
import signal
import subprocess
import sys

import pytest

from dystab_jax.runtime import locks
from dystab_jax.runtime.locks import FolderInUseError, hold

PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from dystab_jax.runtime.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path, pytestconfig):
    """Another process that holds the lock of tmp_path."""
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), str(pytestconfig.rootpath)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_by_name(other, tmp_path):
    expected = rf"{tmp_path} is in use by process {other.pid} on \S+ since .*; wait for it"
    with pytest.raises(FolderInUseError, match=expected):
        with hold(tmp_path):
            raise AssertionError("it is held")
    # What the refused one did leaves the holder's name in place.
    assert json.loads((tmp_path / ".lock").read_text())["process"] == other.pid


def test_the_lock_of_a_killed_process_is_free(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with hold(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_a_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with hold(tmp_path / "new"):
            pass


def test_without_a_description_the_message_is_plain(other, tmp_path):
    (tmp_path / ".lock").write_text("")
    with pytest.raises(FolderInUseError, match="in use by another process; wait"):
        with hold(tmp_path):
            pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(locks.errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with hold(tmp_path):
        pass
    assert "file system without locks" in capsys.readouterr().out
