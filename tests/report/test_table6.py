"""Table 6: weights of the sets, spread over seeds, numbers of videos."""

import numpy as np
import pytest

from tests.support.eval_files import cell, score, scores, table


def test_parts_of_the_videos_count_for_table_6_alone(tmp_path):
    score(tmp_path, videos=12)
    score(tmp_path, "ecssd", "chi", videos=12)
    for number in (1, 2, 3, 4, 5, 7):
        assert scores(tmp_path, number) == {}
    assert scores(tmp_path, 6) == {"12 videos": [0.5, None]}


def test_table_6_weighs_images_over_sets_and_spreads_over_seeds(tmp_path):
    values = {"ecssd": 0.2, "msra_b": 0.5, "dut_omron": 0.8}
    for seed in (0, 1):
        for dataset, value in values.items():
            place = f"seed{seed}-videos12"
            score(tmp_path, dataset, "chi", value + seed / 10, place=place, seed=seed, videos=12)
            # The last round counts, without CRF, and each image once.
            score(tmp_path, dataset, "chi", 0.9, place=place, videos=12, seed=seed, phase="2-joint")
            score(tmp_path, dataset, "chi+deepusps", 0.9, place=place, videos=12, seed=seed)
        score(tmp_path, "msra_b", "chi", 0.9, place=place, videos=12, seed=seed, split="test")
    mean, spread = table(tmp_path, 6)["rows"][0]["ours"]
    first = (1000 * 0.2 + 5000 * 0.5 + 5168 * 0.8) / 11168
    assert mean["score"] == pytest.approx(first + 0.05)
    assert spread["score"] == pytest.approx(np.sqrt(2 * 0.05**2))
    assert (mean["runs"], mean["remark"], len(mean["sources"])) == (2, "", 6)


def test_table_6_says_how_many_images_and_what_one_seed_cannot_tell(tmp_path):
    for dataset in ("ecssd", "dut_omron"):
        score(tmp_path, dataset, "chi", 0.4, videos=36)
    score(tmp_path, "ecssd", "chi", 0.4, videos=60, place="a", seed=0)
    score(tmp_path, "dut_omron", "chi", 0.4, videos=60, place="b", seed=1)
    assert cell(tmp_path, 6, "60 videos")["remark"] == "1000 of 11168"  # the fewest
    found = table(tmp_path, 6)
    (row,) = [row for row in found["rows"] if row["label"] == "36 videos"]
    assert row["ours"][0]["remark"] == "6168 of 11168"
    assert row["ours"][1] is None


def test_table_6_has_other_numbers_of_videos_and_methods(tmp_path):
    for method in ("a", "b"):
        score(tmp_path, "ecssd", "chi", 0.4, videos=20, method=method, place=method)
    # Another training set is not averaged with these, and other protocols do not count.
    score(tmp_path, "ecssd", "chi", 0.9, videos=20, method="a", train="fbms59:train", place="c")
    score(tmp_path, "ecssd", "chi", 0.9, videos=20, protocol="all_frames", place="d")
    labels = [row["label"] for row in table(tmp_path, 6)["rows"]]
    assert labels[0] == "12 videos" and labels[4] == "36 videos"
    assert all(label.startswith("20 videos (method ") for label in labels[1:4])
    assert sum(" on fbms59:train)" in label for label in labels) == 1
    assert table(tmp_path, 6)["rows"][1]["paper"] == [None, None]
