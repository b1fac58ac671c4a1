"""Folders: what is visible, in which order, and which names are equal."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dystab_jax.data.folders import (
    by_name,
    composed,
    is_visible,
    list_files,
    list_files_below,
    list_folders,
    list_visible,
    natural_order,
    on_disk,
)

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))

file_names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize(
    "names",
    [
        ("dog", "dog2"),
        ("dog.mp4", "dog2.mp4", "dog10.mp4"),
        ("LICENSE", "LICENSE2"),
        ("gap", "gap1", "gap2", "gap10"),
        ("frame2", "frame10", "frameA"),
        ("1.png", "01.png", "2.png", "10.png"),
        ("2", "10", "a", "²"),
        ("take.2", "take.10"),
        ("\u0662", "\uff13", "10"),  # 2 in Arabic, 3 in full width
        ("x1y2", "x1y10", "x2y1"),
    ],
)
def test_natural_order(names):
    for given_names in (names, names[::-1]):
        ordered = sorted(map(Path, given_names), key=natural_order)
        if names[:2] == ("1.png", "01.png"):  # equal numbers: some order, always the same
            assert {path.name for path in ordered[:2]} == set(names[:2])
        else:
            assert [path.name for path in ordered] == list(names)


@settings(max_examples=30, deadline=None)
@given(st.lists(file_names, max_size=4))
def test_any_names_have_one_order(names):
    paths = list(map(Path, names))
    assert sorted(paths, key=natural_order) == sorted(paths[::-1], key=natural_order)


def test_hidden_files_and_clutter_are_passed_over(tmp_path):
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "a.png", "B.PNG", "-c.png"):
        (tmp_path / name).write_bytes(b"")
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "vid", "folder.png"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
        (tmp_path / name / "._x.png").write_bytes(b"")
    assert [path.name for path in list_folders(tmp_path)] == ["folder.png", "vid"]
    # A folder is no image, whatever its name.
    assert [path.name for path in list_files(tmp_path, (".png",))] == ["-c.png", "B.PNG", "a.png"]
    below = [str(path.relative_to(tmp_path)) for path in list_files_below(tmp_path)]
    assert below == ["-c.png", "B.PNG", "a.png", "folder.png/x.png", "vid/x.png"]


def test_names_are_equal_however_accents_are_written(tmp_path):
    (tmp_path / DECOMPOSED).mkdir()
    (tmp_path / DECOMPOSED / "1.JPG").write_bytes(b"")
    assert list(by_name(list_folders(tmp_path))) == [COMPOSED]
    found = on_disk(tmp_path / COMPOSED / "1.jpg")
    assert found == tmp_path / DECOMPOSED / "1.JPG"
    assert on_disk(tmp_path / COMPOSED / "2.jpg") == tmp_path / DECOMPOSED / "2.jpg"
    assert on_disk(tmp_path / "none" / "2.jpg") == tmp_path / "none" / "2.jpg"
    (tmp_path / COMPOSED).mkdir()
    assert on_disk(tmp_path / COMPOSED) == tmp_path / COMPOSED
    with pytest.raises(ValueError, match="two files of one name; remove one"):
        by_name(list_folders(tmp_path))


def test_a_name_that_is_no_text_is_refused(tmp_path):
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    except OSError:
        pytest.skip("the file system refuses such a name itself")
    with pytest.raises(ValueError, match=r"name b'\\xff\\xfe' in it is not text in UTF-8; rename"):
        list_visible(tmp_path)


@settings(max_examples=20, deadline=None)
@given(names=st.sets(file_names, max_size=6))
def test_whatever_names_a_folder_holds(names, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        if len(name.encode()) < 250:
            (folder / name).mkdir(exist_ok=True)
    found = list_visible(folder)
    assert {path.name for path in found} == {
        name for name in os.listdir(folder) if is_visible(name)
    }
    assert all(on_disk(path) == path for path in found)
    assert len({composed(path.name) for path in found}) <= len(found)
