"""Configs that stand for several runs, and the facts that tell their results apart."""

import json

import pytest

from configs import demo, table6
from dystab_jax.commands import runs
from dystab_jax.commands.runs import expand, open_runs
from dystab_jax.evaluation import run_facts, saved_config


@pytest.fixture
def config():
    return demo.get_config()


# -- several runs ---------------------------------------------------------------------------------


def test_a_config_without_runs_is_its_own(config):
    ((name, run),) = expand(config)
    assert name == ""
    assert run.to_dict() == config.to_dict()


def test_runs_differ_in_what_they_name_and_in_nothing_else(config):
    config.runs = (
        ("long", (("seed", 3), ("phi.optimizer.learning_rate", 0.5))),
        ("plain", ()),
    )
    before = config.to_dict()
    runs = dict(expand(config))
    assert list(runs) == ["long", "plain"]
    assert (runs["long"].seed, runs["long"].phi.optimizer.learning_rate) == (3, 0.5)
    expected = before | {"runs": ()}
    assert runs["plain"].to_dict() == expected
    expected["seed"] = 3
    expected["phi"]["optimizer"]["learning_rate"] = 0.5
    assert runs["long"].to_dict() == expected
    assert config.seed == 0 and len(config.runs) == 2  # the config itself stays


def test_a_run_is_a_single_one(config):
    config.runs = (("one", (("seed", 1),)),)
    ((_, run),) = expand(config)
    assert [name for name, _ in expand(run)] == [""]


@pytest.mark.parametrize(
    "path",
    ["loss.temporal_wait", "los.temporal_weight", "sed", "seed.x", "seed.x.y", "data.train.v"],
)
def test_a_field_that_does_not_exist_is_named(config, path):
    config.runs = (("good", ()), ("bad", ((path, 1),)))
    with pytest.raises(ValueError, match=f"bad sets '{path}', which the config does not have"):
        list(expand(config))


def test_a_value_of_another_type_is_named(config):
    config.runs = (("bad", (("data.videos", "twelve"),)),)
    with pytest.raises(ValueError, match=r"config\.runs: bad sets 'data\.videos' to 'twelve'.*int"):
        list(expand(config))


def test_two_runs_of_one_name(config):
    config.runs = (("a", ()), ("b", ()), ("a", (("seed", 1),)))
    with pytest.raises(ValueError, match=r"two runs have the same name; there are \['a', 'b', 'a'"):
        list(expand(config))


# -- facts ----------------------------------------------------------------------------------------


def method(**changes):
    """The digest of demo.py with some fields changed: section__field=value."""
    config = demo.get_config()
    with config.unlocked():
        for path, value in changes.items():
            *sections, field = path.split("__")
            node = config
            for section in sections:
                node = node[section]
            node[field] = value
    return run_facts.facts(config, "3-joint")["method"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"data__train": "davis2016:train"},
        {"data__videos": 12},
        {"data__dir": "/elsewhere"},
        {"data__threads": 1},
        {"data__keep_in_memory": False},
        {"eval__data": "davis2016:val"},
        {"eval__crf": "cis"},
        {"eval__phases": "0-dynamic"},
        {"log__every": 1},
        {"runs": (("a", ()),)},
    ],
)
def test_the_method_does_not_depend_on_data_seed_and_scoring(changes):
    assert method(**changes) == method()


@pytest.mark.parametrize(
    "changes",
    [
        {"loss__temporal_weight": 0.0},
        {"loss__static": "f_measure"},
        {"phi__model__backbone": "resnet50"},
        {"chi__optimizer__learning_rate": 0.3},
        {"psi__average_decay": 0.0},
        {"bootstrap__rounds": 1},
        {"data__image_size": (64, 96)},
        {"data__batch_size": 16},
        {"data__augmentation__flip": False},
    ],
)
def test_the_method_depends_on_all_else(changes):
    assert method(**changes) != method()


def test_the_runs_of_table_6_are_one_method():
    facts = [run_facts.facts(run, "3-joint") for _, run in expand(table6.get_config())]
    assert len({one["method"] for one in facts}) == 1
    assert len({(one["seed"], one["videos"]) for one in facts}) == 25


def test_facts_by_hand(config):
    config.seed = 4
    config.data.videos = 12
    config.data.image_size = (32, 48)
    config.loss.update(temporal_weight=1.0, static="f_measure")
    config.chi.model.backbone = "resnet34"
    found = run_facts.facts(config, "3-joint")
    assert found.pop("method") == method(
        data__image_size=(32, 48), loss__temporal_weight=1.0, loss__static="f_measure",
        chi__model__backbone="resnet34",
    )  # fmt: skip
    assert found == {
        "train": "movers:train",
        "videos": 12,
        "seed": 4,
        "temporal_weight": 1.0,
        "static": "f_measure",
        "self_training": "",
        "labels": "",
        "networks": "φ small, χ resnet34 at 48×32",
    }


def test_what_follows_the_loop_belongs_to_its_own_phase(config):
    before = run_facts.facts(config, "3-joint")
    config.self_training.data = "msra_b:all"
    assert run_facts.facts(config, "3-joint") == before
    after = run_facts.facts(config, "self_training")
    assert after["self_training"] == "msra_b:all" and after["method"] != before["method"]


def test_labels_belong_to_the_supervised_phases_alone(config):
    config.supervised.data = "davis2016_labelled:fit"
    labels = [run_facts.facts(config, phase)["labels"] for phase in ("3-joint", "supervised-2")]
    assert labels == ["", "davis2016_labelled:fit"]


# -- paths ----------------------------------------------------------------------------------------


def test_a_workdir_of_an_earlier_version_gets_later_fields(config, tmp_path):
    runs._store(config, tmp_path)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    for name in saved_config.LATER_FIELDS:
        section, field = name.split(".")
        del stored[section][field]
    path.write_text(json.dumps(stored))
    found = saved_config.read(tmp_path)
    for name, value in saved_config.LATER_FIELDS.items():
        section, field = name.split(".")
        assert found.to_dict()[section][field] == value
    # One that is there stays.
    stored["eval"]["fusion_floor"] = 0.7
    path.write_text(json.dumps(stored))
    assert saved_config.read(tmp_path).eval.fusion_floor == 0.7


def test_the_data_of_a_run_are_found_from_everywhere(config, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config.data.dir = "prepared"
    (run,) = open_runs(config, tmp_path / "run", "train")
    assert run.config.data.dir == str(tmp_path / "here" / "prepared")
    assert config.data.dir == "prepared"  # the given one stays
    monkeypatch.chdir(tmp_path)
    (run,) = open_runs(None, tmp_path / "run", "eval")
    assert run.config.data.dir == str(tmp_path / "here" / "prepared")
    monkeypatch.setenv("HOME", str(tmp_path))
    config.data.dir = "~/data"
    (run,) = open_runs(config, tmp_path / "run", "eval")
    assert run.config.data.dir == str(tmp_path / "data")


def test_a_data_folder_that_is_an_address(config, tmp_path):
    config.data.dir = "gs://bucket/data"
    run = next(open_runs(config, tmp_path / "run", "train"))
    assert run.config.data.dir == "gs://bucket/data"
