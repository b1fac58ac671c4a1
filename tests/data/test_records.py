"""The record: flow coding, decoding with clear errors, opening by name, damage."""

import json
import pickle
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import grain
import numpy as np
import pytest

from data_prep import builder
from data_prep.prepare import prepare
from dystab_jax.data import encodings, mask_files, records
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """folder/tiny: "a" with 4 frames, "b" with 3; masks for b's frames 0 and 2."""
    root = tmp_path_factory.mktemp("records")
    write_frames(root / "tiny" / "a", sliding_texture(4))
    write_frames(root / "tiny" / "b", sliding_texture(3, seed=1))
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:50] = 255
    write_masks(root / "masks" / "b", {"0": mask, "2": mask})
    prepare(
        dataset="folder",
        source=root / "tiny",
        masks=root / "masks",
        data_dir=root / "data",
        jobs=1,
        progress=False,
    )
    return root / "data"


@pytest.fixture
def raw(data_dir):
    return records.open_source(data_dir, "folder/tiny:val")[0]


# --- Flow coding ----------------------------------------------------------------------------------


def test_flow_survives_storage_within_half_a_step():
    flow = np.random.default_rng(0).normal(0, 20, (37, 53, 2)).astype(np.float32)
    restored = encodings.decode_flow(encodings.encode_flow(flow))
    assert restored.dtype == np.float32 and restored.shape == flow.shape
    assert np.abs(restored - flow).max() <= 1 / 32


def test_flow_on_the_grid_is_exact_up_to_the_limits():
    flow = np.zeros((2, 3, 2), np.float32)
    flow[0, 1] = [1 / 16, -3.5]
    flow[1, 2] = [2047, -2047]
    np.testing.assert_array_equal(encodings.decode_flow(encodings.encode_flow(flow)), flow)


@pytest.mark.parametrize("value", [2047.1, -2048, np.nan, np.inf])
def test_flow_that_cannot_be_stored_is_refused(value):
    flow = np.zeros((4, 4, 2), np.float32)
    flow[1, 2, 0] = value
    with pytest.raises(ValueError, match="finite and within ±2047.0 px"):
        encodings.encode_flow(flow)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (0, 4, 2)])
def test_flow_of_another_shape_is_refused(unchecked, shape):
    with pytest.raises(ValueError, match=r"expected \[height, width, 2\]"):
        encodings.encode_flow(np.zeros(shape, np.float32))


def test_bytes_that_are_no_flow_are_refused():
    grey = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    odd = cv2.imencode(".png", np.zeros((3, 4), np.uint16))[1].tobytes()
    for data in (grey, odd):
        with pytest.raises(ValueError, match="expected uint16"):
            encodings.decode_flow(data)
    for data in (b"", b"nonsense"):
        with pytest.raises(ValueError, match=f"{len(data)} bytes of flow cannot be decoded"):
            encodings.decode_flow(data)


# --- Decoding a record ----------------------------------------------------------------------------


def test_decoded_record(data_dir, raw):
    record = records.decode_record(raw)
    assert record["image"].dtype == np.uint8
    np.testing.assert_array_equal(record["image"], sliding_texture(3, seed=1)[0])  # RGB order too
    assert record["flow_forward"].shape == record["flow_backward"].shape == (48, 64, 2)
    assert record["mask"].dtype == np.uint8
    assert record["mask"].sum() == 10 * 20 and record["mask"][10:20, 30:50].all()
    details = {name: record[name] for name in (*records.TEXT_FIELDS, *records.NUMBER_FIELDS)}
    assert details == {
        "video": "b",
        "frame_name": "0",
        "group": "",
        "estimator": "dis",
        "frame": 0,
        "gap": 1,
        "height": 48,
        "width": 64,
    }


def test_training_records_have_no_mask(data_dir):
    for raw in records.open_source(data_dir, "folder/tiny:train"):
        assert "mask" not in raw and "mask" not in records.decode_record(raw)


