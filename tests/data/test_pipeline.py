"""From records to batches: geometry that stays true, an order that depends on the seed alone."""

import json
from types import SimpleNamespace

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dystab_jax.data import pipeline, records, resize
from dystab_jax.data.augmentation import FLOWS, Augmentation, augment, draw_ellipse
from dystab_jax.data.pipeline import Decoded, TrainingFrame, frames_of
from dystab_jax.runtime.memory_room import Room

PLAIN = Augmentation(flip=False, smallest_crop=1.0, color=0.0)
ALL = Augmentation(flip=True, smallest_crop=0.7, color=0.3)
HEIGHT, WIDTH = 48, 64


def generator(seed):
    return np.random.default_rng(seed)


# -- records at the networks' resolution ----------------------------------------------------------


@pytest.fixture(scope="module")
def source(tiny_data):
    return records.open_source(tiny_data, "folder/tiny:train")


def test_decoded_flow_is_in_pixels_of_its_new_size(source):
    raw = source[0]
    stored = records.decode_record(raw)
    same, smaller = pipeline.decode(raw, (48, 64)), pipeline.decode(raw, (24, 16))
    np.testing.assert_array_equal(same["image"], stored["image"])
    assert smaller["image"].shape == (24, 16, 3) and smaller["image"].dtype == np.uint8
    for name in pipeline.FLOWS:
        assert smaller[name].dtype == np.float16
        np.testing.assert_allclose(same[name], stored[name], atol=0.01)
        # A quarter of the width, half of the height; the mean vector shrinks alike.
        mean = stored[name].mean((0, 1)) * [1 / 4, 1 / 2]
        np.testing.assert_allclose(np.float32(smaller[name]).mean((0, 1)), mean, atol=0.01)
    assert np.abs(stored["flow_forward"]).max() > 1
    np.testing.assert_allclose(
        smaller["image"].mean((0, 1)), stored["image"].mean((0, 1)), atol=0.5
    )


def test_every_video_has_a_size_of_its_own(mixed_data):
    source = records.open_source(mixed_data, "folder/mixed:train")
    decoded = Decoded(source, (32, 48), keep=False, truth=True)
    sizes = {"wide": (32, 48), "tall": (48, 32), "square": (32, 32)}
    for position, key in enumerate(source.keys):
        example = decoded[position]
        assert decoded.size_of(position) == sizes[key.video]
        assert {array.shape[:2] for array in example.values()} == {sizes[key.video]}
        # Textures that move by (2, 1) pixels per frame, scaled as the frames are.
        height, width = decoded.size_of(position)
        stored = records.decode_record(source[position], ())
        factors = np.array([width / stored["width"], height / stored["height"]])
        middle = np.median(np.float32(example["flow_forward"]), (0, 1))
        np.testing.assert_allclose(middle, [2, 1] * factors * key.gap, atol=0.2)
        assert (factors > 0.6).all() and factors.max() / factors.min() <= 1.5


def test_sizes_are_found_by_one_record_of_each_video(mixed_data, monkeypatch):
    source = records.open_source(mixed_data, "folder/mixed:train")
    reads = []
    read = type(source).some
    monkeypatch.setattr(type(source), "some", lambda s, *a: reads.append(a) or read(s, *a))
    decoded = Decoded(source, (32, 48), keep=False)
    assert {decoded.size_of(position) for position in range(len(source))} == {
        (32, 48), (48, 32), (32, 32)
    }  # fmt: skip
    assert len(reads) == 3


def test_records_are_decoded_once_where_asked_to(source):
    class Counting:
        reads, keys = 0, source.keys

        def __len__(self):
            return len(source)

        def some(self, position, parts):
            self.reads += 1
            return source.some(position, parts)

    for keep, reads in ((True, 1), (False, 2)):
        counting = Counting()
        decoded = Decoded(counting, (24, 32), keep)
        first = decoded[3]
        first["image"] = None  # the caller's own
        np.testing.assert_array_equal(
            decoded[3]["image"], pipeline.decode(source[3], (24, 32))["image"]
        )
        assert counting.reads == reads and len(decoded) == len(source)


