"""Preparing under Apache Beam: the same bytes, bad videos named, going on after being killed.

Tests that need Beam are skipped where it is not installed.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest

import data_prep
from data_prep.prepare import BadVideosError, main
from data_prep.sources.frames import Frame
from data_prep.tasks import do_task
from data_prep.video import Recipe
from data_prep.workers import prepare_videos
from tests.support.tiny_sets import prepare_here
from tests.support.tiny_videos import files_of, sliding_texture, write_frames, write_video

REPOSITORY = Path(__file__).resolve().parents[2]
TWO_THREADS = "--direct_running_mode=multi_threading --direct_num_workers=2"
TWO_PROCESSES = "--direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture
def beam():
    """The module, where Beam is installed."""
    pytest.importorskip("apache_beam", reason="needs pip install -r requirements-beam.txt")
    from data_prep import beam

    return beam


@pytest.fixture
def videos(tmp_path):
    """Four short videos, of images and of a video file."""
    source = tmp_path / "videos"
    write_frames(source / "a", sliding_texture(4))
    write_video(source / "b.avi", sliding_texture(3, seed=1))
    write_frames(source / "c", sliding_texture(3, seed=2), ending=".jpg")
    write_frames(source / "d 100%", sliding_texture(3, seed=3))
    return source


def under_beam(source, data_dir, options=None, runner="DirectRunner"):
    return prepare_here(source, data_dir, runner=runner, beam_options=options, jobs=None)


def intermediates(data_dir):
    return {path.name: path.stat().st_mtime_ns for path in data_dir.rglob("*.zip")}


# --- One result, however it comes about -----------------------------------------------------------


def test_beam_and_the_local_pool_write_the_same_bytes(beam, videos, tmp_path):
    reference = files_of(prepare_here(videos, tmp_path / "one", jobs=1))
    assert files_of(prepare_here(videos, tmp_path / "two", jobs=2)) == reference
    for number, options in enumerate((None, TWO_THREADS, TWO_PROCESSES)):
        assert files_of(under_beam(videos, tmp_path / str(number), options)) == reference
        assert not (tmp_path / f"{number}/folder/.partial").exists()


def test_bad_video_is_named_and_done_videos_are_not_done_again(beam, videos, tmp_path):
    good = files_of(prepare_here(videos, tmp_path / "good", jobs=1))
    frame = videos / "c" / "1.jpg"
    healthy, changed = frame.read_bytes(), frame.stat().st_mtime_ns
    frame.write_bytes(healthy[: len(healthy) // 2])
    with pytest.raises(BadVideosError) as expected:
        prepare_here(videos, tmp_path / "local", jobs=1)
    with pytest.raises(BadVideosError) as error:
        under_beam(videos, tmp_path / "data")
    assert str(error.value) == str(expected.value)
    assert "1 of 4 videos" in str(error.value) and "c/1.jpg: not a readable image" in str(
        error.value
    )
    done = intermediates(tmp_path / "data")
    assert len(done) == 3
    with pytest.raises(BadVideosError):
        under_beam(videos, tmp_path / "data")
    assert intermediates(tmp_path / "data") == done

    frame.write_bytes(healthy)
    os.utime(frame, ns=(changed, changed))
    assert files_of(prepare_here(videos, tmp_path / "data", jobs=1)) == good


def test_killed_and_run_again_gives_the_same_bytes(beam, videos, tmp_path):
    write_frames(videos / "e", sliding_texture(8, height=120, width=160))
    reference = files_of(prepare_here(videos, tmp_path / "reference", jobs=1))
    command = [sys.executable, "-m", "data_prep.prepare", "--dataset=folder", "--name=set"]
    command += [f"--source={videos}", f"--data_dir={tmp_path / 'data'}"]
    command += ["--runner=DirectRunner", f"--beam_options={TWO_THREADS}"]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not intermediates(tmp_path / "data") and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    assert run.wait() == -signal.SIGKILL, "too fast to be killed"
    with pytest.raises(ProcessLookupError):  # its workers end by themselves
        while time.monotonic() < deadline:
            os.killpg(run.pid, 0)
            time.sleep(0.01)
    assert 0 < len(intermediates(tmp_path / "data")) < 5
    subprocess.run(command, cwd=REPOSITORY, check=True, stderr=subprocess.DEVNULL, timeout=200)
    assert files_of(tmp_path / "data/folder/set/1.0.0") == reference
    assert not (tmp_path / "data/folder/.partial").exists()


# --- What workers do ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Odd:
    """A video that does something else when it is read."""

    name: str

    def length(self):
        return 1

    def fingerprint(self):
        return [self.name]

    def read(self, note):
        if self.name == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.name == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name == "threads":
            raise ValueError(f"NPROC {os.environ['NPROC']}, OpenCV {cv2.getNumThreads()}")
        for t, image in enumerate(sliding_texture(2)):
            yield Frame(str(t), image, b"")


def work_through(beam, work, *names):
    work.mkdir()
    run = beam.with_runner("DirectRunner", "")
    return prepare_videos(tuple(map(Odd, names)), Recipe(), work, None, False, run)


def test_worker_computes_with_one_thread(beam, tmp_path, monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    finished, bad = work_through(beam, tmp_path / "work", "sane", "threads")
    assert finished == {"sane": tmp_path / "work" / "sane.zip"}
    assert bad == {"threads": "NPROC 1, OpenCV 1"}
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"sane.zip"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("full", "pipeline failed: .*No space left on device.* the same command again"),
        ("deadly", "pipeline failed: .*the process working on .*/0.video died .*want of memory"),
    ],
)
def test_what_is_no_fault_of_the_video_stops_the_run(beam, tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        work_through(beam, tmp_path / "work", name)


def test_results_that_this_machine_does_not_see(beam, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "new_results", lambda *args: ())
    monkeypatch.setattr(beam, "LATE", 0)
    with pytest.raises(ValueError, match="without results of 1 videos in .*--data_dir must be"):
        work_through(beam, tmp_path / "work", "sane")


def test_tasks_that_a_worker_does_not_see(tmp_path):
    with pytest.raises(FileNotFoundError, match="3.video is not to be seen on this worker"):
        do_task(tmp_path, 3)


# --- Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        ("SlowRunner", "", "--runner=SlowRunner: .*Valid values are DataflowRunner, "),
        ("slow.Runner", "", "--runner=slow.Runner: No module named 'slow'"),
        ("DataflowRunner", "--region=x", "temp_location.*project. Add it to --beam_options"),
        ("DirectRunner", "--slow --fast=1", "Beam [0-9.]+ has no --fast --slow"),
        ("DirectRunner", "direct_num_workers=2", "got 'direct_num_workers=2'; expected --flag"),
        ("DirectRunner", "--direct_num_workers=two", "--direct_num_workers: invalid int .* 'two'$"),
        ("DirectRunner", "--runner=FlinkRunner", "the runner as --runner=NAME"),
        ("DirectRunner", "--job_name='x", "--beam_options: No closing quotation"),
    ],
)
def test_runners_and_options_that_make_no_sense(beam, videos, tmp_path, runner, options, message):
    with pytest.raises(ValueError, match=message):
        under_beam(videos, tmp_path / "data", options, runner)
    assert not (tmp_path / "data").exists()


def test_direct_runner_downloads_no_other(beam):
    assert isinstance(beam.with_runner("DirectRunner", "").args[0], beam.FnApiRunner)


def test_options_of_a_job_server_are_its_own_business(beam):
    option = "--an_option_of_the_server=8"
    run = beam.with_runner("FlinkRunner", f"{option} --flink_master=localhost:8081")
    assert "an_option_of_the_server" in run.args[1].get_all_options(retain_unknown_options=True)
    with pytest.raises(ValueError, match="Beam .* has no --an_option_of_the_server"):
        beam.with_runner("DirectRunner", option)


def test_command_line(videos, tmp_path, capsys, monkeypatch):
    # All this is said without Beam; the last command would need it.
    options = ["--dataset=folder", f"--source={videos}", f"--data_dir={tmp_path / 'data'}"]
    assert main([*options, "--runner=DirectRunner", "--jobs=2"]) == 2
    assert "--jobs=2 is for this machine's own processes" in capsys.readouterr().err
    assert main([*options, "--beam_options=--direct_num_workers=2"]) == 2
    assert "--beam_options=--direct_num_workers=2 needs --runner" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "data_prep.beam", raising=False)
    monkeypatch.delattr(data_prep, "beam", raising=False)
    assert main([*options, "--runner=DirectRunner"]) == 2
    assert "pip install -r requirements-beam.txt" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
