"""Predictions have flow as the training data have it, but for what flags say."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from configs import davis
from data_prep.flow import FlowOptions
from data_prep.video import Recipe
from dystab_jax.prediction.flow_of_training import Asked, choose

DIS = {"flow": "dis", "flow_size": "480x288", "max_gap": 2}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.pth"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def raft(weights):
    network = {
        "weights": hashlib.sha256(b"weights").hexdigest(),
        "precision": "bfloat16",
        "iterations": 6,
    }
    return {
        "flow": "raft_small",
        "flow_size": "native",
        "max_gap": 1,
        "flow_network": network,
        "flow_weights": "raft-small.pth",
    }


@pytest.fixture
def trained_on(tmp_path):
    """Makes a run whose workdir keeps these facts of its data sets, by their names."""

    def make(**kept):
        config = davis.get_config("small")
        config.data.dir = str(tmp_path / "gone")
        config.data.train = "+".join(f"{name}:train" for name in kept) or "davis2016:train"
        facts = {f"{name}:train": one for name, one in kept.items()}
        (tmp_path / "preparation.json").write_text(json.dumps(facts))
        return SimpleNamespace(config=config, workdir=tmp_path)

    return make


def test_all_is_as_in_training(trained_on, raft, weights):
    recipe, notes = choose(trained_on(movers=DIS), Asked())
    assert recipe == Recipe(FlowOptions("dis"), 2, (480, 288))
    assert notes == ["flow as in training: --flow=dis --flow_size=480x288 --max_gap=2"]
    recipe, notes = choose(trained_on(davis2016=raft), Asked(flow_weights=weights))
    assert recipe == Recipe(FlowOptions("raft_small", weights, 6, "bfloat16"), 1, None)
    assert notes == [
        "flow as in training: --flow=raft_small --flow_iterations=6 --flow_precision=bfloat16 "
        "--flow_size=native --max_gap=1"
    ]


def test_flags_are_stronger(trained_on, raft, weights):
    asked = Asked("raft_small", weights, 20, "float32", "320x192", 3)
    recipe, notes = choose(trained_on(davis2016=raft), asked)
    assert recipe == Recipe(FlowOptions("raft_small", weights, 20, "float32"), 3, (320, 192))
    assert notes == []
    recipe, notes = choose(trained_on(davis2016=raft), Asked(flow_weights=weights, max_gap=2))
    assert recipe == Recipe(FlowOptions("raft_small", weights, 6, "bfloat16"), 2, None)
    assert "--max_gap" not in notes[0]


def test_another_estimator_is_noted_and_has_its_own_options(trained_on, raft):
    recipe, notes = choose(trained_on(davis2016=raft), Asked(flow="dis"))
    assert recipe == Recipe(FlowOptions("dis"), 1, None)
    assert notes == [
        "flow as in training: --flow_size=native --max_gap=1",
        "trained on flow by raft_small, predicting from flow by dis; --flow chooses another",
    ]


@pytest.mark.parametrize("asked", [Asked(), Asked(flow="raft_small")])
def test_missing_weights_are_named(trained_on, raft, asked):
    digest = raft["flow_network"]["weights"][:12]
    said = (
        rf"raft_small with the weights raft-small.pth \(SHA-256 {digest}\); .*--flow_weights=FILE"
    )
    with pytest.raises(ValueError, match=said):
        choose(trained_on(davis2016=raft), asked)


def test_other_weights_are_warned_of(trained_on, raft, weights):
    weights.write_bytes(b"others")
    _, notes = choose(trained_on(davis2016=raft), Asked(flow_weights=weights))
    assert notes[1].startswith(f"warning: {weights} (SHA-256 ")
    assert "is not the checkpoint behind the flow of training, raft-small.pth (SHA-" in notes[1]


def test_what_is_not_known_has_its_default(trained_on):
    recipe, notes = choose(trained_on(), Asked())
    assert recipe == Recipe()
    assert notes == [
        "it is not known how the training data were prepared; flow by default: --flow=dis "
        "--flow_size=640x384 --max_gap=3"
    ]
    recipe, notes = choose(trained_on(movers={"flow": "dis"}), Asked(max_gap=1))
    assert recipe == Recipe(max_gap=1)
    assert notes == ["flow as in training: --flow=dis", "flow by default: --flow_size=640x384"]


def test_flow_of_another_tool_is_replaced(trained_on):
    recipe, notes = choose(trained_on(movers=DIS | {"flow": "precomputed"}), Asked())
    assert recipe == Recipe(FlowOptions("dis"), 2, (480, 288))
    assert notes[1:] == [
        "flow by default: --flow=dis",
        "trained on flow by precomputed, predicting from flow by dis; --flow chooses another",
    ]


def test_of_data_prepared_differently_the_first_counts(trained_on, raft, weights):
    recipe, notes = choose(trained_on(movers=DIS, davis2016=raft), Asked())
    assert recipe == Recipe(FlowOptions("dis"), 2, (480, 288))
    assert notes[1:] == [
        "trained on flow by dis and raft_small, predicting from flow by dis; --flow chooses "
        "another",
        "davis2016:train and movers:train were not prepared alike; flow is computed as for "
        "movers:train where no flag says otherwise",
    ]
    renamed = raft | {"flow_weights": "the-same.pth"}
    _, notes = choose(trained_on(davis2016=raft, fbms59=renamed), Asked(flow_weights=weights))
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(flow="raft_large"), "--flow=raft_large needs --flow_weights"),
        (Asked(max_gap=0), "max_gap is 0; it must be at least 1"),
        (Asked(flow_size="big"), "flow_size is 'big'; expected WIDTHxHEIGHT"),
        (Asked(flow_iterations=0), "flow_iterations is 0"),
    ],
)
def test_flags_that_make_no_sense(trained_on, asked, said):
    with pytest.raises(ValueError, match=said):
        choose(trained_on(movers=DIS), asked)
