"""Labels for χ: what the networks predict directly, kept bit by bit, and never half written."""

from functools import partial

import jax
import numpy as np
import pytest

from dystab_jax import inference, losses, object_choice
from dystab_jax.data import pipeline, records
from dystab_jax.inference import Predictor, Reading
from dystab_jax.pseudo_labels import PseudoLabels, make_pseudo_labels, refine_predictions
from dystab_jax.refinement.crf import refine_frames
from dystab_jax.runtime import parallel
from tests.support.tiny_networks import HEIGHT, WIDTH, tiny_state, tiny_steps

STEPS = tiny_steps()
BITS = ("motion_mask", "static_mask")
VOTED = Reading(vote=True)
CONFIDENCES = ("confidence_phi", "confidence_chi")


@pytest.fixture(scope="module")
def made(tiny_data):
    """The labels of folder/tiny and all that they were made from."""
    source = records.open_source(tiny_data, "folder/tiny:train")
    decoded = pipeline.Decoded(source, (HEIGHT, WIDTH), keep=True)
    frames = pipeline.frames_of(source)
    mesh = parallel.make_mesh(jax.devices()[:2])
    predictor = Predictor(STEPS, mesh, batch_size=4)
    state = parallel.replicate(tiny_state(STEPS), mesh)
    labels = make_pseudo_labels(predictor, state, decoded, frames, VOTED, flows_per_frame=2)
    return labels, predictor, state, decoded, frames


