"""Folders with the names that users give: each visible file is found in order, or an error says."""

import os
import re
import shutil
import tempfile
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources.discover import list_videos
from dystab_jax.evaluation.truth_source import from_folder
from dystab_jax.runtime.atomic_files import bounded

ENCODED = {
    ending: cv2.imencode(ending, np.full((2, 3, 3), 255, np.uint8))[1].tobytes()
    for ending in (".png", ".jpg", ".bmp")
}
ENDINGS = (".png", ".PNG", ".jpg", ".JPG", ".Bmp")
OTHERS = (".txt", ".json", "", ".png.part", ".PNG~")
CLUTTER = ("Thumbs.db", "desktop.ini", ".DS_Store", "._frame1.png", "Icon\r", "ehthumbs.db")
HIDDEN = ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN", ".hidden")

LETTERS = st.sampled_from(
    ["a", "A", "dog", "Dog", "frame", "é", "e\u0301", "ß", "犬", "🐕", "$", "$HOME", "%", "%05d"]
    + [
        ":",
        "#",
        " ",
        "-",
        "_",
        ".",
        "..",
        "+",
        "~",
        "'",
        '"',
        "[",
        "*",
        "\\",
        "\n",
        "\u200b",
        "x" * 60,
    ]
)
NUMBERS = st.sampled_from(["1", "2", "10", "02", "010", "٣", "१०", "²", "9" * 30])
NAMES = st.one_of(
    st.sampled_from(["é", "e\u0301", "dog", "Dog", "dog2", "dog10", "-dog", "a b"]),
    st.tuples(st.just("frame"), st.sampled_from(["1", "2", "10", "010", "٣"])).map("".join),
    st.lists(st.one_of(LETTERS, NUMBERS), min_size=1, max_size=5).map("".join),
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 200)
FILES = st.one_of(
    st.tuples(NAMES, st.sampled_from(ENDINGS)).map("".join),
    st.tuples(NAMES, st.sampled_from(OTHERS)).map("".join),
    st.sampled_from(CLUTTER),
    st.sampled_from(["é.png", "e\u0301.png", "dog.png", "dog.jpg", "dog.PNG"]),
)
FOLDERS = st.one_of(NAMES, st.sampled_from(HIDDEN))
TREES = st.dictionaries(
    FOLDERS,
    st.tuples(
        st.lists(FILES, max_size=6),
        st.dictionaries(FOLDERS, st.lists(FILES, max_size=2), max_size=1),
    ),
    max_size=4,
)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def written(tree):
    root = Path(tempfile.mkdtemp(prefix="tree"))
    try:
        for name, (files, nested) in tree.items():
            write(root / name, files)
            for below, inner in nested.items():
                if not (root / name / below).exists():
                    write(root / name / below, inner)
        yield root
    finally:
        shutil.rmtree(root)


def write(folder: Path, files: list[str]) -> None:
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for name in files:
        if not (folder / name).exists() and name not in (".", ".."):
            ending = os.path.splitext(name)[1].lower()
            (folder / name).write_bytes(ENCODED.get(ending, b"text"))


# -- what is right, said once more -----------------------------------------------------------------


def seen(folder: Path, folders: bool) -> set[str]:
    """Returns the names of the files or folders that a user means."""
    clutter = {name.lower() for name in (*CLUTTER, *HIDDEN)}
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if entry.name[0] != "." and entry.name.lower() not in clutter
            if entry.is_dir() == folders
        }


def images(folder: Path) -> set[str]:
    return {n for n in seen(folder, False) if re.search(r".\.(png|jpg|bmp)\Z", n, re.I | re.S)}


def is_natural(names: list[str]) -> bool:
    """Checks that among frames whose names differ in one number alone, lower numbers come first."""
    numbers = [re.fullmatch(r"frame(\d+)\.\w+", name) for name in names]
    values = [int(found[1]) for found in numbers if found]
    return values == sorted(values)


def same_names(names: set[str]) -> bool:
    """Checks if two names are the same to a user."""
    return len({unicodedata.normalize("NFC", name) for name in names}) < len(names)


def names_tree(error: Exception, root: Path) -> bool:
    return root.name in str(error)


@given(TREES)
@SETTINGS
def test_videos_are_all_found_in_order_or_refused(tree):
    with written(tree) as root:
        expected = seen(root, folders=True)
        try:
            videos = list_videos(root)
        except (ValueError, FileNotFoundError) as error:
            assert type(error) in (ValueError, FileNotFoundError) and names_tree(error, root)
            assert not expected or same_names(expected)
            return
        assert {video.name for video in videos} == expected and len(videos) == len(expected)
        assert not same_names(expected)
        assert [video.name for video in list_videos(root)] == [video.name for video in videos]
        assert is_natural([video.name + ".x" for video in videos])
        for video in videos:
            frames = [path.name for path in video.paths]
            assert sorted(frames) == sorted(images(root / video.name))
            assert is_natural(frames)
            check_reading(video, root)
        work = [f"{bounded(quote(video.name, safe=''), 100)}.zip" for video in videos]
        assert len(set(work)) == len(work) and all(len(one.encode()) <= 255 for one in work)


def check_reading(video, root: Path) -> None:
    stems = {path.stem for path in video.paths}
    try:
        names = [frame.name for frame in video.read(lambda note: None)]
    except ValueError as error:
        assert type(error) is ValueError and names_tree(error, root)
        assert not stems or len(stems) < len(video.paths) or same_names(stems)
        return
    assert names == [path.stem for path in video.paths]
    assert names and len(stems) == len(video.paths) and not same_names(stems)


@given(TREES)
@SETTINGS
def test_truth_is_all_found_in_order_or_refused(tree):
    with written(tree) as root:
        expected = seen(root, folders=True)
        frames = {}
        for name in expected:
            found = images(root / name)
            frames[name] = {n for n in found if n.lower().endswith(".png")} or found
        stems = {name: {Path(n).stem for n in found} for name, found in frames.items()}
        doubled = same_names(expected) or any(
            len(stems[name]) < len(frames[name]) or same_names(stems[name]) for name in expected
        )
        try:
            truth = from_folder(root)
        except (ValueError, FileNotFoundError) as error:
            assert type(error) in (ValueError, FileNotFoundError) and names_tree(error, root)
            # Of several folders or one without frames, the user must say which is meant.
            assert not frames or doubled or not all(frames.values())
            return
        composed = {unicodedata.normalize("NFC", name): name for name in expected}
        if not any(frames.values()):  # the sequences lie one or two folders deeper
            return
        assert not doubled and set(truth.videos) == set(composed)
        assert list(truth.videos) == list(from_folder(root).videos)
        for name, video in truth.videos.items():
            assert sorted(video.frame_names) == sorted(stems[composed[name]])
            assert is_natural([frame + ".x" for frame in video.frame_names])
            masks = video.masks if video.masks is not None else video.regions
            assert all(read().shape == (2, 3) for read in masks)
