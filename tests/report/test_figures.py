"""Figures: sheets of any number of frames and of any name."""

import dataclasses

import pytest

from dystab_jax.report import figures
from tests.support.evaluations import make_evaluation, sample


@pytest.mark.parametrize("columns", [1, 3])
def test_strips_have_a_column_for_each_frame(columns):
    sheet = figures.strip([sample(str(number)) for number in range(columns)])
    assert sheet.shape[1] == 244 * columns + 4


def test_a_grid_shows_ten_images_at_most():
    one = dataclasses.replace(sample(), flow=None)
    assert figures.grid([one] * 25).shape[0] == 10 * (180 + 18 + 8)


def test_names_that_cannot_be_drawn_are_spelled():
    one = dataclasses.replace(sample("größe"), video="über")
    assert figures.strip([one]).shape == figures.strip([sample()]).shape
    assert figures.grid([one]).shape == figures.grid([sample()]).shape


def test_strips_of_videos_with_long_names(tmp_path):
    names = ["日" * 85, "b" * 255, "$a$"]
    evaluation = make_evaluation(tmp_path / "run", videos=names)
    evaluation = dataclasses.replace(evaluation, strips={name: [sample()] for name in names})
    folder = figures.write(tmp_path / "run", evaluation)
    pictures = {path.name for path in folder.glob("*.jpg")}
    assert len(pictures) == 3 and "$a$.jpg" in pictures
    assert any(name.startswith("日日日") for name in pictures)
