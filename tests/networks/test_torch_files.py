"""Checkpoint files are read without torch and without running what they hold."""

import argparse
import json
import os
import pickle
import zipfile
from pathlib import Path

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


# -- checkpoints as people have them --------------------------------------------------------------


def opcodes_of(value):
    """Returns what pickle writes for a value, to be put inside a checkpoint."""
    return pickle.dumps(value, protocol=2)[2:-1]


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "model.module.", "net."]
)
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "net", "mine"])
def test_wrappings_and_prefixes_are_removed(tmp_path, prefix, key):
    named = {prefix + name: array for name, array in SAMPLE.items()}
    arrays = read_checkpoint(write_checkpoint(tmp_path / "x.pth", named, wrap=key))
    assert list(arrays) == list(SAMPLE)


def test_a_prefix_of_some_names_is_a_part_of_them(tmp_path):
    named = {"model.weight": SAMPLE["a.weight"], "head.weight": SAMPLE["a.half"]}
    assert list(read_checkpoint(write_checkpoint(tmp_path / "x.pth", named))) == list(named)


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=1e-4, name="x"),
        np.int64(7),
        np.float32(0.5),
        np.arange(3.0),
        {"epoch": 3, "best": None, "steps": [1, 2.5], "done": True},
        Path("runs/x"),
        b"cpathlib\nPosixPath\n(X\x01\x00\x00\x00atR",
        b"cpathlib._local\nPosixPath\n(X\x01\x00\x00\x00atR",  # as Python 3.13 writes it
    ],
)
def test_what_lies_beside_the_weights_is_passed_over(tmp_path, beside):
    plain = write_checkpoint(tmp_path / "plain.pth", SAMPLE)
    with zipfile.ZipFile(plain) as archive:
        state_dict = archive.read("archive/data.pkl")[2:-1]
    opcodes = beside if isinstance(beside, bytes) else opcodes_of(beside)
    content = {"model": state_dict, "beside": opcodes}
    arrays = read_checkpoint(write_checkpoint(tmp_path / "x.pth", SAMPLE, content=content))
    assert list(arrays) == list(SAMPLE)


def test_several_networks_are_not_confused(tmp_path):
    plain = write_checkpoint(tmp_path / "plain.pth", SAMPLE)
    with zipfile.ZipFile(plain) as archive:
        state_dict = archive.read("archive/data.pkl")[2:-1]
    for names, said in (
        (("teacher", "student"), "several dictionaries of tensors, teacher, student"),
        (("mine", "optimizer"), None),
    ):
        content = dict.fromkeys(names, state_dict)
        path = write_checkpoint(tmp_path / "x.pth", SAMPLE, content=content)
        if said is None:
            assert list(read_checkpoint(path)) == list(SAMPLE)
        else:
            with pytest.raises(ValueError, match=said):
                read_checkpoint(path)


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_safetensors_are_read_exactly(tmp_path):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64"}
    for name, array in SAMPLE.items():
        header[f"module.{name}"] = {
            "dtype": kinds[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    arrays = read_checkpoint(write_safetensors(tmp_path / "x.safetensors", header, data))
    assert list(arrays) == list(SAMPLE)
    for name, array in SAMPLE.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    cut = write_safetensors(tmp_path / "cut.safetensors", header, data[:-1])
    with pytest.raises(ValueError, match=r"cut\.safetensors.*lies beyond the file; it is cut off"):
        read_checkpoint(cut)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}, "of type F8_E4M3"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "lies beyond the file"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}, "lies beyond the file"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}, "lies beyond the file"),
        ({"dtype": "F32"}, "shape|data_offsets"),
        ([], "not a checkpoint"),
    ],
)
def test_broken_safetensors_are_refused(tmp_path, entry, said):
    path = write_safetensors(tmp_path / "x.safetensors", {"w": entry}, bytes(4))
    with pytest.raises(ValueError, match=said):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n <!DOCTYPE html><title>Quota exceeded", "it is a web page"),
        (b"<HTML>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b"PK\x03\x04 and no end", "cut off in the midst of a zip archive"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "header is cut off or damaged"),
    ],
)
def test_what_people_give_in_place_of_weights_is_named(tmp_path, content, said):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.pth is not a checkpoint.*{said}"):
        read_checkpoint(path)
