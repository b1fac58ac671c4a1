"""How the data of a run were prepared, as its workdir keeps it."""

import json

from dystab_jax.data import preparation

DIS = {"flow": "dis", "flow_size": "640x384", "max_gap": 3}
RAFT = {
    "flow": "raft_small",
    "flow_size": "native",
    "max_gap": 1,
    "flow_network": {"weights": "ab12", "precision": "float32", "iterations": 6},
    "flow_weights": "small.pth",
}


def prepared(data_dir, name, facts):
    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    others = {"format": 2, "flow_source": None, "videos": {"a": "1"}}
    (folder / "preparation.json").write_text(json.dumps(others | facts))


def test_facts_are_kept_for_when_the_data_are_gone(tmp_path):
    data, workdir = tmp_path / "data", tmp_path / "run"
    workdir.mkdir()
    prepared(data, "folder/mine", DIS | {"flow_network": None, "flow_weights": None})
    prepared(data, "davis2016", RAFT)
    spec = "folder/mine:train + davis2016:train"
    expected = {"folder/mine:train": DIS, "davis2016:train": RAFT}
    assert preparation.read(data, spec) == expected
    assert preparation.of_run(workdir, data, spec) == expected  # a workdir that keeps nothing
    preparation.keep(workdir, data, spec)
    assert preparation.of_run(workdir, tmp_path / "gone", spec) == expected
    assert list(preparation.of_run(workdir, tmp_path / "gone", spec)) == list(expected)


def test_what_is_not_known_is_left_out(tmp_path):
    data, workdir = tmp_path / "data", tmp_path / "run"
    workdir.mkdir()
    prepared(data, "ecssd", {"flow": "", "max_gap": 0})  # still images
    prepared(data, "folder/damaged", DIS)
    (data / "folder" / "damaged" / "1.0.0" / "preparation.json").write_text('{"flow": ')
    spec = "ecssd:test+folder/damaged:train+movers:train"
    assert preparation.read(data, spec) == {}
    preparation.keep(workdir, data, spec)
    assert list(workdir.iterdir()) == []
    for content in ("", "[1]"):
        (workdir / "preparation.json").write_text(content)
        assert preparation.of_run(workdir, data, spec) == {}


def test_what_is_kept_stays_where_nothing_is_found(tmp_path):
    prepared(tmp_path, "movers", DIS)
    preparation.keep(tmp_path, tmp_path, "movers:train")
    preparation.keep(tmp_path, tmp_path / "gone", "movers:train")
    assert preparation.of_run(tmp_path, tmp_path / "gone", "movers:train") == {"movers:train": DIS}
