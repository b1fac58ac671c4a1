"""Preparing: flow both ways, bad input, interruption, resuming, settings, command line."""

import errno
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
import zipfile
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from data_prep import builder, video, workers
from data_prep import prepare as prepare_module
from data_prep.datasets.fbms59 import RegionFile
from data_prep.datasets.segtrackv2 import ObjectFiles
from data_prep.datasets.stills import GreyFile
from data_prep.flow import NETWORKS, FlowOptions
from data_prep.flow.dis import Dis
from data_prep.prepare import BadVideosError, main
from data_prep.sources.frames import Frame, ImageFiles
from data_prep.sources.truth import IndexFile, MaskFile
from data_prep.video import Recipe, prepare_video, read_details
from dystab_jax.data.dataset_registry import DATA_SETS
from dystab_jax.data.records import decode_record, open_source
from dystab_jax.runtime.disk import FullDiskError
from tests.support.tiny_sets import count_videos, prepare_here, write_davis
from tests.support.tiny_videos import (
    files_of,
    sliding_texture,
    write_frames,
    write_masks,
    write_video,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def videos(tmp_path):
    """Three short videos, of images and of a video file."""
    source = tmp_path / "videos"
    write_frames(source / "a", sliding_texture(4))
    write_video(source / "b.avi", sliding_texture(3, seed=1))
    write_frames(source / "c", sliding_texture(3, seed=2), ending=".jpg")
    return source


# --- Flow -----------------------------------------------------------------------------------------


def estimate(estimator, first, second):
    return estimator.match([estimator.encode(first, "")], [estimator.encode(second, "")])[0]


def test_dis_points_from_the_first_image_to_the_second():
    first, second = sliding_texture(2, height=96, width=128, shift=(3, -2))
    flow = estimate(Dis(), first, second)
    assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [3, -2], atol=0.05)


def test_dis_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="40x8 pixels; DIS needs at least 12x12"):
        Dis().encode(np.zeros((8, 40, 3), np.uint8))


def test_dis_reaches_the_published_accuracy(shared):
    folder = shared / "refdata" / "flow"
    first, second = (
        cv2.imread(str(folder / f"rubberwhale_frame{i}.png"), cv2.IMREAD_COLOR_RGB)
        for i in (10, 11)
    )
    truth = np.load(folder / "rubberwhale.npz")["flow"]
    known = (np.abs(truth) < 1e9).all(axis=-1)
    error = np.linalg.norm(estimate(Dis(), first, second) - truth, axis=-1)[known].mean()
    assert abs(error - 0.1156) < 0.005


def test_records_hold_the_true_motion_both_ways_over_every_gap(tmp_path):
    write_frames(tmp_path / "videos" / "a", sliding_texture(5, height=64, width=96, shift=(2, 1)))
    prepare_here(tmp_path / "videos", tmp_path / "data")
    records = {
        (record["frame"], record["gap"]): record
        for record in map(decode_record, open_source(tmp_path / "data", "folder/set:train"))
    }
    expected = {(t, s - t) for t in range(5) for s in range(5) if 0 < abs(s - t) <= 3}
    assert set(records) == expected
    assert {t for t, _ in records} == set(range(5))  # the last frame has flow too
    for (t, gap), record in records.items():
        middle = np.median(record["flow_forward"], axis=(0, 1))
        np.testing.assert_allclose(middle, [2 * gap, gap], atol=0.13)
        mirrored = records[t + gap, -gap]
        np.testing.assert_array_equal(record["flow_backward"], mirrored["flow_forward"])


@pytest.mark.parametrize(
    ("flow_size", "frame", "expected"),
    [
        ((640, 384), (854, 480), (640, 384)),
        ((640, 384), (480, 854), (384, 640)),  # upright video
        ((640, 384), (320, 192), (320, 192)),  # never enlarged
        ((640, 384), (1000, 200), (640, 200)),
        (None, (854, 480), (854, 480)),
    ],
)
def test_working_size(flow_size, frame, expected):
    assert Recipe(flow_size=flow_size).working_size(*frame) == expected


