"""The movers data set: same pixels every time, true masks, and groups that mean what they say."""

import cv2
import numpy as np
import pytest

from data_prep.datasets import drawing
from data_prep.datasets.drawing import VIDEOS, DrawnVideo, draw_video

STAYS = 0.96  # overlap of a mask with its resampled self; the slowest object moves 2 px per frame


@pytest.fixture(scope="module")
def videos_of_test() -> list[DrawnVideo]:
    return [draw_video("test", index) for index in range(VIDEOS["test"])]


def families(video: DrawnVideo) -> set[str]:
    return set(video.name.split("-")[2].split("+"))


def follow_camera(video: DrawnVideo, source: int, target: int, images: np.ndarray) -> np.ndarray:
    """Frame `source` as frame `target` would show it if nothing moved on the plane."""
    motion = video.views[target] @ np.linalg.inv(video.views[source])
    height, width = images.shape[1:3]
    return cv2.warpAffine(
        images[source], motion[:2], (width, height), borderMode=cv2.BORDER_REPLICATE
    )


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / (first | second).sum()


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)


def test_shapes_types_and_names():
    video = draw_video("train", 7, frames=4, height=96, width=160)
    assert video.frames.shape == (4, 96, 160, 3) and video.frames.dtype == np.uint8
    assert video.masks.shape == (4, 96, 160) and video.masks.dtype == np.uint8
    assert video.views.shape == (4, 3, 3) and len(video.groups) == 4
    assert video.name.startswith("train-007-")


def test_same_arguments_same_pixels_in_any_order():
    first = draw_video("train", 3, frames=3)
    draw_video("val", 1, frames=3)
    again = draw_video("train", 3, frames=3)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert (first.name, first.groups) == (again.name, again.groups)


@pytest.mark.parametrize(("split", "seed"), [("val", 0), ("test", 0), ("train", 1)])
def test_split_and_seed_each_give_another_video(split: str, seed: int):
    first = draw_video("train", 0, frames=2, height=96, width=160)
    second = draw_video(split, 0, seed=seed, frames=2, height=96, width=160)
    assert not np.allclose(first.views, second.views)
    assert np.abs(first.frames.astype(int) - second.frames).mean() > 5


def test_every_index_gives_another_video(videos_of_test: list[DrawnVideo]):
    assert len({video.views.tobytes() for video in videos_of_test}) == VIDEOS["test"]
    assert len({video.name for video in videos_of_test}) == VIDEOS["test"]


@pytest.mark.parametrize("split", sorted(VIDEOS))
def test_mix_of_groups_and_no_held_out_family_before_the_test(split: str):
    videos = [draw_video(split, index, height=48, width=80) for index in range(VIDEOS[split])]
    for video in videos:
        unseen = set(video.groups) == {"unseen"}
        known = set(drawing.HELD_OUT_FAMILIES if unseen else drawing.TRAINING_FAMILIES)
        assert families(video) <= known, video.name
    kinds = [max(set(video.groups), key=lambda group: group != "moving") for video in videos]
    assert {group: kinds.count(group) for group in set(kinds)} == drawing.MIX[split]
    assert split == "test" or "unseen" not in drawing.MIX[split]
    pairs = sum("+" in video.name for video in videos)
    assert split != "train" or 0.1 < pairs / len(videos) < 0.3


def test_families_are_disjoint():
    assert not set(drawing.TRAINING_FAMILIES) & set(drawing.HELD_OUT_FAMILIES)


def test_objects_cover_a_fair_share_and_leave_the_border(videos_of_test: list[DrawnVideo]):
    border = np.ones((192, 320), bool)
    border[2:-2, 2:-2] = False
    for video in videos_of_test:
        assert set(np.unique(video.masks)) == {0, 1}
        shares = video.masks.mean(axis=(1, 2))
        assert shares.min() > 0.03 and shares.max() < 0.16, video.name
        assert (video.masks[:, border].mean(axis=1) < 0.5 * (1 - shares)).all(), video.name


def test_everything_is_textured(videos_of_test: list[DrawnVideo]):
    for video in videos_of_test:
        image = cv2.cvtColor(video.frames[0], cv2.COLOR_RGB2GRAY).astype(np.float32)
        mean = cv2.blur(image, (17, 17))
        deviation = np.sqrt(np.maximum(cv2.blur(image**2, (17, 17)) - mean**2, 0))
        assert np.quantile(deviation, 0.02) > 4, video.name  # sensor noise alone stays below 2.5


def test_objects_stand_out_unless_camouflaged(videos_of_test: list[DrawnVideo]):
    for video in videos_of_test:
        image = video.frames[0].astype(float)
        chroma = image.max(axis=-1) - image.min(axis=-1)
        inside = video.masks[0] == 1
        gain = chroma[inside].mean() / chroma[~inside].mean()
        assert gain < 1.5 if "camouflaged" in video.groups else gain > 1.5, (video.name, gain)


