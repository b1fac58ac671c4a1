"""Formats of masks: what is in the files, and that they agree with one another."""

import resource

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.sources.video_files import decode_video
from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.prediction.files import (
    FORMATS,
    WITH_OBJECTS,
    levels,
    make_outputs,
    object_color,
    overlay_objects,
)
from dystab_jax.prediction.segmented import SegmentedFrame, VideoFacts
from dystab_jax.report import pictures
from tests.support.drawn_objects import BLUE, RED, Box, draw

TWO = [Box(5, 8, 20, 20, RED), Box(60, 30, 19, 20, BLUE)]


def facts(folder, is_file=True):
    return VideoFacts("drawn", 10.0, folder / "drawn.mp4", is_file)


def write(folder, formats, scenes, is_file=True, instances=False, **options):
    folder.mkdir(exist_ok=True)
    frames = [draw(boxes, t=t, first=t == 0, **options)[0] for t, boxes in enumerate(scenes)]
    outputs = make_outputs(formats, folder, facts(folder, is_file), instances)
    for frame in frames:
        for output in outputs:
            output.write(frame)
    for output in outputs:
        output.close()
    return frames


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_of_all_formats(tmp_path):
    write(tmp_path, list(FORMATS), [TWO], is_file=False, instances=True)
    assert names(tmp_path) == {
        "annotations.json",
        "cutout.mov",
        "cutout.webm",
        "cutouts/00000.png",
        "instances/00000.png",
        "masks/00000.png",
        "overlay.mp4",
        "overlays/00000.jpg",
        "soft/00000.png",
    }
    write(tmp_path / "file", ["video", "video"], [TWO])
    assert names(tmp_path / "file") == {"overlay.mp4"}


@pytest.mark.parametrize("formats", [["png", "gif"], ["PNG"], []])
def test_unknown_formats_are_refused(tmp_path, formats):
    with pytest.raises(ValueError, match="expected some of png, soft, rgba, video, coco"):
        make_outputs(formats, tmp_path, facts(tmp_path), False)


def test_instances_need_a_format_that_shows_them(tmp_path):
    with pytest.raises(ValueError, match="soft, rgba; add one of png, video, coco"):
        make_outputs(["soft", "rgba"], tmp_path, facts(tmp_path), True)
    assert len(make_outputs(["png", "soft", "png"], tmp_path, facts(tmp_path), True)) == 2
    for name in WITH_OBJECTS:
        assert len(make_outputs([name], tmp_path, facts(tmp_path), True)) == 1


@pytest.mark.parametrize("size", [(60, 100), (61, 101), (17, 23)])
def test_png_and_soft_are_the_mask(tmp_path, size):
    frames = write(tmp_path, ["png", "soft"], [TWO, [], TWO], size=size)
    for frame in frames:
        masks = cv2.imread(str(tmp_path / "masks" / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED)
        soft = cv2.imread(str(tmp_path / "soft" / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED)
        assert masks.dtype == soft.dtype == np.uint8 and masks.shape == soft.shape == size
        np.testing.assert_array_equal(masks, frame.mask * 255)
        np.testing.assert_array_equal(soft >= 128, frame.mask)
        assert np.abs(soft / 255 - frame.soft).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_levels_agree_with_the_mask_at_one_half(kind):
    half = kind(0.5)
    edge = [half, np.nextafter(half, kind(1)), np.nextafter(half, kind(0)), kind(0), kind(1)]
    soft = np.concatenate([edge, np.linspace(0, 1, 511)]).astype(kind)[None]
    mask = SegmentedFrame("a", None, np.zeros((*soft.shape, 3), np.uint8), soft).mask
    np.testing.assert_array_equal(levels(soft) >= 128, mask)
    assert levels(soft)[0, :5].tolist() == [127, 128, 127, 0, 255]
    assert np.abs(levels(soft) - 255.0 * soft).max() <= 0.5


def test_instances_are_read_as_numbers(tmp_path):
    write(tmp_path, ["png"], [TWO, [], TWO[:1]], instances=True)
    true = [draw(boxes)[1] for boxes in (TWO, [], TWO[:1])]
    for t, numbers in enumerate(true):
        path = tmp_path / "instances" / f"{t:05d}.png"
        np.testing.assert_array_equal(mask_files.read_predicted_numbers(path), numbers)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette("RGB")[:9] == davis_palette()[:3].ravel().tolist()
        mask = cv2.imread(str(tmp_path / "masks" / f"{t:05d}.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(mask != 0, numbers != 0)


def test_overlays_are_those_of_one_mask(tmp_path):
    (frame,) = write(tmp_path, ["video"], [TWO], is_file=False)
    expected = pictures.overlay(frame.image, frame.mask)
    read = cv2.imread(str(tmp_path / "overlays" / "00000.jpg"), cv2.IMREAD_COLOR_RGB)
    assert np.abs(read.astype(int) - expected).mean() < 3
    (shown, _), *rest = decode_video(tmp_path / "overlay.mp4")
    assert not rest and np.abs(shown.astype(int) - expected).mean() < 6


def test_overlays_of_objects():
    boxes = [*TWO, Box(25, 8, 10, 20, RED), Box(0, 0, 4, 4, RED)]
    frame, numbers = draw(boxes)
    expected = frame.image
    for number in range(1, 5):
        alone = (numbers == number).astype(np.uint8)
        expected = pictures.overlay(expected, alone, object_color(number))
    np.testing.assert_array_equal(overlay_objects(frame.image, numbers), expected)
    one = overlay_objects(frame.image, frame.mask)
    np.testing.assert_array_equal(one, pictures.overlay(frame.image, frame.mask))
    np.testing.assert_array_equal(overlay_objects(frame.image, numbers * 0), frame.image)


def test_colors_of_objects_differ():
    colors = np.array([object_color(number) for number in range(1, 21)], int)
    apart = np.abs(colors[:, None] - colors[None]).sum(-1) + 999 * np.eye(20, dtype=int)
    assert apart.min() > 60


def test_times_and_no_frame(tmp_path):
    outputs = make_outputs(list(FORMATS), tmp_path, facts(tmp_path), False)
    for output in outputs:
        output.close()
    assert names(tmp_path) == {"annotations.json"}
    (output,) = make_outputs(["video"], tmp_path, facts(tmp_path), False)
    times = [0, 0.5, 0.52, 3]
    for t, time in enumerate(times):
        output.write(draw(TWO, t=t, time=time)[0])
    output.close()
    shown = [time for _, time in decode_video(tmp_path / "overlay.mp4")]
    np.testing.assert_allclose(shown, times, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_full_disk(tmp_path, name):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    soft = image[..., 0] / np.float32(255)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        (output,) = make_outputs([name], tmp_path, facts(tmp_path), False)
        with pytest.raises(OSError, match=r"cannot be written below .*; is the disk full\?"):
            for t in range(40):
                output.write(SegmentedFrame(str(t), None, image, soft))
            output.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