def test_arrays_that_records_share_are_kept_once(source):
    decoded = Decoded(source, (24, 32), keep=True)
    examples = [decoded[position] for position in range(len(source))]
    plain = Decoded(source, (24, 32), keep=False)
    for position, (key, example) in enumerate(zip(source.keys, examples, strict=True)):
        for name, array in plain[position].items():
            np.testing.assert_array_equal(example[name], array)
        reverse = source.keys.index((key.video, key.frame + key.gap, -key.gap))
        assert example["flow_backward"] is examples[reverse]["flow_forward"]
        others = [n for n, other in enumerate(source.keys) if other[:2] == key[:2]]
        assert all(examples[n]["image"] is example["image"] for n in others)


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_more_is_held_than_there_is_room_for(source, images):
    size = images * 24 * 32 * 3
    room = Room(size + 100)
    decoded = Decoded(source, (24, 32), keep=True, room=room)
    for _ in range(2):
        for position in range(len(source)):
            decoded.some(position, ("image",))
    held = [array.nbytes for array in decoded._kept.values()]
    assert sum(held) == size and room.left == 100
    # Another set has what the first one leaves, and all once that has let go.
    other = Decoded(source, (24, 32), keep=True, room=room)
    other.part(0, "image")
    assert not other._kept
    decoded.release()
    assert not decoded._kept and room.left == size + 100
    other.part(0, "image")
    assert len(other._kept) == min(images, 1)
    whole = Decoded(source, (24, 32), keep=False)
    for name, array in decoded[5].items():
        np.testing.assert_array_equal(array, whole[5][name])


def test_a_bound_of_memory_in_gigabytes():
    assert Room.of(1.5).left == 1_500_000_000
    assert 1e8 < Room.of(0).left < 1e14
    with pytest.raises(ValueError, match="data.most_memory_gb is -1"):
        Room.of(-1.0)


@pytest.mark.parametrize("keep", [True, False])
def test_some_arrays_of_an_example(source, keep, monkeypatch):
    decoded = Decoded(source, (24, 32), keep)
    whole = decoded[3]
    asked = []
    decode = pipeline.decode
    monkeypatch.setattr(
        pipeline, "decode", lambda raw, size, parts: asked.append(parts) or decode(raw, size, parts)
    )
    some = decoded.some(3, ("image", "flow_backward", "ellipse"))
    assert some.keys() == {"image", "flow_backward"}
    for name, array in some.items():
        np.testing.assert_array_equal(array, whole[name])
    assert asked == ([] if keep else [["image", "flow_backward"]])


def test_kept_arrays_are_decoded_when_first_asked_for(source, monkeypatch):
    decoded = Decoded(source, (24, 32), keep=True, truth=True)
    asked = []
    decode = pipeline.decode
    monkeypatch.setattr(
        pipeline, "decode", lambda raw, size, parts: asked.append(parts) or decode(raw, size, parts)
    )
    decoded.some(3, ("image",))
    decoded.some(3, ("image", "flow_forward"))
    whole = decoded[3]
    assert asked == [["image"], ["flow_forward"], ["flow_backward", "mask"]]
    for name, array in decode(source[3], (24, 32), decoded.parts).items():
        np.testing.assert_array_equal(whole[name], array)
    # What a record has not is not looked for again.
    raw = {name: value for name, value in source[3].items() if name not in ("mask", *FLOWS)}
    alone = SimpleNamespace(keys=[source.keys[3]], some=lambda position, parts: raw)
    still = Decoded(alone, (24, 32), keep=True, truth=True)
    assert still[0].keys() == still[0].keys() == {"image"}
    assert len(asked) == 4


def test_frames_bring_their_pairs_nearest_first(source):
    frames = frames_of(source)
    assert [(frame.video, frame.name) for frame in frames] == [
        (f"video{v}", f"{t:05d}") for v in range(3) for t in range(4)
    ]
    # Of four frames, gaps up to 2.
    gaps = [[source.keys[position].gap for position in frame.positions] for frame in frames]
    assert gaps == [[1, 2], [-1, 1, 2], [-1, 1, -2], [-1, -2]] * 3
    assert sorted(p for frame in frames for p in frame.positions) == list(range(len(source)))


