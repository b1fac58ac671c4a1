"""Frames of image files: those of every kind that people have."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.sources.frames import read_image
from dystab_jax.data.encodings import decode_image
from tests.support.tiny_videos import sliding_texture


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "ppm", "webp", "tif", "tiff"])
def test_images_keep_their_bytes_or_become_png(tmp_path, ending):
    path = tmp_path / f"frame.{ending}"
    picture = sliding_texture(1)[0]
    cv2.imwrite(str(path), picture[..., ::-1])
    image, stored = read_image(path)
    if ending in ("jpg", "png"):
        assert stored == path.read_bytes()
    else:
        assert stored.startswith(b"\x89PNG")
    assert np.abs(image.astype(int) - picture).mean() < 6  # RGB, not BGR
    again = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(again, image)


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


UPRIGHT = np.zeros((40, 64, 3), np.uint8)
UPRIGHT[:20, :32], UPRIGHT[:20, 32:], UPRIGHT[20:, :32] = (200, 40, 40), (40, 200, 40), 90
TURNS = {1: 0, 3: 2, 6: 3, 8: 1}
"""EXIF orientation to quarters, counterclockwise, by which a viewer turns what is stored."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_photos_are_upright_where_they_are_prepared_and_where_records_are_read(
    tmp_path, kind, orientation
):
    picture = Image.fromarray(np.rot90(UPRIGHT, -TURNS[orientation]))
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    path.write_bytes(encode(picture, kind, exif=exif))
    image, stored = read_image(path)
    assert image.shape == UPRIGHT.shape
    assert np.abs(image.astype(int) - UPRIGHT).mean() < 6
    again = decode_image(stored, cv2.IMREAD_COLOR_RGB, "image")
    np.testing.assert_array_equal(again, image)
    assert (stored == path.read_bytes()) == (kind in ("JPEG", "PNG"))


def half_transparent(mode):
    picture = Image.fromarray(UPRIGHT).convert("RGBA")
    picture.putalpha(100)
    return picture.convert(mode)


OTHER = Image.fromarray(255 - UPRIGHT)
GREY = np.array(Image.fromarray(UPRIGHT).convert("L"))
SIXTEEN_BITS = UPRIGHT[..., ::-1].astype(np.uint16) * 257
UNUSUAL = {
    "CMYK JPEG": (encode(Image.fromarray(UPRIGHT).convert("CMYK"), "JPEG"), UPRIGHT),
    "grey JPEG": (encode(Image.fromarray(GREY), "JPEG"), GREY[..., None]),
    "grey PNG": (encode(Image.fromarray(GREY), "PNG"), GREY[..., None]),
    "RGBA PNG": (encode(half_transparent("RGBA"), "PNG"), UPRIGHT),
    "grey and alpha PNG": (encode(half_transparent("LA"), "PNG"), GREY[..., None]),
    "RGBA TIFF": (encode(half_transparent("RGBA"), "TIFF"), UPRIGHT),
    "RGBA WebP": (encode(half_transparent("RGBA"), "WEBP", lossless=True), UPRIGHT),
    "CMYK TIFF": (encode(Image.fromarray(UPRIGHT).convert("CMYK"), "TIFF"), UPRIGHT),
    "16-bit PNG": (cv2.imencode(".png", SIXTEEN_BITS)[1].tobytes(), UPRIGHT),
    "16-bit TIFF": (cv2.imencode(".tif", SIXTEEN_BITS)[1].tobytes(), UPRIGHT),
    "16-bit grey PNG": (cv2.imencode(".png", GREY.astype(np.uint16) * 257)[1].tobytes(), GREY),
    "palette PNG": (encode(Image.fromarray(UPRIGHT).quantize(8), "PNG"), UPRIGHT),
    "JPEG with a preview": (
        encode(
            Image.fromarray(UPRIGHT), "MPO", save_all=True, append_images=[half_transparent("L")]
        ),
        UPRIGHT,
    ),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_become_8_bit_colour(tmp_path, kind):
    data, expected = UNUSUAL[kind]
    (tmp_path / "image").write_bytes(data)
    image, stored = read_image(tmp_path / "image")
    assert image.dtype == np.uint8 and image.shape == UPRIGHT.shape
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert np.abs(image.astype(int) - expected).mean() < 6
    again = decode_image(stored, cv2.IMREAD_COLOR_RGB, "image")
    np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF"])
def test_animations_are_no_image(tmp_path, kind):
    pictures = [Image.fromarray(np.roll(UPRIGHT, 8 * t, 1)) for t in range(3)]
    data = encode(pictures[0], kind, save_all=True, append_images=pictures[1:])
    (tmp_path / "moving").write_bytes(data)
    with pytest.raises(ValueError, match=f"moving: 3 pictures in one {kind} file; give an anim"):
        read_image(tmp_path / "moving")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_half_an_image_is_named(tmp_path, kind, capfd):
    data = encode(Image.fromarray(UPRIGHT), kind)
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="half: not a readable image"):
        read_image(tmp_path / "half")
    capfd.readouterr()  # OpenCV's own complaints


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.fromarray(UPRIGHT).convert("LAB"), "TIFF"),
        cv2.imencode(".tif", UPRIGHT.astype(np.float32))[1].tobytes(),
        b"<html>",
        b"",
    ],
    ids=["Lab", "float", "web page", "empty"],
)
def test_what_is_no_image_of_8_or_16_bits_is_named(tmp_path, data):
    (tmp_path / "image.tif").write_bytes(data)
    with pytest.raises(ValueError, match="image.tif: not a readable image"):
        read_image(tmp_path / "image.tif")
