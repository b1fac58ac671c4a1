"""Checkpoint files are read without torch and without running what they hold."""

import os
import pickle

import numpy as np
import pytest

from dystab_jax.networks.torch_files import read_checkpoint
from tests.support.torch_checkpoints import write_checkpoint

SAMPLE = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "a.half": np.asarray([0.5, -2.0], np.float16),
    "a.num_batches_tracked": np.asarray(3, np.int64),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "state_dict"])
def test_both_layouts_are_read_exactly(tmp_path, legacy, wrap):
    named = {f"module.{name}": array for name, array in SAMPLE.items()} if wrap else SAMPLE
    arrays = read_checkpoint(write_checkpoint(tmp_path / "x.pth", named, legacy=legacy, wrap=wrap))
    assert list(arrays) == list(SAMPLE)
    for name, array in SAMPLE.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_transposed_storages_are_read_by_their_steps(tmp_path):
    stored = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_checkpoint(tmp_path / "x.pth", {"w": stored}, view=(3, 2), steps=(1, 3))
    np.testing.assert_array_equal(read_checkpoint(path)["w"], stored.T)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, legacy):
    path = write_checkpoint(
        tmp_path / "x.pth", {"w": np.zeros(6, np.float32)}, legacy=legacy, view=(7,)
    )
    with pytest.raises(ValueError, match=r"x\.pth.*'w' reaches to entry 6 of a storage of 6"):
        read_checkpoint(path)


class _Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("layout", ["bare", "legacy", "zip"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path, layout):
    marker = tmp_path / "executed"
    attack = pickle.dumps(_Malicious(f"touch {marker}"), protocol=2)
    path = tmp_path / "x.pth"
    if layout == "bare":
        path.write_bytes(attack)
    else:
        # Without its protocol header and its stop, a pickle is a value inside another.
        write_checkpoint(path, {}, legacy=layout == "legacy", content={"w": attack[2:-1]})
    with pytest.raises(ValueError, match=r"it asks for (posix|nt)\.system"):
        read_checkpoint(path)
    assert not marker.exists()
    # The attack is real: an ordinary unpickler runs it.
    pickle.loads(attack)
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint"),
        (b"\x89PNG\r\n", "not a checkpoint"),
        (pickle.dumps({"w": 1}), "does not start as torch.save"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "picture.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"picture.pth.*{message}|{message}"):
        read_checkpoint(path)


def test_a_zip_file_cut_short_is_refused(tmp_path):
    path = write_checkpoint(tmp_path / "x.pth", SAMPLE)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"x\.pth is not a checkpoint"):
        read_checkpoint(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nowhere\.pth"):
        read_checkpoint(tmp_path / "nowhere.pth")