def test_resting_objects_move_exactly_with_the_camera(videos_of_test: list[DrawnVideo]):
    checked = set()
    for video in videos_of_test:
        for t, group in enumerate(video.groups):
            if group not in ("never", "paused"):
                continue
            for other in range(max(0, t - 3), min(len(video.groups), t + 4)):
                moved = follow_camera(video, t, other, video.masks)
                assert overlap(moved, video.masks[other]) > STAYS, (video.name, t, other)
            checked.add(group)
    assert checked == {"never", "paused"}


def test_resting_objects_leave_no_residual(videos_of_test: list[DrawnVideo]):
    """Neither inside the object nor along its outline do pixels differ from camera motion alone."""
    videos = [video for video in videos_of_test if set(video.groups) == {"never"}]
    for video in videos:
        predicted = grey(follow_camera(video, 2, 5, video.frames))[16:-16, 16:-16]
        seen = grey(video.frames[5])[16:-16, 16:-16]
        around = cv2.dilate(video.masks[5], np.ones((9, 9), np.uint8))[16:-16, 16:-16] == 1
        residual = np.abs(predicted * (seen.mean() / predicted.mean()) - seen)
        assert np.quantile(residual[around], 0.98) < 12, video.name
        assert residual[around].mean() < 3, video.name


def test_moving_objects_leave_the_camera_motion(videos_of_test: list[DrawnVideo]):
    for video in videos_of_test:
        for t, group in enumerate(video.groups):
            if group in ("moving", "camouflaged", "unseen"):
                near = range(max(0, t - 3), min(len(video.groups), t + 4))
                stays = [
                    overlap(follow_camera(video, t, other, video.masks), video.masks[other])
                    for other in near
                ]
                assert min(stays) < STAYS, (video.name, t)


def test_truth_is_where_the_object_covers_half_the_pixel():
    """A white square of 10 px side on black covers 0.4 of its left half and 0.6 of its right."""
    coverage = np.repeat(np.where(np.arange(101) < 50, 0.4, 0.6)[None], 101, axis=0)
    paint = np.dstack([255 * coverage] * 3 + [coverage]).astype(np.float32)
    poses = np.array([[[5.0, 0, x], [0, 5.0, 30], [0, 0, 1]] for x in (20.3, 19.8)])
    images, masks = drawing._render(
        np.random.default_rng(0),
        plane=np.zeros((64, 96, 3), np.uint8),
        plane_poses=np.stack([np.eye(3)] * 2),
        bodies=[drawing.Body(drawing.Sprite(paint, size=5.0, reach=7.1), poses)],
        height=64,
        width=96,
    )
    for t, columns in enumerate((slice(21, 26), slice(20, 25))):
        expected = np.zeros((64, 96), np.uint8)
        expected[25:36, columns] = 1
        np.testing.assert_array_equal(masks[t], expected)
        np.testing.assert_array_equal(images[t].mean(axis=-1) > 127, expected == 1)


def test_mask_is_the_region_that_moved():
    """What changes beyond camera motion lies in the object's old and new place, nowhere else."""
    video = draw_video("test", 6)
    assert set(video.groups) == {"moving"}
    predicted, seen = grey(follow_camera(video, 3, 6, video.frames)), grey(video.frames[6])
    changed = (np.abs(predicted - seen) > 25)[16:-16, 16:-16]
    place = follow_camera(video, 3, 6, video.masks) | video.masks[6]
    place = cv2.dilate(place, np.ones((5, 5), np.uint8))[16:-16, 16:-16] == 1
    assert changed.sum() > 200
    assert changed[~place].sum() < 0.02 * changed.sum()


def test_steps_stay_within_reach_of_flow(videos_of_test: list[DrawnVideo]):
    for video in videos_of_test:
        if "+" in video.name:
            continue  # one centre of mass per mask is one object's only where there is one
        rows, columns = np.mgrid[:192, :320]
        for first, second in zip(video.masks[:-3], video.masks[3:], strict=True):
            shift = [
                (grid * second).sum() / second.sum() - (grid * first).sum() / first.sum()
                for grid in (columns, rows)
            ]
            assert np.hypot(*shift) < 21, video.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(split="dev", index=0), "dev.*test.*train.*val"),
        (dict(split="train", index=VIDEOS["train"]), "0 to 95, not 96"),
        (dict(split="train", index=-1), "not -1"),
        (dict(split="train", index=0, frames=1), "1 frames"),
        (dict(split="train", index=0, height=20), "20x320"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        draw_video(**arguments)