def test_frames_of_joined_data_sets_stay_apart(tiny_data, source):
    # The same videos twice: their names alone do not tell them apart.
    joined = frames_of(records.open_source(tiny_data, "folder/tiny:train+folder/tiny:val"))
    assert len(joined) == 24
    assert joined[0].video != joined[12].video
    assert {len(source.keys) <= p for p in joined[12].positions} == {True}


def test_large_images_shrink_smoothly_and_small_ones_grow():
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8)[..., None], (8, 8, 3))
    shrunk = resize.resize_image(checks, (4, 4))
    assert shrunk.shape == (4, 4, 3) and (abs(shrunk.astype(int) - 128) <= 1).all()
    assert resize.resize_image(checks, (20, 24)).shape == (20, 24, 3)


# -- order ----------------------------------------------------------------------------------------

FRAMES = [TrainingFrame("v", str(n), "", (2 * n, 2 * n + 1)) for n in range(10)]


class Numbered:
    """Decoded records that hold nothing but their position."""

    def open(self):
        pass

    def size_of(self, position):
        return 4, 6

    def __getitem__(self, position):
        flow = np.full((*self.size_of(position), 2), position, np.float16)
        image = np.full((*self.size_of(position), 3), position, np.uint8)
        return {"image": image, "flow_forward": flow, "flow_backward": -flow}

    def some(self, position, names):
        return {name: array for name, array in self[position].items() if name in names}


class Mixed(Numbered):
    """As above, but every fifth frame is upright, and one of the ten is a square."""

    def size_of(self, position):
        return (5, 5) if position // 2 == 3 else (6, 4) if position // 2 % 5 == 0 else (4, 6)


def batches(seed=0, updates=1, batch_size=5, threads=1, augmentation=PLAIN, kind=Numbered, **more):
    return pipeline.training_batches(
        kind(),
        FRAMES,
        seed=seed,
        updates=updates,
        batch_size=batch_size,
        augmentation=augmentation,
        threads=threads,
        **more,
    )


def positions(batch):
    return batch["image"][..., 0, 0, 0]


