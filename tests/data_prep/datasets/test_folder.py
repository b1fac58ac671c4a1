"""Any videos, as folders of frames or as video files, with or without masks."""

import numpy as np

from data_prep.datasets import folder
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.data.records import decode_record, open_source
from tests.support.mask_encodings import coloured
from tests.support.tiny_sets import prepare_in
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks, write_video


def test_finds_frame_folders_and_video_files_in_natural_order(tmp_path):
    write_frames(tmp_path / "v10", sliding_texture(2))
    write_frames(tmp_path / "v9", sliding_texture(12), ending=".jpg")
    write_video(tmp_path / "clip.avi", sliding_texture(3))
    (tmp_path / "readme.txt").write_text("not a video")
    (tmp_path / ".hidden").mkdir()
    plan = folder.plan(tmp_path)
    assert plan.train == ("clip", "v9", "v10") and plan.truth == {}
    frames = [[frame.name for frame in video.read()] for video in plan.videos]
    assert frames == [
        ["00000", "00001", "00002"],
        [str(t) for t in range(12)],  # 2 before 10
        ["0", "1"],
    ]
    assert [video.length() for video in plan.videos] == [3, 12, 2]


def test_may_be_one_frame_folder_or_one_video_file(tmp_path):
    frames = write_frames(tmp_path / "only", sliding_texture(2))
    video = write_video(tmp_path / "clip.avi", sliding_texture(2))
    for path, name in ((frames, "only"), (video, "clip")):
        (source,) = folder.plan(path).videos
        assert source.name == name and len(list(source.read())) == 2


def test_masks_make_a_validation_split(tmp_path):
    frames = sliding_texture(4)
    write_frames(tmp_path / "videos" / "seen", frames)
    write_video(tmp_path / "videos" / "clip.avi", frames)
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9] = 1
    write_masks(tmp_path / "truth" / "clip", {"00001": mask, "00003": mask * 255})
    prepare_in(
        tmp_path, dataset="folder", source=tmp_path / "videos", masks=tmp_path / "truth", max_gap=1
    )
    train = open_source(tmp_path / "data", "folder/videos:train")
    val = open_source(tmp_path / "data", "folder/videos:val")
    assert {key.video for key in train.keys} == {"seen", "clip"}
    assert val.keys == [("clip", 1, -1), ("clip", 1, 1), ("clip", 3, -1)]
    for raw in val:
        np.testing.assert_array_equal(decode_record(raw)["mask"], mask)
    assert not any("mask" in raw for raw in train)


def test_void_of_a_numbered_sequence_is_void_in_every_frame(tmp_path):
    frames = sliding_texture(3)
    write_frames(tmp_path / "videos" / "a", frames)
    (tmp_path / "truth" / "a").mkdir(parents=True)
    numbers = np.zeros((48, 64), np.uint8)
    numbers[5:9] = 255
    for name, object_rows in (("0", slice(0)), ("1", slice(20, 30)), ("2", slice(0))):
        numbers[20:30] = 0
        numbers[object_rows] = 2
        coloured(numbers, davis_palette().tobytes()).save(tmp_path / "truth" / "a" / f"{name}.png")
    (video,) = folder.plan(tmp_path / "videos", tmp_path / "truth").videos
    shares = [video.masks[name].read((48, 64)).mask.mean() * 48 for name in "012"]
    assert shares == [0, 10, 0]
