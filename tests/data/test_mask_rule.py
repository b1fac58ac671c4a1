"""The one rule of masks: each row of its table, for truth and predictions alike."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.sources.truth import MaskFile
from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import davis_palette, merge, object_numbers
from dystab_jax.evaluation import metrics
from tests.support.mask_encodings import coloured

SHAPE = np.zeros((40, 60), np.uint8)
SHAPE[8:30, 10:35] = 1
TWO = SHAPE.copy()
TWO[20:36, 30:50] = 2
PALETTE = davis_palette().tobytes()


def grey(levels):
    return Image.fromarray(np.asarray(levels))


def colour(mask, value, background=(0, 0, 0)):
    return Image.fromarray(np.where(mask[..., None] > 0, value, background).astype(np.uint8))


def alpha(image, levels):
    image = image.copy()
    image.putalpha(grey(np.asarray(levels, np.uint8)))
    return image


def soft(mask, highest=255):
    """Antialiased: many levels along the borders."""
    blurred = cv2.GaussianBlur(mask.astype(np.float32) * highest, (0, 0), 3)
    return np.round(blurred).astype(np.uint16 if highest > 255 else np.uint8)


def as_jpeg(image):
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=60)
    return Image.open(io.BytesIO(data.getvalue()))


def picture():
    return np.random.default_rng(0).integers(0, 256, (*SHAPE.shape, 3), np.uint8)


def palette(mask, colours, **index):
    return coloured(mask, np.array(colours, np.uint8).ravel().tolist(), **index)


EMPTY, FULL = np.zeros_like(SHAPE), np.ones_like(SHAPE)
WHITE = np.uint8(255)
ROWS = {
    "0 and 255": (grey(SHAPE * WHITE), SHAPE),
    "0 and 1": (grey(SHAPE), SHAPE),
    "1-bit": (grey(SHAPE.astype(bool)), SHAPE),
    "0 and 7": (grey(SHAPE * np.uint8(7)), SHAPE),
    "0 and 100": (grey(SHAPE * np.uint8(100)), SHAPE),
    "20 and 235, a video's black and white": (grey(SHAPE * np.uint8(215) + np.uint8(20)), SHAPE),
    "soft": (grey(soft(SHAPE)), soft(SHAPE) >= 128),
    "soft, below one half": (grey(soft(SHAPE, 100)), EMPTY),
    "JPEG": (as_jpeg(grey(SHAPE * WHITE)), SHAPE),
    "JPEG in colour": (as_jpeg(colour(SHAPE, (255, 255, 255))), SHAPE),
    "JPEG, empty": (as_jpeg(grey(EMPTY)), EMPTY),
    "JPEG, full": (as_jpeg(grey(FULL * WHITE)), FULL),
    "antialiased in four steps": (
        grey(
            cv2.resize(
                np.kron(SHAPE, np.ones((2, 2), np.uint8)) * WHITE,
                (59, 39),
                interpolation=cv2.INTER_AREA,
            )
        ),
        cv2.resize(
            np.kron(SHAPE, np.ones((2, 2), np.uint8)) * WHITE,
            (59, 39),
            interpolation=cv2.INTER_AREA,
        )
        >= 128,
    ),
    "numbers in grey": (grey(TWO), TWO > 0),
    "numbers in grey, of DAVIS colours": (grey(np.array([0, 38, 75], np.uint8)[TWO]), TWO > 0),
    "16 bits": (grey(SHAPE.astype(np.uint16) * 65535), SHAPE),
    "16 bits, 0 and 1": (grey(SHAPE.astype(np.uint16)), SHAPE),
    "16 bits, 0 and 1000": (grey(SHAPE.astype(np.uint16) * 1000), SHAPE),
    "16 bits, soft": (grey(soft(SHAPE, 65535)), soft(SHAPE, 65535) >= 32768),
    "palette": (palette(SHAPE, [(0, 0, 0), (128, 0, 0)]), SHAPE),
    "palette, numbers": (coloured(TWO, PALETTE), TWO > 0),
    "palette, number 7, which is grey": (coloured(SHAPE, PALETTE, index=7), SHAPE),
    "palette, 255 alone": (coloured(SHAPE, PALETTE, index=255), SHAPE),
    "palette, 255 beside numbers": (
        coloured(np.where(TWO == 2, 255, TWO).astype(np.uint8), PALETTE),
        TWO == 1,
    ),
    "palette, index 1 as black as 0": (palette(SHAPE, [(0, 0, 0)] * 2), SHAPE),
    "palette of greys, inverted": (palette(1 - SHAPE, [(255,) * 3, (0,) * 3]), SHAPE),
    "palette of greys, soft": (
        coloured(soft(SHAPE), np.repeat(np.arange(256), 3).tolist()),
        soft(SHAPE) >= 128,
    ),
    "RGB": (colour(SHAPE, (255, 255, 255)), SHAPE),
    "RGB, 0 and 1": (colour(SHAPE, (1, 1, 1)), SHAPE),
    "one colour": (colour(SHAPE, (0, 0, 90)), SHAPE),
    "colours of DAVIS": (coloured(TWO, PALETTE).convert("RGB"), TWO > 0),
    "colours of DAVIS and void": (
        coloured(np.where(TWO == 2, 255, TWO).astype(np.uint8), PALETTE).convert("RGB"),
        TWO == 1,
    ),
    "other colours": (
        Image.fromarray(np.array([(0, 0, 0), (250, 9, 3), (3, 80, 7)], np.uint8)[TWO]),
        TWO > 0,
    ),
    "RGBA, opaque": (alpha(colour(SHAPE, (255, 255, 255)), FULL * WHITE), SHAPE),
    "RGBA, half transparent": (alpha(colour(SHAPE, (255, 255, 255)), FULL * 128), SHAPE),
    "RGBA, transparent, shape in colours": (alpha(colour(SHAPE, (255, 255, 255)), EMPTY), SHAPE),
    "RGBA, shape in alpha, white": (alpha(colour(FULL, (255, 255, 255)), SHAPE * WHITE), SHAPE),
    "RGBA, shape in alpha, black": (alpha(colour(EMPTY, (9, 9, 9)), SHAPE * WHITE), SHAPE),
    "RGBA, shape in both": (alpha(colour(SHAPE, (255, 255, 255)), SHAPE * WHITE), SHAPE),
    "RGBA, cut out of a picture": (alpha(Image.fromarray(picture()), SHAPE * WHITE), SHAPE),
    "RGBA, soft alpha": (alpha(colour(FULL, (255, 0, 0)), soft(SHAPE)), soft(SHAPE) >= 128),
    "RGBA, empty, by alpha": (alpha(colour(FULL, (255, 255, 255)), EMPTY), EMPTY),
    "RGBA, full, by alpha": (alpha(colour(FULL, (255, 255, 255)), FULL * WHITE), FULL),
    "RGBA, empty, black": (alpha(colour(EMPTY, (255, 255, 255)), FULL * WHITE), EMPTY),
    "grey and alpha, shape in grey": (alpha(grey(SHAPE * WHITE), FULL * WHITE), SHAPE),
    "grey and alpha, shape in alpha": (alpha(grey(FULL * WHITE), SHAPE * WHITE), SHAPE),
    "empty": (grey(EMPTY), EMPTY),
    "empty, 1-bit": (grey(EMPTY.astype(bool)), EMPTY),
    "empty, palette": (coloured(EMPTY, PALETTE), EMPTY),
    "empty, RGB": (colour(EMPTY, (0, 0, 0)), EMPTY),
    "empty, 16 bits": (grey(EMPTY.astype(np.uint16)), EMPTY),
    "full": (grey(FULL * WHITE), FULL),
    "full, 1": (grey(FULL), FULL),
    "full, 1-bit": (grey(FULL.astype(bool)), FULL),
    "full, palette": (coloured(FULL, PALETTE), FULL),
    "full, RGB": (colour(FULL, (255, 255, 255)), FULL),
}


@pytest.mark.parametrize(("image", "mask"), ROWS.values(), ids=ROWS.keys())
def test_truth_and_prediction_are_read_alike(image, mask, tmp_path):
    path = tmp_path / "mask.png"
    image.save(path)
    prediction, truth = mask_files.read_mask(path), MaskFile(path).read(mask.shape).mask
    assert prediction.dtype == truth.dtype == np.uint8
    np.testing.assert_array_equal(prediction, mask)
    np.testing.assert_array_equal(truth, mask)
    np.testing.assert_array_equal(mask_files.read_predicted_numbers(path) > 0, mask)
    assert metrics.jaccard(prediction, truth) == 1


def test_numbers_are_kept():
    for image in (
        grey(TWO),
        coloured(TWO, PALETTE),
        coloured(TWO, PALETTE).convert("RGB"),
        coloured(TWO, np.repeat(np.arange(0, 256, 9), 3).tolist()),
    ):
        np.testing.assert_array_equal(object_numbers(image), TWO)
    void = np.where(TWO == 2, 255, TWO).astype(np.uint8)
    np.testing.assert_array_equal(object_numbers(coloured(void, PALETTE).convert("RGB")), void)


@pytest.mark.parametrize("mode", ["F", "CMYK", "HSV"])
def test_other_kinds_of_pixels_are_refused(mode):
    with pytest.raises(ValueError, match=f"pixels of kind {mode}, expected grey, 1-bit, palette"):
        object_numbers(Image.new(mode, (4, 3)))


NESTED = SHAPE.copy()
NESTED[15:20, 15:20] = 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            grey(NESTED),
            r"grey levels up to 2 \(0, 1, 2\), which can be .* or a soft map",
        ),
        (grey(FULL * np.uint8(50)), "grey levels up to 50"),
        (grey(soft(SHAPE, 20)), r"grey levels up to 20 \(0, 1, 2, 3, 4, ...\).* write 0 for"),
        (grey(np.array([0, 128, 255], np.uint8)[TWO]), r"levels up to 255 \(0, 128, 255\)"),
        (grey(soft(cv2.erode(SHAPE, np.ones((9, 9))), 7)), "grey levels up to 7"),
        (grey(np.array([0, 1, 255], np.uint8)[TWO]), "levels up to 255"),
        (grey(TWO.astype(np.uint16) * 100), "levels up to 200"),
        (Image.fromarray(picture()), "a colour image of 2.* colours, expected a few objects on"),
        (as_jpeg(colour(SHAPE, (200, 0, 0))), "a colour image of"),
        (alpha(grey(SHAPE * WHITE), np.roll(SHAPE, 5) * WHITE), "alpha and grey levels show diff"),
        (alpha(grey(picture()[..., 0]), SHAPE * WHITE), "alpha and grey levels show different"),
        (Image.fromarray(np.full((3, 4), -1, np.int32)), "pixels of kind I,"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        object_numbers(image)


def test_two_numbers_in_grey_of_16_bits():
    np.testing.assert_array_equal(object_numbers(grey(TWO.astype(np.uint16))), TWO)


def test_merging_leaves_out_void_beside_numbers():
    numbers = np.array([[0, 1, 2, 255]], np.uint8)
    assert merge(numbers).tolist() == [[0, 1, 1, 0]]
    assert merge(numbers // 255).tolist() == [[0, 0, 0, 1]]
    alone = numbers // 255 * np.uint8(255)
    assert merge(alone).tolist() == [[0, 0, 0, 1]]
    assert merge(alone, numbered=True).tolist() == [[0, 0, 0, 0]]
