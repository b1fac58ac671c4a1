"""Paths mean the same in every flag of every command."""

from pathlib import Path

import pytest

from dystab_jax.runtime.paths import user_path


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~", "home"),
        ("~/data", "home/data"),
        ("data", "work/data"),
        ("./data", "work/data"),
        (".", "work"),
        ("a:b", "work/a:b"),
        ("take:/1", "work/take:/1"),
        ("a:b/c.mp4", "work/a:b/c.mp4"),
        ("no-such-user~", "work/no-such-user~"),
        ("~no-such-user-here/x", "work/~no-such-user-here/x"),
        ("日本 $x", "work/日本 $x"),
    ],
)
def test_what_a_path_means(places, given, expected):
    assert user_path(given) == places / expected
    assert user_path(Path(given)) == places / expected


def test_absolute_paths_stay(places):
    assert user_path(places) == places
    assert user_path(f"{places}/x/../y") == Path(f"{places}/x/../y")


@pytest.mark.parametrize("given", ["gs://bucket/data", "s3://x", "https://host/a", Path("gs://b")])
def test_addresses_are_refused(given):
    with pytest.raises(ValueError, match="is an address, and a path is expected; mount the bucket"):
        user_path(given)


def test_an_empty_path_is_refused():
    with pytest.raises(ValueError, match="an empty path"):
        user_path("")
