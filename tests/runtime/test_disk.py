"""Files are replaced whole; a full disk is reported as such, whoever met it."""

import errno
from pathlib import Path

import pytest

from dystab_jax.runtime.disk import FullDiskError, naming_full_disk, replace_file


def _chained():
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise KeyError("while saving") from error


def _plain(error):
    raise error


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (lambda: _plain(OSError(errno.ENOSPC, "")), "the disk is full"),
        (lambda: _plain(OSError(errno.EDQUOT, "")), "the disk quota is used up"),
        (lambda: _plain(RuntimeError("write() failed: No space left on device")), "is full"),
        (_chained, "the disk is full"),
    ],
)
def test_full_disk_names_the_folder(tmp_path, raised, reason):
    with pytest.raises(FullDiskError, match=rf"{tmp_path}: .*{reason}; make room"):
        with naming_full_disk(tmp_path):
            with naming_full_disk(tmp_path):  # said once
                raised()


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("other")])
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as raised:
        with naming_full_disk(tmp_path):
            raise error
    assert raised.value is error


def test_what_cannot_be_replaced_stays(tmp_path, monkeypatch):
    path = tmp_path / "new" / "scores.json"
    replace_file(path, "old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FullDiskError, match=str(path.parent)):
        replace_file(path, "new")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
