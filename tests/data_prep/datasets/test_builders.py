"""The data sets: what is found in each layout, and what is written for TFDS."""

import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.builder import Plan
from data_prep.datasets import davis2016, folder, movers
from data_prep.datasets.drawing import draw_video
from data_prep.prepare import prepare
from data_prep.sources.discover import list_videos
from data_prep.sources.frames import VideoFile, read_image
from data_prep.video import Recipe, prepare_video
from dystab_jax.data.mask_files import encode_mask
from dystab_jax.data.records import decode_record, open_source
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks, write_video


def prepared(root, **options):
    """Prepares into root / "data" without noise."""
    return prepare(data_dir=root / "data", jobs=1, progress=False, **options)


# --- Masks and images -----------------------------------------------------------------------------


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


# --- folder ---------------------------------------------------------------------------------------


def test_folder_finds_frame_folders_and_video_files_in_natural_order(tmp_path):
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


def test_folder_may_be_one_frame_folder_or_one_video_file(tmp_path):
    frames = write_frames(tmp_path / "only", sliding_texture(2))
    video = write_video(tmp_path / "clip.avi", sliding_texture(2))
    for path, name in ((frames, "only"), (video, "clip")):
        (source,) = folder.plan(path).videos
        assert source.name == name and len(list(source.read())) == 2


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


def test_folder_masks_make_a_validation_split(tmp_path):
    frames = sliding_texture(4)
    write_frames(tmp_path / "videos" / "seen", frames)
    write_video(tmp_path / "videos" / "clip.avi", frames)
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9] = 1
    write_masks(tmp_path / "truth" / "clip", {"00001": mask, "00003": mask * 255})
    prepared(
        tmp_path, dataset="folder", source=tmp_path / "videos", masks=tmp_path / "truth", max_gap=1
    )
    train = open_source(tmp_path / "data", "folder/videos:train")
    val = open_source(tmp_path / "data", "folder/videos:val")
    assert {key.video for key in train.keys} == {"seen", "clip"}
    assert val.keys == [("clip", 1, -1), ("clip", 1, 1), ("clip", 3, -1)]
    for raw in val:
        np.testing.assert_array_equal(decode_record(raw)["mask"], mask)
    assert not any("mask" in raw for raw in train)


def test_plain_tfds_reads_a_prepared_set(tmp_path):
    frames = sliding_texture(3)
    write_frames(tmp_path / "videos" / "a", frames)
    directory = prepared(tmp_path, dataset="folder", source=tmp_path / "videos")
    builder = tfds.builder_from_directory(directory)
    assert builder.info.full_name == "folder/videos/1.0.0"
    example = builder.as_data_source("train")[0]
    np.testing.assert_array_equal(example["image"], frames[0])
    assert example["flow_forward"].shape == (2 * 48, 64, 1)
    assert example["video"] == b"a" and example["mask"] == b""


@pytest.mark.parametrize("limit", [1, 60_000, 1 << 30])
def test_shards_hold_the_same_records_in_the_same_order(tmp_path, limit):
    write_frames(tmp_path / "videos" / "a", sliding_texture(3))
    write_frames(tmp_path / "videos" / "b", sliding_texture(4))
    plan = folder.plan(tmp_path / "videos")
    paths = {video.name: tmp_path / f"{video.name}.zip" for video in plan.videos}
    for video in plan.videos:
        prepare_video(video, Recipe(max_gap=2), paths[video.name])
    builder = folder.Folder(
        data_dir=tmp_path / "data", plan=plan, intermediates=paths, shard_bytes=limit
    )
    builder.download_and_prepare()
    shards = builder.info.splits["train"].shard_lengths
    assert sum(shards) == 6 + 10
    if limit == 1:
        assert shards == [1] * 16
    elif limit == 60_000:
        assert 2 < len(shards) < 16 and max(shards) > 1
    else:
        assert shards == [16]
    read = [
        (example["video"].decode(), example["frame"], example["gap"])
        for example in builder.as_data_source("train")
    ]
    assert read == [
        (name, t, gap)
        for name, length in (("a", 3), ("b", 4))
        for t in range(length)
        for gap in (-2, -1, 1, 2)
        if 0 <= t + gap < length
    ]


def test_builder_alone_says_how_to_prepare(tmp_path):
    with pytest.raises(ValueError, match="python -m data_prep.prepare --dataset=movers"):
        tfds.builder("movers", data_dir=tmp_path).download_and_prepare()


# --- davis2016 ------------------------------------------------------------------------------------


