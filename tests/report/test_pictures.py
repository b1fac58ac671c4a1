"""Pictures: known pixels, sizes, files that decode to what went in."""

import cv2
import numpy as np
import pytest

from dystab_jax.data import resize
from dystab_jax.report import pictures

RED = (200, 0, 0)


def grey(height=7, width=9, level=100):
    return np.full((height, width, 3), level, np.uint8)


def square(height=7, width=9):
    mask = np.zeros((height, width), np.uint8)
    mask[1:6, 2:7] = 1
    return mask


def test_overlay_tints_inside_outlines_and_leaves_the_rest():
    image = grey()
    shown = pictures.overlay(image, square(), RED, alpha=0.5, outline=1)
    np.testing.assert_array_equal(shown[3, 4], [150, 50, 50])  # half way to red
    for row, column in ((1, 2), (1, 6), (5, 4), (3, 2)):  # outermost pixels of the object
        np.testing.assert_array_equal(shown[row, column], RED)
    np.testing.assert_array_equal(shown[square() == 0], 100)
    assert np.sum(np.all(shown == RED, -1)) == 16  # the ring of a 5x5 square
    np.testing.assert_array_equal(image, 100)


def test_outline_is_as_wide_as_asked_and_closed_at_the_image_edge():
    mask = np.ones((9, 9), np.uint8)
    shown = pictures.overlay(grey(9, 9), mask, RED, alpha=0, outline=2)
    ring = np.all(shown == RED, -1)
    assert ring[:2].all() and ring[:, -2:].all()
    assert not ring[2:-2, 2:-2].any()
    bare = pictures.overlay(grey(), square(), RED, alpha=0, outline=0)
    np.testing.assert_array_equal(bare, grey())


def test_outline_grows_with_the_image():
    mask = np.zeros((720, 40), np.uint8)
    mask[100:600] = 1
    shown = pictures.overlay(grey(720, 40), mask, RED, alpha=0)
    assert np.all(shown[:, 20] == RED, -1).sum() == 2 * 3


def test_fade_takes_colour_and_light_from_the_background_only():
    image = grey()
    image[..., 0] = 220
    shown = pictures.overlay(image, square(), RED, alpha=0, outline=0, fade=1)
    luminance = 0.299 * 220 + 0.701 * 100
    np.testing.assert_allclose(shown[0, 0], luminance / 2, atol=1)
    np.testing.assert_array_equal(shown[3, 4], image[3, 4])


def test_empty_mask_leaves_the_image():
    np.testing.assert_array_equal(pictures.overlay(grey(), 0 * square()), grey())


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (square(7, 10), {}, r"\(7, 10\).*\(7, 9\).*resize"),
        (square(), {"alpha": 1.5}, "alpha is 1.5"),
        (square(), {"fade": -0.1}, "fade is -0.1"),
    ],
)
def test_overlay_says_what_is_wrong(mask, options, message):
    with pytest.raises(ValueError, match=message):
        pictures.overlay(grey(), mask, **options)


def test_fitting_keeps_proportions_and_never_enlarges():
    assert resize.fit_width(grey(480, 854), 320).shape == (180, 320, 3)
    assert resize.fit_width(grey(48, 64), 320).shape == (48, 64, 3)


def test_fitted_mask_goes_with_the_majority_of_each_pixel():
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(resize.fit_mask(mask, (1, 2)), [[1, 0]])


def test_caption_adds_ink_above_and_keeps_the_image():
    image = grey(20, 120)
    shown = pictures.caption(image, "chi")
    band = shown[: -len(image)]
    np.testing.assert_array_equal(shown[len(band) :], image)
    assert band.min() < 100 and np.mean(band == 255) > 0.5
    # A text far too long stays inside a band of the same size.
    assert pictures.caption(image, "a name that is far too long for it").shape == shown.shape
    with pytest.raises(ValueError, match="'χ'"):
        pictures.caption(image, "χ")


def test_sheet_places_every_panel():
    levels = [[10, 60], [110]]
    rows = [[("x", grey(20, 40, level)) for level in row] for row in levels]
    shown = pictures.sheet(rows, width=20)
    margin, cell_height = 4, 10 + 18
    assert shown.shape == (2 * (cell_height + 2 * margin), 2 * 20 + 3 * margin, 3)
    for y, row in enumerate(levels):
        for x, level in enumerate(row):
            bottom = (y + 1) * (cell_height + 2 * margin) - margin - 1
            np.testing.assert_array_equal(shown[bottom, margin + x * 24 + 10], level)
    np.testing.assert_array_equal(shown[cell_height, 24:28], 255)  # between two panels
    np.testing.assert_array_equal(shown[-10, -10], 255)  # no fourth panel
    with pytest.raises(ValueError, match="at least one panel"):
        pictures.sheet([[]])


def test_encoded_bytes_decode_to_the_image():
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    data = np.frombuffer(pictures.encode(image, ".png"), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), image)
    mask = square() * np.uint8(255)
    data = np.frombuffer(pictures.encode(mask, ".png"), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), mask)
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    fine, coarse = (pictures.encode(smooth, ".jpg", quality=q) for q in (95, 10))
    assert len(coarse) < len(fine) and fine.startswith(b"\xff\xd8\xff")
    decoded = cv2.imdecode(np.frombuffer(fine, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded.astype(int) - smooth).mean() < 4
    with pytest.raises(ValueError, match=".xyz"):
        pictures.encode(image, ".xyz")
