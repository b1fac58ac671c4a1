"""FBMS-59: .dat files, both kinds of truth images, splits, and what is said of absent parts."""

import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.datasets import fbms59
from data_prep.datasets.fbms59 import RegionFile, read_definition
from data_prep.prepare import BadVideosError, prepare
from dystab_jax.data.records import decode_record, open_source
from tests.support.tiny_videos import sliding_texture

PGM_SCALES = (0, 255, 128)
PPM_SCALES = (0xFFFFFF, 0x00FFFF)
NUMBERS = np.zeros((48, 64), np.uint8)
NUMBERS[5:20, 5:30] = 1
NUMBERS[25:40, 30:60] = 2


def write_dat(path, scales, labels, frames, newline="\n"):
    """A .dat file with the traits of the real ones; labels as in `fbms59.Definition`."""
    lines = ["Ground truth definition file; do not change!", ""]
    lines += ["Total number of regions:", f"{len(scales)} "]
    for number, scale in enumerate(scales):
        lines += [f"Scale of region {number}:", str(scale)]
    lines += ["", "Confusion penality matrix:", "0   1 0.1", "1 0  1 ", "0.1 1 0  ", ""]
    lines += ["Total number of frames in this shot:", str(frames)]
    lines += ["Total number of labeled frames for this shot:", str(len(labels))]
    for number, truth, image in labels:
        lines += ["Frame number:", str(number), "File name:", truth, "Input file name:", image]
    path.write_bytes(newline.join([*lines, ""]).encode())


def write_sequence(folder, colour=False, labelled=(1, 12), length=13, start=1):
    """A sequence whose frames are NAME_1.jpg ... NAME_13.jpg: 10 sorts before 2 as text."""
    name, truth = folder.name, folder / "GroundTruth"
    truth.mkdir(parents=True)
    for t, frame in enumerate(sliding_texture(length), start):
        cv2.imwrite(str(folder / f"{name}_{t}.jpg"), frame[..., ::-1])
    labels = []
    for t in labelled:
        numbers = NUMBERS.copy()
        numbers[0, 0] = t % 2  # tells the labelled frames apart
        if colour:
            levels = np.where(numbers[..., None] == 1, [0, 255, 255], [255] * 3).astype(np.uint8)
            cv2.imwrite(str(truth / f"{name}_{t}_gt.ppm"), levels[..., ::-1])
            cv2.imwrite(str(truth / f"{name}_{t}PROB_gt.ppm"), levels // 2)
            cv2.imwrite(str(truth / f"{name}_{t}_gt.pgm"), np.full_like(numbers, 170))
            file = f"{name}_{t}_gt.ppm"
        else:
            file = f"{name}_{t}.pgm"
            cv2.imwrite(str(truth / file), np.array(PGM_SCALES, np.uint8)[numbers])
        labels.append((t - start, file, f"{name}_{t}.ppm"))
    scales = PPM_SCALES if colour else PGM_SCALES
    write_dat(truth / f"{name}Def.dat", scales, labels, length, "\n" if colour else "\r\n")
    return folder


def prepare_fbms(source, data_dir, **options):
    options = {"flow_size": "32x24", "max_gap": 1, "jobs": 1, "progress": False} | options
    return prepare(dataset="fbms59", source=source, data_dir=data_dir, **options)


@pytest.fixture
def source(tmp_path):
    """Grey truth for testing, colour truth for training."""
    write_sequence(tmp_path / "FBMS" / "Testset" / "cats")
    write_sequence(tmp_path / "FBMS" / "Trainingset" / "bears", colour=True, length=3, labelled=[2])
    return tmp_path / "FBMS"


def test_definition_with_its_oddities(tmp_path):
    write_dat(tmp_path / "x.dat", (0, 7), [(4, "a.pgm", "a.ppm")], 9, newline=" \r\n")
    read = read_definition(tmp_path / "x.dat")
    assert read == fbms59.Definition((0, 7), 9, ((4, "a.pgm", "a.ppm"),))


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (0, "no line 'total number of regions:'"),
        (80, "no line 'scale of region 0:' with a value"),
        (-14, "no line 'input file name:' with a value"),
    ],
)
def test_definition_cut_short(tmp_path, keep, message):
    path = tmp_path / "x.dat"
    write_dat(path, (0, 7), [(4, "truth.pgm", "image.ppm")], 9)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"x.dat: cut off or malformed: {message}"):
        read_definition(path)


def test_definition_with_words_for_numbers(tmp_path):
    path = tmp_path / "x.dat"
    write_dat(path, ("blue", 7), [], 9)
    with pytest.raises(ValueError, match="'blue' after 'scale of region 0:'; expected a number"):
        read_definition(path)
    write_dat(path, (0,), [], 9)
    with pytest.raises(ValueError, match="1 regions; expected 2 to 254"):
        read_definition(path)