def write_davis(root, train=("bear",), val=("dog", "goat"), length=3):
    """DAVIS-2016 in its original layout, tiny."""
    for split, names in {"train": train, "val": val}.items():
        lines = []
        for name in names:
            images = root / "JPEGImages" / "480p" / name
            masks = root / "Annotations" / "480p" / name
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for t, frame in enumerate(sliding_texture(length)):
                cv2.imwrite(str(images / f"{t:05d}.jpg"), frame[..., ::-1])
                cv2.imwrite(str(masks / f"{t:05d}.png"), np.uint8(frame[..., 0] > 128) * 255)
                place = f"480p/{name}/{t:05d}"
                lines.append(f"/JPEGImages/{place}.jpg /Annotations/{place}.png")
        lists = root / "ImageSets" / "480p"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_davis_splits_bytes_and_truth(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    shutil.rmtree(source / "Annotations/480p/bear")  # truth for training is never looked at
    prepared(tmp_path, dataset="davis2016", source=source)
    train = open_source(tmp_path / "data", "davis2016:train")
    val = open_source(tmp_path / "data", "davis2016:val")
    assert {key.video for key in train.keys} == {"bear"}
    assert not any("mask" in raw for raw in train)
    assert [key for key in val.keys if key.video == "goat"] == [
        ("goat", t, gap) for t in range(3) for gap in (-2, -1, 1, 2) if 0 <= t + gap < 3
    ]
    assert len({key.video for key in val.keys}) == 2
    for raw in val:
        name = f"480p/{raw['video'].decode()}/{raw['frame_name'].decode()}"
        assert raw["image"] == (source / f"JPEGImages/{name}.jpg").read_bytes()
        truth = cv2.imread(str(source / f"Annotations/{name}.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(decode_record(raw)["mask"], truth > 0)


def test_davis_says_what_is_absent(tmp_path):
    plan = davis2016.plan(write_davis(tmp_path))
    assert len(plan.notes) == 2
    assert "train is not complete: 1 of 30 sequences, 3 of 2079 frames" in plan.notes[0]
    assert "val is not complete: 2 of 20 sequences, 6 of 1376 frames" in plan.notes[1]
    assert "soapbox" in plan.notes[1] and "goat" not in plan.notes[1]


def test_davis_knows_the_whole_benchmark():
    for split, count in (("train", 30), ("val", 20)):
        assert len(set(davis2016.SEQUENCES[split])) == count
    assert not set(davis2016.SEQUENCES["train"]) & set(davis2016.SEQUENCES["val"])


def test_davis_one_list_is_enough(tmp_path):
    source = write_davis(tmp_path / "DAVIS")
    (source / "ImageSets/480p/train.txt").unlink()
    plan = davis2016.plan(source)
    assert plan.train == () and plan.truth == {"val": ("dog", "goat")}


def test_davis_refuses_what_is_not_davis(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such directory; check --source"):
        davis2016.plan(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="holds JPEGImages, Annotations and ImageSets"):
        davis2016.plan(tmp_path)
    source = write_davis(tmp_path / "empty", train=(), val=())
    with pytest.raises(ValueError, match="no frame is listed"):
        davis2016.plan(source)
    source = write_davis(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=f"ImageSets: use --source={source}$"):
        davis2016.plan(source / "JPEGImages")
    (source / "ImageSets/480p/val.txt").write_text("bear\ndog\n")
    with pytest.raises(ValueError, match="val.txt line 1: 'bear'; expected the paths of an image"):
        davis2016.plan(source)


def test_davis_sample_of_the_reference_data(shared):
    plan = davis2016.plan(shared / "data" / "DAVIS2016")
    assert "9 of 20 sequences, 561 of 1376 frames" in plan.notes[1]
    assert len(plan.videos) == 10 and plan.train == ("bear",)
    assert all(path.is_file() for video in plan.videos for path in video.paths)
    assert all(
        len(video.masks) == len(video.paths) for video in plan.videos if video.name != "bear"
    )


# --- movers ---------------------------------------------------------------------------------------


def test_movers_are_the_drawn_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(movers, "VIDEOS", {"train": 1, "val": 0, "test": 1})
    prepared(tmp_path, dataset="movers", max_gap=1)
    train = open_source(tmp_path / "data", "movers:train")
    assert not any("mask" in raw for raw in train) and set(train.groups) == {""}
    assert {key.video for key in train.keys} == {"train-000"}

    test = open_source(tmp_path / "data", "movers:test")
    drawn = draw_video("test", 0)
    assert [key.frame for key in test.keys if key.gap == 1] == list(range(len(drawn.frames) - 1))
    for raw, group in zip(test, test.groups, strict=True):
        record = decode_record(raw)
        t = record["frame"]
        assert np.abs(record["image"].astype(int) - drawn.frames[t]).mean() < 6
        assert raw["mask"] == encode_mask(drawn.masks[t])
        assert record["group"] == group == drawn.groups[t]
        assert record["flow_forward"].shape == (*drawn.frames.shape[1:3], 2)  # not enlarged


def test_movers_plan_is_complete():
    plan = movers.plan()
    assert isinstance(plan, Plan) and len(plan.train) == movers.VIDEOS["train"]
    assert {split: len(names) for split, names in plan.truth.items()} == {
        split: count for split, count in movers.VIDEOS.items() if split != "train"
    }


# --- Bad sources ----------------------------------------------------------------------------------


def test_sources_that_hold_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such file or directory"):
        list_videos(tmp_path / "absent")
    with pytest.raises(ValueError, match="no video in it; expected video files"):
        list_videos(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="notes.txt: not a video file"):
        list_videos(tmp_path / "notes.txt")


def test_sources_that_are_ambiguous(tmp_path):
    write_frames(tmp_path / "a", sliding_texture(2))
    write_video(tmp_path / "a.avi", sliding_texture(2))
    with pytest.raises(ValueError, match="two videos are named a"):
        list_videos(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), sliding_texture(1)[0])
    with pytest.raises(ValueError, match="holds images as well as videos"):
        list_videos(tmp_path)


def test_masks_that_fit_nothing(tmp_path):
    source = write_frames(tmp_path / "videos" / "a", sliding_texture(2)).parent
    with pytest.raises(FileNotFoundError, match="absent: no such directory; check --masks"):
        list_videos(source, tmp_path / "absent")
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match="masks: no masks in it; expected .*VIDEO/FRAME.png"):
        list_videos(source, tmp_path / "masks")
    write_masks(tmp_path / "masks" / "b", {"0": np.ones((2, 3), np.uint8)})
    with pytest.raises(ValueError, match="masks/b: masks of a video that is not in"):
        list_videos(source, tmp_path / "masks")