def taken(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_batches_have_updates_first():
    batch = next(batches(updates=3, batch_size=2))
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes == {
        "image": ((3, 2, 4, 6, 3), np.uint8),
        "flow_forward": ((3, 2, 4, 6, 2), np.float16),
        "flow_backward": ((3, 2, 4, 6, 2), np.float16),
        "ellipse": ((3, 2, 5), np.float32),
    }
    np.testing.assert_array_equal(batch["flow_forward"][..., 0, 0, 0], positions(batch))


def test_every_frame_once_per_epoch_in_ever_new_order():
    epochs = np.array([positions(batch) for batch in taken(batches(), 40)]).reshape(20, 10)
    frames = epochs // 2
    np.testing.assert_array_equal(np.sort(frames), np.tile(np.arange(10), (20, 1)))
    assert len({tuple(order) for order in frames.tolist()}) == 20
    # Either of a frame's two flows comes about half of the time.
    assert 0.35 < (epochs % 2).mean() < 0.65


@pytest.mark.parametrize("arrays", [("image",), ("flow_forward", "image", "ellipse")])
def test_what_is_left_out_changes_nothing_else(arrays):
    whole = taken(batches(augmentation=ALL), 3)
    part = taken(batches(augmentation=ALL, arrays=arrays), 3)
    assert set(part[0]) == set(arrays)
    assert_same(part, [{name: batch[name] for name in part[0]} for batch in whole])


def test_order_and_augmentation_depend_on_the_seed_alone():
    first = taken(batches(seed=3, augmentation=ALL), 6)
    assert_same(first, taken(batches(seed=3, augmentation=ALL, threads=4), 6))
    others = taken(batches(seed=4, augmentation=ALL), 6)
    assert not np.array_equal(positions(first[0]), positions(others[0]))
    assert not np.array_equal(first[0]["ellipse"], others[0]["ellipse"])


def test_with_one_size_batches_are_those_of_a_plain_pipeline():
    decoded = Numbered()

    def load(number, rng):
        example = augment(decoded[FRAMES[number].positions[int(rng.integers(2))]], ALL, rng)
        return example | {"ellipse": draw_ellipse(rng)}

    plain = grain.MapDataset.source(range(10)).seed(3).shuffle().repeat().random_map(load).batch(5)
    expected = [{name: array[None] for name, array in plain[n].items()} for n in range(6)]
    assert_same(taken(batches(seed=3, augmentation=ALL), 6), expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_videos_of_several_sizes_take_turns(monkeypatch, processes):
    decoded, parts = Mixed(), []
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    for process in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(taken(batches(kind=Mixed, updates=2, batch_size=2), 40))
    sizes = []
    for each in zip(*parts, strict=True):
        found = {batch[name].shape[2:4] for batch in each for name in ("image", "flow_forward")}
        sizes.append(found.pop())
        assert not found  # one size for all processes
        for batch in each:
            assert {decoded.size_of(n) for n in positions(batch).ravel()} == {sizes[-1]}
    # Of ten frames seven are wide, two upright, one is a square, here alone in its batches.
    assert [sizes.count(size) for size in ((4, 6), (6, 4), (5, 5))] == [28, 8, 4]
    assert [sizes[:10].count(size) for size in ((4, 6), (6, 4), (5, 5))] == [7, 2, 1]
    for size, count in (((4, 6), 7), ((6, 4), 2), ((5, 5), 1)):
        seen = [
            np.concatenate([part[step]["image"][:, :, 0, 0, 0] for part in parts], axis=1)
            for step in range(40)
            if sizes[step] == size
        ]
        frames = np.ravel(seen) // 2
        frames = frames[: len(frames) // count * count].reshape(-1, count)
        assert len(np.unique(frames)) == count
        if processes == 1:  # several take an epoch's frames alternately
            epoch = np.unique(frames)
            np.testing.assert_array_equal(np.sort(frames), np.tile(epoch, (len(frames), 1)))
    ellipses = [batch["ellipse"][0, 0, 0] for batch in parts[0]]
    assert len(set(ellipses)) == 40  # sizes do not share their random numbers


@pytest.mark.parametrize("kind", [Numbered, Mixed])
@pytest.mark.parametrize("done", [1, 3, 12])
def test_an_iterator_continues_from_its_state(done, kind):
    iterator = batches(augmentation=ALL, updates=2, batch_size=3, threads=2, kind=kind)
    taken(iterator, done)
    state = json.loads(json.dumps(iterator.get_state()))  # as the checkpoint keeps it
    expected = taken(iterator, 5)
    resumed = batches(augmentation=ALL, updates=2, batch_size=3, threads=2, kind=kind)
    resumed.set_state(state)
    assert_same(taken(resumed, 5), expected)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one(monkeypatch, processes):
    whole = taken(batches(updates=2, batch_size=6, augmentation=ALL), 4)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    parts = []
    for process in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(taken(batches(updates=2, batch_size=6, augmentation=ALL), 4))
    for number, batch in enumerate(whole):
        for name, array in batch.items():
            # Process p has every processes-th example of each minibatch, from p on.
            for process, part in enumerate(parts):
                np.testing.assert_array_equal(part[number][name], array[:, process::processes])


def test_batches_must_fit_the_processes(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="batch size 5 is not a multiple of 2 processes"):
        batches(batch_size=5)


def test_labels_travel_with_their_frame():
    labels = [
        {
            "motion_mask": np.full((4, 6, 1), number, np.uint8),
            "confidence_phi": np.float32(number / 10),
        }
        for number in range(10)
    ]
    for batch in taken(batches(labels=labels, augmentation=ALL), 4):
        # Colours change the image, not the flow, and a mirror only its sign; crops enlarge it.
        number = batch["motion_mask"][..., 0, 0, 0]
        assert batch["motion_mask"].shape == (1, 5, 4, 6, 1)
        np.testing.assert_allclose(batch["confidence_phi"], number / 10, rtol=1e-6)
    for batch in taken(batches(labels=labels), 4):
        np.testing.assert_array_equal(batch["motion_mask"][..., 0, 0, 0], positions(batch) // 2)


def test_batches_reach_the_device_as_they_are():
    batch = next(batches())
    on_device = jax.tree.map(jnp.asarray, batch)
    assert {name: array.dtype for name, array in on_device.items()} == {
        name: array.dtype for name, array in batch.items()
    }
