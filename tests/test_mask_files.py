"""The readers of mask files: every encoding, and what is refused."""

import numpy as np
import pytest
from mask_encodings import ENCODINGS, random_masks, rgb
from PIL import Image

from dystab_jax import mask_files

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
    with pytest.raises(FileNotFoundError, match="mask.png does not exist"):
        mask_files.read_mask(path)
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="mask.png is not a readable image"):
        mask_files.read_mask(path)
    rgb(random_masks(0, (90, 90))).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="mask.png is not a readable image"):
        mask_files.read_mask(path)
    Image.fromarray(np.arange(100, dtype=np.uint8)[None]).save(path)
    with pytest.raises(ValueError, match="mask.png has grey levels up to 99"):
        mask_files.read_mask(path)
    Image.fromarray(np.full((4, 4, 3), (10, 20, 30), np.uint8)).save(path)
    with pytest.raises(ValueError, match="mask.png is a colour image"):
        mask_files.read_mask(path)
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(path)
    with pytest.raises(ValueError, match="mask.png has pixels of kind I;16"):
        mask_files.read_mask(path)


def test_real_palette_files(shared):
    folder = shared / "data" / "DAVIS2017_palette_sample" / "Annotations" / "480p" / "bear"
    truth = shared / "data" / "DAVIS2016" / "Annotations" / "480p" / "bear"
    for path in sorted(folder.glob("*.png")):
        np.testing.assert_array_equal(
            mask_files.read_mask(path), mask_files.read_mask(truth / path.name)
        )