def test_regions_keep_their_numbers(raw):
    regions = np.zeros((48, 64), np.uint8)
    regions[10:20] = 3
    regions[30] = mask_files.VOID
    record = records.decode_record(raw | {"regions": mask_files.encode_regions(regions)})
    np.testing.assert_array_equal(record["regions"], regions)
    assert record["regions"].dtype == np.uint8
    for strange in (regions.astype(np.int32), regions[..., None]):
        with pytest.raises(ValueError, match=r"expected uint8 \[height, width\]"):
            mask_files.encode_regions(strange)


@pytest.mark.parametrize("part", ["image", "flow_forward", "flow_backward", "mask", "regions"])
def test_undecodable_part_is_named(raw, part):
    raw = {"regions": raw["mask"]} | raw
    with pytest.raises(ValueError) as error:
        records.decode_record(raw | {part: raw[part][:20]})
    for words in ("folder/tiny:val", f"{part} of video b, frame 0, gap +1", "--overwrite"):
        assert words in str(error.value)


@pytest.mark.parametrize("part", ["image", "mask", "regions"])
def test_part_of_another_size_is_named(raw, part):
    other = cv2.imencode(".png", np.zeros((5, 6), np.uint8))[1].tobytes()
    with pytest.raises(ValueError, match=rf"{part} of video b.*\(5, 6\).*\(48, 64\)"):
        records.decode_record(raw | {part: other})


# --- Opening --------------------------------------------------------------------------------------


def test_keys_are_in_order_and_are_those_of_the_records(data_dir):
    source = records.open_source(data_dir, "folder/tiny:train")
    keys = source.keys
    assert keys == sorted(keys) and len(set(keys)) == len(keys) == len(source)
    assert [(t, g) for video, t, g in keys if video == "b"] == [
        (0, 1), (0, 2), (1, -1), (1, 1), (2, -2), (2, -1),
    ]  # fmt: skip
    for key, name, raw in zip(keys, source.frame_names, source, strict=True):
        record = records.decode_record(raw)
        assert key == (record["video"], record["frame"], record["gap"])
        assert name == record["frame_name"]


def test_validation_holds_the_frames_with_truth(data_dir):
    source = records.open_source(data_dir, "folder/tiny:val")
    assert source.keys == [("b", 0, 1), ("b", 0, 2), ("b", 2, -2), ("b", 2, -1)]


def test_joined_sources_follow_one_another(data_dir):
    train = records.open_source(data_dir, "folder/tiny:train")
    val = records.open_source(data_dir, "folder/tiny:val")
    both = records.open_source(data_dir, "folder/tiny:train + folder/tiny:val")
    assert both.spec == "folder/tiny:train+folder/tiny:val"
    # Videos of the same name in both stay apart by the name of their data set.
    shared = {key.video for key in train.keys} & {key.video for key in val.keys}
    assert shared and shared < {key.video for key in train.keys}
    expected = [
        key._replace(video=f"folder-tiny-{part.split}-{key.video}") if key.video in shared else key
        for part in (train, val)
        for key in part.keys
    ]
    assert both.keys == expected
    assert list(both) == list(train) + list(val)
    assert both[-1] == val[-1] and both[len(train)]["dataset"] == "folder/tiny:val"
    with pytest.raises(IndexError):
        both[len(both)]


def test_source_travels_to_other_processes_and_threads(data_dir):
    source = records.open_source(data_dir, "folder/tiny:train+folder/tiny:val")
    here = list(source)
    assert list(pickle.loads(pickle.dumps(source))) == here
    fresh = records.open_source(data_dir, "folder/tiny:train+folder/tiny:val")
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(fresh.__getitem__, range(len(fresh)))) == here


MANY_THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from dystab_jax.data import records

sys.setswitchinterval(1e-6)
source = records.open_source(sys.argv[1], "folder/tiny:train+folder/tiny:val")
imported = []
real = records.RecordSource._open
def counted(self):
    imported.append("tensorflow_datasets" in sys.modules)
    return real(self)
records.RecordSource._open = counted
start = threading.Barrier(16)
def read(number):
    start.wait()
    return source[number * 5 % len(source)]["video"]
with ThreadPoolExecutor(16) as threads:
    found = list(threads.map(read, range(16)))
