"""One device or many: the same rounds give the same numbers, also when jax.pmap maps them."""

import os
import subprocess
import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from dystab_jax.build import Run
from dystab_jax.runtime import cores, parallel
from dystab_jax.runtime.parallel import AXIS
from tests.support.tiny_networks import tiny_batch, tiny_state, tiny_steps

BATCH = tiny_batch(4, updates=2)


def batch_of(kind):
    return BATCH if kind == "dynamic" else {name: array[:1] for name, array in BATCH.items()}


@cache
def start(norm):
    return jax.device_get(tiny_state(tiny_steps(norm)))


def step_of(kind, norm):
    steps = tiny_steps(norm)
    if kind == "static":
        return partial(steps.single_round, update="update_chi", first=False)
    return partial(steps.dynamic_round, phi_updates=1, psi_updates=1, with_static=True)


@cache
def on_one_device(kind, norm):
    return on_mesh(kind, norm, 1)


def on_mesh(kind, norm, devices):
    mesh = parallel.make_mesh(jax.devices()[:devices])
    mapped = parallel.map_step(step_of(kind, norm), mesh)
    state = parallel.replicate(start(norm), mesh)
    return jax.device_get(mapped(state, parallel.shard(batch_of(kind), mesh)))


def by_pmap(kind, norm, devices):
    """[updates, B, ...] becomes [devices, updates, B / devices, ...]; every device answers."""

    def split(array):
        updates, size = array.shape[:2]
        parts = array.reshape(updates, devices, size // devices, *array.shape[2:])
        return np.swapaxes(parts, 0, 1)

    mapped = jax.pmap(step_of(kind, norm), axis_name=AXIS, devices=jax.devices()[:devices])
    state = jax.tree.map(lambda leaf: np.stack([leaf] * devices), start(norm))
    batch = {name: split(array) for name, array in batch_of(kind).items()}
    result = jax.device_get(mapped(state, batch))
    first = jax.tree.map(lambda leaf: leaf[0], result)
    # All devices hold the same state afterwards.
    jax.tree.map(
        lambda leaf, one: np.testing.assert_array_equal(leaf, [one] * devices), result, first
    )
    return first


def assert_close(found, expected):
    """Changes and metrics agree to float32 rounding, seen against the largest of each array."""
    for (path, a), b in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        tolerance = 1e-5 * max(np.abs(b).max(), 0.1)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=str(path))


CASES = [
    ("dynamic", "batch", partial(on_mesh, devices=2)),
    ("dynamic", "batch", partial(on_mesh, devices=4)),
    ("dynamic", "batch", partial(by_pmap, devices=4)),
    ("dynamic", "group", partial(on_mesh, devices=2)),
    ("static", "batch", partial(on_mesh, devices=2)),
    ("static", "batch", partial(on_mesh, devices=4)),
    ("static", "batch", partial(by_pmap, devices=2)),
    ("static", "group", partial(by_pmap, devices=4)),
]


@pytest.mark.parametrize(
    ("kind", "norm", "on_many"),
    CASES,
    ids=[f"{c[0]}-{c[1]}-{c[2].func.__name__}-{c[2].keywords['devices']}" for c in CASES],
)
def test_devices_agree(kind, norm, on_many):
    assert_close(on_many(kind, norm), on_one_device(kind, norm))


def test_batch_statistics_are_those_of_the_whole_batch():
    before, (after, _) = start("batch"), on_one_device("static", "batch")
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(
            jax.tree.leaves(before.chi.variables["batch_stats"]),
            jax.tree.leaves(after.chi.variables["batch_stats"]),
            strict=True,
        )
    ]
    assert all(moved)
    # φ predicts while ψ or χ learns, and a prediction leaves its statistics alone.
    jax.tree.map(np.testing.assert_array_equal, after.phi, before.phi)


def test_the_batch_is_split_and_the_state_is_not():
    mesh = parallel.make_mesh(jax.devices()[:4])
    assert mesh.axis_names == (AXIS,) and mesh.size == 4
    shards = parallel.shard({"image": np.arange(24).reshape(2, 4, 3)}, mesh)["image"]
    assert shards.sharding.spec == P(None, AXIS)
    assert [s.data.tolist() for s in shards.addressable_shards] == [
        [[[3 * i, 3 * i + 1, 3 * i + 2]], [[12 + 3 * i, 13 + 3 * i, 14 + 3 * i]]] for i in range(4)
    ]
    state = parallel.replicate({"w": np.arange(3)}, mesh)["w"]
    assert state.sharding.is_fully_replicated and len(state.addressable_shards) == 4


def test_all_devices_are_used_unless_told_otherwise():
    assert parallel.make_mesh().devices.tolist() == jax.devices()


def test_predictions_come_back_in_order():
    mesh = parallel.make_mesh(jax.devices()[:2])
    predict = parallel.map_prediction(lambda scale, batch: scale * batch["x"] + 1, mesh)
    batch = parallel.shard({"x": np.arange(6.0, dtype=np.float32)}, mesh, 0)
    np.testing.assert_array_equal(predict(np.float32(10), batch), 10 * np.arange(6) + 1)


def test_the_state_is_donated():
    # At the paper's sizes two states would not fit where one does.
    mesh = parallel.make_mesh(jax.devices()[:1])
    step = parallel.map_step(lambda state, batch: (state + batch["x"].sum(), {}), mesh, 0)
    state = parallel.replicate(jnp.zeros(8), mesh)
    step(state, parallel.shard({"x": np.ones(2, np.float32)}, mesh, 0))
    assert state.is_deleted()


@pytest.mark.parametrize(
    ("data", "predicted", "used"), [(8, 8, 4), (8, 6, 2), (9, 6, 3), (5, 4, 1)]
)
def test_cores_that_do_not_divide_the_batches_rest(tiny_config, tmp_path, data, predicted, used):
    tiny_config.data.batch_size, tiny_config.eval.batch_size = data, predicted
    run = Run.of(tiny_config, tmp_path)
    assert run.mesh.devices.tolist() == jax.devices()[:used]


USE_CORES = """
import sys
from dystab_jax.runtime import cores
cores.count = lambda: int(sys.argv[1])
cores.use_cores()
import jax
print(len(jax.devices()))
"""


@pytest.mark.parametrize(
    ("count", "said", "devices"),
    [(3, {}, 3), (16, {}, cores.MOST), (3, {"JAX_NUM_CPU_DEVICES": "1"}, 1)],
)
def test_cores_are_devices_unless_the_user_says_otherwise(count, said, devices):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", USE_CORES, str(count)],
        env=environment | said,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == devices


@pytest.mark.parametrize(
    ("error", "said"), [(AssertionError(), "no plugin"), (RuntimeError("no 'x'\nmore"), "no 'x'")]
)
def test_a_platform_that_is_not_there_is_named(monkeypatch, error, said):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ValueError, match=f"JAX_PLATFORMS=cuda: JAX cannot use it: {said}.*unset"):
        cores.check_devices()
