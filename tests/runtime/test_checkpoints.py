"""Saving and restoring: bit by bit, past donated steps, and with clear words where it cannot be."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dystab_jax.runtime import parallel
from dystab_jax.runtime.checkpoints import Checkpoints
from dystab_jax.state import State, Trainable

POSITION = {"next_index": 7, "parents": [{"state": [1, 2]}], "name": "a"}


def toy_state(width=8, optimizer=None, learners=("phi", "psi", "chi"), bias=True, seed=0):
    """A state without networks: what is saved is a tree of arrays."""
    rng = np.random.default_rng(seed)
    trained = Trainable(network=None, optimizer=optimizer or optax.adam(0.1), average_decay=0.9)

    def variables():
        params = {"kernel": jnp.asarray(rng.standard_normal((3, width), np.float32))}
        if bias:
            params["bias"] = jnp.asarray(rng.standard_normal(width, np.float32))
        return {"params": params, "batch_stats": {"mean": jnp.full(width, float(seed))}}

    started = {name: trained.start(variables()) for name in learners}
    return State(step=jnp.asarray(seed, jnp.int32), **started, chi_previous=variables())


def on(devices, state):
    return parallel.replicate(state, parallel.make_mesh(jax.devices()[:devices]))


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(first), jax.device_get(second))


@pytest.fixture
def saved(tmp_path):
    """A directory with a checkpoint of ``toy_state()`` after step 5."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(5, on(1, toy_state()), POSITION)
    checkpoints.close()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("devices", [1, 4])
def test_what_is_saved_comes_back_bit_by_bit(saved, devices):
    checkpoints = Checkpoints(saved)
    like = on(devices, toy_state(seed=1))
    state, position = checkpoints.restore(like)
    checkpoints.close()
    assert_same(state, toy_state())
    assert position == POSITION
    for leaf, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(like), strict=True):
        assert leaf.sharding == wanted.sharding and leaf.dtype == wanted.dtype


def test_a_new_directory_holds_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b")
    assert checkpoints.restore(toy_state()) is None
    checkpoints.close()


def test_the_newest_is_restored_and_old_ones_go(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (2, 9, 10):
        checkpoints.save(step, on(1, toy_state(seed=step)), {"at": step})
    checkpoints.save(10, on(1, toy_state(seed=99)), {"at": 99})  # the step exists: as it was
    checkpoints.wait()
    state, position = checkpoints.restore(on(1, toy_state()))
    checkpoints.close()
    assert state.step == 10 and position == {"at": 10}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ["10", "9"]


def test_saving_does_not_see_later_steps(tmp_path):
    # Written in the background while donated steps reuse the memory of what is being written.
    mesh = parallel.make_mesh(jax.devices()[:1])
    step = parallel.map_step(lambda s, b: (jax.tree.map(lambda x: x + 1, s), {}), mesh, 0)
    batch = parallel.shard({"x": np.zeros(1)}, mesh, 0)
    state = parallel.replicate({"w": jnp.arange(4_000_000, dtype=jnp.float32)}, mesh)
    expected = np.arange(4_000_000, dtype=np.float32)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state, {})
    for _ in range(5):
        state, _ = step(state, batch)
    checkpoints.wait()
    restored, _ = checkpoints.restore(state)
    checkpoints.close()
    np.testing.assert_array_equal(restored["w"], expected)
    np.testing.assert_array_equal(state["w"], expected + 5)


def test_a_half_written_checkpoint_is_not_seen(saved):
    # What a kill leaves: the temporary name that Orbax renames at the end.
    shutil.copytree(saved / "5", saved / "8.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(saved)
    state, _ = checkpoints.restore(on(1, toy_state()))
    checkpoints.close()
    assert_same(state, toy_state())


MEAN, BIAS, COUNT = (
    f"chi.{path}"
    for path in ("average.batch_stats.mean", "average.params.bias", "optimizer_state.0")
)
OTHERS = {
    "wider": (dict(width=16), rf"{MEAN} is \(8,\) there and \(16,\) here"),
    "narrower": (dict(width=4), rf"{MEAN} is \(8,\) there and \(4,\) here"),
    "fewer arrays": (dict(bias=False), rf"{BIAS} is \(8,\) there and absent here"),
    "sgd": (dict(optimizer=optax.sgd(0.1)), rf"{COUNT}.* there and absent here"),
    "more optimizer state": (
        dict(optimizer=optax.chain(optax.trace(0.9), optax.adam(0.1))),
        rf"{COUNT}.* there and absent here",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_something_else_is_refused(saved, other, capfd):
    arguments, difference = OTHERS[other]
    checkpoints = Checkpoints(saved)
    with pytest.raises(ValueError, match=difference) as caught:
        checkpoints.restore(on(1, toy_state(**arguments)))
    checkpoints.close()
    message = str(caught.value)
    assert f"checkpoint 5 in {saved} does not fit this config's networks and optim" in message
    assert "another --workdir" in message
    # Orbax would add hundreds of lines of its own.
    assert len(capfd.readouterr().err.splitlines()) < 5
    # It is still there for the config that made it.
    checkpoints = Checkpoints(saved)
    assert_same(checkpoints.restore(on(1, toy_state()))[0], toy_state())
    checkpoints.close()


def test_a_damaged_checkpoint_is_refused_and_can_be_removed(saved):
    checkpoints = Checkpoints(saved)
    checkpoints.save(6, on(1, toy_state(seed=6)), {})
    checkpoints.close()
    for path in (saved / "6").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:10])
    checkpoints = Checkpoints(saved)
    with pytest.raises(ValueError, match=rf"checkpoint 6 in {saved} is damaged.*Remove its folder"):
        checkpoints.restore(on(1, toy_state()))
    checkpoints.close()
    shutil.rmtree(saved / "6")
    checkpoints = Checkpoints(saved)
    assert_same(checkpoints.restore(on(1, toy_state()))[0], toy_state())
    checkpoints.close()
