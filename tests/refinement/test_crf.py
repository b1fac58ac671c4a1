"""Dense CRF, its filter and the guided filter: against a reference, brute force and a drawing."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from dystab_jax.refinement.crf import PRESETS, Kernel, mean_field, refine, refine_frames
from dystab_jax.refinement.guided_filter import guided_filter, guided_upsample
from dystab_jax.refinement.permutohedral import build_lattice


def draw(height=48, width=64, seed=0):
    """Two colours with a little noise, the object's truth and a blurred map of it."""
    truth = np.zeros((height, width), np.float32)
    truth[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 1
    image = np.where(truth[..., None] > 0, (200, 80, 60), (60, 90, 180))
    image = image + np.random.default_rng(seed).integers(-4, 5, image.shape)
    soft = cv2.GaussianBlur(truth, (0, 0), width / 16)
    return image.astype(np.uint8), truth, soft


def wrong_pixels(soft, truth):
    return int(((soft > 0.5) != (truth > 0.5)).sum())


def random_points(dimensions, count=300):
    points = np.random.default_rng(dimensions).normal(size=(count, dimensions)) * 1.5
    return points.astype(np.float32)


def grid_points(side=24, pixels_per_deviation=3):
    y, x = np.mgrid[:side, :side].astype(np.float32) / pixels_per_deviation
    return np.stack([x.ravel(), y.ravel()], axis=1)


def filter_matrix(points):
    """K of the lattice, one impulse's response per column."""
    lattice = build_lattice(points)
    return np.stack([lattice.filter(row) for row in np.eye(len(points), dtype=np.float32)], axis=1)


def gaussian_matrix(points):
    """The matrix that the lattice approximates."""
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1) / 2)