def test_flow_is_in_pixels_of_its_own_size(tmp_path):
    write_frames(tmp_path / "videos" / "a", sliding_texture(2, height=96, width=128, shift=(4, 4)))
    prepare_here(tmp_path / "videos", tmp_path / "data", flow_size="64x32")
    record = decode_record(open_source(tmp_path / "data", "folder/set:train")[0])
    assert record["image"].shape == (96, 128, 3)
    assert record["flow_forward"].shape == (32, 64, 2)
    middle = np.median(record["flow_forward"], axis=(0, 1))
    np.testing.assert_allclose(middle, [4 / 2, 4 / 3], atol=0.1)


def test_long_videos_do_not_fill_the_memory(tmp_path):
    pictures, most = [], 0

    class Source:
        name = "long"

        def read(self, note):
            nonlocal most
            for t, image in enumerate(sliding_texture(12)):
                picture = image.copy()
                pictures.append(weakref.ref(picture))
                most = max(most, sum(reference() is not None for reference in pictures))
                yield Frame(str(t), picture, b"")
                del picture

        def fingerprint(self):
            return []

    prepare_video(Source(), Recipe(max_gap=2, flow_size=(32, 24)), tmp_path / "long.zip")
    assert most <= 3
    assert len(read_details(tmp_path / "long.zip")["frame_names"]) == 12
    with zipfile.ZipFile(tmp_path / "long.zip") as archive:
        flows = [name for name in archive.namelist() if name.startswith("flow/")]
    assert len(flows) == len(set(flows)) == 2 * (11 + 10)  # gaps 1 and 2, nothing else


# --- One result, however it comes about -----------------------------------------------------------


def test_parallel_and_serial_runs_write_the_same_bytes(videos, tmp_path):
    one = prepare_here(videos, tmp_path / "one", jobs=1)
    two = prepare_here(videos, tmp_path / "two", jobs=2)
    assert files_of(one) == files_of(two)
    assert not (tmp_path / "two/folder/.partial").exists()


class Killed(BaseException):
    """Nothing in the program may catch this."""


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("store", 5),
        ("store", 20),
        ("video", 1),
        ("video", 3),
        ("write", 1),
        ("record", 7),
        ("move", 1),
        ("remove", 1),
    ],
)
def test_interrupted_anywhere_and_run_again_gives_the_same_bytes(
    videos, tmp_path, monkeypatch, place, call
):
    reference = files_of(prepare_here(videos, tmp_path / "reference"))
    module, name = {
        "store": (video, "encode_flow"),
        "video": (workers, "prepare_video"),
        "write": (prepare_module, "_write"),
        "record": (builder, "read_record"),
        "move": (prepare_module, "_move_into_place"),
        "remove": (prepare_module, "_remove"),
    }[place]
    original, calls = getattr(module, name), 0

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        with pytest.raises(Killed):
            prepare_here(videos, tmp_path / "data")
    done = prepare_here(videos, tmp_path / "data")
    assert files_of(done) == reference
    assert not (tmp_path / "data/folder/.partial").exists()