def drawn_labels():
    """Five labels of 3x5 pixels, which no byte divides."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (5, 3, 5, 1), np.uint8) for name in BITS}
    confidences = {name: np.float32(rng.uniform(0, 2, 5)) for name in CONFIDENCES}
    bits = {name: np.packbits(array.reshape(5, -1), axis=-1) for name, array in arrays.items()}
    return PseudoLabels((3, 5), bits, confidences), arrays | confidences


def assert_equal(labels, arrays):
    assert len(labels) == len(arrays["motion_mask"])
    for number in range(len(labels)):
        label = labels[number]
        assert label.keys() == arrays.keys()
        for name, array in arrays.items():
            assert label[name].dtype == array[number].dtype
            np.testing.assert_array_equal(label[name], array[number])


def test_labels_survive_storage_bit_by_bit(tmp_path):
    labels, arrays = drawn_labels()
    assert_equal(labels, arrays)
    path = tmp_path / "pseudo_labels" / "1-static.npz"
    labels.save(path)
    assert_equal(PseudoLabels.load(path), arrays)
    # A bit per pixel and mask: two bytes for 15 pixels.
    assert labels._bits["motion_mask"].nbytes == 5 * 2


def mixed_labels():
    """Labels of 3x5, 5x3 and 4x4 pixels, of two bytes each, and of 5x5, of four."""
    sizes = [(3, 5), (5, 3), (4, 4), (5, 5)]
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, 2, (*size, 1), np.uint8) for size in sizes]
    bits = np.zeros((4, 4), np.uint8)
    for row, mask in zip(bits, masks, strict=True):
        packed = np.packbits(mask)
        row[: len(packed)] = packed
    values = np.float32(rng.uniform(0, 2, 4))
    labels = PseudoLabels(sizes, {"motion_mask": bits}, {"confidence_phi": values})
    return labels, {"motion_mask": masks, "confidence_phi": values}, sizes


def test_labels_of_several_sizes_survive_storage(tmp_path):
    labels, arrays, sizes = mixed_labels()
    assert_equal(labels, arrays)
    path = tmp_path / "1-static.npz"
    labels.save(path)
    assert_equal(PseudoLabels.load(path, sizes=sizes), arrays)
    with pytest.raises(ValueError, match="1-static.npz holds masks of other sizes.*remove it"):
        PseudoLabels.load(path, sizes=[(3, 5)] * 4)


def test_labels_stored_with_one_size_for_all_are_read(tmp_path):
    labels, arrays = drawn_labels()
    path = tmp_path / "1-static.npz"
    np.savez(path, size=(3, 5), frames="a digest", **labels._bits, **labels.confidences)
    assert_equal(PseudoLabels.load(path, ("a digest",), [(3, 5)] * 5), arrays)
    with pytest.raises(ValueError, match="holds masks of other sizes"):
        PseudoLabels.load(path, ("a digest",), [(3, 5)] * 4 + [(5, 3)])


@pytest.mark.parametrize(
    "size", [(3, 0), (3, -5), (9, 9), (3.0, 5.0), [(3, 5)] * 4, [(3, 5, 1)] * 5]
)
def test_labels_of_impossible_sizes_are_damaged(tmp_path, size):
    labels, _ = drawn_labels()
    path = tmp_path / "1-static.npz"
    np.savez(path, size=size, frames="", **labels._bits, **labels.confidences)
    with pytest.raises(ValueError, match=f"{path} is damaged.*for masks of sizes"):
        PseudoLabels.load(path)


def test_a_killed_write_leaves_what_was_there(tmp_path, monkeypatch):
    labels, arrays = drawn_labels()
    path = tmp_path / "1-static.npz"

    def killed(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            labels.save(path)
    assert not path.exists() and not list(tmp_path.glob("*.npz"))
    labels.save(path)
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            labels.save(path)
    assert_equal(PseudoLabels.load(path), arrays)


def test_labels_of_other_frames_are_refused(tmp_path):
    labels, arrays = drawn_labels()
    path = tmp_path / "1-static.npz"
    labels.save(path, "one digest")
    assert_equal(PseudoLabels.load(path, ("older", "one digest")), arrays)
    with pytest.raises(ValueError, match=f"{path} holds labels of other frames"):
        PseudoLabels.load(path, ("another",))
    labels.save(path)  # as before there were digests
    assert_equal(PseudoLabels.load(path, ("another",)), arrays)


@pytest.mark.parametrize("content", [b"", b"half of it", b"PK\x03\x04 half of it"])
def test_damaged_labels_are_named(tmp_path, content):
    path = tmp_path / "1-static.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        PseudoLabels.load(path)


def test_there_is_a_label_for_every_frame(made):
    labels, _, _, _, frames = made
    assert len(labels) == len(frames) == 12
    for number in range(12):
        for name in BITS:
            assert labels[number][name].shape == (HEIGHT, WIDTH, 1)


def test_labels_are_what_the_networks_predict(made):
    labels, _, state, decoded, frames = made
    state = jax.device_get(state)
    dynamic, static, evidence = (
        jax.jit(f) for f in (STEPS.predict_dynamic, STEPS.predict_static, STEPS.measure_evidence)
    )
    for video in ("video0", "video1", "video2"):
        members = [number for number, frame in enumerate(frames) if frame.video == video]
        flows, images = {}, {}
        for number in members:
            examples = [decoded[position] for position in frames[number].positions[:2]]
            flows[number] = np.stack([example["flow_forward"] for example in examples])
            images[number] = np.stack([example["image"] for example in examples])
        raw = [np.asarray(dynamic(state.phi.average, {"flow": flows[n]})) for n in members]
        # One decision on the object for the whole video.
        flipped = np.mean([object_choice.border_share(mask) for mask in raw]) > 0.5
        for number, mask in zip(members, raw, strict=True):
            phi = (1 - mask if flipped else mask).mean(0) > 0.5
            # From χ′, neither from χ nor from its average.
            chi = np.asarray(static(state.chi_previous, {"image": images[number]}))[0] > 0.5
            label = labels[number]
            assert np.count_nonzero(label["motion_mask"] != phi) <= 2  # rounding at one half
            assert np.count_nonzero(label["static_mask"] != chi) <= 2
            for name, region in (("confidence_phi", phi), ("confidence_chi", chi)):
                batch = {"flow": flows[number], "image": images[number]}
                sums = evidence(state.psi.average, batch | {"mask": np.stack([region] * 2)})
                expected = losses.confidence(sums.sum(0, keepdims=True), STEPS.options.ratio_clip)
                np.testing.assert_allclose(label[name], expected[0], rtol=1e-3)


def test_labels_tell_the_frames_apart(made):
    labels = made[0]
    assert len({labels[n]["motion_mask"].tobytes() for n in range(12)}) == 12
    assert len({float(labels[n]["confidence_phi"]) for n in range(12)}) == 12
    shares = [labels[n]["motion_mask"].mean() for n in range(12)]
    assert 0.01 < min(shares) and max(shares) < 0.99


def test_making_them_again_gives_the_same_bits(made):
    labels, predictor, state, decoded, frames = made
    again = make_pseudo_labels(predictor, state, decoded, frames, VOTED, flows_per_frame=2)
    for number in range(12):
        for name, value in again[number].items():
            np.testing.assert_array_equal(value, labels[number][name])


def test_batches_of_one_shape_are_filled_up_without_a_trace(made):
    _, predictor, state, decoded, _ = made
    images = np.stack([decoded[position]["image"] for position in range(7)])
    together = predictor.static(state.chi_previous, images)
    assert together.shape == (7, HEIGHT, WIDTH, 1)
    # 7 = 4 + 3: alone, each one is seen beside three copies of itself.
    for number in (0, 3, 4, 6):
        alone = predictor.static(state.chi_previous, images[number : number + 1])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)


def test_labels_of_phi_are_refined_with_their_images_before_they_are_learned(made):
    plain, predictor, state, decoded, frames = made
    seen = []

    def inverted(pairs):
        for image, soft in pairs:
            seen.append(image)
            yield 1 - soft

    again = make_pseudo_labels(
        predictor, state, decoded, frames, VOTED, flows_per_frame=2, refine=inverted
    )
    images = [decoded.part(frame.positions[0], "image") for frame in frames]
    np.testing.assert_array_equal(np.stack(seen), np.stack(images))
    for number in range(len(plain)):
        refined, label = again[number], plain[number]
        np.testing.assert_array_equal(refined["motion_mask"], 1 - label["motion_mask"])
        for name in ("static_mask", *CONFIDENCES):
            np.testing.assert_array_equal(refined[name], label[name])


def test_chi_is_held_to_what_both_make_together(made):
    plain, predictor, state, decoded, frames = made

    def inverted(pairs):
        yield from (1 - soft for _, soft in pairs)

    again = make_pseudo_labels(
        predictor, state, decoded, frames, VOTED, flows_per_frame=2, refine=inverted, fused=True
    )
    variables = {"phi": state.phi.average, "psi": state.psi.average, "chi": state.chi_previous}
    videos = predictor.videos(variables, decoded, frames, VOTED, 2)
    fused = [
        object_choice.fuse_masks(one.phi, one.chi, one.confidence_phi, one.confidence_chi)
        for one in videos
    ]
    for number, soft in enumerate(np.concatenate(fused)):
        np.testing.assert_array_equal(again[number]["static_mask"], soft < 0.5)
        np.testing.assert_array_equal(
            again[number]["motion_mask"], 1 - plain[number]["motion_mask"]
        )
        for name in CONFIDENCES:
            np.testing.assert_array_equal(again[number][name], plain[number][name])


def test_pieces_of_a_video_are_labelled_as_the_whole(made, monkeypatch):
    _, predictor, state, decoded, frames = made
    alone = Reading(vote=False)  # frame by frame, so that it does not matter what came before

    def labels():
        return make_pseudo_labels(predictor, state, decoded, frames, alone, flows_per_frame=2)

    whole = labels()
    monkeypatch.setattr(inference, "PIECE", 2)
    for one, other in zip(whole, labels(), strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(other[name], array)


def test_later_pieces_know_what_came_before(made, monkeypatch):
    _, predictor, state, decoded, frames = made
    monkeypatch.setattr(inference, "PIECE", 1)
    variables = {"phi": state.phi.average, "psi": state.psi.average}
    found = list(predictor.videos(variables, decoded, frames, VOTED, 2))
    known = [(one.video, one.frames, one.earlier.frames) for one in found]
    videos = {frame.video: None for frame in frames}
    assert known == [(video, (f"{t:05d}",), t) for video in videos for t in range(4)]


def test_a_chi_that_has_not_learned_has_no_say(made):
    plain, predictor, state, decoded, frames = made
    first = make_pseudo_labels(
        predictor, state, decoded, frames, VOTED, flows_per_frame=2, first=True, fused=True
    )
    for number in range(len(plain)):
        for name in ("motion_mask", "confidence_phi"):
            np.testing.assert_array_equal(first[number][name], plain[number][name])
        assert not first[number]["static_mask"].any() and first[number]["confidence_chi"] == 0


def test_mirrored_predictions_of_chi_do_not_depend_on_the_side(made):
    _, predictor, state, decoded, _ = made
    images = np.stack([decoded[position]["image"] for position in range(5)])

    def predicted(images, mirror):
        return predictor.static(state.chi_previous, images, mirror)

    maps, alone = predicted(images, True), predicted(images, False)
    np.testing.assert_allclose(predicted(images[:, :, ::-1], True)[:, :, ::-1], maps, atol=1e-6)
    of_mirrors = predicted(images[:, :, ::-1], False)[:, :, ::-1]
    np.testing.assert_allclose(maps, (alone + of_mirrors) / 2, atol=1e-6)
    assert np.abs(maps - alone).max() > 1e-3


def test_a_lower_cut_makes_larger_masks_of_phi(made):
    _, predictor, state, decoded, frames = made
    variables = {"phi": state.phi.average, "psi": state.psi.average}

    def predicted(reading):
        return next(predictor.videos(variables, decoded, frames[:4], reading, 1)).phi

    plain, lower = predicted(VOTED), predicted(Reading(vote=True, phi_cut=0.45))
    np.testing.assert_allclose(lower, (plain + 0.05).clip(0, 1), atol=1e-6)
    assert (lower > 0.5).sum() > (plain > 0.5).sum()


def test_votes_and_flows_are_those_asked_for(made):
    _, predictor, state, decoded, frames = made
    variables = {"phi": state.phi.average, "psi": state.psi.average, "chi": state.chi_previous}

    def predicted(vote, flows):
        return next(predictor.videos(variables, decoded, frames[:4], Reading(vote), flows))

    one, two = predicted(False, 1), predicted(False, 2)
    assert one.frames == tuple(f"{t:05d}" for t in range(4)) and one.video == "video0"
    first = np.stack([decoded[frame.positions[0]]["flow_forward"] for frame in frames[:4]])
    np.testing.assert_array_equal([next(iter(flows.values())) for flows in one.flows], first)
    # The smallest gaps first, of these the later frame.
    assert [list(flows) for flows in two.flows] == [[1, 2], [1, -1], [1, -1], [-1, -2]]
    assert np.abs(one.phi - two.phi).max() > 0.01
    # Without a vote, no frame's mask covers most of the border; with one, the video's mean.
    assert (object_choice.border_share(one.phi) <= 0.5).all()
    assert object_choice.border_share(predicted(True, 1).phi).mean() <= 0.5


def test_self_training_does_not_learn_objects_that_the_crf_invents():
    height, width, strong = 24, 32, np.zeros((24, 32), np.float32)
    strong[6:18, 8:24] = 0.9
    maps = np.stack([strong, strong / 45, np.full_like(strong, 0.012)])[..., None]

    class Predictor:
        batch_size = 3
        place = staticmethod(lambda variables: variables)
        static = staticmethod(lambda variables, images: maps)

    class Decoded:
        size_of = staticmethod(lambda position: (height, width))
        part = staticmethod(
            lambda position, name: np.uint8(160 * (strong > 0))[..., None].repeat(3, -1)
        )

    class Frame:
        positions = (0,)

    refine = partial(refine_frames, preset="cis")
    labels = refine_predictions(Predictor, {}, Decoded, [Frame] * 3, refine)
    shares = [labels[number]["target"].mean() for number in range(3)]
    assert shares[0] == pytest.approx((strong > 0).mean(), abs=0.05) and shares[1:] == [0, 0]


def test_self_training_labels_of_several_sizes_stay_with_their_frames():
    sizes = [(4, 6), (4, 6), (4, 6), (6, 4), (6, 4), (4, 6)]
    seen = []

    class Predictor:
        batch_size = 2
        place = staticmethod(lambda variables: variables)

        def static(self, variables, images):
            seen.append(images.shape[:3])
            return np.float32(images[..., :1]) / 10

    class Decoded:
        size_of = staticmethod(sizes.__getitem__)

        def part(self, position, name):
            image = np.zeros((*sizes[position], 3), np.uint8)
            image[0, : 1 + position % 4] = 9
            return image

    class Frame:
        def __init__(self, position):
            self.positions = (position,)

    def refine(pairs):
        return (soft for _, soft in pairs)

    frames = [Frame(position) for position in range(6)]
    labels = refine_predictions(Predictor(), {}, Decoded(), frames, refine)
    assert seen == [(2, 4, 6), (1, 4, 6), (2, 6, 4), (1, 4, 6)]
    for number, size in enumerate(sizes):
        expected = np.zeros((*size, 1), np.uint8)
        expected[0, : 1 + number % 4] = 1
        np.testing.assert_array_equal(labels[number]["target"], expected)
