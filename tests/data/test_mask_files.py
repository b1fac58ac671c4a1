"""The readers of mask files: every encoding, and what is refused."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import davis_palette
from tests.support.mask_encodings import ENCODINGS, coloured, random_masks, rgb

encodings = pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())


@encodings
def test_read_mask_in_every_encoding(encode, tmp_path):
    mask = random_masks(0)[0]
    encode(mask).save(tmp_path / "mask.png")
    result = mask_files.read_mask(tmp_path / "mask.png")
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, mask)


@pytest.mark.parametrize("encode", [ENCODINGS["0 and 255"], ENCODINGS["1-bit"], rgb])
@pytest.mark.parametrize("value", [0, 1])
def test_read_mask_empty_and_full(encode, value, tmp_path):
    encode(np.full((3, 5), value, np.uint8)).save(tmp_path / "mask.png")
    assert (mask_files.read_mask(tmp_path / "mask.png") == value).all()


def test_read_mask_refuses_what_is_no_mask(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(FileNotFoundError, match="mask.png: no such file"):
        mask_files.read_mask(path)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="mask.png: not a readable mask image"):
        mask_files.read_mask(path)
    rgb(random_masks(0, (90, 90))).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="mask.png: not a readable mask image"):
        mask_files.read_mask(path)
    colours = np.full((4, 4, 3), 40000, np.uint16)
    assert cv2.imwrite(str(path), colours)
    with pytest.raises(ValueError, match="mask.png: colours or alpha of 16 bits, expected 8"):
        mask_files.read_mask(path)
    # What the rule refuses is named after the file.
    Image.fromarray(np.full((4, 4, 3), (10, 20, 30), np.uint8)).save(path)
    with pytest.raises(ValueError, match="mask.png: a colour image of 1 colours"):
        mask_files.read_mask(path)


def test_read_numbers_keeps_indices_of_palettes(tmp_path):
    path = tmp_path / "mask.png"
    numbers = np.array([[0, 1, 2, 7, 255]], np.uint8)
    coloured(numbers, davis_palette().tobytes()).save(path)
    np.testing.assert_array_equal(mask_files.read_numbers(path), numbers)
    # Number 7 is grey in this palette; it stays number 7 where it is alone, too.
    alone = np.where(numbers == 1, 7, 0).astype(np.uint8)
    coloured(alone, davis_palette().tobytes()).save(path)
    np.testing.assert_array_equal(mask_files.read_numbers(path), alone)


@pytest.mark.parametrize("name", ["0 and 255", "0 and 1", "1-bit", "palette of greys", "RGB"])
def test_read_numbers_of_masks_is_object_1(name, tmp_path):
    mask = random_masks(0)[0]
    ENCODINGS[name](mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(mask_files.read_numbers(tmp_path / "mask.png"), mask)


def test_is_numbered(tmp_path):
    path = tmp_path / "mask.png"
    expected = {(0, 1): True, (0, 3, 255): True, (0, 255): None, (0,): None}
    for numbers, numbered in expected.items():
        coloured(np.array([numbers], np.uint8), davis_palette().tobytes()).save(path)
        assert mask_files.is_numbered(path) is numbered
    for level, numbered in {1: False, 7: True, 255: False}.items():
        Image.fromarray(random_masks(0)[0] * np.uint8(level)).save(path)
        assert mask_files.is_numbered(path) is numbered


def test_a_sequence_is_numbered_as_its_first_file_that_can_say(tmp_path):
    palette = davis_palette().tobytes()
    kinds = {
        "void alone": coloured(np.array([[0, 255]], np.uint8), palette),
        "empty": Image.fromarray(np.zeros((1, 2), np.uint8)),
        "numbers": coloured(np.array([[2, 255]], np.uint8), palette),
        "mask": Image.fromarray(np.array([[0, 255]], np.uint8)),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")

    def numbered(*names):
        return mask_files.is_numbered_sequence([tmp_path / f"{name}.png" for name in names])

    assert numbered("void alone", "empty", "numbers") and numbered("numbers", "mask")
    assert not numbered("mask", "numbers") and not numbered("void alone", "empty")
    path = tmp_path / "void alone.png"
    assert mask_files.read_mask(path).tolist() == [[0, 1]]
    assert mask_files.read_mask(path, numbered=True).tolist() == [[0, 0]]


def test_read_map(tmp_path):
    path = tmp_path / "map.png"
    levels = np.array([[0, 51, 255]], np.uint8)
    Image.fromarray(levels).save(path)
    soft = mask_files.read_map(path)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft, [[0, 0.2, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="map.png has grey levels up to 255, expected 0 to 1"):
        mask_files.read_map(path, highest=1)
    Image.fromarray(levels // 255).save(path)
    assert mask_files.read_map(path, highest=1).tolist() == [[0, 0, 1]]


@encodings
def test_read_map_of_a_mask(encode, tmp_path):
    mask = random_masks(0)[0]
    path = tmp_path / "mask.png"
    encode(mask).save(path)
    soft = mask_files.read_map(path, mask_files.highest_level([path]))
    np.testing.assert_allclose(soft, mask, atol=31 / 255)


def test_highest_level_looks_on_until_a_map_says(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, highest in zip(paths, (0, 1, 9), strict=True):
        Image.fromarray(np.array([[0, highest]], np.uint8)).save(path)
    assert mask_files.highest_level(paths[:2]) == 1
    assert mask_files.highest_level(paths) == 255


def test_real_palette_files(shared):
    folder = shared / "data" / "DAVIS2017_palette_sample" / "Annotations" / "480p" / "bear"
    truth = shared / "data" / "DAVIS2016" / "Annotations" / "480p" / "bear"
    for path in sorted(folder.glob("*.png")):
        np.testing.assert_array_equal(
            mask_files.read_mask(path), mask_files.read_mask(truth / path.name)
        )
