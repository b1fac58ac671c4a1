"""Directories of videos: names, what cannot be told apart, what is left out."""

import tempfile
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.sources.discover import find_gaps, frame_notes, left_out, list_videos
from dystab_jax.data.folders import is_visible
from dystab_jax.data.records import open_source
from tests.support.tiny_sets import prepare_here
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks, write_video


def test_sources_that_hold_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such file or directory"):
        list_videos(tmp_path / "absent")
    with pytest.raises(ValueError, match="no video in it; expected video files"):
        list_videos(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="notes.txt: not a video file"):
        list_videos(tmp_path / "notes.txt")


def test_sources_that_are_ambiguous(tmp_path):
    write_frames(tmp_path / "a", sliding_texture(2))
    write_video(tmp_path / "a.avi", sliding_texture(2))
    with pytest.raises(ValueError, match="two videos are named a"):
        list_videos(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), sliding_texture(1)[0])
    with pytest.raises(ValueError, match="holds images as well as videos"):
        list_videos(tmp_path)


def test_masks_that_fit_nothing(tmp_path):
    source = write_frames(tmp_path / "videos" / "a", sliding_texture(2)).parent
    with pytest.raises(FileNotFoundError, match="absent: no such directory; check --masks"):
        list_videos(source, tmp_path / "absent")
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match="masks: no masks in it; expected .*VIDEO/FRAME.png"):
        list_videos(source, tmp_path / "masks")
    write_masks(tmp_path / "masks" / "b", {"0": np.ones((2, 3), np.uint8)})
    with pytest.raises(ValueError, match="masks/b: masks of a video that is not in"):
        list_videos(source, tmp_path / "masks")


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["NFC", "NFD"])
def test_masks_belong_to_frames_however_accents_are_written(tmp_path, given):
    def spell(name, form):
        return unicodedata.normalize(form, name)

    other = {"NFC": "NFD", "NFD": "NFC"}[given]
    write_frames(tmp_path / "v" / spell("café", given), sliding_texture(2))
    (tmp_path / "v" / spell("café", given) / "1.png").rename(
        tmp_path / "v" / spell("café", given) / spell("né.png", given)
    )
    mask = np.ones((48, 64), np.uint8)
    write_masks(tmp_path / "m" / spell("café", other), {spell("né", other): mask})
    (video,) = list_videos(tmp_path / "v", tmp_path / "m")
    assert video.name == spell("café", given)
    truths = {frame.name: frame.truth for frame in video.read()}
    assert truths.pop("0") is None
    assert truths[spell("né", given)].mask.all()


def test_two_names_that_users_cannot_tell_apart(tmp_path):
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "café")
        write_frames(tmp_path / "v" / name, sliding_texture(2))
    with pytest.raises(ValueError, match="two videos are named café; rename one"):
        list_videos(tmp_path / "v")
    write_frames(tmp_path / "one" / "a", sliding_texture(1))
    for ending in (".png", ".PNG"):
        write_frames(tmp_path / f"m{ending}" / "a", sliding_texture(1), ending)
    (tmp_path / "m.PNG" / "a" / "0.PNG").rename(tmp_path / "m.png" / "a" / "0.PNG")
    with pytest.raises(ValueError, match="two files of one name; remove one"):
        list_videos(tmp_path / "one", tmp_path / "m.png")


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name.strip(".") and len(name.encode()) < 250)


@settings(max_examples=15, deadline=None)
@given(
    videos=st.sets(names, min_size=1, max_size=3),
    frames=st.sets(names.filter(lambda name: len(name.encode()) < 240), min_size=2, max_size=3),
)
def test_trees_of_strange_names_are_prepared_or_refused(videos, frames):
    """Each video is prepared under its own name, or an error of the documented kind is raised."""
    images = sliding_texture(len(frames), height=24, width=32)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for video in videos:
            (root / "v" / video).mkdir(parents=True)
            for frame, image in zip(sorted(frames), images, strict=True):
                data = cv2.imencode(".png", image)[1].tobytes()
                (root / "v" / video / f"{frame}.png").write_bytes(data)
        try:
            prepare_here(root / "v", root / "data", max_gap=1, flow_size="16x16")
        except ValueError as error:
            assert str(error)
            return
        source = open_source(root / "data", "folder/set:train")
        found = {(source.keys[i].video, source.frame_names[i]) for i in range(len(source))}
        seen = {name for name in videos if is_visible(name)}
        assert found == {
            (video, frame) for video in seen for frame in frames if is_visible(f"{frame}.png")
        }


