"""Cut-outs: colours stay, and alpha comes back from every kind of file."""

import av
import cv2
import numpy as np
import pytest

from dystab_jax.prediction.cutouts import Cutouts, matte
from dystab_jax.prediction.segmented import SegmentedFrame, VideoFacts
from tests.prediction.test_overlay_video import pictures


def frames_of(count=5, height=48, width=64, times=None):
    soft = np.zeros((count, height, width), np.float32)
    for t in range(count):
        cv2.circle(soft[t], (20 + 3 * t, 24), 12, 0.8, -1)
    return [
        SegmentedFrame(f"{t:05d}", None if times is None else times[t], image, soft[t])
        for t, image in enumerate(pictures(count, height, width))
    ]


def write(folder, frames, rate=10.0):
    output = Cutouts(folder, VideoFacts("a", rate, folder / "a.mp4", True))
    for frame in frames:
        output.write(frame)
    output.close()


def read(path):
    """RGBA and times; alpha of VP9 is only seen by libvpx's own decoder."""
    with av.open(str(path)) as container:
        (stream,) = container.streams
        if path.suffix == ".webm":
            assert stream.metadata["alpha_mode"] == "1"
            decoder = av.codec.CodecContext.create("libvpx-vp9", "r")
            frames = []
            for packet in container.demux(stream):
                frames += decoder.decode(packet if packet.size else None)
        else:
            frames = list(container.decode(stream))
        assert {len(frame.format.components) for frame in frames} <= {4}
        shown = [float(frame.pts * stream.time_base) for frame in frames]
        pictures = [
            np.dstack([frame.to_ndarray(format="rgb24"), alpha_of(frame)]) for frame in frames
        ]
        return pictures, shown


def alpha_of(frame):
    """Alpha as the file holds it: FFmpeg's conversion to RGBA spoils pixels of odd sizes."""
    plane, bits = frame.planes[3], frame.format.components[3].bits
    levels = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
    levels = levels.reshape(plane.height, -1)[:, : plane.width]
    return np.round(levels * (255 / (2**bits - 1))).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65)])
def test_png_holds_image_and_matte(tmp_path, height, width):
    frames = frames_of(2, height, width)
    write(tmp_path, frames)
    for frame in frames:
        read = cv2.imread(str(tmp_path / "cutouts" / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read[..., 2::-1], frame.image)  # outside of the mask, too
        np.testing.assert_array_equal(read[..., 3], matte(frame.mask))
        np.testing.assert_array_equal(read[..., 3] >= 128, frame.mask)


@pytest.mark.parametrize(
    ("ending", "alpha_error", "color_error"), [("mov", 1, 2), ("webm", 90, 12)]
)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (17, 33)])
def test_videos_hold_alpha(tmp_path, ending, alpha_error, color_error, height, width):
    frames = frames_of(5, height, width)
    write(tmp_path, frames)
    pictures, times = read(tmp_path / f"cutout.{ending}")
    assert len(pictures) == 5
    np.testing.assert_allclose(times, np.arange(5) / 10, atol=1e-3)
    for picture, frame in zip(pictures, frames, strict=True):
        assert picture.shape[:2] == (height + height % 2, width + width % 2)
        shown, alpha = picture[:height, :width, :3], picture[:height, :width, 3].astype(int)
        difference = np.abs(alpha - matte(frame.mask))
        assert difference.max() <= alpha_error and difference.mean() < 1.5
        assert alpha.max() >= 254 and alpha.min() <= 1
        assert np.abs(shown.astype(int) - frame.image).mean() < color_error


@pytest.mark.parametrize("ending", ["mov", "webm"])
def test_times(tmp_path, ending):
    times = [0, 0.5, 0.52, 3, 3.04]
    write(tmp_path, frames_of(times=times))
    np.testing.assert_allclose(read(tmp_path / f"cutout.{ending}")[1], times, atol=1e-3)


@pytest.mark.parametrize("ending", ["mov", "webm"])
@pytest.mark.parametrize("value", [0, 1])
def test_one_frame_that_is_empty_or_full(tmp_path, ending, value):
    (frame,) = frames_of(1)
    frame = SegmentedFrame(frame.name, None, frame.image, np.full_like(frame.soft, value))
    write(tmp_path, [frame])
    ((picture,), _) = read(tmp_path / f"cutout.{ending}")
    assert np.abs(picture[..., 3].astype(int) - 255 * value).max() <= 1


def test_no_frame(tmp_path):
    write(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_matte():
    mask = np.zeros((20, 40), np.uint8)
    mask[5:15, 5:15] = mask[10, 20:35] = mask[3, 30] = 1
    alpha = matte(mask)
    np.testing.assert_array_equal(alpha >= 128, mask)  # lines and points are not lost
    assert alpha[10, 10] == 255 and alpha[0, 0] == 0
    edge = alpha[10, 2:9].astype(int)
    assert (np.diff(edge) >= 0).all() and 0 < edge[2] < 128 <= edge[3] < 255
    np.testing.assert_array_equal(matte(mask * 0), 0 * mask)
    np.testing.assert_array_equal(matte(mask * 0 + 1), 0 * mask + 255)
