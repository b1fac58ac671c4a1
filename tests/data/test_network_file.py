"""The file of networks: what comes back, always the same bytes, and clear words where it cannot."""

import json
import zipfile

import jax
import numpy as np
import pytest

from dystab_jax.data import network_file

POSITION = {"phase": "1-joint", "complete": True, "step": 7}


def networks(width=5):
    rng = np.random.default_rng(0)
    chi = {
        "params": {"logits": {"kernel": rng.standard_normal((3, width), np.float32)}},
        "batch_stats": {"norm": {"var": np.float32([1e-9, 3e5])}},
    }
    return {"chi": chi, "psi": {"params": {}}}


def test_networks_come_back(tmp_path):
    path, written = tmp_path / "folder" / "networks.npz", networks()
    network_file.write(path, written, POSITION)
    found, position = network_file.read(path, written)
    assert position == POSITION
    assert jax.tree.structure(found) == jax.tree.structure(written)
    kernel, same = (one["chi"]["params"]["logits"]["kernel"] for one in (found, written))
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, same, rtol=2**-11)
    assert np.abs(kernel - same).max() > 0  # in float16
    # Beyond float16's range.
    statistics, same = (one["chi"]["batch_stats"]["norm"]["var"] for one in (found, written))
    np.testing.assert_array_equal(statistics, same)


def test_the_same_networks_make_the_same_bytes_without_pickle(tmp_path):
    for name in ("a", "b"):
        network_file.write(tmp_path / name, networks(), POSITION)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert json.loads(archive.read("position.json")) == POSITION
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        assert "chi/params/logits/kernel" in archive.files


def test_weights_that_float16_cannot_hold_are_refused(tmp_path):
    too_large = networks()
    too_large["chi"]["params"]["logits"]["kernel"][0, 0] = 1e6
    with pytest.raises(ValueError, match="chi/params/logits/kernel has values that are not finite"):
        network_file.write(tmp_path / "x", too_large, POSITION)
    assert not (tmp_path / "x").exists()


def test_other_networks_are_named(tmp_path):
    path = tmp_path / "networks.npz"
    network_file.write(path, networks(), POSITION)
    with pytest.raises(ValueError, match=r"kernel is \(3, 5\) there and \(3, 6\) here; export"):
        network_file.read(path, networks(width=6))
    with pytest.raises(ValueError, match="phi/params/bias is absent there"):
        network_file.read(path, networks() | {"phi": {"params": {"bias": np.zeros(2)}}})


@pytest.mark.parametrize("damage", [b"", b"no archive", "truncated", "no position"])
def test_damage_is_named(tmp_path, damage):
    path = tmp_path / "networks.npz"
    network_file.write(path, networks(), POSITION)
    if damage == "no position":
        np.savez(path, **{"chi/params/logits/kernel": np.zeros((3, 5), np.float32)})
    else:
        path.write_bytes(path.read_bytes()[:200] if damage == "truncated" else damage)
    with pytest.raises(ValueError, match=r"networks\.npz is damaged: .*; export or download it"):
        network_file.read(path, networks())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        network_file.read(tmp_path / "absent", networks())
