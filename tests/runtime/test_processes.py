"""Several processes on this machine, as there are several hosts elsewhere."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dystab_jax.runtime import processes
from dystab_jax.runtime.mirror import LISTING, Mirror
from dystab_jax.runtime.processes import Cluster

ROOT = Path(__file__).resolve().parents[2]


def start(count, arguments, folder, of_second=()):
    """Processes that are given ``arguments`` and how to find one another; their output in files."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # A device each, compiled like the tests themselves.
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    environment = os.environ | {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": str(ROOT)}
    started = []
    for number in range(count):
        several = [f"--coordinator=localhost:{port}", f"--processes={count}", f"--process={number}"]
        own = of_second if number == 1 else ()
        with (folder / f"{number}.txt").open("w") as output:
            started.append(
                subprocess.Popen(
                    [sys.executable, *arguments, *own, *(several if count > 1 else [])],
                    cwd=ROOT,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def ends(started, folder, timeout=240):
    """Exit status and output of each."""
    try:
        status = [process.wait(timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    said = [(folder / f"{number}.txt").read_text() for number in range(len(started))]
    return list(zip(status, said, strict=True))


def wait_for(files):
    for _ in range(1200):
        if all(file.exists() for file in files):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{files} are still not there")


# -- what they are made of ------------------------------------------------------------------------

PROGRAM = """
import json, pathlib, sys
import jax, numpy as np
from dystab_jax.runtime import parallel, processes
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.interruption import Interrupted, Interruption

folder = pathlib.Path(sys.argv[1])
address, count, number = (argument.partition("=")[2] for argument in sys.argv[3:])
assert processes.connect(processes.Cluster(address, int(count), int(number), 10), "auto")
number = jax.process_index()
processes.PART = 64  # so that what is gathered comes in several parts

def share():
    mine = list(processes.mine(range(6)))
    gathered = processes.gather({"of": number, "bytes": "x" * 10**number})
    shared = parallel.replicate(np.arange(3.0), parallel.make_mesh())
    write_whole(folder / "shared.json", json.dumps(number))
    write_whole(folder / f"own-{number}.json", json.dumps(number), everyone=True)
    processes.meet("the end")
    sizes = [[part["of"], len(part["bytes"])] for part in gathered]
    found = {"mine": mine, "sizes": sizes, "local": processes.local(shared).tolist(),
             "there": sorted(path.name for path in folder.glob("*.json"))}
    print("found", json.dumps(found), flush=True)

def work():
    step = 0
    with Interruption() as interruption, interruption.deferred():
        while True:
            step += 1
            processes.gather(step)
            (folder / f"at-work-{number}").touch()
            if interruption.requested_at(step):
                interruption.end(f"after step {step}")

with processes.ending_together((Interrupted,)):
    try:
        {"share": share, "work": work}[sys.argv[2]]()
    except Interrupted as error:
        print("found", json.dumps(str(error)), flush=True)
        sys.exit(error.exit_status)
"""


def found(said):
    (line,) = [line for line in said.splitlines() if line.startswith("found ")]
    return json.loads(line.removeprefix("found "))


def test_four_processes_share_and_gather(tmp_path):
    ended = ends(start(4, ["-c", PROGRAM, str(tmp_path), "share"], tmp_path), tmp_path)
    assert [status for status, _ in ended] == [0] * 4, ended
    told = [found(said) for _, said in ended]
    assert [one["mine"] for one in told] == [[0, 4], [1, 5], [2], [3]]
    files = ["own-0.json", "own-1.json", "own-2.json", "own-3.json", "shared.json"]
    for one in told:
        assert one["sizes"] == [[0, 1], [1, 10], [2, 100], [3, 1000]]
        assert one["local"] == [0, 1, 2]
        assert one["there"] == files
    assert json.loads((tmp_path / "shared.json").read_text()) == 0


def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path):
    started = start(2, ["-c", PROGRAM, str(tmp_path), "work"], tmp_path)
    wait_for([tmp_path / f"at-work-{number}" for number in range(2)])
    started[1].send_signal(signal.SIGTERM)
    ended = ends(started, tmp_path)
    assert [status for status, _ in ended] == [143, 143], ended
    first, second = (found(said) for _, said in ended)
    assert first == second and first.startswith("SIGTERM: after step ")


def test_a_killed_process_ends_the_other(tmp_path):
    started = start(2, ["-c", PROGRAM, str(tmp_path), "work"], tmp_path)
    wait_for([tmp_path / f"at-work-{number}" for number in range(2)])
    started[1].kill()
    (status, said), _ = ends(started, tmp_path)
    assert status == 1
    assert "process 0: error: " in said and "goes on from the newest checkpoint" in said


def test_one_process_needs_no_cluster(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not processes.connect(Cluster(), "auto")
    assert not processes.connect(Cluster("localhost:1", 2, 0), "off")
    assert processes.gather("a") == ["a"]
    assert list(processes.mine([1, 2])) == [1, 2]
    with pytest.raises(SystemExit, match="error: no"):
        processes.fail("error: no")
    with pytest.raises(KeyError), processes.ending_together(()):
        raise KeyError


def test_a_cluster_that_is_half_described_is_refused():
    with pytest.raises(ValueError, match="--coordinator, --processes and --process go together"):
        Cluster(coordinator="host:1", process=0)


# -- a run ----------------------------------------------------------------------------------------

SMALLEST = """
data.image_size=(32,48) data.batch_size=4 data.threads=1 phi.model.width=16 chi.model.width=16
phi.model.output_stride=8 chi.model.output_stride=8 psi.model.widths=() psi.model.reweightings=1
bootstrap.rounds=1 bootstrap.phi_updates=1 bootstrap.psi_updates=0 bootstrap.warm_up_epochs=0
bootstrap.dynamic_epochs=1 bootstrap.static_epochs=1 bootstrap.joint_epochs=0
bootstrap.least_updates=0 log.every=1
data.train=folder/tiny:train eval.data=folder/tiny:val eval.protocol=all_frames eval.batch_size=4
""".split()


def command(data_dir, workdir):
    fields = [f"--config.{field}" for field in (*SMALLEST, f"data.dir={data_dir}")]
    return ["run.py", "--config=configs/demo.py", f"--workdir={workdir}", *fields]


@pytest.fixture(scope="module")
def one(tiny_data, tmp_path_factory):
    """The workdir of a run by one process."""
    folder = tmp_path_factory.mktemp("one")
    ((status, said),) = ends(start(1, command(tiny_data, folder), folder), folder)
    assert status == 0, said
    return folder


def rewind(one, two):
    """Copies a run as it was at the end of the game: what comes then is done anew."""
    shutil.copytree(one, two)
    for folder in ("pseudo_labels", "eval", "masks", "figures", "report", "tables"):
        shutil.rmtree(two / folder)
    for folder in ("checkpoints", "phases"):
        shutil.rmtree(two / folder / "6")


@pytest.mark.parametrize("place", ["a folder", "a bucket, and one host is slow"])
def test_two_processes_go_on_with_a_run_of_one(one, tiny_data, tmp_path, place, monkeypatch):
    two, workdir = tmp_path / "two", tmp_path / "two"
    rewind(one, two)
    in_bucket = place != "a folder"
    if in_bucket:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        two, workdir = tmp_path / "bucket" / "run", f"file://{tmp_path}/bucket/run"
        Mirror(workdir, tmp_path / "two").push()
    started = start(2, command(tiny_data, workdir), tmp_path)
    if in_bucket:
        wait_for([two / "pseudo_labels" / "1-static.npz"])
        started[1].send_signal(signal.SIGSTOP)
        time.sleep(3)
        started[1].send_signal(signal.SIGCONT)
    for number, (status, said) in enumerate(ends(started, tmp_path)):
        assert status == 0, said
        assert ("step 3 of 6" in said) == (number == 0)  # the second one is silent
    if in_bucket:
        (two / LISTING).unlink()

    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (one, two)]
    assert len(lines[0]) == 6
    for first, second in zip(*(map(json.loads, part) for part in lines), strict=True):
        assert first.pop("phase") == second.pop("phase")
        assert first == pytest.approx(second, abs=1e-4)
    files = [
        {
            str(path.relative_to(folder))
            for path in folder.rglob("*.*")
            if not {"state", "tensorboard"} & set(path.parts) and path.suffix != ".txt"
        }
        for folder in (one, two)
    ]
    assert files[0] - {".lock"} == files[1] - {".lock"}
    scores = [json.loads((f / "eval" / "folder-tiny-val.json").read_text()) for f in (one, two)]
    assert list(scores[0]["rows"][0]["per_sequence"]) == list(scores[1]["rows"][0]["per_sequence"])
    for first, second in zip(*(each["rows"] for each in scores), strict=True):
        assert first["mean_j"] == pytest.approx(second["mean_j"], abs=2e-3)
    labels = [np.load(folder / "pseudo_labels" / "1-static.npz") for folder in (one, two)]
    assert str(labels[0]["frames"]) == str(labels[1]["frames"])
    for name in set(labels[0].files) - {"frames"}:
        np.testing.assert_allclose(labels[0][name], labels[1][name], atol=1e-4, err_msg=name)


def test_a_bad_file_of_one_host_ends_all_with_its_message(one, tiny_data, tmp_path):
    rewind(one, tmp_path / "two")
    other = tmp_path / "data"
    shutil.copytree(tiny_data, other)
    for path in other.rglob("*train*array_record*"):
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 2000] = bytes(2000)
        path.write_bytes(content)
    # Where data lie may differ from host to host; the second one's are damaged.
    started = start(
        2, [*command(tiny_data, tmp_path / "two"), "--heartbeat_timeout=10"], tmp_path,
        of_second=[f"--config.data.dir={other}"],
    )  # fmt: skip
    (first, said), (second, reason) = ends(started, tmp_path)
    assert first != 0 and second != 0
    assert "process 1: error: folder/tiny:train" in reason and "--overwrite" in reason
    assert "The same command on every host goes on from the newest checkpoint" in said