assert len(found) == 16 and imported == [False, True], imported
"""


def test_threads_that_come_at_once_open_a_source_once(data_dir):
    # In a process of its own: only the first opening of a process imports.
    for _ in range(2):
        command = [sys.executable, "-c", MANY_THREADS, str(data_dir)]
        subprocess.run(command, check=True, timeout=120)


def test_threads_open_many_fresh_sources_once_each(data_dir, monkeypatch):
    opened = []
    real = records.RecordSource._open
    monkeypatch.setattr(
        records.RecordSource, "_open", lambda self: opened.append(self) or real(self)
    )
    for round_ in range(1, 21):
        source = records.open_source(data_dir, "folder/tiny:train")
        start = threading.Barrier(8)

        def read(number, source=source, start=start):
            start.wait(timeout=60)
            return source[number]["video"]

        with ThreadPoolExecutor(8) as threads:
            assert len(list(threads.map(read, range(8)))) == 8
        assert len(opened) == round_


def test_fingerprint_changes_with_the_records_alone(data_dir, tmp_path):
    source = records.open_source(data_dir, "folder/tiny:train")
    before = source.fingerprint()
    assert json.loads(json.dumps(before)) == before and list(before) == ["folder/tiny:train"]
    copied = tmp_path / "folder/tiny"
    shutil.copytree(data_dir / "folder/tiny", copied)
    assert records.open_source(tmp_path, "folder/tiny:train").fingerprint() == before
    joined = records.open_source(tmp_path, "folder/tiny:train+folder/tiny:val").fingerprint()
    assert joined.keys() == {"folder/tiny:train", "folder/tiny:val"}
    assert joined["folder/tiny:train"] == before["folder/tiny:train"]
    changed = records.open_source(tmp_path, "folder/tiny:train")
    for path in (*copied.rglob("index-train.json"), *copied.rglob("*train.array_record*")):
        kept = path.read_bytes()
        for data in (kept + b" ", kept[:-9] + b"x" + kept[-8:], b"y" + kept[1:]):
            path.write_bytes(data)
            assert changed.fingerprint() != before
        path.write_bytes(kept)
        assert changed.fingerprint() == before


def test_fingerprint_of_other_frames_differs(tmp_path):
    found = []
    for seed in (0, 1):
        write_frames(tmp_path / f"videos{seed}" / "a", sliding_texture(3, seed=seed))
        data = tmp_path / f"data{seed}"
        prepare(
            dataset="folder",
            name="x",
            source=tmp_path / f"videos{seed}",
            data_dir=data,
            jobs=1,
            progress=False,
        )
        found.append(records.open_source(data, "folder/x:train").fingerprint())
    assert found[0] != found[1]


def test_grain_reads_it(data_dir):
    source = records.open_source(data_dir, "folder/tiny:train")
    dataset = grain.MapDataset.source(source).shuffle(seed=3).map(records.decode_record)
    seen = [(record["video"], record["frame"], record["gap"]) for record in dataset]
    assert sorted(seen) == source.keys and seen != source.keys


def test_unprepared_data_set_says_how_to_prepare_it(tmp_path):
    for spec, command in {
        "movers:train": "--dataset=movers --data_dir=",
        "davis2016:val": "--dataset=davis2016 --source=DIR --data_dir=",
        "ecssd:test": "--dataset=ecssd --source=DIR --data_dir=",
        "folder/mine:train": "--dataset=folder --source=DIR --name=mine --data_dir=",
    }.items():
        with pytest.raises(FileNotFoundError) as error:
            records.open_source(tmp_path, spec)
        assert f"`python -m data_prep.prepare {command}{tmp_path}`" in str(error.value)


def test_unknown_data_set_names_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="no data set 'davis'; there are: movers, davis2016, "):
        records.open_source(tmp_path, "davis:val")


def test_set_prepared_before_there_were_regions(data_dir, tmp_path, monkeypatch):
    fields, read = builder._still_features, builder.read_record

    def without(made):
        return {name: value for name, value in made.items() if name != "regions"}

    monkeypatch.setattr(builder, "_still_features", lambda: without(fields()))
    monkeypatch.setattr(builder, "read_record", lambda *given: without(read(*given)))
    prepare(
        dataset="folder",
        source=data_dir.parent / "tiny",
        masks=data_dir.parent / "masks",
        data_dir=tmp_path,
        jobs=1,
        progress=False,
    )
    directory = records.dataset_directory(tmp_path, "folder", "tiny")
    assert "regions" not in (directory / "features.json").read_text()
    for split in ("train", "val"):
        old = records.open_source(tmp_path, f"folder/tiny:{split}")
        assert list(old) == list(records.open_source(data_dir, f"folder/tiny:{split}"))
        assert records.decode_record(old[0])["video"] in "ab"


def test_unknown_split_names_those_there_are(data_dir):
    with pytest.raises(ValueError, match=r"no split 'test' .*there are: \['train', 'val'\]"):
        records.open_source(data_dir, "folder/tiny:test")


@pytest.mark.parametrize("spec", ["", "movers", ":train", "movers:", "folder:train", "a/b:train+"])
def test_malformed_name_is_explained(tmp_path, spec):
    with pytest.raises(ValueError, match="not of the form DATASET:SPLIT"):
        records.open_source(tmp_path, spec)


def test_addresses_need_what_opens_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match="gs://bucket/data cannot be opened.*requirements-gcs"):
        records.open_source("gs://bucket/data", "movers:train")


def test_nothing_heavy_is_imported(data_dir):
    program = f"""
