"""Every config builds all its networks and optimizers."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.bootstrap import Bootstrap, schedule
from dystab_jax.build import Run, initial_state, make_steps, unpack
from dystab_jax.optimizers import make_optimizer
from dystab_jax.pipeline import Augmentation
from dystab_jax.protocols import PROTOCOLS
from dystab_jax.state import parameter_count

CONFIGS = [("davis", ""), ("davis", "literal"), ("davis", "small"), ("demo", "")]


def get_config(module, variant):
    make = importlib.import_module(f"configs.{module}").get_config
    return make(variant) if variant else make()


@pytest.mark.parametrize(("module", "variant"), CONFIGS)
def test_every_config_builds(module, variant):
    config = get_config(module, variant)
    steps = make_steps(config)
    for name in ("phi", "chi"):
        config[name].pretrained = ""  # eval_shape has no values to put weights into
    state = jax.eval_shape(lambda: initial_state(config, steps))
    assert parameter_count(state.phi.variables) > 1e5
    assert state.psi.optimizer_state is not None
    unpack(Augmentation, config.data.augmentation, "data.augmentation")
    phases = schedule(unpack(Bootstrap, config.bootstrap, "bootstrap"), 1000, 8)
    static = [phase.name for phase in phases if phase.kind == "static"]
    assert static == ["1-static", "2-static", "3-static"]  # Algorithm 1: k < 3
    assert config.eval.protocol in PROTOCOLS


def test_davis_has_the_networks_of_the_paper():
    config = get_config("davis", "")
    state = jax.eval_shape(lambda: initial_state(config, make_steps(config)))
    assert parameter_count(state.phi.variables) == pytest.approx(23.6e6, rel=0.01)
    assert parameter_count(state.chi.variables) == pytest.approx(21.3e6, rel=0.01)


def test_literal_differs_where_the_paper_speaks():
    literal = get_config("davis", "literal")
    assert literal.loss.mask_mode == "soft"
    assert literal.loss.denominator == "observed" and literal.loss.ratio_clip is None
    assert literal.psi.model.parametric == "none"


def test_unknown_variant_names_the_variants():
    with pytest.raises(ValueError, match=r"'tiny'.*davis.py:literal, davis.py:small"):
        get_config("davis", "tiny")


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("phi.optimizer", "name", "adamm", "choose one of adam, adamw"),
        ("phi.optimizer", "momentum", 0.9, "'adam' does not take momentum"),
        ("chi.model", "backbone", "resnet51", "expected one of: resnet50"),
        ("psi.model", "parametric", "cubic", "choose one of"),
        ("loss", "mask_mode", "hard", "choose straight_through or soft"),
        ("loss", "temporal_weight", -0.1, "must be ≥ 0"),
        ("chi", "pretrained", "imagenet", "backbone 'small' has no published weights"),
    ],
)
def test_wrong_values_stop_with_the_accepted_ones(section, key, value, message):
    config = get_config("demo", "")
    node = config
    for part in section.split("."):
        node = node[part]
    node[key] = value
    with pytest.raises(ValueError, match=f"config.{section}: .*{message}"):
        make_steps(config)


def test_an_optimizer_is_exchanged_by_name_with_its_own_arguments():
    config = get_config("demo", "")
    config.phi.optimizer.name = "adamw"
    config.phi.optimizer.weight_decay = 0.5
    config.phi.optimizer.learning_rate = 0.1
    optimizer = make_steps(config).phi.optimizer
    weights = {"w": jnp.full(3, 2.0)}
    change, _ = optimizer.update({"w": jnp.zeros(3)}, optimizer.init(weights), weights)
    np.testing.assert_allclose(change["w"], -0.1 * 0.5 * 2, rtol=1e-6)


def test_batches_must_fit_the_devices(tmp_path):
    for section in ("data", "eval"):
        config = get_config("demo", "")
        config[section].batch_size = 6
        with pytest.raises(ValueError, match=f"{section}.batch_size is 6, .* the 4 devices"):
            Run.of(config, tmp_path)


def test_images_too_small_for_the_networks_stop(tmp_path):
    config = get_config("demo", "")
    config.data.image_size = (24, 48)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        Run.of(config, tmp_path).new_state()


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ("phi.model", "inputs", r"config.phi.model: unknown keys \['inputs'\]"),
        ("psi.model", "name", r"config.psi.model: unknown keys \['name'\]"),
        ("loss", "lambda_tc", r"config.loss: unknown keys \['lambda_tc'\].*temporal_weight"),
    ],
)
def test_keys_that_are_not_the_users_stop(section, key, said):
    config = get_config("demo", "")
    node = config
    for part in section.split("."):
        node = node[part]
    node[key] = "flow"
    with pytest.raises(ValueError, match=said):
        make_steps(config)


def test_an_optimizer_needs_its_name():
    section = {"learning_rate": 0.1}
    with pytest.raises(ValueError, match=r"missing keys \['name'\]; it takes name, learning_rate"):
        unpack(make_optimizer, section, "phi.optimizer")


def test_unknown_and_missing_keys_are_named():
    section = dict(get_config("demo", "").bootstrap)
    section["epochs"] = section.pop("rounds")
    with pytest.raises(ValueError, match=r"unknown keys \['epochs'\], missing keys \['rounds'\]"):
        unpack(Bootstrap, section, "bootstrap")
