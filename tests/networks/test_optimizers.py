"""Optimizers by name: all of them step, their arguments act, wrong ones stop."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dystab_jax.networks.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer

PARAMETERS = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([1.0])}


def updates_of(optimizer, gradients, count=1):
    """The parameters' changes in each of a number of steps along the same gradients."""
    parameters, state, changes = PARAMETERS, optimizer.init(PARAMETERS), []
    for _ in range(count):
        change, state = optimizer.update(gradients, state, parameters)
        parameters = optax.apply_updates(parameters, change)
        changes.append(change)
    return changes


def same(value):
    """A gradient of one value everywhere."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), PARAMETERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_downhill(name):
    optimizer = make_optimizer(name, 0.01)
    change, _ = jax.jit(optimizer.update)(same(2.0), optimizer.init(PARAMETERS), PARAMETERS)
    for leaf in jax.tree.leaves(change):
        assert (leaf < 0).all() and (leaf > -1).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_and_defaults_are_those_of_optax(name):
    ours = updates_of(make_optimizer(name, 0.01, b1=None, momentum=None), same(2.0))
    theirs = updates_of(getattr(optax, name)(0.01), same(2.0))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_weight_decay_acts():
    # A gradient of zero: adamw only shrinks the parameters, by rate · decay.
    (change,) = updates_of(make_optimizer("adamw", 0.1, weight_decay=0.5), same(0.0))
    jax.tree.map(
        lambda c, p: np.testing.assert_allclose(c, -0.05 * p, rtol=1e-6), change, PARAMETERS
    )


def test_a_backbone_can_learn_more_slowly():
    parameters = {"backbone": PARAMETERS, "heads": {"backbone": jnp.array([1.0])}}
    gradients = jax.tree.map(jnp.ones_like, parameters)

    def change(**arguments):
        optimizer = make_optimizer("adam", 0.1, **arguments)
        return optimizer.update(gradients, optimizer.init(parameters), parameters)[0]

    whole, slower = change(), change(backbone_scale=0.25)
    expected = {"backbone": jax.tree.map(lambda leaf: leaf / 4, whole["backbone"])}
    expected["heads"] = whole["heads"]
    jax.tree.map(np.testing.assert_allclose, slower, expected)
    with pytest.raises(ValueError, match=r"backbone_scale is -1"):
        make_optimizer("adam", 0.1, backbone_scale=-1)


def test_further_arguments_act():
    # Momentum ½: steps of 1, 1.5, 1.75 times rate · gradient.
    changes = updates_of(make_optimizer("sgd", 0.1, momentum=0.5), same(2.0), count=3)
    sizes = [float(change["bias"][0]) for change in changes]
    np.testing.assert_allclose(sizes, [-0.2, -0.3, -0.35], rtol=1e-6)


def test_gradients_are_clipped_by_their_common_norm():
    # Three values of 2: norm √12, clipped to 1. Smaller gradients pass.
    clipped = make_optimizer("sgd", 0.1, gradient_clip=1.0)
    (change,) = updates_of(clipped, same(2.0))
    np.testing.assert_allclose(change["kernel"], -0.2 / np.sqrt(12), rtol=1e-6)
    (change,) = updates_of(clipped, same(0.5))
    np.testing.assert_allclose(change["kernel"], -0.05, rtol=1e-6)


def test_schedules_by_hand():
    def rates(**kwargs):
        optimizer = make_optimizer("sgd", 0.8, **kwargs)
        return [-float(change["bias"][0]) for change in updates_of(optimizer, same(1.0), 6)]

    np.testing.assert_allclose(rates(), 0.8)
    # 0.8 · (1 + cos(π t/4)) / 2, zero from step 4 on.
    cosine = rates(schedule="cosine", schedule_steps=4)
    np.testing.assert_allclose(cosine, [0.8, 0.682843, 0.4, 0.117157, 0, 0], atol=1e-6)
    # Two steps up from zero, then down over the other four: (1 + cos(π t/4)) / 2.
    warm = rates(schedule="warmup_cosine", schedule_steps=6, warmup_steps=2)
    np.testing.assert_allclose(warm, [0, 0.4, 0.8, 0.682843, 0.4, 0.117157], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "adamn"}, ["'adamn'", *OPTIMIZERS]),
        ({"name": "sgd", "weight_decay": 0.1}, ["'sgd'", "weight_decay", "momentum, nesterov"]),
        ({"name": "adam", "beta1": 0.9, "beta2": 0.9}, ["beta1, beta2", "b1, b2, eps"]),
        ({"name": "adam", "schedule": "step"}, ["'step'", *SCHEDULES]),
        ({"name": "adam", "schedule": "cosine"}, ["schedule_steps > 0, got 0"]),
    ],
)
def test_wrong_names_stop_and_tell_the_right_ones(arguments, said):
    with pytest.raises(ValueError) as caught:
        make_optimizer(**{"learning_rate": 0.1} | arguments)
    for words in said:
        assert words in str(caught.value)


def test_every_argument_of_the_config_is_taken_by_some_optimizer():
    from configs import davis

    common = set(inspect.signature(make_optimizer).parameters)
    taken = set().union(*(inspect.signature(getattr(optax, n)).parameters for n in OPTIMIZERS))
    assert set(davis.optimizer(0.1)) <= common | taken
