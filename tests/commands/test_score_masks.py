"""The command line that scores anybody's masks."""

import json
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dystab_jax.commands import score_masks
from dystab_jax.data import records
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.data.record_keys import Key
from dystab_jax.evaluation import metrics
from dystab_jax.evaluation.protocols import registry
from tests.support.mask_encodings import ENCODINGS, coloured, random_masks

NAMES = [f"{frame:05d}.png" for frame in range(4)]

encodings = pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())


def write(folder: Path, frames, encode=ENCODINGS["0 and 255"]):
    folder.mkdir(parents=True)
    for name, mask in zip(NAMES, frames, strict=True):
        encode(mask).save(folder / name)


@pytest.fixture
def folders(tmp_path):
    """Masks and truth of the sequences "a" and "b"."""
    for seed, name in enumerate("ab"):
        write(tmp_path / "masks" / name, random_masks(seed))
        write(tmp_path / "truth" / name, random_masks(seed + 10))
    return tmp_path


def run(folder, *more, protocol="davis2016", **changes):
    paths = {"masks": folder / "masks", "truth": folder / "truth", "output": folder / "o.json"}
    named = paths | changes | ({"protocol": protocol} if protocol else {})
    return score_masks.main([*(f"--{name}={value}" for name, value in named.items()), *more])


def read(folder):
    return json.loads((folder / "o.json").read_text())


@encodings
def test_every_encoding_scores_the_same(encode, tmp_path, capsys):
    prediction, truth = random_masks(0), random_masks(1)
    write(tmp_path / "masks" / "a", prediction, encode)
    write(tmp_path / "truth" / "a", truth, encode)
    assert run(tmp_path) == 0
    j = np.mean([metrics.jaccard(*pair) for pair in zip(prediction[1:3], truth[1:3], strict=True)])
    assert read(tmp_path)["rows"][0]["mean_j"] == pytest.approx(j, abs=1e-12)
    assert f"{j:.4f}" in capsys.readouterr().out


def test_report_and_table(folders, capsys):
    assert run(folders, "--jobs=2") == 0
    report = read(folders)
    (row,) = report.pop("rows")
    assert report == {
        "dataset": "truth",
        "split": "all",
        "oracle": False,
        "protocol": "davis2016",
        "frames": 4,
        "sequences": 2,
    }
    assert (row["model"], row["crf"]) == ("masks", "none")
    videos = {
        name: registry.Video(truth=random_masks(seed + 10), masks=random_masks(seed))
        for seed, name in enumerate("ab")
    }
    expected = registry.davis2016(videos)
    assert row["per_sequence"] == expected["per_sequence"]
    assert row["mean_f"] == expected["mean_f"]
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "truth:all, protocol davis2016"
    assert [line.split()[0] for line in lines[1:5]] == ["sequence", "a", "b", "mean"]
    assert lines[4].split()[1:3] == ["4", f"{expected['mean_j']:.4f}"]
    assert f"J {expected['frame_mean_j']:.4f}" in lines[5]
    assert captured.err == ""


def test_all_frames_scores_the_ends_too(folders):
    assert run(folders, protocol="all_frames") == 0
    assert read(folders)["frames"] == 8


def test_the_ends_need_no_prediction_for_davis2016(folders, capsys):
    (folders / "masks" / "a" / NAMES[-1]).unlink()
    assert run(folders) == 0
    assert run(folders, protocol="all_frames") == 2
    assert f"{folders / 'masks' / 'a' / NAMES[-1]}: no such file" in capsys.readouterr().err


def test_sequences_by_name_and_by_list(folders):
    assert run(folders, "--sequences=b") == 0
    chosen = read(folders)
    assert list(chosen["rows"][0]["per_sequence"]) == ["b"]
    assert chosen["split"] == "custom"
    (folders / "list.txt").write_text("b\n\n")
    assert run(folders, f"--sequences={folders / 'list.txt'}") == 0
    assert read(folders) == chosen