# --- What is left out -----------------------------------------------------------------------------


def test_what_is_not_read_is_said_once_with_count_and_example(tmp_path):
    write_frames(tmp_path / "v" / "a", sliding_texture(2))
    write_frames(tmp_path / "v" / "b", sliding_texture(2))
    for name in ("one.txt", "two.xyz", ".hidden", "Thumbs.db", "a/notes.txt", "b/more.txt"):
        (tmp_path / "v" / name).write_text("")
    (tmp_path / "v" / "a" / "inner").mkdir()
    (tmp_path / "v" / "a" / ".ipynb_checkpoints").mkdir()
    write_masks(tmp_path / "m" / "a", {"0": np.ones((48, 64), np.uint8)})
    (tmp_path / "m" / "readme.md").write_text("")
    (tmp_path / "m" / "a" / "0.npy").write_text("")
    files, inner, loose, masks = left_out(tmp_path / "v", tmp_path / "m")
    assert f"not read: 2 files in {tmp_path}/v, such as {tmp_path}/v/one.txt, which" in files
    assert f"not read: {tmp_path}/v/a/inner lies among frames" in inner
    assert f"not read: {tmp_path}/m/readme.md lies in no folder of a video" in loose
    assert f"not read: {tmp_path}/m/a/0.npy is no image" in masks
    (among,) = frame_notes(list_videos(tmp_path / "v"))
    assert f"not read: 2 files, such as {tmp_path}/v/a/notes.txt, which is no image" in among


def test_nothing_is_said_where_all_is_read(tmp_path):
    write_frames(tmp_path / "v" / "a", sliding_texture(2))
    write_video(tmp_path / "v" / "b.avi", sliding_texture(2))
    assert left_out(tmp_path / "v") == frame_notes(list_videos(tmp_path / "v")) == []
    assert left_out(tmp_path / "v" / "a") == left_out(tmp_path / "v" / "b.avi") == []


def test_missing_frames_are_noted(tmp_path):
    write_frames(tmp_path / "v" / "a", sliding_texture(8))
    (tmp_path / "v" / "a" / "3.png").unlink()
    (note,) = frame_notes(list_videos(tmp_path / "v"))
    assert note.startswith(f"{tmp_path}/v/a: numbers are missing between frames 2 and 4; ")
    (tmp_path / "v" / "a" / "6.png").unlink()
    (note,) = frame_notes(list_videos(tmp_path / "v"))
    assert "between frames 2 and 4 (2 such gaps in 1 videos); " in note


@pytest.mark.parametrize(
    ("names", "gaps"),
    [
        ("00000 00001 00002 00004 00005", [("00002", "00004")]),
        ("a_1 a_2 a_3 a_9 a_10", [("a_3", "a_9")]),
        ("0 1 3", [("1", "3")]),
        ("00000 00005 00010 00015", []),  # every fifth is kept, as in YouTube-VOS
        ("00000 00005 00015 00020", [("00005", "00015")]),
        ("00003 00004 00005", []),  # begins anywhere
        ("7", []),
        ("7 70", []),
        ("1403 1452 1503 1549 1601", []),  # time stamps: no step is the usual one
        ("a1 b2 c5", []),
        ("0_1 1_2 5_3", []),
        ("1 2 x 9", []),
        ("x²1 x²2 x²5 x²6", [("x²2", "x²5")]),
        ("shot2_1 shot2_2 shot2_5 shot2_6", [("shot2_2", "shot2_5")]),
    ],
)
def test_gaps_are_steps_larger_than_the_usual_one(names, gaps):
    assert find_gaps(names.split()) == gaps
