"""Video files as people have them: of every kind, unusual ones, damaged ones."""

import gc
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from data_prep.sources.truth import MaskFile
from data_prep.sources.upright import Upright
from data_prep.sources.video_files import (
    VIDEO_ENDINGS,
    VideoFile,
    count_frames,
    decode_video,
    read_rate,
)
from tests.support.tiny_videos import sliding_texture, write_masks, write_video

FRAMES = sliding_texture(12, height=64, width=96)
KEYS = {"g": "3", "bf": "0"}


def refuse(text):
    raise AssertionError(f"a note: {text}")


def images(path, note=refuse):
    return [image for image, _ in decode_video(path, note)]


def times(path):
    return [time for _, time in decode_video(path, refuse)]


def far_from(read, frames):
    return max(
        np.abs(one.astype(int) - other).mean() for one, other in zip(read, frames, strict=True)
    )


def cut(path, share, name=None):
    data = path.read_bytes()
    target = path.with_name(name or f"cut-{path.name}")
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", ""), ("a.mov", "prores_ks", "yuv422p10le"), ("a.avi", "mjpeg", ""),
        ("a.mp4", "mpeg4", ""), ("a.mp4", "libx265", "yuv420p10le"), ("a.mkv", "libsvtav1", ""),
        ("a.webm", "libvpx", ""), ("a.webm", "libvpx-vp9", ""), ("a.MTS", "libx264", ""),
        ("a.m2ts", "mpeg2video", ""), ("a.ts", "libx264", ""), ("a.3gp", "libx264", ""),
        ("a.wmv", "wmv2", ""), ("a.flv", "flv", ""), ("a.ogv", "libvpx", ""),
        ("a.m4v", "mpeg4", ""), ("a.mkv", "ffv1", ""), ("a.GIF", "gif", ""),
        ("a.y4m", "wrapped_avframe", ""), ("a.avi", "libx264", ""),
    ],
)  # fmt: skip
def test_containers_and_codecs(tmp_path, name, codec, pixels):
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_video(tmp_path / name, FRAMES, codec, pixels, quiet)
    assert path.suffix.lower() in VIDEO_ENDINGS
    frames = list(VideoFile("a", path).read(refuse))
    assert [frame.name for frame in frames] == [f"{t:05d}" for t in range(12)]
    assert far_from([frame.image for frame in frames], FRAMES) < (30 if codec == "gif" else 12)
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 10, atol=0.011)
    assert abs(count_frames(path) - 12) <= 2
    assert read_rate(path) == pytest.approx(10, rel=0.01)
    for frame in frames[::5]:
        assert frame.encoded.startswith(b"\xff\xd8\xff")
        stored = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(stored.astype(int) - frame.image).mean() < 15  # BGR would be above 30


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_frames_become_whole(tmp_path, codec):
    # Grey, because half the lines of colour would mix the fields when they are written.
    moving = sliding_texture(16, height=64, width=96, shift=(6, 0))[..., :1].repeat(3, -1)
    still = moving[:1].repeat(8, 0)
    woven = moving[::2].copy()
    woven[:, 1::2] = moving[1::2, 1::2]  # the second field is later
    options = {"x264-params": "tff=1", "crf": "10"}
    if codec == "mpeg2video":
        options = {"flags": "+ilme+ildct", "field_order": "tt", "b": "8M"}
    for frames in (still, woven):
        path = write_video(tmp_path / "a.mkv", frames, codec, options=options)
        with av.open(str(path)) as container:
            assert any(frame.interlaced_frame for frame in container.decode(video=0))
        read = images(path)
        assert len(read) == 8
        assert min(far_from(np.array(read)[:, k::2], frames[:, k::2]) for k in (0, 1)) < 5
        assert np.abs(np.mean(read, (1, 2, 3)) - frames.mean((1, 2, 3))).max() < 2
    combed = np.abs(np.diff(woven.astype(int), axis=1)).mean()
    assert np.abs(np.diff(np.int32(read), axis=1)).mean() < 0.7 * combed