def test_splits_frames_and_regions(source, tmp_path):
    prepare_fbms(source, tmp_path / "data")
    train, labelled, test = (
        open_source(tmp_path / "data", f"fbms59:{split}")
        for split in ("train", "train_labelled", "test")
    )
    assert {key.video for key in train.keys} == {"bears"} and len(train) == 4
    assert not any({"mask", "regions"} & set(raw) for raw in train)
    assert [(key.frame, key.gap) for key in test.keys] == [(0, 1), (11, -1), (11, 1)]
    assert test.frame_names == ["cats_1", "cats_12", "cats_12"]  # 0-based 11, in numeric order
    for raw in test:
        record = decode_record(raw)
        expected = NUMBERS.copy()
        expected[0, 0] = int(record["frame_name"].split("_")[1]) % 2
        np.testing.assert_array_equal(record["regions"], expected)
        np.testing.assert_array_equal(record["mask"], expected > 0)
    assert [(key.video, key.frame) for key in labelled.keys] == [("bears", 1)] * 2
    record = decode_record(labelled[0])
    np.testing.assert_array_equal(record["regions"], NUMBERS == 1)


def test_test_videos_without_their_truth(source, tmp_path):
    prepare_fbms(source, tmp_path / "data")
    records = open_source(tmp_path / "data", "fbms59:test_unlabelled")
    assert {key.frame for key in records.keys} == set(range(13))
    assert not any({"mask", "regions"} & records[t].keys() for t in range(len(records)))


def test_frame_numbers_count_where_names_do_not_match(source):
    definition = source / "Testset/cats/GroundTruth/catsDef.dat"
    definition.write_text(definition.read_text().replace("cats_12.ppm", "image0012.ppm"))
    (video,) = (video for video in fbms59.plan(source).videos if video.name == "cats")
    assert set(video.masks) == {"cats_1", "cats_12"}
    (source / "Testset/cats/cats_5.jpg").unlink()  # numbers mean nothing any more
    plan = fbms59.plan(source)
    assert "fbms59: cats has 12 of 13 frames" in plan.notes
    assert "fbms59: cats: no image of the labelled frames image0012" in plan.notes


def test_colours_of_no_region(tmp_path):
    levels = np.zeros((20, 20), np.uint8)
    levels[:10] = 255
    levels[0, 0] = 99
    path = tmp_path / "truth.pgm"
    cv2.imwrite(str(path), levels)
    truth = RegionFile(path, (0, 255)).read((20, 20))
    assert truth.regions[0, 0] == 255 and truth.mask[0, 0] == 0 and truth.mask.sum() == 199
    levels[-1] = 98
    cv2.imwrite(str(path), levels)
    with pytest.raises(ValueError, match=r"5% of the pixels .* such as 99; .* \[0, 255\]"):
        RegionFile(path, (0, 255)).read((20, 20))


def test_background_is_white_or_black_by_kind_and_region_zero(tmp_path):
    grey, colour = tmp_path / "truth.pgm", tmp_path / "truth.ppm"
    cv2.imwrite(str(grey), np.uint8([[0, 255, 128]]))
    cv2.imwrite(str(colour), np.uint8([[[0, 0, 0], [255, 255, 255], [0, 0, 128]]]))  # BGR
    assert RegionFile(grey, (128, 255)).read((1, 3)).regions.tolist() == [[0, 1, 0]]
    truth = RegionFile(colour, (0x800000, 0)).read((1, 3))
    assert truth.regions.tolist() == [[1, 0, 0]] and truth.mask.tolist() == [[1, 0, 0]]


def test_masks_of_earlier_systems(tmp_path):
    grey, colour = tmp_path / "truth.pgm", tmp_path / "truth.ppm"
    cv2.imwrite(str(grey), np.uint8([[0, 20, 30, 255]]))
    cv2.imwrite(str(colour), np.uint8([[[255] * 3, [255, 255, 0], [20] * 3]]))
    truth = RegionFile(grey, (0, 20, 30, 255), 0.1).read((1, 4))
    assert truth.mask.tolist() == [[0, 0, 1, 1]] and truth.regions.tolist() == [[0, 1, 2, 3]]
    scales = (0xFFFFFF, 0x00FFFF, 0x141414)
    assert RegionFile(colour, scales, 0.1).read((1, 3)).mask.tolist() == [[0, 1, 0]]


def test_levels_of_earlier_systems(tmp_path):
    for name in ("cats", "marple7", "marple2"):
        write_sequence(tmp_path / "Testset" / name, length=2, labelled=[1])
    for compatible, levels in ((True, [0.1, 0.4, 0.05]), (False, [None] * 3)):
        plan = fbms59.plan(tmp_path, fbms_compatibility=compatible)
        assert [video.masks[f"{video.name}_1"].level for video in plan.videos] == levels


def test_compatibility_is_another_preparation(source, tmp_path):
    prepare_fbms(source, tmp_path / "data")
    with pytest.raises(ValueError, match="fbms_compatibility False, now True.*--overwrite"):
        prepare_fbms(source, tmp_path / "data", fbms_compatibility=True)


