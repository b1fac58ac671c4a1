"""Frames of images and of video files."""

import cv2
import numpy as np
import pytest

from data_prep.sources.frames import VideoFile, read_image
from tests.support.tiny_videos import sliding_texture, write_video


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "ppm", "webp"])
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


@pytest.mark.parametrize(("ending", "code"), [("avi", "MJPG"), ("mp4", "mp4v"), ("webm", "VP80")])
def test_video_files_of_common_kinds(tmp_path, ending, code):
    frames = sliding_texture(4, height=64, width=96)
    path = write_video(tmp_path / f"clip.{ending}", frames, code)
    read = list(VideoFile("clip", path).read())
    assert len(read) == 4
    for frame, original in zip(read, frames, strict=True):
        assert np.abs(frame.image.astype(int) - original).mean() < 12
        stored = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(stored.astype(int) - frame.image).mean() < 8  # BGR would be above 30
        assert frame.encoded.startswith(b"\xff\xd8\xff")