def test_video_of_which_a_part_is_interlaced(tmp_path):
    frames = sliding_texture(120, height=32, width=48, shift=(1, 0))
    parts = []
    for start, params in zip((0, 40, 80), ("tff=0", "tff=1", "tff=0"), strict=True):
        part, some = tmp_path / f"{start}.ts", frames[start : start + 40]
        parts.append(write_video(part, some, "libx264", options={"x264-params": params}))
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert far_from(images(path, lambda text: None), frames) < 20


@pytest.mark.parametrize("angle", [90, 180, 270])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_rotated_like_opencv(tmp_path, angle, ending):
    path = write_video(tmp_path / f"a.{ending}", FRAMES, "libx264", rotation=angle)
    read = images(path)
    assert far_from(read, np.rot90(FRAMES, angle // 90, (1, 2))) < 12
    if ending != "mkv":
        found, image = cv2.VideoCapture(str(path)).read()
        assert found and np.abs(image[..., ::-1].astype(int) - read[0]).mean() < 2


def test_mirrored_by_the_display_matrix(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, "libx264")
    data = bytearray(path.read_bytes())
    one = 1 << 16
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", -one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert far_from(images(path), FRAMES[:, :, ::-1]) < 12


@pytest.mark.parametrize("rotation", [0, 90])
def test_frames_are_let_go_without_the_garbage_collector(tmp_path, rotation):
    path = write_video(tmp_path / "a.mp4", FRAMES, "libx264", options=KEYS, rotation=rotation)
    gc.collect()
    gc.disable()
    try:
        for number, _ in enumerate(decode_video(path, refuse)):
            held = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
            assert held < 4, f"{held} frames are held at frame {number}"
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("ratio", "shape"),
    [(Fraction(4, 3), (64, 128)), (Fraction(3, 4), (85, 96)), (Fraction(100), (64, 96))],
)
def test_pixels_become_square(tmp_path, ratio, shape):
    path = write_video(tmp_path / "a.mkv", FRAMES, "libx264", pixel_ratio=ratio)
    read = images(path)
    expected = [cv2.resize(frame, shape[::-1]) for frame in FRAMES]
    assert read[0].shape == (*shape, 3) and far_from(read, expected) < 12


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_variable_rate_keeps_its_times(tmp_path, ending):
    shown = [0, 0.1, 0.15, 0.2, 1.2, 1.3, 1.35, 1.4, 1.9, 2.0, 2.4, 2.5]
    path = write_video(tmp_path / f"a.{ending}", FRAMES, "libx264", times=shown)
    np.testing.assert_allclose(times(path), shown, atol=0.002)


def test_recordings_of_browsers_state_no_length(tmp_path):
    """WebM of a webcam, as a browser records it: without duration and index, at any times."""
    times = [0, 0.033, 0.067, 0.133, 0.166, 0.2, 0.266, 0.299, 0.333, 0.399, 0.432, 0.466]
    path = write_video(tmp_path / "a.webm", FRAMES, "libvpx", times=times, muxer={"live": "1"})
    assert count_frames(path) == 0
    frames = list(VideoFile("a", path).read(refuse))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=0.002)


def test_clock_that_is_set_back_goes_on_by_the_rate(tmp_path):
    part = write_video(tmp_path / "part.ts", FRAMES, "mpeg2video")
    (tmp_path / "a.ts").write_bytes(2 * part.read_bytes())
    read = [time for _, time in decode_video(tmp_path / "a.ts", lambda text: None)]
    np.testing.assert_allclose(np.diff(read), 0.1, atol=0.01)
    assert len(read) == 24


