"""Videos as Python programs hold them."""

import cv2
import numpy as np
import pytest

from dystab_jax.prediction.sources import ArrayFrames, as_picture, as_video, is_image
from tests.support.tiny_videos import sliding_texture, write_frames

FRAMES = sliding_texture(3, height=17, width=23)


def test_frames_of_an_array_come_without_loss():
    source = as_video(FRAMES)
    assert source.length() == 3 and source.fingerprint() == []
    frames = list(source.read())
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    for frame, given in zip(frames, FRAMES, strict=True):
        np.testing.assert_array_equal(frame.image, given)
        stored = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(stored, given)
        assert frame.truth is None and frame.time is None


def test_an_iterator_is_read_as_it_comes():
    taken = []

    def frames():
        for image in FRAMES:
            taken.append(1)
            yield image

    source = as_video(frames())
    assert source.length() == 0
    read = source.read()
    next(read)
    assert len(taken) == 1 and len(list(read)) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (FRAMES[0].astype(float), r"frame 3 is float64 \[17, 23, 3\]; expected RGB, uint8"),
        (FRAMES[0, ..., 0], r"frame 3 is uint8 \[17, 23\]"),
        (np.zeros((17, 23, 4), np.uint8), r"frame 3 is uint8 \[17, 23, 4\]"),
        (np.zeros((0, 23, 3), np.uint8), r"frame 3 is uint8 \[0, 23, 3\]"),
        (np.zeros((2, 17, 23, 3), np.uint8), r"frame 3 is uint8 \[2, 17, 23, 3\]"),
    ],
)
def test_what_is_no_picture(given, message):
    with pytest.raises(ValueError, match=message):
        as_picture(given, "frame 3")
    with pytest.raises(ValueError, match="frame 1 is"):
        list(ArrayFrames("video", [FRAMES[0], given]).read())


def test_a_path_holds_one_video(tmp_path):
    folder = write_frames(tmp_path / "a", FRAMES)
    assert as_video(folder).name == "a"
    write_frames(tmp_path / "b", FRAMES)
    with pytest.raises(ValueError, match="holds 2 videos, the first is a; give one"):
        as_video(tmp_path)
    assert is_image(folder / "0.png") and not is_image(folder)


def test_an_array_of_another_rank():
    with pytest.raises(ValueError, match=r"\[17, 23\]; expected a video, uint8 \[T, H, W, 3\]"):
        as_video(FRAMES[0, ..., 0])
