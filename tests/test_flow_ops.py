"""Warping, occlusion, resizing, flipping and colouring of optical flow."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.data.resize import flip_flow, resize_flow
from dystab_jax.flow_ops import occlusion, warp, warp_together
from dystab_jax.report.pictures import flow_to_color
from tests.support.tiny_videos import sliding_texture

# One row of four pixels; the second channel is ten times the first.
ROW = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
VALUES = np.stack([ROW, 10 * ROW], -1)[None, None]


def constant_flow(dx, dy, height, width):
    return np.broadcast_to(np.array([dx, dy], np.float32), (1, height, width, 2))


@pytest.mark.parametrize(
    ("dx", "expected"),
    [
        (0, [1, 2, 4, 8]),
        (1, [2, 4, 8, 8]),  # what lies to the right; the border is replicated
        (-2, [1, 1, 1, 2]),
        (0.5, [1.5, 3, 6, 8]),  # means of neighbours
        (-0.25, [1, 1.75, 3.5, 7]),  # 1·¼ + 2·¾, 2·¼ + 4·¾, 4·¼ + 8·¾
        (99, [8, 8, 8, 8]),
    ],
)
def test_warp_by_hand(dx, expected):
    expected = np.array(expected, np.float32)
    along = warp(VALUES, constant_flow(dx, 0, 1, 4))
    np.testing.assert_allclose(along, np.stack([expected, 10 * expected], -1)[None, None])
    # The same down a column: the second component of flow moves rows.
    down = warp(VALUES.transpose(0, 2, 1, 3), constant_flow(0, dx, 4, 1))
    np.testing.assert_allclose(down, along.transpose(0, 2, 1, 3))


def test_warp_in_both_directions_at_once():
    values = np.array([[0.0, 1.0], [2.0, 7.0]], np.float32)[None, ..., None]
    halfway = warp(values, constant_flow(0.5, 0.5, 2, 2))
    # The middle of all four, of the right two, of the lower two, the corner.
    np.testing.assert_allclose(halfway[0, ..., 0], [[2.5, 4], [4.5, 7]])


def test_warp_treats_samples_apart():
    values = np.concatenate([VALUES, 3 * VALUES])
    flow = np.concatenate([constant_flow(1, 0, 1, 4), constant_flow(-1, 0, 1, 4)])
    both = warp(values, flow)
    np.testing.assert_allclose(both[0], warp(VALUES, flow[:1])[0])
    np.testing.assert_allclose(both[1], warp(3 * VALUES, flow[1:])[0])


def test_warp_brings_the_second_frame_onto_the_first():
    first, second = sliding_texture(2, shift=(3, -2)) / np.float32(255)
    flow = constant_flow(3, -2, *first.shape[:2])
    seen = warp(second[None], flow)[0]
    np.testing.assert_allclose(seen[2:, :-3], first[2:, :-3], atol=1e-6)


def test_warp_gradient_goes_to_the_samples_that_were_read():
    # Pixel 1 reads half of pixels 1 and 2; nothing else is asked for.
    gradient = jax.grad(lambda v: warp(v, constant_flow(0.5, 0, 1, 4))[0, 0, 1, 0])(VALUES)
    np.testing.assert_allclose(gradient[0, 0], [[0, 0], [0.5, 0], [0.5, 0], [0, 0]])


def test_warping_together_is_warping_apart_but_for_the_gradient():
    rng = np.random.default_rng(0)
    values, constant = (rng.random((2, 5, 7, c), np.float32) for c in (1, 2))
    flow = rng.uniform(-3, 3, (2, 5, 7, 2)).astype(np.float32)
    for one, other in zip(warp_together(values, constant, flow), (values, constant), strict=True):
        np.testing.assert_allclose(one, warp(other, flow), rtol=1e-6)

    def total(warp_both, values, constant):
        seen, also = warp_both(values, constant)
        return (seen**2).sum() + (seen * also).sum()

    together, none = jax.grad(lambda *a: total(lambda *b: warp_together(*b, flow), *a), (0, 1))(
        values, constant
    )
    apart = jax.grad(lambda *a: total(lambda v, c: (warp(v, flow), warp(c, flow)), *a))(
        values, constant
    )
    np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-6)
    assert not none.any()


def test_occlusion_by_hand():
    # u12 = 2 px to the right everywhere, one row of six.
    forward = np.array(constant_flow(2, 0, 1, 6))
    backward = -forward
    # Pixels 4 and 5 leave the image.
    assert occlusion(forward, warp(backward, forward)).ravel().tolist() == [0, 0, 0, 0, 1, 1]
    # Pixel 0 lands on 2 and is sent back by 1 px only: |1|² > 0.01·(4 + 1) + 0.5.
    backward[0, 0, 2] = [-1, 0]
    assert occlusion(forward, warp(backward, forward)).ravel().tolist() == [1, 0, 0, 0, 1, 1]
    # By 1.3 px: 0.7² = 0.49 < 0.01·(4 + 1.69) + 0.5, tolerated.
    backward[0, 0, 2] = [-1.3, 0]
    assert occlusion(forward, warp(backward, forward)).ravel().tolist() == [0, 0, 0, 0, 1, 1]
    # Stricter: 0.49 > 0.01·(4 + 1.69) + 0.1.
    strict = occlusion(forward, warp(backward, forward), absolute=0.1)
    assert strict.ravel().tolist() == [1, 0, 0, 0, 1, 1]
    # Fast motion may disagree by more: 0.49 < 0.1·(4 + 1.69) + 0.1.
    tolerant = occlusion(forward, warp(backward, forward), relative=0.1, absolute=0.1)
    assert tolerant.ravel().tolist() == [0, 0, 0, 0, 1, 1]
    # Both lengths count, the second where the first one lands: pixel 0 goes by 1 and returns by
    # 2 from pixel 1, |1 − 2|² = 1 < 0.1·(1 + 4) + 0.55; pixel 1 itself does not move.
    forward, backward = np.zeros((2, 1, 1, 6, 2), np.float32)
    forward[0, 0, 0] = [1, 0]
    backward[0, 0, 1] = [-2, 0]
    occluded = occlusion(forward, warp(backward, forward), relative=0.1, absolute=0.55)
    assert occluded.ravel().tolist() == [0, 1, 0, 0, 0, 0]  # 4 > 0.1·4 + 0.55


def test_nothing_is_occluded_where_nothing_moves():
    still = constant_flow(0, 0, 3, 4)
    assert not occlusion(still, warp(still, still)).any()
    # The last row and column themselves are inside the image, a hair beyond is not.
    assert occlusion(still + np.float32(0.01), still).sum() == 3 + 4 - 1
    assert occlusion(still - np.float32(0.01), still).sum() == 3 + 4 - 1


@pytest.mark.parametrize("direction", ["fw", "bw"])
def test_occlusion_of_a_real_pair_is_the_reference(shared, direction):
    folder = shared / "refdata" / "flow"
    golden = json.loads((folder / "fb_occlusion_golden.json").read_text())
    packed = np.load(folder / "fb_occlusion_masks.npz")
    flows = np.load(folder / "pwcnet_reference.npz")
    pair = (flows["forward"][None], flows["backward"][None])
    flow, backward = pair if direction == "fw" else pair[::-1]
    find = jax.jit(lambda flow, backward: occlusion(flow, warp(backward, flow)))
    ours = np.asarray(find(flow, backward))[0, ..., 0].astype(bool)

    height, width = packed["shape"]
    y, x = np.mgrid[:height, :width]
    rows, columns = y + flow[0, ..., 1], x + flow[0, ..., 0]
    outside = (rows < 0) | (rows > height - 1) | (columns < 0) | (columns > width - 1)
    assert outside.sum() == golden[f"{direction}_out_of_frame"]
    replicate = np.unpackbits(packed[f"{direction}_replicate"], count=height * width)
    reference = replicate.reshape(height, width).astype(bool) | outside
    assert reference.sum() == golden[f"{direction}_replicate_or_out"]
    # The reference was computed in float64: single pixels lie within rounding of the threshold.
    assert np.count_nonzero(ours != reference) <= 2


def smooth_flow(height, width):
    """A small, smooth field: [H, W, 2] of at most 3 px."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx = 2 * np.sin(x / width * 3) + y / height
    dy = 1.5 * np.cos(y / height * 2) - x / width
    return np.stack([dx, dy], -1).astype(np.float32)