def test_frames_that_avi_repeats_are_not_missing(tmp_path):
    shown = [0, 0.1, 0.3, 0.4, 0.6, 0.9, 1.0, 1.2, 1.3, 1.4, 1.8, 1.9]
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", 10, width=96, height=64, pix_fmt="yuvj420p")
        for image, time in zip(FRAMES, shown, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(10 * time), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert count_frames(path) == 20
    np.testing.assert_allclose(times(path), shown, atol=0.01)


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", FRAMES, "libx264", options=KEYS)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        tick = container.streams.video[0].time_base
    start = data.index(b"elst")
    assert data[start + 4 : start + 12] == b"\0\0\0\0\0\0\0\1"  # version 0, one edit
    length, _ = struct.unpack(">II", data[start + 12 : start + 20])
    data[start + 12 : start + 20] = struct.pack(
        ">II", length * 8 // 12, int(Fraction(4, 10) / tick)
    )
    path = tmp_path / "edited.mp4"
    path.write_bytes(data)
    assert count_frames(path) == 12
    assert far_from(images(path), FRAMES[4:]) < 12


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "wmv", "flv", "ts"])
def test_sound_may_be_longer(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        codec = {"wmv": "wmv2", "flv": "flv", "avi": "mpeg4"}.get(ending, "libx264")
        stream = container.add_stream(codec, 10, width=96, height=64, pix_fmt="yuv420p")
        sound = container.add_stream("mp2" if ending in ("avi", "wmv") else "aac", 44100)
        for image in FRAMES:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        format = sound.codec_context.format.name
        for number in range(200):
            samples = np.zeros((2, 1024) if format.endswith("p") else (1, 2048))
            samples = samples.astype(np.float32 if format.startswith("flt") else np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format=format, layout="stereo")
            frame.sample_rate, frame.pts = 44100, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert len(images(path)) == 12


def test_largest_of_several_streams_is_read_with_a_note(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        small = container.add_stream("libx264", 10, width=32, height=32, pix_fmt="yuv420p")
        large = container.add_stream("libx264", 10, width=96, height=64, pix_fmt="yuv420p")
        for image in FRAMES:
            for stream, picture in ((small, image[:32, :32]), (large, image)):
                picture = np.ascontiguousarray(picture)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in (small, large):
            container.mux(stream.encode(None))
    notes = []
    assert far_from(images(path, notes.append), FRAMES) < 12
    assert notes == [
        f"{path}: 2 video streams; number 1 is read, which has the most pixels, 96x64"
    ]  # fmt: skip


@pytest.mark.parametrize("beside_video", [False, True])
def test_covers_are_no_video(tmp_path, beside_video):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", 10, width=512, height=512, pix_fmt="rgb24")
        cover.disposition = av.stream.Disposition.attached_pic
        if beside_video:
            stream = container.add_stream("libx264", 10, width=96, height=64, pix_fmt="yuv420p")
        picture = np.zeros((512, 512, 3), np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for image in FRAMES if beside_video else ():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None) if beside_video else [])
    if beside_video:
        assert far_from(images(path), FRAMES) < 12
    else:
        with pytest.raises(ValueError, match="a.mp4: there is no video in it, only sound, a cover"):
            images(path)


@pytest.mark.parametrize(
    ("name", "codec", "muxer"),
    [
        ("a.mp4", "libx264", {"movflags": "+faststart"}), ("a.mkv", "libx264", {}),
        ("a.avi", "mjpeg", {}), ("a.webm", "libvpx", {}),
        ("a.mov", "mpeg4", {"movflags": "+faststart"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
def test_truncated_files_are_refused_with_the_number_of_frames(tmp_path, name, codec, muxer, share):
    options = {} if codec == "libvpx" else KEYS
    frames = sliding_texture(40, height=64, width=96)
    whole = write_video(tmp_path / name, frames, codec, options=options, muxer=muxer)
    assert len(images(whole)) == 40
    pattern = rf"cut-{name}: \d+ of (39|40|41) frames are missing or damaged.*; get the whole file"
    with pytest.raises(ValueError, match=pattern):
        images(cut(whole, share))


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wmv", "wmv2"), ("a.asf", "mpeg4"), ("a.ogv", "libvpx"), ("a.gif", "gif")],
)
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_truncated_files_that_state_no_number(tmp_path, name, codec, share):
    whole = write_video(tmp_path / name, sliding_texture(40, height=64, width=96), codec)
    assert len(images(whole)) == 40
    pattern = (
        rf"cut-{name}: (it is cut off after \d+ frames|.* frames are missing).*; get the whole"
    )
    with pytest.raises(ValueError, match=pattern):
        images(cut(whole, share), lambda text: None)


def test_zeros_in_the_midst_are_noticed(tmp_path):
    # As left by a download of which not all parts have come.
    path = write_video(tmp_path / "a.mp4", FRAMES, "libx264", options=KEYS)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a.mp4: \d of 12 frames are missing or damaged"):
        images(path)


def test_a_single_lost_frame_is_a_note(tmp_path):
    whole = write_video(tmp_path / "a.avi", FRAMES)
    data = whole.read_bytes()
    index = data.index(b"idx1")
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: index - 10])
    notes = []
    assert len(images(path, notes.append)) >= 11
    (note,) = notes
    assert note.startswith(f"{path}: 1 of 12 frames are missing or damaged")
    assert note.endswith("; what can be decoded is used")


def test_transport_streams_are_read_as_far_as_they_go(tmp_path):
    whole = write_video(tmp_path / "a.ts", sliding_texture(40, height=64, width=96), "mpeg2video")
    notes = []
    assert 10 < len(images(cut(whole, 0.5), notes.append)) < 40
    assert all("; more may be missing at its end" in note for note in notes)


def _html(path):
    path.write_bytes(b"<!DOCTYPE html><html><body>Sign in to download</body></html>" * 50)


def _without_index(path):
    whole = write_video(path.with_name("whole.mp4"), FRAMES, "libx264")
    assert whole.read_bytes().index(b"moov") > whole.stat().st_size / 2
    cut(whole, 0.6, path.name)


def _playlist(path):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty; get it again"),
        (_html, "not a video that FFmpeg can read .*of another kind than its name says; get it"),
        (_without_index, "not a video that FFmpeg can read .*: it is incomplete, damaged or"),
        (_playlist, "not a video that FFmpeg can read "),
        (lambda path: path.write_bytes(b"\0" * 5000), "not a video that FFmpeg can read "),
    ],
)
def test_what_is_no_video_is_named(tmp_path, make, message):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(ValueError, match=f"clip.mp4: {message}"):
        images(path)
    assert count_frames(path) == 0 and read_rate(path) is None


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.mp4: no such file"):
        images(tmp_path / "absent.mp4")