def test_definition_of_another_name_and_colour_of_the_background(source):
    definition = source / "Testset/cats/GroundTruth/catsDef.dat"
    definition.write_text(definition.read_text().replace("region 0:\n0", "region 0:\n7"))
    definition = definition.rename(definition.with_name("kittensDef.dat"))
    plan = fbms59.plan(source)
    assert plan.truth["test"] == ("cats",)
    assert f"fbms59: region 0 of {definition} is coloured, yet taken for background" in plan.notes


def test_sequence_in_both_sets_is_refused(source):
    shutil.copytree(source / "Testset/cats", source / "Trainingset/cats")
    with pytest.raises(ValueError, match="in Trainingset as well as in Testset: cats"):
        fbms59.plan(source)


def test_absent_parts_are_said(source):
    (source / "Trainingset/bears/GroundTruth/bearsDef.dat").unlink()
    plan = fbms59.plan(source)
    assert plan.notes == (
        f"fbms59: {source}/Trainingset/bears/GroundTruth/bearsDef.dat is absent, so no truth",
        "fbms59:train is not complete: 1 of 29 sequences, 0 of their labelled frames",
        "fbms59:test is not complete: 1 of 30 sequences, 2 of 367 labelled frames",
    )
    assert set(plan.truth) == {"test"}
    shutil.rmtree(source / "Testset")
    assert fbms59.plan(source).truth == {}


def test_missing_truth_image_is_named(source, tmp_path):
    (source / "Testset/cats/GroundTruth/cats_12.pgm").unlink()
    with pytest.raises(BadVideosError, match="cats: .*GroundTruth/cats_12.pgm: no such file"):
        prepare_fbms(source, tmp_path / "data")


def test_source_at_another_level(source, tmp_path):
    for wrong in (source / "Testset", source / "Testset" / "cats", source.parent):
        with pytest.raises(FileNotFoundError, match="holds Trainingset or Testset") as error:
            fbms59.plan(wrong)
        assert str(error.value).endswith(f"use --source={source}")
    with pytest.raises(FileNotFoundError, match="no such directory; check --source"):
        fbms59.plan(tmp_path / "absent")
    for folder in (source / "Testset" / "cats", source / "Trainingset" / "bears"):
        shutil.rmtree(folder)
    with pytest.raises(ValueError, match="no sequence in Trainingset or Testset"):
        fbms59.plan(source)


def test_real_sequences(shared, tmp_path):
    root = shared / "data" / "FBMS59" / "Trainingset"
    for name in ("bear01", "marple13"):  # the first labelled frames only, to be quick
        target = tmp_path / "FBMS" / "Trainingset" / name
        shutil.copytree(root / name / "GroundTruth", target / "GroundTruth")
        for path in sorted(root.glob(f"{name}/*.jpg"))[:2]:
            shutil.copy(path, target)
    prepare_fbms(tmp_path / "FBMS", tmp_path / "data")
    source = open_source(tmp_path / "data", "fbms59:train_labelled")
    bear, marple = map(decode_record, source)
    assert (bear["frame_name"], marple["frame_name"]) == ("bear01_0001", "marple13_01")
    # The bear stands left of the centre; a background taken for foreground would cover 97 %.
    rows, columns = np.nonzero(bear["mask"])
    assert 0.02 < bear["mask"].mean() < 0.05
    assert 0.3 < rows.mean() / 540 < 0.6 and 0.2 < columns.mean() / 960 < 0.5
    assert np.unique(marple["regions"]).tolist() == [0, 1, 2] and 0.2 < marple["mask"].mean() < 0.3
    whole = fbms59.plan(shared / "data" / "FBMS59")
    assert [len(video.masks) for video in whole.videos] == [6, 7]
    assert [len(video.paths) for video in whole.videos] == [100, 75]


def test_definitions_of_other_systems(source):
    expected = fbms59.plan(source)
    for path in list(source.rglob("*Def.dat")):
        path.write_bytes("\r\n".join(path.read_text().splitlines()).encode("utf-16"))
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for path in list(source.rglob("*.jpg")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for path in list(source.rglob("*_gt.ppm")):
        path.rename(path.with_suffix(".PPM"))
    found = fbms59.plan(source)
    assert (found.train, found.truth, found.notes) == (
        expected.train,
        expected.truth,
        expected.notes,
    )
    for video in found.videos:
        assert sum(frame.truth is not None for frame in video.read()) == len(video.masks) > 0


@settings(max_examples=150, deadline=2000)
@given(
    st.lists(
        st.sampled_from(
            [
                "Total number of regions:",
                "Scale of region 0:",
                "Scale of region 1:",
                "Total number of frames in this shot:",
                "Total number of labeled frames for this shot:",
                "Frame number:",
                "File name:",
                "Input file name:",
                "-1",
                "2",
                "1",
                "99999999999999999999",
                "\0",
                "a.pgm",
            ]
        ),
        max_size=24,
    )
)
def test_any_definition_is_read_or_refused_by_name(lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.dat")
        path.write_text("\n".join(lines))
        try:
            read_definition(path)
        except ValueError as error:
            assert str(path) in str(error)
