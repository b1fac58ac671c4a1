"""Augmentation keeps images, flow and masks together."""

import cv2
import numpy as np
import pytest

from dystab_jax.data import augmentation
from dystab_jax.data.augmentation import FLOWS, Augmentation, augment
from dystab_jax.flow_ops import warp
from tests.support.tiny_videos import sliding_texture

HEIGHT, WIDTH = 48, 64


def generator(seed):
    return np.random.default_rng(seed)


def moving_pair():
    """An example whose flow connects two images: I1(x) = I2(x + u(x)); a mask drawn into I1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    flow = np.stack([2 + np.sin(y / 9), 1.5 * np.cos(x / 11)], -1).astype(np.float32)
    second = cv2.GaussianBlur(sliding_texture(1, HEIGHT, WIDTH, seed=3)[0], (0, 0), 2)
    second = np.clip((second - second.mean()) * 3 + 128, 0, 255).astype(np.uint8)
    first = np.asarray(warp(np.float32(second)[None], flow[None])[0])
    mask = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    mask[12:30, 20:45] = 1
    return {
        "image": np.round(first).astype(np.uint8),
        "flow_forward": flow.astype(np.float16),
        "flow_backward": (-flow).astype(np.float16),
        "motion_mask": mask,
        "confidence_phi": np.float32(1.5),
    }, second


@pytest.mark.parametrize("seed", range(8))
def test_augmented_flow_still_connects_the_pair(seed):
    options = Augmentation(flip=True, smallest_crop=0.6, color=0.0)
    example, second = moving_pair()
    changed = augment(example, options, generator(seed))
    other = augment(example | {"image": second}, options, generator(seed))["image"]
    assert {name: (a.shape, a.dtype) for name, a in changed.items()} == {
        name: (a.shape, a.dtype) for name, a in example.items()
    }

    def mismatch(flow):
        seen = warp(np.float32(other)[None], np.float32(flow)[None])[0]
        return np.abs(np.asarray(seen) - changed["image"])[8:-8, 8:-8].mean()

    flow = changed["flow_forward"]
    # Levels of grey; what is left is rounding and interpolation.
    assert mismatch(flow) < 2
    assert mismatch(flow * np.float16([-1, 1])) > 8
    assert mismatch(flow[:, ::-1]) > 4 or mismatch(flow * np.float16(1.5)) > 4
    np.testing.assert_allclose(changed["flow_backward"], -flow, atol=0.01)
    assert changed["confidence_phi"] == 1.5


def test_a_mirror_by_hand():
    # The first seed whose coin says mirror.
    options = Augmentation(flip=True, smallest_crop=1.0, color=0.0)
    example, _ = moving_pair()
    results = [augment(example, options, generator(seed)) for seed in range(20)]
    mirrored = [not np.array_equal(r["image"], example["image"]) for r in results]
    assert 4 <= sum(mirrored) <= 16
    for result, is_mirrored in zip(results, mirrored, strict=True):
        step = -1 if is_mirrored else 1
        np.testing.assert_array_equal(result["image"], example["image"][:, ::step])
        np.testing.assert_array_equal(result["motion_mask"], example["motion_mask"][:, ::step])
        expected = example["flow_forward"][:, ::step] * np.float16([step, 1])
        np.testing.assert_array_equal(result["flow_forward"], expected)


def test_masks_stay_where_the_image_is():
    # An image of the mask itself: after cropping and enlarging both, the borders still agree.
    # Drawn with a different border in each example, so that a constant shift shows.
    offsets = []
    for seed in range(40):
        mask = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
        mask[15 : 30 + seed % 7, 20 : 40 + seed % 5] = 1
        flow = np.zeros((HEIGHT, WIDTH, 2), np.float16)
        example = {
            "image": np.repeat(mask * 255, 3, -1),
            "flow_forward": flow,
            "flow_backward": flow,
            "motion_mask": mask,
        }
        options = Augmentation(flip=False, smallest_crop=0.7, color=0.0)
        result = augment(example, options, generator(seed))
        image, label = result["image"][..., 0] / 255.0, result["motion_mask"][..., 0]
        assert set(np.unique(label)) == {0, 1}
        places = (np.arange(HEIGHT), label.sum(1), image.sum(1))
        offsets.append([np.sum(places[0] * p) / p.sum() for p in places[1:]])
    difference = np.diff(offsets)
    assert abs(difference.mean()) < 0.08  # pixels, on average
    assert np.abs(difference).max() < 0.5


def test_crops_reach_every_border_and_keep_their_share():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.uint8(np.stack([3 * x, 5 * y, 0 * x], -1))
    flow = np.ones((HEIGHT, WIDTH, 2), np.float16)
    example = {"image": image, "flow_forward": flow, "flow_backward": flow}
    options = Augmentation(flip=False, smallest_crop=0.5, color=0.0)
    results = [augment(example, options, generator(seed)) for seed in range(60)]
    # Enlarged by 1 / share: so are the vectors.
    factors = np.array([result["flow_forward"].mean() for result in results])
    assert 1 <= factors.min() < 1.1 and 1.8 < factors.max() <= 2.05
    for axis, step in ((0, 3), (1, 5)):
        channel = np.stack([result["image"][..., axis] for result in results]).astype(int)
        assert channel.min() == 0 and channel.max() == image[..., axis].max()
        seen = np.ptp(channel.reshape(60, -1), axis=1) / step + 1
        np.testing.assert_allclose(seen, (WIDTH, HEIGHT)[axis] / factors, atol=2)


def test_colours_change_within_bounds_and_only_the_image():
    example, _ = moving_pair()
    example["image"] = np.full((HEIGHT, WIDTH, 3), [100, 120, 140], np.uint8)
    options = Augmentation(flip=False, smallest_crop=1.0, color=0.2)
    results = [augment(example, options, generator(seed)) for seed in range(50)]
    for name in FLOWS + ("motion_mask",):
        assert all(np.array_equal(result[name], example[name]) for result in results)
    grey = np.array([result["image"].mean() for result in results])
    assert 95 <= grey.min() < 101 and 139 < grey.max() <= 145  # 120 · (1 ± 0.2)
    spread = np.array([np.ptp(result["image"]) for result in results])
    assert 24 <= spread.min() < 30 and 45 < spread.max() <= 40 * 1.2**3 + 1
    # One map of colours does what saturation, contrast and brightness do one after the other.
    image = np.random.default_rng(0).integers(60, 190, (HEIGHT, WIDTH, 3), np.uint8)
    brightness, contrast, saturation = generator(0).uniform(0.9, 1.1, 3)
    grey = image.mean(-1, keepdims=True)
    expected = grey + (image - grey) * saturation
    expected = (image.mean() + (expected - image.mean()) * contrast) * brightness
    np.testing.assert_allclose(augmentation._recolor(image, 0.1, generator(0)), expected, atol=0.7)
    none = Augmentation(flip=False, smallest_crop=1.0, color=0.0)
    np.testing.assert_array_equal(augment(example, none, generator(0))["image"], example["image"])


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_impossible_crops_stop(share):
    with pytest.raises(ValueError, match=rf"smallest_crop is {share}; expected \(0, 1\]"):
        Augmentation(flip=True, smallest_crop=share, color=0.0)


def test_ellipses_are_drawn_in_range():
    ellipses = np.stack([augmentation.draw_ellipse(generator(seed)) for seed in range(200)])
    assert ellipses.dtype == np.float32
    low, high = ellipses.min(0), ellipses.max(0)
    assert (low >= [0.1, 0.1, 0.08, 0.08, 0]).all()
    assert (high <= [0.9, 0.9, 0.4, 0.4, np.float32(np.pi)]).all()
    assert (high - low > [0.7, 0.7, 0.28, 0.28, 3]).all()