def test_killed_five_times_and_run_again_gives_the_same_bytes(videos, tmp_path):
    write_frames(videos / "d", sliding_texture(8, height=240, width=320))
    reference = files_of(prepare_here(videos, tmp_path / "reference"))
    command = [sys.executable, "-m", "data_prep.prepare", "--dataset=folder", "--name=set"]
    command += [f"--source={videos}", f"--data_dir={tmp_path / 'data'}", "--jobs=2"]
    partial = tmp_path / "data" / "folder" / ".partial"
    # As soon as there are: a file that is being written, 1, 2 and 4 finished videos, a shard.
    for pattern, count in (
        ("*.tmp", 1),
        ("*.zip", 1),
        ("*.zip", 2),
        ("*.zip", 4),
        ("staging/*", 1),
    ):
        run = subprocess.Popen(
            command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while len(list(partial.glob(f"*/{pattern}"))) < count and time.monotonic() < deadline:
            assert run.poll() is None, "too fast to be killed"
            time.sleep(0.002)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, "too fast to be killed"
    subprocess.run(command, cwd=REPOSITORY, check=True, stderr=subprocess.DEVNULL, timeout=120)
    assert files_of(tmp_path / "data/folder/set/1.0.0") == reference


def test_finished_videos_are_not_done_again_unless_their_files_changed(
    videos, tmp_path, monkeypatch
):
    (videos / "c" / "1.jpg").write_bytes(b"broken")
    with pytest.raises(BadVideosError):
        prepare_here(videos, tmp_path / "data")
    names = count_videos(monkeypatch)
    with pytest.raises(BadVideosError):
        prepare_here(videos, tmp_path / "data")
    assert names == ["c"]
    cv2.imwrite(str(videos / "c" / "1.jpg"), sliding_texture(3, seed=2)[1])
    cv2.imwrite(str(videos / "a" / "2.png"), sliding_texture(3, seed=5)[1])
    names.clear()
    prepare_here(videos, tmp_path / "data")
    assert names == ["a", "c"]


def test_what_tells_that_files_changed_survives_its_storage(tmp_path):
    # Otherwise no finished video would ever be recognised.
    truths = (
        MaskFile(tmp_path / "a.png"),
        IndexFile(tmp_path / "a.png"),
        GreyFile(tmp_path / "a.png"),
        ObjectFiles((tmp_path / "a.png", tmp_path / "b.png")),
        RegionFile(tmp_path / "a.png", (0, 255), 0.1),
    )
    for truth in truths:
        source = ImageFiles("a", tmp_path, (tmp_path / "0.png",), {"0": truth})
        stamp = video.stamp(source, Recipe())
        assert json.loads(json.dumps(stamp)) == stamp
        assert [str(tmp_path / "0.png"), None, None] in stamp["files"]
        assert [str(truth.path), None, None] in stamp["files"]
        (tmp_path / "a.png").write_text("")
        assert video.stamp(source, Recipe()) != stamp
        (tmp_path / "a.png").unlink()


def test_damaged_intermediate_is_done_again(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "_write", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare_here(videos, tmp_path / "data")
    monkeypatch.undo()
    (path,) = (tmp_path / "data").rglob("b.zip")
    path.write_bytes(path.read_bytes()[:-100])
    names = count_videos(monkeypatch)
    prepare_here(videos, tmp_path / "data")
    assert names == ["b"]


def test_prepared_set_is_kept(videos, tmp_path, monkeypatch, capsys):
    done = prepare_here(videos, tmp_path / "data")
    before = files_of(done)
    names = count_videos(monkeypatch)
    assert prepare_here(videos, tmp_path / "data", progress=True) == done
    assert names == [] and "is prepared already" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"other settings \(max_gap 3, now 1\); use --overwrite"):
        prepare_here(videos, tmp_path / "data", max_gap=1)
    assert files_of(done) == before


def test_overwrite_replaces_only_when_the_new_set_is_complete(videos, tmp_path):
    done = prepare_here(videos, tmp_path / "data")
    before = files_of(done)
    (videos / "c" / "1.jpg").write_bytes(b"broken")
    with pytest.raises(BadVideosError):
        prepare_here(videos, tmp_path / "data", max_gap=1, overwrite=True)
    assert files_of(done) == before
    prepare_here(videos, tmp_path / "data", max_gap=1, overwrite=True, skip_bad=True)
    source = open_source(tmp_path / "data", "folder/set:train")
    assert {abs(key.gap) for key in source.keys} == {1}
    assert {key.video for key in source.keys} == {"a", "b"}
    assert json.loads((done / "preparation.json").read_text())["left_out"] == ["c"]


def test_overwrite_interrupted_at_its_end_can_be_run_again(videos, tmp_path, monkeypatch):
    before = files_of(prepare_here(videos, tmp_path / "data"))

    def killed(work):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_remove", killed)
        with pytest.raises(Killed):
            prepare_here(videos, tmp_path / "data", overwrite=True)
    assert files_of(prepare_here(videos, tmp_path / "data", overwrite=True)) == before
    assert not (tmp_path / "data/folder/.partial").exists()


def test_second_run_at_the_same_time_is_refused(videos, tmp_path, monkeypatch):
    def second(*args):
        with pytest.raises(ValueError, match="another run is preparing this data set"):
            prepare_here(videos, tmp_path / "data", overwrite=True)
        prepare_here(videos, tmp_path / "data")  # finds the old set, lets the other run be
        assert list(tmp_path.glob("data/folder/.partial/*/a.zip"))
        raise Killed

    prepare_here(videos, tmp_path / "data")
    monkeypatch.setattr(prepare_module, "_write", second)
    with pytest.raises(Killed):
        prepare_here(videos, tmp_path / "data", overwrite=True)


# --- Bad input ------------------------------------------------------------------------------------


def one_frame(folder):
    write_frames(folder, sliding_texture(1))
    return "bad: a single frame; flow needs at least two"


def empty_folder(folder):
    folder.mkdir()
    return "bad: no images in it"


def unreadable_jpeg(folder):
    write_frames(folder, sliding_texture(3), ending=".jpg")
    (folder / "1.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    return "bad/1.jpg: not a readable image"


def half_a_jpeg(folder):
    write_frames(folder, sliding_texture(3), ending=".jpg")
    data = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(data[: len(data) // 2])
    return "bad/2.jpg: not a readable image: image file is truncated"


def frames_of_two_sizes(folder):
    write_frames(folder, sliding_texture(2))
    cv2.imwrite(str(folder / "2.png"), sliding_texture(1, height=50, width=70)[0])
    return "bad: frame 2 is 70x50, frame 0 is 64x48; all frames of a video must have the same size"


def frames_of_one_name(folder):
    write_frames(folder, sliding_texture(2))
    cv2.imwrite(str(folder / "1.jpg"), sliding_texture(1)[0])
    return "bad: two images are named 1"


def frames_too_small(folder):
    write_frames(folder, sliding_texture(2, height=10, width=10))
    return "bad: flow of frame 0: an image of 10x10 pixels"


def not_a_video(folder):
    folder.with_suffix(".mp4").write_bytes(b"\0" * 1000)
    return "bad.mp4: not a video that FFmpeg can read"


def one_frame_video(folder):
    write_video(folder.with_suffix(".avi"), sliding_texture(1))
    return "bad.avi: a single frame"


def half_a_video(folder):
    path = write_video(folder.with_suffix(".avi"), sliding_texture(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "of 20 frames are missing or damaged"


def video_of_two_sizes(folder):
    folder.with_suffix(".ts").write_bytes(
        b"".join(
            write_video(folder.parent.parent / "part.ts", frames, "libx264").read_bytes()
            for frames in (sliding_texture(3), sliding_texture(3, height=32))
        )
    )
    return "bad.ts: frame 00003 is 64x32, frame 00000 is 64x48"


BAD = (
    one_frame,
    empty_folder,
    unreadable_jpeg,
    half_a_jpeg,
    frames_of_two_sizes,
    frames_of_one_name,
    frames_too_small,
    not_a_video,
    one_frame_video,
    half_a_video,
    video_of_two_sizes,
)


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_video_is_named_and_the_others_are_done(tmp_path, spoil):
    source = tmp_path / "videos"
    write_frames(source / "good", sliding_texture(2))
    write_frames(source / "last", sliding_texture(2))
    message = spoil(source / "bad")
    with pytest.raises(BadVideosError) as error:
        prepare_here(source, tmp_path / "data")
    text = str(error.value)
    assert text.startswith("1 of 3 videos cannot be prepared:\n  bad: ")
    assert message in text and str(source) in text
    assert "The other 2 are done and kept" in text and "--skip_bad" in text
    assert {path.name for path in (tmp_path / "data").rglob("*.zip")} == {"good.zip", "last.zip"}
    assert not (tmp_path / "data/folder/set").exists()
    prepare_here(source, tmp_path / "data", skip_bad=True)
    keys = open_source(tmp_path / "data", "folder/set:train").keys
    assert {key.video for key in keys} == {"good", "last"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_small_damage_is_a_note_said_once(tmp_path, capfd, jobs):
    source = tmp_path / "videos"
    for name in "ab":
        path = write_video(source / f"{name}.avi", sliding_texture(4))
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"idx1") - 10])  # the last frame is cut off
    prepare_here(source, tmp_path / "data", jobs=jobs, progress=True)
    lines = capfd.readouterr().err.replace("\r", "\n").splitlines()
    notes = [line.strip() for line in lines if "damaged" in line]
    assert len(notes) == 2 and notes[0].startswith(f"note: {source}/a.avi: 1 of 4 frames are")
    assert notes[1].startswith(f"note: {source}/b.avi: 1 of 4")


def test_bad_truth_is_named(tmp_path):
    source = tmp_path / "videos"
    masks = tmp_path / "masks"
    for name in ("size", "name", "text", "good"):
        write_frames(source / name, sliding_texture(2))
    write_masks(masks / "size", {"0": np.zeros((48, 60), np.uint8)})
    write_masks(masks / "name", {"7": np.zeros((48, 64), np.uint8)})
    write_masks(masks / "text", {})
    (masks / "text" / "1.png").write_text("no image")
    with pytest.raises(BadVideosError) as error:
        prepare_here(source, tmp_path / "data", masks=masks)
    text = str(error.value)
    assert "3 of 4 videos" in text
    assert f"{masks}/size/0.png: truth of 60x48 for a frame of 64x48 ({source}/size/0.png)" in text
    assert f"{masks}/name/7.png: no frame 7 in {source}/name" in text
    assert f"{masks}/text/1.png: not a readable mask image" in text


def test_listed_file_that_is_missing_is_named(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    (source / "JPEGImages/480p/dog/00001.jpg").unlink()
    (source / "Annotations/480p/goat/00002.png").unlink()
    with pytest.raises(BadVideosError) as error:
        prepare_here(source, tmp_path / "data", dataset="davis2016", name=None)
    text = str(error.value)
    assert f"{source}/JPEGImages/480p/dog/00001.jpg: no such file" in text
    assert f"{source}/Annotations/480p/goat/00002.png: no such file" in text
    assert "The other 1 are done" in text


def test_nothing_good_at_all(tmp_path):
    one_frame(tmp_path / "videos" / "bad")
    with pytest.raises(BadVideosError, match="nothing else is left to prepare"):
        prepare_here(tmp_path / "videos", tmp_path / "data", skip_bad=True)


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        (workers, "prepare_video", OSError(errno.ENOSPC, "No space left on device")),
        (workers, "prepare_video", OSError(errno.EDQUOT, "Disk quota exceeded")),
        (video, "encode_flow", OSError(errno.ENOSPC, "No space left on device")),
        (builder, "ArrayRecordWriter", RuntimeError("write() failed: No space left on device")),
        (builder.RecordsBuilder, "_write_index", OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_full_disk_is_no_fault_of_the_video(videos, tmp_path, monkeypatch, module, name, error):
    reference = files_of(prepare_here(videos, tmp_path / "reference"))

    def full(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        with pytest.raises(FullDiskError) as raised:
            prepare_here(videos, tmp_path / "data", skip_bad=True)
    reason = "the disk quota is used up" if "quota" in str(error) else "the disk is full"
    expected = f"{tmp_path / 'data'}: {reason}; make room and run the same command again"
    assert str(raised.value).startswith(expected)
    assert not (tmp_path / "data/folder/set").exists()
    assert files_of(prepare_here(videos, tmp_path / "data")) == reference


def test_other_errors_of_writing_records_end_in_one_line(videos, tmp_path, monkeypatch, capsys):
    def broken(path, options):
        raise RuntimeError(f"write() failed: Input/output error; writing {path}")

    monkeypatch.setattr(builder, "ArrayRecordWriter", broken)
    options = ["--dataset=folder", f"--data_dir={tmp_path / 'data'}", f"--source={videos}"]
    assert main([*options, "--jobs=1"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: write() failed: Input/output error; writing")


@pytest.mark.parametrize("flow", NETWORKS)
def test_wrong_checkpoint_is_named_once_before_any_work(videos, tmp_path, capsys, flow):
    weights = tmp_path / "weights.pth"
    weights.write_text("<!DOCTYPE html>")
    options = ["--dataset=folder", f"--data_dir={tmp_path / 'data'}", f"--source={videos}"]
    assert main([*options, f"--flow={flow}", f"--flow_weights={weights}", "--jobs=1"]) == 2
    said = capsys.readouterr().err
    assert said.count("weights.pth") == 1 and said.startswith("error: ")


def test_the_checkpoint_behind_the_flow_is_recorded(videos, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.video.make_estimator", lambda options, video: Dis())
    monkeypatch.setattr(FlowOptions, "check_weights", lambda self: None)
    monkeypatch.setattr(workers, "_choose", lambda *_: workers._run_here)
    weights = tmp_path / "small.pth"
    weights.write_bytes(b"weights")
    options = {"flow": "raft_small", "flow_weights": weights, "flow_iterations": 6}
    done = prepare_here(videos, tmp_path / "data", **options)
    said = json.loads((done / "preparation.json").read_text())
    assert said["flow_weights"] == "small.pth"
    assert said["flow_network"] == {
        "weights": hashlib.sha256(b"weights").hexdigest(),
        "precision": "float32",
        "iterations": 6,
    }
    # The same bytes under another name are the same checkpoint.
    assert prepare_here(videos, tmp_path / "data", **options) == done
    options["flow_weights"] = weights.rename(tmp_path / "other.pth")
    assert prepare_here(videos, tmp_path / "data", **options) == done
    plain = prepare_here(videos, tmp_path / "plain")
    assert json.loads((plain / "preparation.json").read_text())["flow_weights"] is None


def test_what_is_wrong_with_many_videos_is_said_once(videos, tmp_path, monkeypatch):
    def failed(source, *args):
        raise ValueError("no such thing" if source.name != "c" else "another thing")

    monkeypatch.setattr(workers, "prepare_video", failed)
    with pytest.raises(BadVideosError) as error:
        prepare_here(videos, tmp_path / "data")
    assert "  2 videos (a b): no such thing\n  c: another thing\n" in str(error.value)


def _die(video, recipe, path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_dead_worker_is_explained(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_try_in_worker", _die)
    with pytest.raises(ValueError, match="a worker process died .* smaller --jobs"):
        prepare_here(videos, tmp_path / "data", jobs=2)


# --- Accelerators ---------------------------------------------------------------------------------


def test_accelerators_share_the_videos_and_the_bytes_are_the_same(videos, tmp_path, monkeypatch):
    reference = files_of(prepare_here(videos, tmp_path / "reference"))
    used = set()

    def watched(source, *args):
        used.add((jax.config.jax_default_device, threading.get_ident()))
        while len(used) < 2:  # until a second thread is at work
            time.sleep(0.01)
        return prepare_video(source, *args)

    monkeypatch.setattr(workers, "_has_accelerators", lambda recipe: True)
    monkeypatch.setattr(workers, "prepare_video", watched)
    assert files_of(prepare_here(videos, tmp_path / "data")) == reference
    assert {device for device, _ in used} <= set(jax.local_devices())
    assert len({device for device, _ in used}) > 1  # conftest.py makes four


def test_accelerators_stop_when_the_run_does(videos, tmp_path, monkeypatch):
    going = threading.Event()

    def endless(source, recipe, path, on_frame):
        if source.name == "a":
            going.wait()
            raise Killed
        while True:
            going.set()
            on_frame()

    monkeypatch.setattr(workers, "_has_accelerators", lambda recipe: True)
    monkeypatch.setattr(workers, "prepare_video", endless)
    with pytest.raises(Killed):
        prepare_here(videos, tmp_path / "data")


def test_only_networks_use_accelerators(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    raft = FlowOptions("raft_small", Path("weights.pth"))
    assert workers._choose(Recipe(raft), jobs=2, videos=5) is workers.on_accelerators
    assert workers._choose(Recipe(), jobs=2, videos=5) is not workers.on_accelerators


# --- Arguments and the command line ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "davis"}, "no data set 'davis'; there are: movers, davis2016, "),
        ({"dataset": "movers"}, "movers is drawn, it has no source"),
        ({"source": None}, "folder needs --source"),
        ({"dataset": "davis2016", "masks": "m"}, "--masks is for --dataset=folder"),
        ({"sequences": "s.txt"}, "--sequences is for --dataset=youtube_vos, not for folder"),
        ({"fbms_compatibility": True}, "--fbms_compatibility is for --dataset=fbms59"),
        ({"dataset": "ecssd", "source": None}, "ecssd needs --source"),
        ({"dataset": "davis2016"}, "--name is for --dataset=folder"),
        ({"name": "a b"}, "'a b' cannot be the name of a data set"),
        ({"name": "../up"}, "cannot be the name of a data set"),
        ({"flow": "raft"}, "no flow estimator 'raft'; there are: .'dis'"),
        ({"max_gap": 0}, "max_gap is 0; it must be at least 1"),
        ({"flow_size": "640"}, "flow_size is '640'; expected WIDTHxHEIGHT"),
        ({"flow_size": "640x5"}, "at least 12x12, or native"),
        ({"jobs": 0}, "jobs is 0; it must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense(videos, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare_here(**{"source": videos, "data_dir": tmp_path / "data"} | options)
    assert not list(tmp_path.glob("data/*/set"))


def test_data_dir_that_cannot_be_written(videos, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{tmp_path}/file.*cannot be written: .*--data_dir"):
        prepare_here(videos, tmp_path / "file")


def test_set_of_an_older_format_is_said_to_be_one(videos, tmp_path, monkeypatch):
    prepare_here(videos, tmp_path / "data")
    monkeypatch.setattr(prepare_module, "FORMAT", prepare_module.FORMAT + 1)
    with pytest.raises(ValueError, match=r"other settings \(format 2, now 3\); use --overwrite"):
        prepare_here(videos, tmp_path / "data")


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_every_data_set_has_a_builder_of_its_name(dataset):
    module = importlib.import_module(f"data_prep.datasets.{dataset}")
    assert module.BUILDER.name == dataset and callable(module.plan)
    assert issubclass(module.BUILDER, builder.StillsBuilder) == DATA_SETS[dataset].stills


def test_directory_in_the_way(videos, tmp_path):
    (tmp_path / "data/folder/set/1.0.0").mkdir(parents=True)
    with pytest.raises(ValueError, match="1.0.0 exists, but preparation.json in it cannot be read"):
        prepare_here(videos, tmp_path / "data")


def test_command_line(videos, tmp_path, capsys):
    options = ["--dataset=folder", f"--data_dir={tmp_path / 'data'}", "--jobs=1"]
    assert main([*options, f"--source={videos}"]) == 0
    assert "prepared 3 videos in" in capsys.readouterr().err
    assert (tmp_path / "data/folder/videos/1.0.0/dataset_info.json").is_file()

    assert main([*options, f"--source={tmp_path / 'absent'}"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'absent'}: no such file or directory; check --source\n"
    )
    one_frame(videos / "bad")
    assert main([*options, f"--source={videos}", "--name=other"]) == 1
    assert "1 of 4 videos cannot be prepared" in capsys.readouterr().err
    assert main([*options, f"--source={videos}", "--name=other", "--skip_bad"]) == 0
    assert f"left out: bad: {videos}/bad: a single frame" in capsys.readouterr().err


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for words in ("--masks MASKS", "MASKS/VIDEO/FRAME.png", "--flow_size", "native", "--skip_bad"):
        assert words in text
    assert "python -m data_prep.prepare --dataset=folder --source=my_videos" in text
    for dataset in DATA_SETS:
        assert f"{dataset}:" in text or f"{dataset}," in text


# --- Names and paths ------------------------------------------------------------------------------


def test_names_of_any_length_and_kind(tmp_path):
    names = [
        "日" * 85,
        "я" * 120,
        "a" * 255,
        "a" * 254,
        "b c",
        "$x$",
        "a:b+c,d",
        "-n",
        "q\n\t",
        "D",
        "d",
    ]
    for name in names:
        write_frames(tmp_path / "v" / name, sliding_texture(2, height=24, width=32))
    prepare_here(tmp_path / "v", tmp_path / "data", max_gap=1, flow_size="16x16")
    source = open_source(tmp_path / "data", "folder/set:train")
    assert {key.video for key in source.keys} == set(names)
    assert decode_record(source[0])["image"].shape == (24, 32, 3)


def test_long_names_are_resumed(tmp_path, monkeypatch):
    for name in ("日" * 85, "b"):
        write_frames(tmp_path / "v" / name, sliding_texture(2))
    broken = write_frames(tmp_path / "v" / "c", sliding_texture(2)) / "1.png"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    with pytest.raises(BadVideosError):
        prepare_here(tmp_path / "v", tmp_path / "data", max_gap=1)
    broken.write_bytes(content)
    worked_on = count_videos(monkeypatch)
    prepare_here(tmp_path / "v", tmp_path / "data", max_gap=1)
    assert worked_on == ["c"]


def test_every_path_of_the_command_line_may_begin_with_the_home(videos, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "cwd")
    write_masks(tmp_path / "m:1" / "a", {"0": np.ones((48, 64), np.uint8)})
    words = ["--dataset=folder", "--name=x", "--max_gap=1", "--jobs=1"]
    words += ["--source=~/videos", "--masks=~/m:1", "--data_dir=~/data:1"]
    assert main(words) == 0
    assert len(open_source("~/data:1", "folder/x:val")) == 1
    assert not list((tmp_path / "cwd").iterdir())
    assert main([*words[:-1], "--data_dir=gs://bucket/data"]) == 2


def test_what_is_left_out_is_said_once(videos, tmp_path, capsys):
    (videos / "old.xyz").write_text("")
    (videos / "a" / "1.png").rename(videos / "a" / "1.raw")
    main([f"--source={videos}", f"--data_dir={tmp_path / 'data'}", "--dataset=folder", "--jobs=1"])
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 3
    assert "old.xyz is no video" in notes[0] and "1.raw is no image" in notes[1]
    assert "numbers are missing between frames 0 and 2" in notes[2]


@pytest.mark.parametrize(
    "name", ["a:b", "a+b", "a,b", "a/b", "日本", "", " ", "x" * 101, "-x", "a\n"]
)
def test_names_that_a_spec_cannot_hold_are_refused(videos, tmp_path, name):
    if not name:  # the folder's own name
        videos, name = videos.rename(tmp_path / "a:b"), None
    with pytest.raises(ValueError, match="cannot be the name of a data set, which DATASET:SPLIT"):
        prepare_here(videos, tmp_path / "data", name=name)