import sys
from dystab_jax.data import dataset_registry, encodings, mask_files, records
assert not {{"jax", "tensorflow_datasets"}} & set(sys.modules), "slow to import"
records.decode_record(records.open_source({str(data_dir)!r}, "folder/tiny:train")[0])
assert not {{"tensorflow", "torch", "jax"}} & set(sys.modules), "not to be imported at all"
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# --- Damage ---------------------------------------------------------------------------------------


@pytest.fixture
def copy(data_dir, tmp_path):
    """A copy of the prepared data set, to be damaged."""
    directory = records.dataset_directory(data_dir, "folder", "tiny")
    target = records.dataset_directory(tmp_path, "folder", "tiny")
    target.mkdir(parents=True)
    for path in directory.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_flipped_byte_is_found_and_other_records_still_read(copy, tmp_path):
    source = records.open_source(tmp_path, "folder/tiny:train")
    victim = 7
    forward = source[victim]["flow_forward"]
    (shard,) = copy.glob("*train.array_record*")
    data = bytearray(shard.read_bytes())
    (at,) = (match.start() for match in re.finditer(re.escape(forward), data))
    data[at + 100] ^= 255
    shard.write_bytes(data)

    damaged = records.open_source(tmp_path, "folder/tiny:train")
    video, frame, gap = damaged.keys[victim]
    with pytest.raises(ValueError) as error:
        damaged[victim]
    for words in ("folder/tiny:train", f"video {video}, frame {frame}, gap {gap:+d}", str(copy)):
        assert words in str(error.value)
    assert "--overwrite" in str(error.value)
    # Others still read, but for those that have this flow or the frame's image from there.
    reverse = damaged.keys.index((video, frame + gap, -gap))
    for position, key in enumerate(damaged.keys):
        if key[:2] != (video, frame) and position != reverse:
            assert damaged[position] == source[position]
    parts = ("image", "flow_forward")
    assert damaged.some(reverse, parts) == source.some(reverse, parts)


def test_shard_cut_short_is_an_error(copy, tmp_path):
    (shard,) = copy.glob("*train.array_record*")
    shard.write_bytes(shard.read_bytes()[:-70000])
    with pytest.raises(ValueError, match="folder/tiny:train.*--overwrite"):
        records.open_source(tmp_path, "folder/tiny:train")[0]


def test_damaged_index_is_an_error(copy, tmp_path):
    (copy / "index-train.json").write_text("[{")
    with pytest.raises(ValueError, match="index-train.json.*--overwrite"):
        records.open_source(tmp_path, "folder/tiny:train")


def test_index_of_other_records_is_an_error(copy, tmp_path):
    (copy / "index-val.json").write_text((copy / "index-train.json").read_text())
    with pytest.raises(ValueError, match="holds 4 records, its index names 18"):
        records.open_source(tmp_path, "folder/tiny:val")[0]