def pair_of(flow):
    """Two images for which image1(x) = image2(x + flow(x)), [H, W, 3] of unit contrast."""
    second = cv2.GaussianBlur(sliding_texture(1, *flow.shape[:2], seed=3)[0], (0, 0), 3)
    second = (second - second.mean()) / np.float32(second.std())
    return np.asarray(warp(second[None], flow[None])[0]), second


def mismatch(first, second, flow, margin=8):
    """Mean |image1(x) − image2(x + flow(x))| away from the border."""
    difference = np.abs(np.asarray(warp(second[None], np.float32(flow)[None])[0]) - first)
    return difference[margin:-margin, margin:-margin].mean()


@pytest.mark.parametrize("size", [(48, 64), (96, 64), (72, 100), (144, 192)])
def test_resized_flow_still_connects_the_pair(size):
    flow = smooth_flow(96, 128)
    first, second = pair_of(flow)
    shrinks = size[0] * size[1] < 96 * 128
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    first, second = (cv2.resize(i, size[::-1], interpolation=method) for i in (first, second))
    resized = resize_flow(flow, size)
    assert resized.shape == (*size, 2) and resized.dtype == np.float32
    assert mismatch(first, second, resized) < 0.025
    # Vectors that keep their length, are exchanged or 30 % too long do not: the measure is sharp.
    for wrong in (cv2.resize(flow, size[::-1]), resized[..., ::-1], 1.3 * resized):
        assert mismatch(first, second, wrong) > 0.09