def test_root_of_davis_means_its_validation_list(folders, capsys):
    root = folders / "DAVIS"
    (root / "Annotations").mkdir(parents=True)
    (folders / "truth").rename(root / "Annotations" / "480p")
    lists = root / "ImageSets" / "480p"
    assert run(folders, truth=root) == 2
    assert f"{lists / 'val.txt'} does not exist" in capsys.readouterr().err
    lists.mkdir(parents=True)
    entry = "/JPEGImages/480p/b/00000.jpg /Annotations/480p/b/00000.png\n"
    (lists / "val.txt").write_text(entry * 2)
    assert run(folders, truth=root) == 0
    report = read(folders)
    assert (report["dataset"], report["split"]) == ("davis2016", "val")
    assert list(report["rows"][0]["per_sequence"]) == ["b"]
    assert "not scored: a" in capsys.readouterr().err


def test_what_is_not_scored_is_reported(folders, capsys):
    (folders / "masks" / "surplus").mkdir()
    (folders / "masks" / "b" / "99999.png").write_bytes(b"never read")
    assert run(folders) == 0
    error = capsys.readouterr().err
    assert "not scored: surplus" in error
    assert "b has 1 frames without truth, such as 99999.png" in error


def test_bad_input_is_one_line_that_names_the_file(folders, capsys):
    def message(*more, **changes):
        assert run(folders, *more, **changes) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert captured.out == ""
        assert not (folders / "o.json").exists()
        return captured.err

    assert "'davis' is unknown; there are davis2016, all_frames" in message(protocol="davis")
    assert "nowhere is not a folder; --masks expects" in message(masks=folders / "nowhere")
    assert "nowhere is not a folder; --truth expects" in message(truth=folders / "nowhere")
    assert "truth has no folder for x, y" in message("--sequences=x,a,y")
    assert "list.txt does not exist" in message(f"--sequences={folders / 'list.txt'}")
    (folders / "empty").mkdir()
    assert "empty has no folder of masks; expected SEQUENCE" in message(truth=folders / "empty")

    (folders / "truth" / "c").mkdir()
    assert f"{folders / 'truth' / 'c'} has no PNG file" in message()
    (folders / "truth" / "c").rmdir()
    (folders / "masks" / "b").rename(folders / "b")
    assert "masks has no folder for b; add" in message()
    (folders / "b").rename(folders / "masks" / "b")

    path = folders / "masks" / "b" / NAMES[1]
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    error = message()
    assert str(path) in error and "(9, 9) and truth (24, 36)" in error
    path.write_bytes(b"")
    assert f"{path}: not a readable mask image" in message()
    path.unlink()
    assert f"{path}: no such file" in message()


