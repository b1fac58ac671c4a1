"""Still images: pairing, truth in odd encodings, records without flow."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.datasets import dut_omron, ecssd, msra_b
from data_prep.datasets.stills import GreyFile, pair
from data_prep.prepare import BadVideosError, main, prepare
from dystab_jax.data import pipeline
from dystab_jax.data.mask_files import read_bright_truth
from dystab_jax.data.records import dataset_directory, decode_record, open_source
from tests.support.tiny_videos import files_of, sliding_texture

MASK = np.zeros((48, 64), np.uint8)
MASK[10:30, 20:50] = 1


def write_image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sliding_texture(1, seed=seed)[0])


def write_truth(path, levels=255 * MASK):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), levels)


def write_msra(root, names="abcde"):
    """The folders in which MSRA-B is often passed on."""
    for seed, name in enumerate(names):
        write_image(root / "images" / f"{name}.jpg", seed)
        write_truth(root / "GT" / f"{name}.png")
    return root


def prepare_stills(dataset, source, data_dir, **options):
    return prepare(
        **{"dataset": dataset, "source": source, "data_dir": data_dir}
        | {"jobs": 1, "progress": False}
        | options
    )


# --- Truth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK * 255),
        Image.fromarray(MASK * np.uint8(1) * 73 + 128 * (MASK * 0 + 1)),  # 128 is background
        Image.fromarray(MASK),
        Image.fromarray(MASK.astype(bool)),
        Image.fromarray(np.dstack([MASK * 255] * 3)),
        Image.fromarray(np.dstack([MASK * 255] * 3 + [np.full_like(MASK, 255)])),
    ],
    ids="255 threshold 1 1bit colour alpha".split(),
)
def test_truth_of_every_kind_reads_alike(tmp_path, image):
    image.save(tmp_path / "truth.png")
    np.testing.assert_array_equal(read_bright_truth(tmp_path / "truth.png", 128), MASK)
    np.testing.assert_array_equal(GreyFile(tmp_path / "truth.png").read((48, 64)).mask, MASK)


def test_empty_truth_is_empty(tmp_path):
    write_truth(tmp_path / "truth.png", 0 * MASK)
    assert not GreyFile(tmp_path / "truth.png").read((48, 64)).mask.any()


def test_truth_of_another_size_is_fitted_if_its_proportions_agree(tmp_path):
    path = tmp_path / "truth.png"
    write_truth(path, 255 * np.kron(MASK, np.ones((2, 2), np.uint8)))
    np.testing.assert_array_equal(GreyFile(path).read((48, 64)).mask, MASK)
    write_truth(path, 255 * MASK[:, :63])  # 1.6 % narrower
    assert GreyFile(path).read((48, 64)).mask.shape == (48, 64)
    write_truth(path, 255 * MASK[:, :62])  # 3.1 %
    with pytest.raises(ValueError, match="truth.png: truth of 62x48 for an image of 64x48; their"):
        GreyFile(path).read((48, 64))


# --- Pairing --------------------------------------------------------------------------------------


def test_images_and_truths_without_partner_are_left_out(tmp_path):
    write_msra(tmp_path)
    (tmp_path / "images/b.jpg").unlink()
    for name in "cd":
        (tmp_path / f"GT/{name}.png").unlink()
    plan = msra_b.plan(tmp_path)
    assert [video.name for video in plan.videos] == ["a", "e"]
    assert plan.notes == (
        "msra_b: no truth for c.jpg d.jpg; left out",
        "msra_b: no image for b.png; left out",
        "msra_b:all is not complete: 2 of 5000 images",
    )


def test_two_files_of_one_name_are_refused(tmp_path):
    write_msra(tmp_path)
    write_truth(tmp_path / "other/b.bmp")
    with pytest.raises(
        ValueError, match="b.bmp and .*b.png: two files of one name|b.png and .*b.bmp"
    ):
        msra_b.plan(tmp_path)
    assert pair("x", [], []) == ([], [])


# --- The data sets --------------------------------------------------------------------------------


def test_msra_b_in_either_layout(tmp_path):
    write_msra(tmp_path / "apart")
    for folder, names in (("0", "abc"), ("1", "de")):
        for name in names:
            write_image(tmp_path / "beside" / folder / f"{name}.jpg")
            write_truth(tmp_path / "beside" / folder / f"{name}.bmp")
    for layout in ("apart", "beside"):
        plan = msra_b.plan(tmp_path / layout)
        assert plan.truth == {"all": tuple("abcde")} and plan.train == ()


def test_msra_b_lists(tmp_path):
    write_msra(tmp_path / "MSRA-B")
    (tmp_path / "MSRA-B/MSRA-B_train.txt").write_text("images/a.jpg GT/a.png\nd.jpg\n")
    (tmp_path / "MSRA-B/valList.txt").write_text("b\nz\n")
    (tmp_path / "MSRA-B/lists").mkdir()
    (tmp_path / "MSRA-B/lists/test_set.lst").write_text("c.jpg\n\ne.jpg\n")
    (tmp_path / "MSRA-B/latest.txt").write_text("no list of a split, despite its name")
    (tmp_path / "MSRA-B/value.txt").write_text("nor this")
    prepare_stills("msra_b", tmp_path / "MSRA-B", tmp_path / "data")
    for split, names in {"all": "abcde", "train": "ad", "val": "b", "test": "ce"}.items():
        source = open_source(tmp_path / "data", f"msra_b:{split}")
        assert [key.video for key in source.keys] == list(names)
        for raw, name in zip(source, names, strict=True):
            assert raw["image"] == (tmp_path / f"MSRA-B/images/{name}.jpg").read_bytes()
            np.testing.assert_array_equal(decode_record(raw)["mask"], MASK)
    assert msra_b.plan(tmp_path / "MSRA-B").notes == (
        "msra_b: valList.txt lists images that are not there: z",
        "msra_b:all is not complete: 5 of 5000 images",
        "msra_b:train is not complete: 2 of 2500 images",
        "msra_b:val is not complete: 1 of 500 images",
        "msra_b:test is not complete: 2 of 2000 images",
    )


def test_msra_b_lists_that_cannot_be_used(tmp_path):
    write_msra(tmp_path)
    (tmp_path / "train.txt").write_text("x\ny\n")
    with pytest.raises(ValueError, match="train.txt: none of the 2 images that it lists is there"):
        msra_b.plan(tmp_path)
    (tmp_path / "trainList.txt").write_text("a\n")
    with pytest.raises(ValueError, match="two lists of split train; remove one"):
        msra_b.plan(tmp_path)


@pytest.mark.parametrize(
    ("module", "images", "truths", "count"),
    [
        (ecssd, "images", "ground_truth_mask", 1000),
        (dut_omron, "DUT-OMRON-image", "pixelwiseGT-new-PNG", 5168),
    ],
)
def test_test_sets(tmp_path, module, images, truths, count):
    name = module.__name__.rpartition(".")[2]
    for number in (2, 10):
        write_image(tmp_path / "set" / images / f"im{number}.jpg")
        write_truth(tmp_path / "set" / truths / f"im{number}.png")
    plan = module.plan(tmp_path / "set")
    assert plan.truth == {"test": ("im2", "im10")}
    assert plan.notes == (f"{name}:test is not complete: 2 of {count} images",)
    for wrong in (tmp_path, tmp_path / "set" / images):
        with pytest.raises(FileNotFoundError, match=f"holds {images} and {truths}") as error:
            module.plan(wrong)
        assert str(error.value).endswith(f"use --source={tmp_path / 'set'}")
    for path in (tmp_path / "set" / truths).iterdir():
        path.rename(path.with_stem("other" + path.stem))
    with pytest.raises(ValueError, match=f"2 images in {images}, 2 truths in {truths}, and no two"):
        module.plan(tmp_path / "set")


def test_source_without_pairs(tmp_path):
    write_msra(tmp_path)
    with pytest.raises(ValueError, match="5 images .jpg. and 0 truths .*directory above both"):
        msra_b.plan(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match="no such directory; check --source"):
        msra_b.plan(tmp_path / "absent")


# --- Records --------------------------------------------------------------------------------------


def test_records_without_flow(tmp_path):
    prepare_stills("msra_b", write_msra(tmp_path / "MSRA-B"), tmp_path / "data")
    source = open_source(tmp_path / "data", "msra_b:all")
    assert not source.has_flow and source.keys[1] == ("b", 0, 0)
    record = decode_record(source[1])
    image = cv2.imread(str(tmp_path / "MSRA-B/images/b.jpg"), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(record.pop("image"), image)
    np.testing.assert_array_equal(record.pop("mask"), MASK)
    assert record == {
        "video": "b",
        "frame_name": "b",
        "group": "",
        "estimator": "",
        "frame": 0,
        "gap": 0,
        "height": 48,
        "width": 64,
    }
    example = pipeline.Decoded(source, (24, 32), keep=True)[1]
    assert set(example) == {"image"} and example["image"].shape == (24, 32, 3)
    frames = pipeline.frames_of(source)
    assert [(frame.name, frame.positions) for frame in frames] == [
        (name, (position,)) for position, name in enumerate("abcde")
    ]


def test_stills_join_with_stills_alone(tmp_path, tiny_data):
    data = tmp_path / "data"
    prepare_stills("msra_b", write_msra(tmp_path / "MSRA-B"), data)
    shutil.copytree(tiny_data / "folder", data / "folder")
    twice = open_source(data, "msra_b:all+msra_b:all")
    assert not twice.has_flow and len(twice) == 10
    assert twice.keys[7].video == "msra_b-all-c" and twice[7]["video"] == b"c"
    assert open_source(data, "folder/tiny:train+folder/tiny:val").has_flow
    with pytest.raises(ValueError, match="folder/tiny:train holds videos, msra_b:all holds still"):
        open_source(data, "folder/tiny:train+msra_b:all")


def test_parallel_and_serial_runs_write_the_same_bytes(tmp_path):
    source = write_msra(tmp_path / "MSRA-B", [f"{number}" for number in range(20)])
    one = prepare_stills("msra_b", source, tmp_path / "one")
    two = prepare_stills("msra_b", source, tmp_path / "two", jobs=2)
    assert len(open_source(tmp_path / "one", "msra_b:all")) == 20
    assert files_of(one) == files_of(two)


def test_flow_options_mean_nothing_to_stills(tmp_path):
    source = write_msra(tmp_path / "MSRA-B")
    one = prepare_stills("msra_b", source, tmp_path / "data", flow_size="native", max_gap=7)
    before = (one / "preparation.json").stat().st_mtime_ns
    prepare_stills("msra_b", source, tmp_path / "data")
    assert (one / "preparation.json").stat().st_mtime_ns == before


def test_bad_image_is_named_and_the_others_are_done(tmp_path):
    source = write_msra(tmp_path / "MSRA-B")
    (source / "images/b.jpg").write_bytes(b"broken")
    write_truth(source / "GT/c.png", np.zeros((64, 48), np.uint8))
    with pytest.raises(BadVideosError, match="b.jpg: not a readable image") as error:
        prepare_stills("msra_b", source, tmp_path / "data")
    assert "c.png: truth of 48x64 for an image of 64x48" in str(error.value)
    prepare_stills("msra_b", source, tmp_path / "data", skip_bad=True)
    source = open_source(tmp_path / "data", "msra_b:all")
    assert [key.video for key in source.keys] == ["a", "d", "e"]


@pytest.mark.parametrize(
    ("dataset", "folder", "spec", "count"),
    [
        ("msra_b", "MSRA-B", "msra_b:all", 13),
        ("ecssd", "ECSSD", "ecssd:test", 100),
        ("dut_omron", "DUT-OMRON", "dut_omron:test", 30),
    ],
)
def test_real_images(shared, tmp_path, capsys, dataset, folder, spec, count):
    arguments = [f"--dataset={dataset}", f"--source={shared / 'data/saliency' / folder}"]
    assert main([*arguments, f"--data_dir={tmp_path}", "--jobs=1"]) == 0
    said = capsys.readouterr().err
    assert f"{spec} is not complete: {count} of" in said
    assert f"prepared {count} images in {dataset_directory(tmp_path, dataset)}" in said
    source = open_source(tmp_path, spec)
    masks = [decode_record(source[position])["mask"] for position in range(0, count, 3)]
    assert all(0.005 < mask.mean() < 0.8 for mask in masks)
    border = [mask[[0, -1]].mean() for mask in masks]  # objects of these sets keep off the border
    assert np.mean(border) < 0.1


def test_names_and_clutter_of_stills(tmp_path):
    """Archives of other systems: hidden copies, accents apart, endings in upper case."""
    source = write_msra(tmp_path / "msra", ["caf\u00e9", "LICENSE2"])
    (source / "GT" / "caf\u00e9.png").rename(source / "GT" / "cafe\u0301.PNG")
    for name in ("LICENSE", "LICENSE2", "a.txt"):
        (source / name).write_text("")
    for folder in ("images", "GT"):
        (source / "__MACOSX" / folder).mkdir(parents=True)
        for ending in ("jpg", "png"):
            (source / "__MACOSX" / folder / f"._LICENSE2.{ending}").write_bytes(b"\0")
            (source / folder / f"._LICENSE2.{ending}").write_bytes(b"\0")
    (source / "trainlist.txt").write_bytes("cafe\u0301.jpg 1\r\n".encode("utf-16"))
    plan = msra_b.plan(source)
    assert plan.truth == {"all": ("LICENSE2", "caf\u00e9"), "train": ("caf\u00e9",)}
    assert all(len(list(video.read())) == 1 for video in plan.videos)


def test_what_is_not_read_of_stills_is_said(tmp_path):
    for seed, name in enumerate("ab"):
        write_image(tmp_path / "images" / f"{name}.jpg", seed)
        write_truth(tmp_path / "ground_truth_mask" / f"{name}.png")
    for name in ("c.svg", "d.svg", ".e.svg"):
        (tmp_path / "images" / name).write_text("")
    note, complete = ecssd.plan(tmp_path).notes
    assert note.startswith(f"not read: 2 files in {tmp_path}, such as {tmp_path}/images/c.svg, ")
    assert complete == "ecssd:test is not complete: 2 of 1000 images"
    note, *_ = msra_b.plan(tmp_path).notes
    assert note.startswith(f"not read: 2 files in {tmp_path}, such as {tmp_path}/images/c.svg, ")
