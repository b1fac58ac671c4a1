"""DAVIS-2017 and YouTube-VOS: palette images that number the objects, 255 = void."""

import json
import shutil
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.datasets import davis2017, youtube_vos
from data_prep.prepare import prepare
from data_prep.sources.truth import IndexFile
from dystab_jax.data.records import dataset_directory, decode_record, open_source
from tests.support.tiny_videos import sliding_texture

NUMBERS = np.zeros((48, 64), np.uint8)
NUMBERS[5:20, 5:30] = 1
NUMBERS[25:40, 30:60] = 2
NUMBERS[40, 30:60] = 255


def write_palette(path, numbers):
    image = Image.fromarray(numbers, "L").convert("P")
    image.putpalette([0] * 6 + [200] * 762)  # index 1 is as black as index 0
    image.putdata(numbers.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_images(folder, numbers):
    folder.mkdir(parents=True)
    for t, frame in zip(numbers, sliding_texture(len(numbers)), strict=True):
        cv2.imwrite(str(folder / f"{t:05d}.jpg"), frame[..., ::-1])


def prepare_set(dataset, source, data_dir, **options):
    return prepare(
        dataset=dataset,
        source=source,
        data_dir=data_dir,
        flow_size="32x24",
        max_gap=1,
        jobs=1,
        progress=False,
        **options,
    )


def check_truth(source):
    for raw in source:
        record = decode_record(raw)
        np.testing.assert_array_equal(record["regions"], NUMBERS)
        np.testing.assert_array_equal(record["mask"], (NUMBERS == 1) | (NUMBERS == 2))


# --- Palette images -------------------------------------------------------------------------------


def test_levels_are_numbers_in_every_mode(tmp_path):
    path = tmp_path / "truth.png"
    for save in (write_palette, lambda path, numbers: Image.fromarray(numbers).save(path)):
        save(path, NUMBERS)
        np.testing.assert_array_equal(IndexFile(path).read((48, 64)).regions, NUMBERS)
    Image.fromarray(NUMBERS == 1).save(path)
    truth = IndexFile(path).read((48, 64))
    np.testing.assert_array_equal(truth.regions, NUMBERS == 1)
    assert truth.regions.dtype == np.uint8
    Image.fromarray(np.uint8(NUMBERS > 0) * 255).save(path)  # of DAVIS 2016: 255 is no void
    with pytest.raises(ValueError, match="truth.png: a black and white truth image"):
        IndexFile(path).read((48, 64))
    Image.fromarray(np.dstack([NUMBERS] * 3)).save(path)
    with pytest.raises(ValueError, match="truth.png: a truth image of mode RGB; expected a pal"):
        IndexFile(path).read((48, 64))


# --- davis2017 ------------------------------------------------------------------------------------


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / "DAVIS"
    for name in ("bear", "tuk", "dogs"):
        write_images(root / "JPEGImages/480p" / name, range(3))
        for t in range(3):
            write_palette(root / "Annotations/480p" / name / f"{t:05d}.png", NUMBERS)
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("bear\ntuk\n")
    (lists / "val.txt").write_text("dogs\n")
    return root


def test_davis_splits_and_truth(davis, tmp_path):
    shutil.rmtree(davis / "Annotations/480p/tuk")  # truth for training is never looked at
    (davis / "Annotations/480p/bear/00000.png").write_text("no image")
    prepare_set("davis2017", davis, tmp_path / "data")
    train = open_source(tmp_path / "data", "davis2017:train")
    val = open_source(tmp_path / "data", "davis2017:val")
    assert {key.video for key in train.keys} == {"bear", "tuk"}
    assert not any({"mask", "regions"} & set(raw) for raw in train)
    assert [key[1:] for key in val.keys] == [(0, 1), (1, -1), (1, 1), (2, -1)]
    check_truth(val)


def test_davis_in_full_resolution(davis):
    for kind in ("JPEGImages", "Annotations"):
        (davis / kind / "480p").rename(davis / kind / "Full-Resolution")
    assert davis2017.plan(davis).truth == {"val": ("dogs",)}
    (davis / "Annotations/Full-Resolution").rename(davis / "Annotations/480p")
    with pytest.raises(FileNotFoundError, match="there is no Annotations/Full-Resolution in it"):
        davis2017.plan(davis)


def test_davis_without_lists_is_all_validation(davis):
    shutil.rmtree(davis / "ImageSets")
    shutil.rmtree(davis / "JPEGImages/480p/tuk")
    plan = davis2017.plan(davis)
    assert plan.train == () and plan.truth == {"val": ("bear", "dogs")}
    assert plan.notes == (
        f"davis2017: no ImageSets/2017 in {davis}: all annotated sequences are val",
        "davis2017:val: no images of tuk; left out",
        "davis2017:val is not complete: 2 of 30 sequences",
    )


def test_davis_says_what_is_absent(davis):
    (davis / "Annotations/480p/dogs/00001.png").unlink()
    (davis / "JPEGImages/480p/dogs/00002.jpg").unlink()
    shutil.rmtree(davis / "JPEGImages/480p/tuk")
    plan = davis2017.plan(davis)
    assert plan.notes == (
        "davis2017:train: no images of tuk; left out",
        "davis2017:train is not complete: 1 of 60 sequences",
        "davis2017:val is not complete: 1 of 30 sequences",
        "davis2017:val: frames without annotation in dogs; not scored",
        "davis2017: no image for 1 annotations: dogs/00002",
    )
    (dogs,) = (video for video in plan.videos if video.name == "dogs")
    assert set(dogs.masks) == {"00000"}


def test_davis_refuses_what_is_not_davis(davis):
    for wrong in (davis / "JPEGImages", davis / "JPEGImages/480p", davis.parent):
        with pytest.raises(FileNotFoundError, match="holds JPEGImages and Annotations") as error:
            davis2017.plan(wrong)
        assert str(error.value).endswith(f"use --source={davis}")
    (davis / "ImageSets/2017").rename(davis / "ImageSets/480p")
    with pytest.raises(ValueError, match="this is DAVIS 2016; use --dataset=davis2016"):
        davis2017.plan(davis)
    (davis / "ImageSets/480p").rename(davis / "ImageSets/2017")
    (davis / "ImageSets/2017/train.txt").write_text("bear dogs")
    with pytest.raises(ValueError, match="val.txt: train.txt lists these as well: dogs"):
        davis2017.plan(davis)
    (davis / "ImageSets/2017/train.txt").unlink()
    (davis / "ImageSets/2017/val.txt").write_text("cat")
    with pytest.raises(ValueError, match="480p: it holds no folder of a listed sequence"):
        davis2017.plan(davis)


def test_davis_sample_of_the_reference_data(shared, tmp_path):
    prepare_set("davis2017", shared / "data" / "DAVIS2017_palette_sample", tmp_path / "data")
    source = open_source(tmp_path / "data", "davis2017:val")
    assert {key.video for key in source.keys} == {"bear", "tennis"}
    tennis = decode_record(source[2])
    assert np.unique(tennis["regions"]).tolist() == [0, 1, 2, 255]
    assert (tennis["regions"] == 255).sum() > 0 == tennis["mask"][tennis["regions"] == 255].sum()
    assert 0.03 < tennis["mask"].mean() < 0.06


# --- youtube_vos ----------------------------------------------------------------------------------


@pytest.fixture
def youtube(tmp_path):
    root = tmp_path / "YouTubeVOS"
    for name in ("003", "1aa", "2bb"):
        write_images(root / "train/JPEGImages" / name, range(0, 20, 5))
        for t in (0, 10):
            write_palette(root / "train/Annotations" / name / f"{t:05d}.png", NUMBERS)
    meta = {"videos": {name: {"objects": {}} for name in ("003", "1aa", "2bb")}}
    (root / "train/meta.json").write_text(json.dumps(meta))
    return root


def test_youtube_splits_and_truth(youtube, tmp_path):
    prepare_set("youtube_vos", youtube, tmp_path / "data")
    train = open_source(tmp_path / "data", "youtube_vos:train")
    labelled = open_source(tmp_path / "data", "youtube_vos:labelled")
    assert len(train) == 3 * 6 and not any({"mask", "regions"} & set(raw) for raw in train)
    assert [key[1:] for key in labelled.keys] == [(0, 1), (2, -1), (2, 1)] * 3
    assert labelled.frame_names == ["00000", "00010", "00010"] * 3
    check_truth(labelled)


def test_youtube_restricted_to_a_named_split(youtube, tmp_path):
    path = tmp_path / "chosen.txt"
    path.write_text("2bb\n003\n")
    prepare_set("youtube_vos", youtube / "train", tmp_path / "data", sequences=path)
    source = open_source(tmp_path / "data", "youtube_vos:labelled")
    assert {key.video for key in source.keys} == {"003", "2bb"}
    directory = dataset_directory(tmp_path / "data", "youtube_vos")
    kept = json.loads((directory / "preparation.json").read_text())["sequences"]
    assert kept["name"] == "chosen.txt"
    prepare_set("youtube_vos", youtube / "train", tmp_path / "data", sequences=path)
    path.write_text("2bb\n")  # the same name, another split
    with pytest.raises(ValueError, match="prepared with other settings .sequences "):
        prepare_set("youtube_vos", youtube / "train", tmp_path / "data", sequences=path)


def test_youtube_lists_that_cannot_be_used(youtube, tmp_path):
    path = tmp_path / "chosen.txt"
    with pytest.raises(FileNotFoundError, match="chosen.txt: no such file; check --sequences"):
        prepare_set("youtube_vos", youtube, tmp_path / "data", sequences=path)
    path.write_text("003\nzzz\n")
    with pytest.raises(ValueError, match="chosen.txt: no folder in .*JPEGImages for zzz"):
        youtube_vos.plan(youtube, sequences=path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="chosen.txt: it is empty"):
        youtube_vos.plan(youtube, sequences=path)


def test_youtube_frames_between_the_labelled_ones(youtube):
    assert "frames are 5 apart (003)" in youtube_vos.plan(youtube).notes[-1]
    for name in ("003", "1aa", "2bb"):
        write_images(youtube / "train_all_frames/JPEGImages" / name, range(20))
    plan = youtube_vos.plan(youtube)
    assert all(len(video.paths) == 20 and len(video.masks) == 2 for video in plan.videos)
    assert plan.notes == (
        f"youtube_vos: all frames, from {youtube}/train_all_frames/JPEGImages",
        "youtube_vos is not complete: 3 of 3471 videos",
    )


def test_youtube_says_what_is_absent(youtube):
    (youtube / "train/JPEGImages/1aa").rename(youtube / "train/JPEGImages/9zz")
    (youtube / "train/JPEGImages/003/00010.jpg").unlink()
    plan = youtube_vos.plan(youtube)
    assert plan.notes[:4] == (
        "youtube_vos: not in meta.json: 9zz",
        "youtube_vos: 1 videos of meta.json have no images: 1aa",
        "youtube_vos is not complete: 3 of 3471 videos",
        "youtube_vos: no image for 1 annotations: 003/00010",
    )
    assert plan.truth == {"labelled": ("003", "2bb")} and "9zz" in plan.train


def test_youtube_refuses_what_it_is_not(youtube):
    for wrong in (youtube / "train/JPEGImages", youtube.parent):
        with pytest.raises(
            FileNotFoundError, match="holds JPEGImages, Annotations and meta.js"
        ) as e:
            youtube_vos.plan(wrong)
        assert str(e.value).endswith(f"use --source={youtube / 'train'}")
    for text in ("{", "[]", "{}"):
        (youtube / "train/meta.json").write_text(text)
        with pytest.raises(ValueError, match="meta.json: malformed .*expected a dictionary 'vid"):
            youtube_vos.plan(youtube)
    (youtube / "train/meta.json").unlink()
    with pytest.raises(FileNotFoundError, match="train: there is no meta.json in it"):
        youtube_vos.plan(youtube)


def test_youtube_sample_of_the_reference_data(shared, tmp_path):
    sample, name = shared / "data" / "YouTubeVOS_sample", "03deb7ad95"
    images, truth = (tmp_path / f"YT/train/{kind}/{name}" for kind in ("JPEGImages", "Annotations"))
    images.mkdir(parents=True)
    truth.mkdir(parents=True)
    capture = cv2.VideoCapture(str(sample / f"{name}.mp4"))
    for t in (110, 115):  # the video begins at the frame that has truth
        assert cv2.imwrite(str(images / f"{t:05d}.jpg"), capture.read()[1])
    capture.release()
    shutil.copy(sample / "00110.png", truth)
    (tmp_path / "YT/train/meta.json").write_text(json.dumps({"videos": {name: {}}}))
    prepare_set("youtube_vos", tmp_path / "YT", tmp_path / "data")
    (raw,) = open_source(tmp_path / "data", "youtube_vos:labelled")
    record = decode_record(raw)
    assert record["image"].shape == (720, 1280, 3) and record["frame_name"] == "00110"
    assert np.unique(record["regions"]).tolist() == [0, 1, 2, 3]
    assert 0.3 < record["mask"].mean() < 0.35
    # Object 3 is a red umbrella.
    red, green, blue = record["image"][record["regions"] == 3].mean(axis=0)
    assert red > 1.5 * max(green, blue)


# --- Lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_every_encoding_name_all_sequences(davis, youtube, tmp_path, encoding):
    joined, apart = (unicodedata.normalize(form, "d\u00f6gs") for form in ("NFC", "NFD"))
    for folder in ("JPEGImages", "Annotations"):
        (davis / folder / "480p" / "dogs").rename(davis / folder / "480p" / apart)
    lists = davis / "ImageSets" / "2017"
    expected = davis2017.plan(davis).train
    for split, row in {"train": expected, "val": (joined,)}.items():
        text = "\r\n".join([*row, "", ""])
        (lists / f"{split}.txt").write_bytes(text.encode(encoding))
    found = davis2017.plan(davis)
    assert found.train == expected and found.truth == {"val": (apart,)}

    names = youtube_vos.plan(youtube).train
    (tmp_path / "ids.txt").write_bytes(f"{names[0]}\r\n".encode(encoding))
    assert youtube_vos.plan(youtube, tmp_path / "ids.txt").train == names[:1]


def test_a_list_that_is_no_text_is_named(youtube, tmp_path):
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfa\xfb")
    with pytest.raises(ValueError, match="ids.txt: not text in UTF-8"):
        youtube_vos.plan(youtube, tmp_path / "ids.txt")
