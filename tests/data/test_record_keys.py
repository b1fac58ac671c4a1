"""Tests the index of a split: what it says, what it takes, and what it refuses."""

import json
import pickle
import sys

import pytest

from benchmarks import index as measured
from dystab_jax.data.record_keys import Index, describe_video, read_index

NAMES = {"frame_names": ["p", "q", "r"], "groups": ["", "moving", ""]}
EVERY = [(0, 1), (0, 2), (1, -1), (1, 1), (2, -2), (2, -1)]


def write(path, *entries):
    path.write_text(json.dumps(entries))
    return path


def test_all_pairs_are_said_by_their_gaps():
    said = describe_video(NAMES | {"video": "a", "height": 3}, EVERY, "digest")
    assert said == NAMES | {"video": "a", "gaps": [-2, -1, 1, 2], "digest": "digest"}
    some = describe_video(NAMES | {"video": "a"}, EVERY[:2], "digest")
    assert some["records"] == EVERY[:2] and "gaps" not in some


@pytest.mark.parametrize("records", [EVERY, EVERY[1:4], [(0, 0)]])
def test_what_is_written_is_read(records, tmp_path):
    other = describe_video({"video": "b", "frame_names": ["x"], "groups": [""]}, [(0, 0)], "")
    path = write(tmp_path / "i.json", describe_video(NAMES | {"video": "a"}, records, "d"), other)
    index = pickle.loads(pickle.dumps(read_index(path, "set:train")))
    assert index.keys == [*(("a", *one) for one in records), ("b", 0, 0)]
    assert index.frame_names == [*("pqr"[t] for t, _ in records), "x"]
    assert index.groups[-2:] == [NAMES["groups"][records[-1][0]], ""]
    assert index.keys[-1] == ("b", 0, 0) and index.keys[:1] == [("a", *records[0])]
    assert [(one.name, one.digest) for one in index.videos] == [("a", "d"), ("b", "")]
    assert [pairs for _, pairs in index.by_video()] == [records, [(0, 0)]]


def test_frames_have_their_records_small_gaps_first(tmp_path):
    path = write(tmp_path / "i.json", describe_video(NAMES | {"video": "a"}, EVERY, ""))
    found = [(video.name, t, at) for video, t, at in read_index(path, "").frames()]
    assert found == [("a", 0, (0, 1)), ("a", 1, (2, 3)), ("a", 2, (5, 4))]
    assert list(Index([], []).frames()) == []


@pytest.mark.parametrize(
    "change, said",
    [
        ({"gaps": [1, 40_000]}, "farther apart than 32767"),
        ({"gaps": [1, 2.5]}, "records are of others"),
        ({"records": [[3, 1]]}, "has 3 frames"),
        ({"records": [[-1, 1]]}, "has 3 frames"),
        ({"records": [[0]]}, "not enough values"),
        ({"groups": ["", ""]}, "names that are no text"),
        ({"frame_names": ["p", "q", 3]}, "names that are no text"),
        ({"video": None}, "names that are no text"),
    ],
)
def test_damage_is_named(change, said, tmp_path):
    path = write(tmp_path / "index-train.json", NAMES | {"video": "a", "records": EVERY} | change)
    with pytest.raises(ValueError, match=f"set:train: cannot read .*index-train.json.*{said}"):
        read_index(path, "set:train")


def test_the_benchmark_writes_what_preparing_would(tmp_path):
    index = read_index(measured.write_index(tmp_path, videos=2, frames=3, max_gap=2), "")
    assert [key[1:] for key in index.keys] == EVERY * 2
    arrays = index.video.nbytes + index.frame.nbytes + index.gap.nbytes
    assert arrays == 10 * len(index) and sys.getsizeof(index.keys) < 100
