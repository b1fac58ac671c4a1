"""The command line that scores anybody's masks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mask_encodings import ENCODINGS, VOS_PALETTE, coloured, random_masks
from PIL import Image

from dystab_jax import evaluate, metrics, protocols

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
    flags = [f"--{name}={value}" for name, value in (paths | changes).items()]
    return evaluate.main([f"--protocol={protocol}", *flags, *more])


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
        name: protocols.Video(truth=random_masks(seed + 10), masks=random_masks(seed))
        for seed, name in enumerate("ab")
    }
    expected = protocols.davis2016(videos)
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
    assert f"{folders / 'masks' / 'a' / NAMES[-1]} does not exist" in capsys.readouterr().err


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
    assert "empty has no folder; expected SEQUENCE" in message(truth=folders / "empty")

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
    assert f"{path} is not a readable image" in message()
    path.unlink()
    assert f"{path} does not exist" in message()


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
            cwd=Path(__file__).resolve().parents[1],
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
    for word in ("--protocol", "--masks", "--truth", "--output", "--sequences", "--jobs"):
        assert word in described.stdout
    assert "davis2016" in described.stdout and "palette" in described.stdout


@pytest.mark.parametrize("method", ["matnet", "fseg"])
def test_golden_sequence_from_files(method, shared, tmp_path):
    folder = shared / "refdata" / "davis16_val"
    packed = np.load(folder / "mini_packbits.npz")
    for kind, target in ((method, "masks"), ("gt", "truth")):
        frames = np.unpackbits(packed[f"{kind}/car-shadow"], axis=-1)[..., :854]
        (tmp_path / target / "car-shadow").mkdir(parents=True)
        for number, mask in enumerate(frames):
            path = tmp_path / target / "car-shadow" / f"{number:05d}.png"
            coloured(mask, VOS_PALETTE).save(path, compress_level=1)
    assert run(tmp_path) == 0
    golden = json.loads((folder / "golden.json").read_text())[method]
    row = read(tmp_path)["rows"][0]
    assert row["mean_j"] == pytest.approx(golden["per_seq_J"]["car-shadow"], abs=1e-4)
    assert row["mean_f"] == pytest.approx(golden["mini_seq_F"]["car-shadow"], abs=1e-4)
