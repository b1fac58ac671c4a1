"""What TensorBoard finds of a run, and which steps are traced."""

import gzip
import struct
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dystab_jax.build import Run
from dystab_jax.commands.tensorboard import Board
from dystab_jax.data.training_set import TrainingSet
from dystab_jax.runtime.profile import Profile


def read(path):
    """Reads events from a file of TFRecords, checking the sums that TensorBoard checks."""
    data, events = path.read_bytes(), []
    while data:
        (length, check), data = struct.unpack("<QI", data[:12]), data[12:]
        assert masked(struct.pack("<Q", length)) == check
        event, data = data[:length], data[length:]
        assert struct.unpack("<I", data[:4]) == (masked(event),)
        events.append(Event.FromString(event))
        data = data[4:]
    return events


def masked(data):
    total = crc32c(data)
    return ((total >> 15 | total << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(workdir):
    (path,) = (workdir / "tensorboard").iterdir()
    assert ".tfevents." in path.name  # by which TensorBoard finds it
    first, start, *events = read(path)
    assert first.file_version == "brain.Event:2"
    assert start.session_log.status == SessionLog.START
    return start.step, events


def value(event):
    (one,) = event.summary.value
    return one


def test_curves(tmp_path):
    with Board(SimpleNamespace(workdir=tmp_path)) as board:
        board.begin(6)
        board.scalars(8, {"phi/loss": 0.25, "psi/loss": 3.0})
        board.scalars(9, {"phi/loss": 0.5})
    forgotten_from, events = events_of(tmp_path)
    assert forgotten_from == 7
    found = [(event.step, value(event).tag, value(event).simple_value) for event in events]
    assert found == [(8, "phi/loss", 0.25), (8, "psi/loss", 3.0), (9, "phi/loss", 0.5)]
    assert all(event.wall_time > 1e9 for event in events)


def test_a_killed_run_has_shown_what_it_measured(tmp_path):
    with Board(SimpleNamespace(workdir=tmp_path)) as board:
        board.begin(0)
        board.scalars(1, {"phi/loss": 0.25})
        assert [event.step for event in events_of(tmp_path)[1]] == [1]


def test_masks(tmp_path, tiny_config):
    run = Run.of(tiny_config, tmp_path)
    data = TrainingSet.open(tiny_config, tiny_config.data.train)
    with Board(run) as board:
        board.begin(0)
        board.masks(4, run.new_state(), data)
    (event,) = events_of(tmp_path)[1]
    image = value(event).image
    sheet = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert (event.step, sheet.shape[:2]) == (4, (image.height, image.width))
    # Four panels side by side; four frames, each 32x48 enlarged to 240 pixels, with a caption.
    assert 4 * 240 < sheet.shape[1] < 4 * 260 and 4 * 160 < sheet.shape[0] < 4 * 200


class Recorder:
    """Stands in for JAX's profiler."""

    def __init__(self, monkeypatch):
        self.done = []
        for name in ("start_trace", "stop_trace"):
            note = lambda *_, name=name, **__: self.done.append((name, self.step))  # noqa: E731
            monkeypatch.setattr(f"jax.profiler.{name}", note)

    def run(self, profile, first, last):
        with profile:
            for self.step in range(first, last + 1):
                profile.before(self.step, None)
        return self.done


@pytest.mark.parametrize(
    ("asked", "steps", "traced"),
    [
        ("3,2", (1, 9), [("start_trace", 3), ("stop_trace", 5)]),
        ("1,1", (1, 9), [("start_trace", 1), ("stop_trace", 2)]),
        ("3,20", (1, 9), [("start_trace", 3), ("stop_trace", 9)]),  # the run ends first
        ("3,2", (6, 9), [("start_trace", 6), ("stop_trace", 8)]),  # a run that goes on behind it
        ("30,2", (1, 9), []),
    ],
)
def test_steps_that_are_traced(tmp_path, monkeypatch, capsys, asked, steps, traced):
    assert Recorder(monkeypatch).run(Profile.parse(tmp_path, asked), *steps) == traced
    assert ("nothing is traced" in capsys.readouterr().out) == (not traced)


def test_a_trace_that_perfetto_reads(tmp_path, capsys):
    step = jax.jit(lambda x: x @ x)
    state = jnp.eye(4)
    with Profile.parse(tmp_path / "profile", "2,1") as profile:
        for number in range(1, 4):
            profile.before(number, state)
            state = step(state)
    assert f"profile {tmp_path / 'profile'}" in capsys.readouterr().out
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    assert b"traceEvents" in gzip.decompress(trace.read_bytes())
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("text", ["", "3", "3,0", "0,3", "-1,2", "1,2,3", "a,b", "1.5,2"])
def test_other_words_for_steps_are_refused(tmp_path, text):
    with pytest.raises(ValueError, match="is not of the form START,STEPS"):
        Profile.parse(tmp_path, text)
    assert Profile.parse(tmp_path, None) is None
