"""A source that has changed since it was prepared is prepared again, as far as it has changed."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep import builder, renewal, video
from data_prep import prepare as prepare_module
from data_prep.prepare import BadVideosError
from dystab_jax.data.records import open_source
from tests.support.tiny_sets import count_videos, prepare_here, prepare_in, write_davis
from tests.support.tiny_videos import (
    files_of,
    sliding_texture,
    write_frames,
    write_masks,
    write_video,
)


@pytest.fixture
def videos(tmp_path):
    """Videos a, b and c, of which a and c have masks of some frames."""
    write_frames(tmp_path / "videos" / "a", sliding_texture(4))
    write_video(tmp_path / "videos" / "b.avi", sliding_texture(3, seed=1))
    write_frames(tmp_path / "videos" / "c", sliding_texture(3, seed=2), ending=".jpg")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:50] = 255
    write_masks(tmp_path / "masks" / "a", {"1": mask, "3": mask})
    write_masks(tmp_path / "masks" / "c", {"0": mask})
    return tmp_path / "videos"


def prepare_again(videos, data_dir, **options):
    return prepare_here(videos, data_dir, masks=videos.parent / "masks", **options)


def grow(videos):
    """Adds two videos, changes one and removes one."""
    write_frames(videos / "A new", sliding_texture(3, seed=7))
    write_frames(videos / "d", sliding_texture(3, seed=8))
    cv2.imwrite(str(videos / "c" / "1.jpg"), sliding_texture(3, seed=9)[1])
    (videos / "b.avi").unlink()


def test_changed_source_is_noticed_and_what_changed_alone_is_computed(
    videos, tmp_path, monkeypatch, capsys
):
    done = prepare_again(videos, tmp_path / "data")
    grow(videos)
    names = count_videos(monkeypatch)
    assert prepare_again(videos, tmp_path / "data", progress=True) == done
    assert names == ["A new", "c", "d"]
    said = capsys.readouterr().err
    assert "2 videos added (such as A new), 1 changed (such as c), 1 removed (such as b)" in said
    assert files_of(done) == files_of(prepare_again(videos, tmp_path / "anew"))
    assert not (tmp_path / "data/folder/.partial").exists()
    names.clear()
    prepare_again(videos, tmp_path / "data", progress=True)
    assert names == [] and "is prepared already" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["mask", "new mask", "mask gone", "video file", "time"])
def test_every_change_of_a_file_counts(videos, tmp_path, monkeypatch, change):
    done = prepare_again(videos, tmp_path / "data")
    before, masks = files_of(done), tmp_path / "masks"
    other = np.full((48, 64), 255, np.uint8)
    changed = {
        "mask": lambda: cv2.imwrite(str(masks / "a/3.png"), other),
        "new mask": lambda: write_masks(masks / "b", {"00001": other}),
        "mask gone": lambda: (masks / "a/3.png").unlink(),
        "video file": lambda: write_video(videos / "b.avi", sliding_texture(3, seed=4)),
        "time": lambda: os.utime(videos / "a/0.png", (1, 1)),
    }
    changed[change]()
    names = count_videos(monkeypatch)
    prepare_again(videos, tmp_path / "data")
    assert names == (["b"] if change in ("new mask", "video file") else ["a"])
    assert files_of(done) == files_of(prepare_again(videos, tmp_path / "anew"))
    assert files_of(done) != before


class Killed(BaseException):
    """Nothing in the program may catch this."""


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (renewal, "_write_intermediate", 1),
        (renewal, "stamp", 1),
        (video, "encode_flow", 3),
        (builder, "read_record", 7),
        (prepare_module, "_move_into_place", 1),
        (prepare_module, "_remove", 1),
    ],
)
def test_interrupted_renewal_keeps_a_whole_set_and_goes_on(
    videos, tmp_path, monkeypatch, module, name, call
):
    done = prepare_again(videos, tmp_path / "data")
    before = files_of(done)
    grow(videos)
    reference = files_of(prepare_again(videos, tmp_path / "anew"))
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
            prepare_again(videos, tmp_path / "data")
    assert files_of(done) in (before, reference)
    assert files_of(prepare_again(videos, tmp_path / "data")) == reference
    assert not (tmp_path / "data/folder/.partial").exists()


def test_bad_new_video_leaves_the_set_as_it_is(videos, tmp_path, monkeypatch):
    done = prepare_again(videos, tmp_path / "data")
    before = files_of(done)
    write_frames(videos / "bad", sliding_texture(1))
    with pytest.raises(BadVideosError, match="bad: a single frame"):
        prepare_again(videos, tmp_path / "data")
    assert files_of(done) == before
    names = count_videos(monkeypatch)
    prepare_again(videos, tmp_path / "data", skip_bad=True)
    assert names == ["bad"]
    names.clear()
    prepare_again(videos, tmp_path / "data")  # left out, and not changed since
    assert names == []
    cv2.imwrite(str(videos / "bad/1.png"), sliding_texture(2)[1])
    prepare_again(videos, tmp_path / "data")
    assert names == ["bad"]
    assert "bad" in {key.video for key in open_source(tmp_path / "data", "folder/set:train").keys}


def test_what_cannot_be_taken_over_is_computed(videos, tmp_path, monkeypatch):
    done = prepare_again(videos, tmp_path / "data")
    (shard,) = done.glob("*train.array_record*")
    shard.write_bytes(shard.read_bytes()[:-70000])
    write_frames(videos / "d", sliding_texture(3, seed=8))
    names = count_videos(monkeypatch)
    prepare_again(videos, tmp_path / "data")
    assert names == ["a", "b", "c", "d"]
    assert files_of(done) == files_of(prepare_again(videos, tmp_path / "anew"))


def test_another_opencv_changes_nothing_until_the_source_changes(videos, tmp_path, monkeypatch):
    prepare_again(videos, tmp_path / "data")
    monkeypatch.setattr(cv2, "__version__", "99.0")
    names = count_videos(monkeypatch)
    prepare_again(videos, tmp_path / "data")
    assert names == []
    shutil.rmtree(videos / "c")
    shutil.rmtree(tmp_path / "masks" / "c")
    prepare_again(videos, tmp_path / "data")
    assert names == ["a", "b"]


def test_sets_that_cannot_be_compared_are_taken_as_they_are(videos, tmp_path, capsys):
    done = prepare_again(videos, tmp_path / "data")
    facts = json.loads((done / "preparation.json").read_text())
    del facts["videos"]  # prepared before there was this field
    (done / "preparation.json").write_text(json.dumps(facts))
    before = files_of(done)
    grow(videos)
    prepare_again(videos, tmp_path / "data", progress=True)
    said = capsys.readouterr().err
    assert "note: " in said and "taken as it is" in said and "is prepared already" in said
    shutil.move(videos, tmp_path / "gone")
    prepare_again(videos, tmp_path / "data", progress=True)
    assert f"{videos} is not there any more" in capsys.readouterr().err
    assert files_of(done) == before


def test_lists_of_splits_count_and_sparse_truth_is_taken_over(tmp_path, monkeypatch):
    source = write_davis(tmp_path / "DAVIS", length=4)
    options = {"dataset": "davis2016", "source": source}
    done = prepare_in(tmp_path, **options)
    lists = source / "ImageSets" / "480p"
    lines = (lists / "val.txt").read_text().splitlines()
    goat = [line for line in lines if "/goat/" in line]
    (lists / "val.txt").write_text("\n".join(line for line in lines if line not in goat) + "\n")
    (lists / "train.txt").write_text((lists / "train.txt").read_text() + "\n".join(goat) + "\n")
    names = count_videos(monkeypatch)
    assert prepare_in(tmp_path, **options) == done
    assert names == ["goat"]
    anew = prepare_in(Path(tmp_path / "anew"), **options)
    assert files_of(done) == files_of(anew)
