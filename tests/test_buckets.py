"""Runs and data in buckets: what a folder does, an address does, also when it is killed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

from dystab_jax.data import records, remote_sets
from dystab_jax.prediction import segmenter
from dystab_jax.runtime import mirror
from dystab_jax.runtime.addresses import open_address
from dystab_jax.runtime.mirror import LISTING, Mirror

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache of one test; no mirror of another is known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "_mirrors", [])
    fsspec.filesystem("memory").store.clear()
    return tmp_path / "cache"


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def listed(address):
    files, root = open_address(address)
    return sorted(path[len(root) + 1 :] for path in files.find(root))


# -- the copy of a run ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory://bucket/runs/a b", "file://{tmp}/bucket/a b"])
def test_what_is_pushed_is_pulled(kind, tmp_path):
    address = kind.format(tmp=tmp_path)
    one = Mirror(address, tmp_path / "one")
    one.pull()
    write(one.folder, config="1", checkpoints__4__state="four", masks__m="of this host")
    write(one.folder, **{"checkpoints__8.orbax-checkpoint-tmp-1__state": "half", "__.lock": ""})
    one.push()
    assert listed(address) == ["checkpoints/4/state", "config", LISTING, "masks/m"]
    write(one.folder, checkpoints__8__state="eight", config="2")
    shutil.rmtree(one.folder / "checkpoints" / "4")
    one.push()
    assert listed(address) == ["checkpoints/8/state", "config", LISTING, "masks/m"]

    other = Mirror(address, tmp_path / "other")
    write(other.folder, stale="of an earlier run", checkpoints__8__state="another")
    other.pull()
    assert sorted(mirror._files_in(other.folder)) == ["checkpoints/8/state", "config"]
    assert (other.folder / "checkpoints/8/state").read_text() == "eight"
    assert not (other.folder / "checkpoints" / "4").exists()


def test_nothing_is_copied_twice(tmp_path, monkeypatch):
    one = Mirror("memory://bucket/run", tmp_path / "one")
    one.pull()
    write(one.folder, a="1", b="2")
    one.push()
    moved = []
    for name in ("put_file", "get_file", "pipe_file"):
        monkeypatch.setattr(one._files, name, lambda *paths, **_: moved.append(paths[0]))
    one.push()
    assert moved == []
    again = Mirror("memory://bucket/run", tmp_path / "one")
    again.pull()
    assert moved == []


@pytest.mark.parametrize("uploads", range(4))
def test_a_push_that_is_cut_short_leaves_what_there_was(tmp_path, monkeypatch, uploads):
    one = Mirror("memory://bucket/run", tmp_path / "one")
    one.pull()
    write(one.folder, checkpoints__4__a="4a", checkpoints__4__b="4b")
    one.push()
    write(one.folder, checkpoints__8__a="8a", checkpoints__8__b="8b")
    shutil.rmtree(one.folder / "checkpoints" / "4")
    put, pipe, left = one._files.put_file, one._files.pipe_file, [uploads]

    def cut(act):
        def until(*arguments, **options):
            if not left[0]:
                raise ConnectionError("the host is gone")
            left[0] -= 1
            return act(*arguments, **options)

        return until

    monkeypatch.setattr(one._files, "put_file", cut(put))
    monkeypatch.setattr(one._files, "pipe_file", cut(pipe))
    if uploads < 3:
        with pytest.raises(ValueError, match="memory://bucket/run cannot be written: the host is"):
            one.push()
    else:
        one.push()
    monkeypatch.undo()
    other = Mirror("memory://bucket/run", tmp_path / "other")
    other.pull()
    expected = ["checkpoints/8/a", "checkpoints/8/b"] if uploads == 3 else [
        "checkpoints/4/a", "checkpoints/4/b",
    ]  # fmt: skip
    assert mirror._files_in(other.folder) == expected


def test_two_programs_cannot_have_one_run(tmp_path):
    one, other = (Mirror("memory://bucket/run", tmp_path / name) for name in ("one", "other"))
    one.pull(), other.pull()
    write(one.folder, a="1")
    one.push()
    other.push()  # it has nothing to upload, as a prediction has not
    write(other.folder, a="2")
    with pytest.raises(ValueError, match="memory://bucket/run: another program has written to it"):
        other.push()
    assert one._files.cat_file("/bucket/run/a") == b"1"


def test_a_segmenter_takes_a_run_in_a_bucket(tmp_path, monkeypatch):
    one = Mirror("memory://bucket/runs/mine", tmp_path / "one")
    write(one.folder, config="1")
    one.push()
    monkeypatch.setattr(segmenter, "_open", lambda folder, *_: (folder / "config").read_text())
    assert segmenter.Segmenter.from_workdir("memory://bucket/runs/mine")._engine == "1"
    with pytest.raises(ValueError, match="memory://bucket/runs/other holds no run"):
        segmenter.Segmenter.from_workdir("memory://bucket/runs/other")


@pytest.mark.parametrize(
    "address, said",
    [
        ("gs://bucket/run", "requirements-gcs.txt|cannot be"),
        ("nowhere://bucket/run", "nowhere"),
        ("memory://bucket/none", "memory://bucket/none holds no run"),
    ],
)
def test_addresses_that_cannot_be_opened(address, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=said):
        mirror.mirrored(address, make=False)


# -- the copy of data -----------------------------------------------------------------------------


@pytest.fixture
def bucket(tiny_data):
    files = fsspec.filesystem("memory")
    for path in tiny_data.rglob("*"):
        if path.is_file():
            files.pipe_file(f"/bucket/data/{path.relative_to(tiny_data)}", path.read_bytes())
    return files


def test_records_in_a_bucket_are_read_from_a_copy(bucket, tiny_data, cache, monkeypatch):
    there = records.open_source("memory://bucket/data", "folder/tiny:val")
    here = records.open_source(tiny_data, "folder/tiny:val")
    assert there[3] == here[3] and there.keys == here.keys
    assert cache in there.directory.parents
    # Of other splits, and a second time, nothing is copied.
    assert not list(there.directory.glob("*-train.array_record*"))
    copied = []
    get = bucket.get_file
    monkeypatch.setattr(bucket, "get_file", lambda *a, **k: copied.append(a[0]) or get(*a, **k))
    records.open_source("memory://bucket/data", "folder/tiny:val")[0]
    assert copied == []
    records.open_source("memory://bucket/data", "folder/tiny:train")[0]
    assert copied and all("train.array_record" in path for path in copied)


def test_data_that_change_in_the_bucket_are_copied_again(bucket):
    source = records.open_source("memory://bucket/data", "folder/tiny:val")
    (index,) = bucket.glob("/bucket/data/folder/tiny/*/index-val.json")
    entries = json.loads(bucket.cat_file(index))
    entries[0]["video"] = "another"
    bucket.pipe_file(index, json.dumps(entries).encode())
    again = records.open_source("memory://bucket/data", "folder/tiny:val")
    assert source.keys[0].video != again.keys[0].video == "another"


def test_copies_have_a_bound(bucket, monkeypatch):
    monkeypatch.setenv(remote_sets.DISK_GB, "0.00001")
    with pytest.raises(ValueError, match=r"folder/tiny/1.0.0 takes 0.\d+ GB .* raise DYSTAB_JAX"):
        records.open_source("memory://bucket/data", "folder/tiny:val")
    monkeypatch.setenv(remote_sets.DISK_GB, "plenty")
    with pytest.raises(ValueError, match="DYSTAB_JAX_DISK_GB=plenty; expected a number"):
        records.open_source("memory://bucket/data", "folder/tiny:val")


def test_data_that_are_not_in_the_bucket_are_missed(bucket):
    with pytest.raises(FileNotFoundError, match="davis2016:val: no prepared data set"):
        records.open_source("memory://bucket/data", "davis2016:val")


# -- a whole run ----------------------------------------------------------------------------------

RUN = [
    "--config=configs/demo.py",
    "--config.data.image_size=(32,48)", "--config.data.batch_size=4", "--config.eval.batch_size=4",
    "--config.bootstrap.rounds=1", "--config.bootstrap.least_updates=3", "--config.eval.jobs=1",
    "--config.bootstrap.dynamic_epochs=0.5", "--config.bootstrap.static_epochs=0.5",
    "--config.bootstrap.joint_epochs=0.5", "--config.log.checkpoint_every=1",
    "--config.log.every=1", "--config.data.train=folder/tiny:train",
    "--config.eval.data=folder/tiny:val", "--config.eval.protocol=all_frames",
    "--config.eval.crf=none", "--config.phi.model.width=16", "--config.chi.model.width=16",
]  # fmt: skip


def run(*arguments, kill_after=None):
    command = [sys.executable, "run.py", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, **pipes) as process:
        if kill_after is not None:
            kill_after(process)
        said = process.communicate(timeout=400)[0]
    return process.returncode, said


@pytest.fixture
def place(monkeypatch):
    """An empty bucket of Google's, emulated on this machine."""
    server = pytest.importorskip("gcp_storage_emulator.server", reason="no emulator of buckets")
    gcsfs = pytest.importorskip("gcsfs", reason="pip install -r requirements-gcs.txt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # It would ask over TLS what kind of bucket this is, for a minute.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    emulator.start()
    yield "gs://bucket"
    gcsfs.GCSFileSystem.clear_instance_cache()
    emulator.stop()


@pytest.fixture(scope="module")
def in_a_folder(tiny_data, tmp_path_factory):
    """The same run in a folder."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    code, said = run(*RUN, f"--config.data.dir={tiny_data}", f"--workdir={workdir}")
    assert code == 0, said
    return workdir


def files_of(store, root, folder):
    return {path[len(root) :] for path in store.find(f"{root}/{folder}")}


def test_a_run_in_a_bucket_is_that_of_a_folder(place, in_a_folder, tiny_data, tmp_path, cache):
    store, root = open_address(place)
    store.put(f"{tiny_data}/", f"{root}/data/", recursive=True)
    places = [f"--config.data.dir={place}/data", f"--workdir={place}/run"]

    def kill(process):
        while process.poll() is None:
            time.sleep(0.05)
            with contextlib.suppress(FileNotFoundError):
                if b"checkpoints/2/" in store.cat_file(f"{root}/run/{LISTING}"):
                    process.kill()

    code, said = run(*RUN, *places, kill_after=kill)
    assert code == -signal.SIGKILL, said
    shutil.rmtree(cache)  # another host goes on
    code, said = run(*RUN, *places)
    assert code == 0, said
    assert f"workdir {place}/run" in said and "step 2 of" in said

    store.invalidate_cache()
    for name in ("metrics.jsonl", "config.json"):
        there = store.cat_file(f"{root}/run/{name}").decode()
        assert there.replace(f"{place}/data", str(tiny_data)) == (in_a_folder / name).read_text()
    scores = "eval/folder-tiny-val.json"
    found = json.loads(store.cat_file(f"{root}/run/{scores}"))
    assert found["rows"] == json.loads((in_a_folder / scores).read_text())["rows"]
    local = fsspec.filesystem("file")
    for part in ("masks", "report", "figures", "tables"):
        there, here = files_of(store, f"{root}/run", part), files_of(local, str(in_a_folder), part)
        assert there == here and there

    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(3):
        assert cv2.imwrite(str(frames / f"{t}.png"), np.full((48, 64, 3), 40 * t, np.uint8))
    code, said = run(
        "predict", f"--workdir={place}/run", f"--input={frames}", f"--output={tmp_path}/out"
    )
    assert code == 0 and len(list((tmp_path / "out").rglob("*.png"))) >= 3, said
