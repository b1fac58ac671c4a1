"""Arrays on disk come back as they were."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dystab_jax.data.spool import Spool


def test_arrays_come_back_as_they_were():
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(5, 7)).astype(np.float32),
        rng.integers(0, 255, (3, 4, 3), np.uint8)[:, ::2],
        np.zeros((0, 4), np.float16),
        np.float32(2.5)[None],
    ] * 20
    spool = Spool()
    kept = [spool.keep(array) for array in arrays]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda one: one(), kept * 5))
    for array, found in zip(arrays * 5, read, strict=True):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_a_full_disk_is_named(monkeypatch):
    full = open("/dev/full", "r+b", buffering=0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(OSError, match="TMPDIR"):
        Spool().keep(np.random.default_rng(0).normal(size=1000))