def of_constant_gain(matrix):
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["blackswan", "bmx-trees", "libby"])
def test_mean_field_equals_the_reference_implementation(shared, name):
    folder = shared / "refdata" / "crf"
    parameters = json.loads((folder / "golden.json").read_text())[name]
    golden = np.load(folder / "pydensecrf2_golden.npz")
    p = golden[f"{name}_soft_u8"] / 255 * 0.9 + 0.05
    kernels = [Kernel(parameters["sxy"], parameters["compat"], parameters["srgb"])]
    if parameters["gaussian_sxy3_compat3"]:
        kernels.append(Kernel(3, 3))

    result = mean_field(
        golden[f"{name}_rgb"], np.log(p / (1 - p)), kernels, parameters["iterations"]
    )

    label = np.unpackbits(golden[f"{name}_label"])[: p.size].reshape(p.shape) == 1
    assert label.sum() == parameters["fg_pixels"]
    np.testing.assert_array_equal(result > 0.5, label)
    np.testing.assert_allclose(result[::16, ::16], golden[f"{name}_Q1_stride16"], atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_filter_resembles_the_gaussian_of_scattered_points(dimensions):
    points = random_points(dimensions)
    responses = filter_matrix(points)
    assert responses.min() >= 0
    assert np.corrcoef(responses.ravel(), gaussian_matrix(points).ravel())[0, 1] > 0.95


def test_filter_of_an_impulse_is_near_the_gaussian_on_a_grid():
    points = grid_points()
    inside = np.flatnonzero(((points > 2) & (points < 5.5)).all(axis=1))
    responses = filter_matrix(points)[inside]
    exact = gaussian_matrix(points)[inside]
    # Of 0.018, the greatest value of the exact responses of gain one.
    np.testing.assert_allclose(of_constant_gain(responses), of_constant_gain(exact), atol=4e-3)
    np.testing.assert_allclose(responses.sum(axis=1), exact.sum(axis=1), rtol=0.2)
    among = responses[:, inside]
    np.testing.assert_allclose(among, among.T, atol=1e-5)


def test_filter_does_not_see_points_far_away():
    # A strip along which only one lattice coordinate changes that numbers the lattice points, so
    # that a step off one end must not count as one onto the other.
    generator = np.random.default_rng(0)
    along = generator.random((1500, 1)) * 16
    points = along * (3**-0.5, 1) + generator.normal(size=(1500, 2)) * 0.5
    responses = filter_matrix(points.astype(np.float32))
    far = gaussian_matrix(points) < np.exp(-(8**2) / 2)
    assert far.mean() > 0.2
    assert not responses[far].any()


def test_lattice_too_wide_to_number():
    points = np.array([[0] * 5, [1e6] * 5], np.float32)
    with pytest.raises(ValueError, match="lattice cells.*64 bits.*enlarge"):
        build_lattice(points)


def test_mean_field_is_softmax_over_both_labels():
    image, _, soft = draw(24, 32)
    p = soft * 0.9 + 0.05
    kernels = (Kernel(3, 3), Kernel(8, 10, 13))
    rows, columns = np.mgrid[:24, :32].astype(np.float32)
    place = np.stack([columns.ravel(), rows.ravel()], axis=1)
    colour = image.reshape(-1, 3).astype(np.float32)
    lattices = [
        build_lattice(place / 3),
        build_lattice(np.concatenate([place / 8, colour / 13], axis=1)),
    ]
    unary = -np.log(np.stack([1 - p.ravel(), p.ravel()]))
    ones = np.ones(p.size, np.float32)
    q = np.exp(-unary)
    for _ in range(3):
        energy = unary.copy()
        for lattice, kernel in zip(lattices, kernels, strict=True):
            norm = 1 / np.sqrt(lattice.filter(ones))
            for label in range(2):
                message = norm * lattice.filter((norm * q[label]).astype(np.float32))
                energy[label] -= kernel.compat * message
        q = np.exp(-energy) / np.exp(-energy).sum(axis=0)

    result = mean_field(image, np.log(p / (1 - p)), kernels, 3)
    np.testing.assert_allclose(result.ravel(), q[1], atol=1e-5)


@pytest.mark.parametrize("preset, share_left", [("cis", 0), ("deepusps", 0.02), ("guided", 0.1)])
def test_blurred_map_snaps_to_the_edge(preset, share_left):
    image, truth, _ = draw(180, 320)
    soft = np.roll(cv2.GaussianBlur(truth, (0, 0), 3), 1, axis=1)
    result = refine(image, soft, preset)
    assert result.dtype == np.float32 and result.shape == soft.shape
    assert result.min() >= 0 and result.max() <= 1
    assert wrong_pixels(soft, truth) > 150
    assert wrong_pixels(result, truth) <= share_left * wrong_pixels(soft, truth)


def test_cis_scales_with_the_width_and_divides_by_the_maximum():
    image, _, soft = draw()
    p = np.clip(soft / soft.max(), 1e-6, 1 - 1e-6).astype(np.float64)
    expected = mean_field(image, np.log(p / (1 - p)), (Kernel(60 * 64 / 854, 5, 5),), 50)
    np.testing.assert_allclose(refine(image, soft * 0.75, "cis"), expected, atol=1e-3)


def test_large_images_are_refined_small_and_enlarged_along_their_edges():
    image, truth, soft = draw(240, 320)
    crf = dataclasses.replace(PRESETS["medium"], longest=80)
    result = crf.apply(image, soft, "numpy")
    assert result.shape == soft.shape and result.dtype == np.float32
    assert result.min() >= 0 and result.max() <= 1
    # At a quarter of the size an edge could lie anywhere within four pixels.
    assert wrong_pixels(soft, truth) > 500 and wrong_pixels(result, truth) < 20
    small = [cv2.resize(one, (80, 60), interpolation=cv2.INTER_AREA) for one in (image, soft)]
    plain = cv2.resize(crf.apply(*small, "numpy"), (320, 240), interpolation=cv2.INTER_LINEAR)
    assert np.abs(result - plain).mean() < 0.05
    # Up to that size nothing is shrunk.
    whole = dataclasses.replace(PRESETS["medium"], longest=None)
    same = dataclasses.replace(PRESETS["medium"], longest=320)
    expected = whole.apply(image, soft, "numpy")
    np.testing.assert_array_equal(same.apply(image, soft, "numpy"), expected)
    assert np.abs(result - expected).max() > 0.05


def test_deepusps_works_in_a_square():
    image, _, soft = draw()
    image, soft = (np.tile(a, (9, 8) + (1,) * (a.ndim - 2)) for a in (image[:, :54], soft[:, :54]))
    assert soft.shape == (432, 432)
    p = np.clip(soft, 1e-6, 1 - 1e-6).astype(np.float64)
    expected = mean_field(image, np.log(p / (1 - p)), (Kernel(3, 3), Kernel(80, 10, 13)), 5)
    np.testing.assert_allclose(refine(image, soft, "deepusps"), expected, atol=1e-6)


def test_guided_filter_scales_with_the_width():
    image, _, soft = draw(64, 320)
    expected = guided_filter((image / 255).astype(np.float32), soft, 6, 1e-3)
    np.testing.assert_allclose(refine(image, soft, "guided"), expected.clip(0, 1), atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_upright_image_is_refined_like_the_one_lying_down(preset):
    image, _, soft = draw(60, 120)
    image[:, 30:] //= 2  # no symmetry
    lying, upright = refine(image, soft, preset), refine(image.swapaxes(0, 1), soft.T, preset)
    # The lattice of the CRF is not symmetric, so its sums differ a little.
    assert np.abs(upright.T - lying).mean() < 0.01
    assert wrong_pixels(upright.T, lying > 0.5) <= 0.02 * np.count_nonzero(lying > 0.5)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_map_stays_as_it_is(preset, value):
    image, _, _ = draw()
    soft = np.full(image.shape[:2], value, np.float32)
    np.testing.assert_allclose(refine(image, soft, preset), soft, atol=1e-5)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("highest", [0.012, 0.02, 0.3, 0.5])
def test_no_object_is_invented(preset, highest, backend):
    image, truth, soft = draw()
    for shape in (soft, truth, np.random.default_rng(0).random(soft.shape)):
        faint = (shape / shape.max() * highest).astype(np.float32)
        np.testing.assert_array_equal(refine(image, faint, preset, backend), faint)
        (frame,) = refine_frames([(image, faint)], preset, backend=backend)
        np.testing.assert_array_equal(frame, faint)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_background_is_invented(preset):
    image, _, soft = draw()
    full = 0.501 + 0.4 * soft
    np.testing.assert_array_equal(refine(image, full, preset), full.astype(np.float32))


@pytest.mark.parametrize("preset", ["cis", "guided"])
def test_an_object_just_above_one_half_is_still_refined(preset):
    image, truth, _ = draw(180, 320)
    soft = cv2.GaussianBlur(truth, (0, 0), 3) * 0.6
    result = refine(image, soft, preset)
    assert (result > 0.5).any() and np.abs(result - soft).max() > 0.1


def test_none_returns_the_map():
    image, _, soft = draw()
    np.testing.assert_array_equal(refine(image, soft, "none"), soft)


@pytest.mark.parametrize("preset", ["cis", "deepusps"])
def test_backends_agree(preset):
    image, _, soft = draw()
    result = refine(image, soft, preset, backend="jax")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, refine(image, soft, preset), atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_frames_in_order_whatever_the_jobs(preset):
    frames = [(image, soft) for image, _, soft in (draw(24, 32 + 8 * i, i) for i in range(5))]
    expected = [refine(image, soft, preset) for image, soft in frames]
    for jobs in (1, 2):
        for result, wanted in zip(refine_frames(frames, preset, jobs), expected, strict=True):
            np.testing.assert_array_equal(result, wanted)


def test_few_frames_are_held():
    image, _, soft = draw()
    taken = []

    def endless():
        while True:
            taken.append(None)
            yield image, soft

    results = refine_frames(endless(), "none", jobs=2)
    assert not taken
    for done in range(1, 8):
        next(results)
        assert len(taken) <= done + 4
    results.close()


def test_guided_filter_equals_a_fit_in_every_window():
    generator = np.random.default_rng(0)
    height, width, radius, epsilon = 7, 9, 2, 1e-2
    values = generator.random((height, width)).astype(np.float32)
    for channels in (1, 3):
        guide = generator.random((height, width, channels)).astype(np.float32)
        total, count = np.zeros((height, width)), np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                window = np.s_[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + 3]
                colours = guide[window].reshape(-1, channels).astype(np.float64)
                wanted = values[window].ravel().astype(np.float64)
                centred = colours - colours.mean(axis=0)
                covariance = centred.T @ centred / len(colours)
                slope = np.linalg.solve(
                    covariance + epsilon * np.eye(channels),
                    centred.T @ (wanted - wanted.mean()) / len(colours),
                )
                fit = (guide[window] - colours.mean(axis=0)) @ slope + wanted.mean()
                total[window] += fit
                count[window] += 1
        result = guided_filter(guide, values, radius, epsilon)
        np.testing.assert_allclose(result, total / count, atol=1e-4)


def test_guided_upsampling_to_the_same_size_is_the_filter():
    image, _, soft = draw(30, 40)
    guide = (image / 255).astype(np.float32)
    expected = guided_filter(guide, soft, 3, 1e-3)
    result = guided_upsample(guide, guide, soft, 3, 1e-3)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(image=np.zeros((8, 8, 3), np.float32)), r"image is float32 \(8, 8, 3\).*uint8"),
        (dict(image=np.zeros((8, 8), np.uint8)), r"image is uint8 \(8, 8\).*\[H, W, 3\]"),
        (dict(soft=np.zeros((8, 8), np.uint8)), r"map is uint8 \(8, 8\).*float \[H, W\]"),
        (dict(soft=np.zeros((8, 8, 1), np.float32)), r"map is float32 \(8, 8, 1\).*\[H, W\]"),
        (dict(soft=np.zeros((8, 9), np.float32)), r"\(8, 9\).*\(8, 8, 3\).*resize"),
        (dict(soft=np.full((8, 8), 255.0)), r"\[255, 255\].*\[0, 1\]"),
        (dict(soft=np.full((8, 8), np.nan)), r"\[nan, nan\].*\[0, 1\]"),
        (dict(preset="sis"), "preset 'sis'.*none, cis, light, medium, deepusps, guided"),
        (dict(backend="torch"), "backend 'torch'.*numpy, jax"),
    ],
)
def test_bad_input(unchecked, change, message):
    image, soft = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32)
    with pytest.raises(ValueError, match=message):
        refine(**{"image": image, "soft": soft, "preset": "cis", **change})


def test_bad_frames(unchecked):
    with pytest.raises(ValueError, match="preset 'sis'"):
        refine_frames([], "sis")
    with pytest.raises(ValueError, match="jobs is 0"):
        refine_frames([], "cis", jobs=0)
    bad = (np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="resize the map"):
        list(refine_frames([bad], "none", jobs=2))
