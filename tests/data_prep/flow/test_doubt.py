"""Flow that the frames give no reason to believe is found, and no other."""

import cv2
import numpy as np
import pytest

from data_prep.datasets.drawing import draw_video
from data_prep.flow.dis import Dis
from data_prep.flow.doubt import find_doubt
from data_prep.flow.mistakes import grey_levels
from tests.support.tiny_videos import sliding_texture

HEIGHT, WIDTH = 48, 64


def doubt(frames, vectors):
    flow = np.broadcast_to(np.float32(vectors), (*frames[0].shape[:2], 2))
    return find_doubt(*map(grey_levels, frames), flow)


def moving():
    return sliding_texture(2, shift=(3, 2))


def still(noise=0, light=0):
    frames = sliding_texture(2, shift=(0, 0)).astype(int)
    frames += np.random.default_rng(0).normal(0, noise, frames.shape).astype(int)
    frames[1] += light
    return frames.clip(0, 255).astype(np.uint8)


def small_object(moved=True):
    frames = np.repeat(sliding_texture(1, seed=1), 2, axis=0)
    texture = sliding_texture(2, shift=(3, 2) if moved else (0, 0))
    frames[:, 10:26, 10:30] = texture[:, 10:26, 10:30]
    return frames


def flat():
    return np.full((2, HEIGHT, WIDTH, 3), 99, np.uint8)


def cut():
    return np.stack([sliding_texture(1, seed=seed)[0] for seed in (0, 1)])


@pytest.mark.parametrize("frames", [moving(), small_object()], ids=["everything", "an object"])
def test_no_motion_where_there_is_some(frames):
    said = doubt(frames, (0, 0))
    assert said.startswith("all its vectors are 0, but the frames differ: ")
    assert " px in the median. Did the tool" in said


@pytest.mark.parametrize("vector", [(-4, 3), (1, 0), (0.01, 0.01)])
def test_one_vector_for_all_that_does_not_fit(vector):
    assert "all its vectors are (" in doubt(moving(), vector)


@pytest.mark.parametrize("vector", [(500, 0), (0, -60), (-62, 1), (32768, 32768), (40, 30)])
@pytest.mark.parametrize("frames", [moving(), still()], ids=["moving", "still"])
def test_vectors_that_lead_out_of_the_frame(frames, vector):
    said = doubt(frames, vector)
    assert "of its vectors lead out of the frame" in said and "Is the unit another one" in said


def test_vectors_out_of_a_frame_that_shows_nothing():
    assert "100% of its vectors lead out" in doubt(flat(), (500, 0))
    assert doubt(flat(), (30, 30)) is None


@pytest.mark.parametrize(
    "frames",
    [still(), still(noise=3), still(noise=8), still(light=9), still(5, -20), flat(), cut()],
    ids=["still", "noise", "much noise", "light", "both", "flat", "cut"],
)
def test_no_motion_where_there_is_none(frames):
    assert doubt(frames, (0, 0)) is None
    assert doubt(frames, (0.02, -0.02)) is None


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (3, 2), (-7, 5), (40, 0)])
def test_the_true_vector_is_believed(shift):
    assert doubt(sliding_texture(2, shift=shift), shift) is None


def test_most_of_a_fast_pan_may_leave_the_frame_where_the_rest_fits():
    frames = sliding_texture(2, shift=(50, 6))
    assert doubt(frames, (50, 6)) is None
    assert "81% of its vectors lead out" in doubt(frames, (50, -6))


def test_frames_too_small_to_estimate_flow():
    frames = sliding_texture(2, height=8, width=10)
    assert doubt(frames, (0, 0)) is None


@pytest.mark.parametrize("index", range(0, 12, 3))
def test_estimated_flow_of_drawn_videos_is_believed_and_none_is_not(index):
    images = draw_video("val", index, frames=2).frames
    dis = Dis()
    (flow,) = dis.match(*([dis.encode(image)] for image in images[:2]))
    assert find_doubt(*map(grey_levels, images[:2]), flow) is None
    assert doubt(images[:2], (0, 0)) is not None


def test_real_videos(shared):
    for folder in sorted((shared / "data/DAVIS2016/JPEGImages/480p").iterdir())[:12]:
        paths = sorted(folder.glob("*.jpg"))[20:22]
        images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
        images = [cv2.resize(image, (320, 192), interpolation=cv2.INTER_AREA) for image in images]
        dis = Dis()
        (flow,) = dis.match(*([dis.encode(image)] for image in images))
        assert find_doubt(*map(grey_levels, images), flow) is None
        assert doubt(images, (0, 0)) is not None, folder.name
        assert doubt([images[0], images[0]], (0, 0)) is None
