"""Overlay videos: what browsers need of them, and disks that are full."""

import re
import resource
from base64 import b64encode

import av
import numpy as np
import pytest

from data_prep.sources.video_files import decode_video, read_rate
from dystab_jax.prediction.overlay_video import OverlayVideo
from tests.support.browser import patiently, run_page
from tests.support.tiny_videos import sliding_texture


def pictures(count=6, height=49, width=65):
    flat = np.repeat(np.repeat(sliding_texture(count, height // 8 + 1, width // 8 + 1), 8, 1), 8, 2)
    return np.ascontiguousarray(flat[:, :height, :width])


def write(path, frames, rate=10.0, times=None):
    with OverlayVideo(path, rate) as video:
        for t, frame in enumerate(frames):
            video.write(frame, None if times is None else times[t])
    return path


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (48, 65), (49, 64), (17, 2001)])
def test_browsers_play_it(tmp_path, height, width):
    frames = pictures(3, height, width)
    path = write(tmp_path / "a:b%d.mp4", frames)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # it plays while it loads
    with av.open(f"file:{path}") as container:
        (stream,) = container.streams
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.profile) == ("h264", "yuv420p", "High")
        assert (codec.height, codec.width) == (height + height % 2, width + width % 2)
        assert codec.colorspace == 1  # BT.709, which browsers take for granted
    read = np.stack([image for image, _ in decode_video(path)])
    assert np.abs(read[:, :height, :width].astype(int) - frames).mean() < 12
    assert np.abs(read.mean((0, 1, 2)) - frames.mean((0, 1, 2))).max() < 3  # no change of colour


SHOWN = """
const video = document.querySelector("video");
function draw(picture) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const mean = [0, 0, 0], data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  data.forEach((value, i) => { if (i % 4 < 3) mean[i % 4] += value * 4 / data.length; });
  document.body.dataset.shown = JSON.stringify([canvas.width, canvas.height, ...mean]);
}
video.addEventListener("seeked", () => createImageBitmap(video).then(draw));
video.addEventListener("loadeddata", () => { video.currentTime = 0.2; });
video.addEventListener("error", () => { document.body.dataset.refused = video.error.message; });
"""


@patiently
def test_a_browser_decodes_it(tmp_path):
    frames = np.full((5, 48, 64, 3), (200, 120, 40), np.uint8)
    uri = (
        "data:video/mp4;base64,"
        + b64encode(write(tmp_path / "a.mp4", frames).read_bytes()).decode()
    )
    page = tmp_path / "page.html"
    page.write_text(f'<video muted src="{uri}"></video>')
    dom = run_page(page, script=SHOWN)
    assert "data-refused" not in dom
    shown = re.search(r'data-shown="\[([^]]+)\]"', dom)
    assert shown, "it is not decoded"
    np.testing.assert_allclose(
        [float(v) for v in shown[1].split(",")], [64, 48, 200, 120, 40], atol=8
    )


@pytest.mark.parametrize("rate", [0.01, 10, 24000 / 1001, 25, 30000 / 1001, 120, 1000])
def test_rate(tmp_path, rate):
    path = write(tmp_path / "a.mp4", pictures(), rate)
    assert read_rate(path) == pytest.approx(rate, rel=0.02)
    shown = [time for _, time in decode_video(path)]
    np.testing.assert_allclose(shown, np.arange(6) / rate, atol=1e-4, rtol=1e-4)


def test_times(tmp_path):
    times = [0, 0.5, 0.52, 3, 3.04, 9]
    path = write(tmp_path / "a.mp4", pictures(), times=times)
    np.testing.assert_allclose([time for _, time in decode_video(path)], times, atol=1e-4)


def test_times_that_stand_still_lose_no_picture(tmp_path):
    path = write(tmp_path / "a.mp4", pictures(), times=[0, 0.1, 0.1, 0.05, 0.2, 0.3])
    assert len(list(decode_video(path))) == 6


def test_single_picture_and_none(tmp_path):
    assert len(list(decode_video(write(tmp_path / "one.mp4", pictures(1))))) == 1
    assert not write(tmp_path / "none.mp4", []).exists()


def test_folder_that_is_gone(tmp_path):
    with pytest.raises(OSError, match=r"a\.mp4 cannot be written below .*; is the disk full\?"):
        write(tmp_path / "gone" / "a.mp4", pictures())


@pytest.mark.parametrize("room", [0, 1000, 20_000, 60_000])
def test_full_disk(tmp_path, room):
    frames = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), np.uint8)
    path = write(tmp_path / "whole.mp4", frames)
    assert path.stat().st_size > 100_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.mp4 cannot be written below"):
            write(tmp_path / "a.mp4", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_error_in_between_is_not_hidden(tmp_path):
    with pytest.raises(KeyError), OverlayVideo(tmp_path / "a.mp4", 10) as video:
        video.write(pictures(1)[0])
        raise KeyError