LAYOUTS = {
    "of --mode=predict": "{sequence}/masks",
    "Annotations": "Annotations/{sequence}",
    "Annotations, 480p": "Annotations/480p/{sequence}",
    "unsupervised": "Annotations_unsupervised/480p/{sequence}",
    "Results": "Results/Segmentations/480p/{sequence}",
    "a run's": "masks/davis2016-val/{sequence}",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_predictions_are_found_in_every_layout(folders, layout, capsys):
    assert run(folders) == 0
    expected = read(folders)
    moved = folders / "moved"
    for name in "ab":
        place = moved / layout.format(sequence=name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folders / "masks" / name, place)
    if layout.startswith("{sequence}"):  # What --mode=predict writes beside the masks.
        (moved / "a" / "overlays").mkdir()
        (moved / "a" / "overlays" / "00000.jpg").write_bytes(b"never read")
        (moved / "a" / "overlay.mp4").write_bytes(b"never read")
    capsys.readouterr()
    assert run(folders, masks=moved) == 0
    assert read(folders) == expected and capsys.readouterr().err == ""


@pytest.mark.parametrize("layout", [".", "masks", "a", "a/masks", "Annotations/a"])
def test_predictions_of_one_sequence(folders, layout):
    assert run(folders, "--sequences=a") == 0
    expected = read(folders)
    moved = folders / "moved" / layout
    shutil.copytree(folders / "masks" / "a", moved)
    assert run(folders, "--sequences=a", masks=folders / "moved") == 0
    assert read(folders) == expected


@pytest.mark.parametrize("layout", list(LAYOUTS.values())[1:4])
def test_truth_is_found_in_every_layout(folders, layout):
    assert run(folders) == 0
    expected = read(folders)["rows"]
    root = folders / "root"
    for name in "ab":
        shutil.copytree(folders / "truth" / name, root / layout.format(sequence=name))
    (root / "JPEGImages" / "480p" / "a").mkdir(parents=True)
    (root / "JPEGImages" / "480p" / "a" / "00000.jpg").write_bytes(b"never read")
    if "480p" in layout:
        (root / "ImageSets" / "480p").mkdir(parents=True)
        (root / "ImageSets" / "480p" / "val.txt").write_text("a\nb\n")
    assert run(folders, truth=root) == 0
    assert read(folders)["rows"] == expected
    if "480p" in layout:
        assert run(folders, truth=root / Path(layout).parts[0]) == 0
        assert read(folders)["rows"] == expected


def test_endings_and_unpadded_numbers(folders):
    assert run(folders) == 0
    expected = read(folders)["rows"]
    for kind, name in (("masks", "00000.PNG"), ("truth", "00000.Png")):
        (folders / kind / "a" / NAMES[0]).rename(folders / kind / "a" / name)
    for kind in ("masks", "truth"):
        (folders / kind / "a" / "._00000.png").write_bytes(b"of another system")
        (folders / kind / ".hidden").mkdir()
        for number, name in enumerate(NAMES):  # 9 comes before 10
            (folders / kind / "b" / name).rename(folders / kind / "b" / f"{number + 8}.png")
    assert run(folders) == 0
    assert read(folders)["rows"] == expected


def test_what_is_wrong_with_folders_is_said(folders, capsys):
    def message(*more, **changes):
        assert run(folders, *more, **changes) == 2
        return capsys.readouterr().err

    empty = folders / "empty"
    empty.mkdir()
    assert f"{empty} has no folder for a, b" in (said := message(masks=empty))
    assert "Found: nothing; expected SEQUENCE/FRAME.png" in said
    # One sequence's frames for the truth of two.
    assert "Found: files alone" in message(masks=folders / "masks" / "a")
    for method in ("ours", "theirs"):
        shutil.copytree(folders / "masks", folders / "methods" / method)
    said = message(masks=folders / "methods")
    assert "several folders of masks; give one" in said
    assert f"{folders}/methods/ours, {folders}/methods/theirs" in said
    for size in ("480p", "1080p"):
        shutil.copytree(folders / "truth", folders / "sizes" / size)
    assert "several folders of truth; give one: " in message(truth=folders / "sizes")

    place = folders / "masks" / "b"
    for number, name in enumerate(NAMES):
        (place / name).rename(place / f"frame_{number + 1:04d}.png")
    said = message()
    assert f"{place} has 4 masks named like frame_0001.png; expected 00000.png and so on" in said
    shutil.rmtree(place)
    place.mkdir()
    assert f"{place} has no mask; expected 00000.png" in message()
    write_again = random_masks(1)
    shutil.rmtree(place)
    write(place, write_again)
    (place / NAMES[1]).unlink()
    (place / NAMES[2]).unlink()
    assert (
        f"{place / NAMES[1]}: no such file; 2 of the 4 masks that protocol davis2016" in message()
    )
    (place / "00003.PNG").write_bytes(b"")
    assert "two files of one name; remove one" in message()


def test_a_soft_mask_against_itself(tmp_path):
    levels = np.arange(24 * 36).reshape(24, 36) % 256
    for kind in ("masks", "truth"):
        write(tmp_path / kind / "a", [levels.astype(np.uint8)] * 4, Image.fromarray)
    assert run(tmp_path) == 0
    assert read(tmp_path)["rows"][0]["mean_j"] == read(tmp_path)["rows"][0]["mean_f"] == 1


def test_scores_are_shown_even_if_they_cannot_be_written(folders, capsys):
    (folders / "o.json").mkdir()
    assert run(folders) == 2
    captured = capsys.readouterr()
    assert "mean over all frames" in captured.out and "o.json" in captured.err


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_must_be_a_number(folders, jobs, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(folders, f"--jobs={jobs}")
    assert stopped.value.code == 2
    assert "is not a whole number of at least 1" in capsys.readouterr().err


def test_as_a_program(folders):
    def program(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dystab_jax.evaluate", *arguments],
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )

    output = folders / "new" / "o.json"
    done = program(
        "--protocol=davis2016",
        f"--masks={folders / 'masks'}",
        f"--truth={folders / 'truth'}",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text())["sequences"] == 2
    described = program("--help")
    assert described.returncode == 0
    for word in (
        "--protocol",
        "--masks",
        "--truth",
        "--data_dir",
        "--output",
        "--sequences",
        "--jobs",
    ):
        assert word in described.stdout
    assert "davis2016" in described.stdout and "palette" in described.stdout


PUBLISHED = {name: ENCODINGS[name] for name in ("0 and 1", "0 and 255", "1-bit", "palette")}


@pytest.mark.parametrize("encode", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_masks_score_the_same_in_every_encoding(encode, shared, tmp_path):
    folder = shared / "refdata" / "davis16_val"
    packed = np.load(folder / "mini_packbits.npz")
    for kind, target in (("matnet", "masks"), ("gt", "truth")):
        frames = np.unpackbits(packed[f"{kind}/car-shadow"], axis=-1)[..., :854]
        (tmp_path / target / "car-shadow").mkdir(parents=True)
        for number, mask in enumerate(frames):
            path = tmp_path / target / "car-shadow" / f"{number:05d}.png"
            encode(mask).save(path, compress_level=1)
    assert run(tmp_path) == 0
    golden = json.loads((folder / "golden.json").read_text())["matnet"]
    row = read(tmp_path)["rows"][0]
    assert row["mean_j"] == pytest.approx(golden["per_seq_J"]["car-shadow"], abs=1e-9)
    assert row["mean_f"] == pytest.approx(golden["mini_seq_F"]["car-shadow"], abs=1e-9)


def test_what_was_done_to_the_masks_is_reported(folders):
    assert run(folders, "--crf=cis", "--oracle") == 0
    report = read(folders)
    assert report["oracle"] is True and report["rows"][0]["crf"] == "cis"


def numbers(seed, highest, shape=(4, 24, 36)):
    return np.random.default_rng(seed).integers(0, highest + 1, shape, np.uint8)


def write_numbers(folder, frames):
    write(folder, frames, lambda frame: coloured(frame, davis_palette().tobytes()))


@pytest.fixture
def davis2017(tmp_path):
    """A root with one sequence of two objects and void, and masks with three objects."""
    root = tmp_path / "truth"
    truth = numbers(0, 2)
    truth[:, :3] = 255
    # What an object leaves behind: void alone.
    truth[3] = np.where(truth[3] == 255, 255, 0)
    write_numbers(root / "Annotations" / "480p" / "a", truth)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("a\n")
    predicted = numbers(1, 3)
    write_numbers(tmp_path / "masks" / "a", predicted)
    return tmp_path, registry.Video(regions=truth, objects=predicted)


def test_root_of_davis2017(davis2017, capsys):
    folder, video = davis2017
    expected = registry.davis2017({"a": video})
    assert run(folder, protocol="davis2017") == 0
    report = read(folder)
    assert (report["dataset"], report["split"]) == ("davis2017", "val")
    assert report["rows"][0]["per_object"] == expected["per_object"]
    captured = capsys.readouterr().out
    assert f"{expected['j_and_f']:.4f}" in captured
    assert "over 2 objects" in captured and "J&F" in captured
    # The main number of this data set is that of the merged foreground.
    assert run(folder, protocol=None) == 0
    report = read(folder)
    assert report["protocol"] == "all_frames"
    assert report["rows"][0]["mean_j"] == registry.all_frames({"a": video})["mean_j"]


@pytest.mark.parametrize("below", ["a", "."])
@pytest.mark.parametrize(
    ("protocol", "kind"),
    [("davis2017", "instances"), ("all_frames", "masks"), ("saliency", "soft")],
)
def test_what_is_scored_lies_in_a_folder_of_its_kind(davis2017, below, protocol, kind):
    # As --mode=predict writes them side by side; here each holds something else.
    folder, _ = davis2017
    output = folder / "output" / below
    for name, seed in (("instances", 1), ("masks", 5), ("soft", 6)):
        write_numbers(output / name, numbers(seed, 3 if name == "instances" else 1))
    shutil.copytree(output / kind, folder / "alone")
    assert run(folder, masks=folder / "alone", protocol=protocol) == 0
    expected = read(folder)["rows"]
    assert run(folder, masks=folder / "output", protocol=protocol) == 0
    assert read(folder)["rows"] == expected
    for name in {"instances", "soft"} & {kind}:
        shutil.rmtree(output / name)
        assert run(folder, masks=folder / "output", protocol=protocol) == 0
        assert read(folder)["rows"] != expected


def test_objects_are_told_apart_for_fbms59(davis2017, capsys):
    folder, video = davis2017
    truth = folder / "truth" / "Annotations" / "480p"
    assert run(folder, protocol="fbms59", truth=truth) == 0
    expected = registry.fbms59({"a": video})
    row = read(folder)["rows"][0]
    assert row["ochs_f"] == expected["ochs_f"]
    assert "Ochs F" in (out := capsys.readouterr().out)
    assert f"above 0.75: {expected['objects_found']} of 2" in out


def test_predictions_of_one_object_need_no_numbers(davis2017):
    folder, video = davis2017
    merged = [frame > 0 for frame in video.objects]
    expected = registry.davis2017({"a": registry.Video(regions=video.regions, masks=merged)})
    for name in ("0 and 255", "palette, object 255", "palette of greys", "1-bit"):
        shutil.rmtree(folder / "masks")
        write(folder / "masks" / "a", np.array(merged, np.uint8), ENCODINGS[name])
        assert run(folder, protocol="davis2017") == 0
        assert read(folder)["rows"][0]["j_and_f"] == expected["j_and_f"]


@pytest.fixture
def stills(tmp_path):
    """Soft maps of two images, 8-bit, and their truth."""
    levels = np.random.default_rng(0).integers(0, 256, (2, 24, 36), np.uint8)
    truth = random_masks(1, (2, 24, 36))
    for kind, images in (("masks", levels), ("truth", truth * np.uint8(255))):
        (tmp_path / kind).mkdir()
        for name, image in zip(("x", "y"), images, strict=True):
            Image.fromarray(image).save(tmp_path / kind / f"{name}.png")
    return tmp_path, registry.Video(truth=truth, maps=levels / np.float32(255))


def test_soft_maps_of_still_images(stills, capsys):
    folder, video = stills
    (folder / "masks" / "z.png").write_bytes(b"never read")
    assert run(folder, protocol=None) == 0
    expected = registry.saliency({"all": video})
    report = read(folder)
    assert (report["protocol"], report["frames"]) == ("saliency", 2)
    row = report["rows"][0]
    for key in ("f_beta", "max_f", "max_mean_f", "adaptive_f", "mae", "s_measure", "mean_j"):
        assert row[key] == pytest.approx(expected[key], abs=1e-12), key
    captured = capsys.readouterr()
    # A line for each of thousands of images helps nobody.
    assert [line.split()[0] for line in captured.out.splitlines()[1:3]] == ["sequence", "mean"]
    assert f"{expected['max_f']:.4f}" in captured.out
    assert "1 frames without truth, such as z.png" in captured.err
    assert run(folder, "--sequences=y", protocol=None) == 0
    assert list(read(folder)["rows"][0]["per_sequence"]) == ["y"]
    assert run(folder, "--sequences=v", protocol=None) == 2
    assert "truth has no image for v" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["0 and 1", "0 and 255", "1-bit", "palette"])
def test_hard_masks_of_still_images(stills, name):
    folder, _ = stills
    masks = random_masks(2, (2, 24, 36))
    # One is empty, which says nothing about the encoding of the other.
    masks[0] = 0
    for image, mask in zip(("x", "y"), masks, strict=True):
        ENCODINGS[name](mask).save(folder / "masks" / f"{image}.png")
    assert run(folder, protocol=None) == 0
    truth = random_masks(1, (2, 24, 36))
    assert read(folder)["rows"][0]["mae"] == pytest.approx(np.mean(masks != truth), abs=1e-12)


def test_prepared_data_set(tiny_data, tmp_path, capsys):
    """Truth from records; here the masks are the truth itself but for one frame."""
    source = records.open_source(tiny_data, "folder/tiny:val")
    frames = {}
    for position, key in enumerate(source.keys):
        frames.setdefault((key.video, source.frame_names[position]), position)
    for (video, name), position in frames.items():
        mask = records.decode_record(source[position])["mask"]
        (tmp_path / "masks" / video).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / video / f"{name}.png")
    video, name = min(frames)
    empty = Image.fromarray(np.zeros_like(mask))
    empty.save(tmp_path / "masks" / video / f"{name}.png")
    flags = [f"--data_dir={tiny_data}"]
    assert run(tmp_path, *flags, protocol=None, truth="folder/tiny:val") == 0
    report = read(tmp_path)
    assert (report["dataset"], report["split"]) == ("folder/tiny", "val")
    assert (report["protocol"], report["frames"]) == ("all_frames", len(frames))
    assert report["rows"][0]["frame_mean_j"] == pytest.approx(1 - 1 / len(frames))

    assert run(tmp_path, *flags, truth="folder/tiny:train") == 2
    assert "folder/tiny:train has no truth" in capsys.readouterr().err
    assert run(tmp_path, *flags, "--sequences=none", truth="folder/tiny:val") == 2
    assert "folder/tiny:val has no video for none" in capsys.readouterr().err
    assert run(tmp_path, *flags, truth="davis2016:val") == 2
    assert "no prepared data set" in capsys.readouterr().err


def test_prepared_regions_and_frames_without_truth(davis2017, monkeypatch):
    """Records with regions, two of a frame, and one frame without truth."""
    folder, video = davis2017

    class Source(list):
        keys = [Key("a", frame, gap) for frame in range(5) for gap in (-1, 1)]
        frame_names = [f"{frame:05d}" for frame in range(5) for _ in range(2)]

        def some(self, position, parts):
            return self[position]

    pairs = ({"regions": r, "mask": (r > 0) & (r < 255)} for r in video.regions for _ in range(2))
    source = Source(pairs)
    source += [{}, {}]
    monkeypatch.setattr(records, "open_source", lambda data_dir, spec: source)
    monkeypatch.setattr(records, "decode_record", lambda raw, parts: raw)
    flags = {"protocol": "davis2017", "truth": "davis2017:val"}
    assert run(folder, "--data_dir=data", **flags) == 0
    report = read(folder)
    assert (report["dataset"], report["split"], report["frames"]) == ("davis2017", "val", 4)
    expected = registry.davis2017({"a": video})
    assert report["rows"][0]["j_and_f"] == expected["j_and_f"]


def test_only_visible_files_are_truth_or_masks(folders):
    assert run(folders) == 0
    expected = read(folders)
    for side in ("masks", "truth"):
        for name in ("._00000.png", ".DS_Store", "Thumbs.db"):
            (folders / side / "a" / name).write_bytes(b"\0\5\x16\7")
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
            (folders / side / name).mkdir()
    assert run(folders) == 0
    assert read(folders) == expected


def test_names_are_equal_however_they_are_spelled(folders, capsys):
    """Accents joined here and apart there, endings in upper case, a list with a mark."""
    assert run(folders) == 0
    expected = read(folders)["rows"][0]["per_sequence"]
    joined, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    (folders / "truth" / "a").rename(folders / "truth" / apart)
    (folders / "masks" / "a").rename(folders / "masks" / joined)
    (folders / "truth" / apart / NAMES[1]).rename(folders / "truth" / apart / "00001.PNG")
    (folders / "masks" / "b" / NAMES[2]).rename(folders / "masks" / "b" / "00002.PNG")
    assert run(folders) == 0
    scores = read(folders)["rows"][0]["per_sequence"]
    assert scores == {joined: expected["a"], "b": expected["b"]}
    assert capsys.readouterr().err == ""
    (folders / "list.txt").write_bytes(f"{apart}\r\n".encode("utf-16"))
    assert run(folders, f"--sequences={folders / 'list.txt'}") == 0
    assert read(folders)["rows"][0]["per_sequence"] == {joined: expected["a"]}


def test_paths_are_those_of_the_user(folders, monkeypatch, capsys):
    (folders / "work:1").mkdir()
    monkeypatch.setenv("HOME", str(folders))
    monkeypatch.chdir(folders / "work:1")
    (folders / "masks").rename(folders / "work:1" / "m:x")
    (folders / "list.txt").write_text("a")
    assert run(folders, masks="m:x", truth="~/truth", output="o:x", sequences="~/list.txt") == 0
    assert list(
        json.loads((folders / "work:1" / "o:x").read_text())["rows"][0]["per_sequence"]
    ) == ["a"]
    assert run(folders, masks="gs://bucket/masks") == 2
    assert "gs://bucket/masks is an address" in capsys.readouterr().err


def test_many_sequences_are_no_path(folders, capsys):
    assert run(folders, "--sequences=" + ",".join(["a", *map(str, range(300))])) == 2
    assert "truth has no folder for 0, 1, 10, " in capsys.readouterr().err