def test_resize_flow_by_hand():
    # [4, 2] to [2, 4]: the first component is multiplied by 4/2, the second by 2/4.
    flow = np.broadcast_to(np.array([3, 5], np.float32), (4, 2, 2))
    expected = np.broadcast_to(np.array([6, 2.5], np.float32), (2, 4, 2))
    np.testing.assert_allclose(resize_flow(flow, (2, 4)), expected)
    np.testing.assert_array_equal(resize_flow(flow, (4, 2)), flow)


def test_flipped_flow_connects_the_mirrored_pair():
    flow = smooth_flow(96, 128)
    first, second = pair_of(flow)
    mirrored = flip_flow(flow)
    assert mismatch(first[:, ::-1], second[:, ::-1], mirrored) < 1e-6
    assert mismatch(first[:, ::-1], second[:, ::-1], flow[:, ::-1]) > 0.3
    np.testing.assert_array_equal(flip_flow(mirrored), flow)


def test_flip_flow_keeps_batches_and_types():
    flow = np.array([[[[1, 2], [3, 4]]]], np.float16)  # [1, 1, 2, 2]
    flipped = flip_flow(flow)
    np.testing.assert_array_equal(flipped, [[[[-3, 4], [-1, 2]]]])
    assert flipped.dtype == np.float16


def test_colours_of_the_wheel():
    flow = np.array([[[0, 0], [2, 0], [-2, 0], [0, 2], [0, -2], [1, 0], [99, 0]]], np.float32)
    colors = flow_to_color(flow, longest=2)
    assert colors.dtype == np.uint8
    # Hue 0°, 180°, 90°, 270°: red, cyan, yellow-green, blue-violet; half as long is half as pale.
    expected = [
        [255, 255, 255],
        [255, 0, 0],
        [0, 255, 255],
        [128, 255, 0],
        [128, 0, 255],
        [255, 128, 128],
        [255, 0, 0],
    ]
    np.testing.assert_allclose(colors[0], expected, atol=1)


def test_colours_are_scaled_by_the_field_itself():
    flow = smooth_flow(32, 48)
    np.testing.assert_allclose(flow_to_color(flow), flow_to_color(7 * flow), atol=1)
    assert (flow_to_color(np.zeros((4, 5, 2), np.float32)) == 255).all()


def test_warp_and_occlusion_run_under_jit_and_keep_their_types():
    flow = jnp.asarray(smooth_flow(8, 9))[None]
    assert jax.jit(warp)(flow, flow).dtype == jnp.float32
    assert jax.jit(occlusion)(flow, -flow).shape == (1, 8, 9, 1)
