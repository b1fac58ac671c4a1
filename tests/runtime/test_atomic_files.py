"""Files under names of any length."""

import pytest

from dystab_jax.runtime.atomic_files import bounded, write_whole


@pytest.mark.parametrize("name", ["日" * 80, "я" * 120, "a" * 250, "é" * 125])
def test_long_names_are_cut_and_stay_different(name):
    short = bounded(name, 100)
    assert len(short.encode()) <= 100 and name.startswith(short.partition("+")[0])
    assert short != bounded(name + "b", 100)
    assert bounded(short, 100) == short
    assert short == bounded(name, 100)


def test_other_names_stay():
    assert bounded("dog $5: größe") == "dog $5: größe"
    assert bounded("a" * 200) == "a" * 200


@pytest.mark.parametrize("name", ["x" * 255, "日" * 85])
def test_whatever_name_the_file_system_allows_can_be_written(tmp_path, name):
    write_whole(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
