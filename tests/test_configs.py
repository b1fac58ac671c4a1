"""Every config builds all its networks and optimizers."""

import importlib

import jax
import pytest

from dystab_jax.bootstrap import Bootstrap, schedule
from dystab_jax.build import initial_state, make_steps, unpack
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
    assert literal.loss.ratio_clip is None
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
    ],
)
def test_wrong_values_stop_with_the_accepted_ones(section, key, value, message):
    config = get_config("demo", "")
    node = config
    for part in section.split("."):
        node = node[part]
    node[key] = value
    with pytest.raises(ValueError, match=message):
        make_steps(config)


def test_unknown_and_missing_keys_are_named():
    section = dict(get_config("demo", "").bootstrap)
    section["epochs"] = section.pop("rounds")
    with pytest.raises(ValueError, match=r"unknown keys \['epochs'\], missing keys \['rounds'\]"):
        unpack(Bootstrap, section, "bootstrap")