@pytest.mark.parametrize(
    "name",
    ["a:b", "http:x", "100%d", "x%03d", "a b", "日本 é", "-x", "a?#[1]"],
)
def test_strange_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / "plain.mp4", FRAMES[:2], "mpeg4").rename(tmp_path / f"{name}.mp4")
    assert len(images(path)) == 2
    assert len(images(path.relative_to(tmp_path))) == 2
    assert count_frames(path.relative_to(tmp_path)) == 2


def test_sizes_that_change_are_seen(tmp_path):
    parts = [
        write_video(tmp_path / f"{size}.ts", FRAMES[:3, :size], "libx264") for size in (64, 48)
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    read = images(tmp_path / "a.ts", lambda text: None)
    assert [image.shape[0] for image in read] == [64, 64, 64, 48, 48, 48]


@pytest.mark.parametrize("params", ["", "tff=1"])
def test_few_frames_are_decoded_ahead(tmp_path, monkeypatch, params):
    frames = sliding_texture(60, height=32, width=48)
    options = {"x264-params": params} if params else {}
    path = write_video(tmp_path / "a.mp4", frames, "libx264", options=options)
    pushed = []
    push = Upright.push

    def counted(self, frame):
        pushed.append(frame.pts)
        return push(self, frame)

    monkeypatch.setattr(Upright, "push", counted)
    ahead = [len(pushed) - t for t, _ in enumerate(decode_video(path))]
    assert len(ahead) == 60 and max(ahead) <= 4


def test_masks_of_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, "libx264")
    folder = write_masks(tmp_path / "masks", {"00003": np.ones((64, 96), np.uint8)})
    read = list(VideoFile("a", path, {"00003": MaskFile(folder / "00003.png")}).read())
    assert [t for t, frame in enumerate(read) if frame.truth is not None] == [3]
    with pytest.raises(ValueError, match="00003.png: no frame 00012 in .*a.mp4"):
        list(VideoFile("a", path, {"00012": MaskFile(folder / "00003.png")}).read())
