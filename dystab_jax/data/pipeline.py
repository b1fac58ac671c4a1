"""Makes batches of records: decoded once, grouped by frame, augmented, in an order that resumes.

An epoch visits every frame once; which of its flows (frame gaps) it brings is drawn each time. All
examples of a batch have one size; videos of other proportions are in other batches.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from dystab_jax.data import records
from dystab_jax.data.augmentation import FLOWS, Augmentation, Example, augment, draw_ellipse
from dystab_jax.data.resize import fit_mask, network_size, resize_flow, resize_image
from dystab_jax.runtime import processes
from dystab_jax.runtime.memory_room import Room

if TYPE_CHECKING:
    import grain

Records = records.RecordSource | records.JoinedSource


def decode(raw: dict, size: tuple[int, int], parts: Collection[str] = ("image", *FLOWS)) -> Example:
    """Decodes one record at the networks' resolution.

    Args:
      raw: as stored.
      size: (height, width).
      parts: of ``records.PARTS``, what to decode; nothing else is so much as looked at.

    Returns:
      image uint8 [H, W, 3]; flow_forward and flow_backward float16 [H, W, 2] in pixels at H×W,
      which still images have not; for the part "mask", truth uint8 [H, W, 1] of 0 and 1.
    """
    record = records.decode_record(raw, parts)
    example = {}
    if "image" in record:
        example["image"] = resize_image(record["image"], size)
    for name in FLOWS:
        if name in record:
            example[name] = resize_flow(record[name], size).astype(np.float16)
    if "mask" in record:
        example["truth"] = fit_mask(record["mask"], size)[..., None]
    return example


_NAMES = {"mask": "truth"}
"""Of arrays in an example, where they differ from the part of the record."""


class Decoded:
    """Gives random access to decoded records, kept in memory once decoded where asked to.

    An image is kept once for all pairs of its frame, and a flow once for both pairs that have it:
    `flow_backward` of one is `flow_forward` of the other.

    Args:
      keep: hold decoded arrays; needs about 7 bytes per pixel and frame pair, 3 per pixel of a
        still image.
      truth: whether examples hold the truth.
      room: for what is held; arrays beyond it are decoded each time. None: no bound.

    Attributes:
      source: see ``records.open_source``.
      size: (height, width), ``data.image_size`` or ``data.still_size``; see ``size_of``.
      parts: what examples hold, see ``decode``.
    """

    def __init__(
        self,
        source: Records,
        size: tuple[int, int],
        keep: bool,
        truth: bool = False,
        room: Room | None = None,
    ):
        self.source, self.size, self.keep = source, size, keep
        self.parts = ("image", *FLOWS, "mask") if truth else ("image", *FLOWS)
        self._part_of = {_NAMES.get(part, part): part for part in self.parts}
        self._kept: dict[tuple, np.ndarray | None] = {}
        self._room = room or Room()
        self._holding = threading.Lock()
        self._sizes: dict[str, tuple[int, int]] = {}

    def open(self) -> None:
        """Opens the source's files; to be called before several threads read."""
        self.source.open()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> Example:
        return self.some(position, self._part_of)

    def size_of(self, position: int) -> tuple[int, int]:
        """Returns (height, width) of a record's arrays, which all records of its video share.

        Still images have ``size``, as their protocols do; for videos see ``resize.network_size``.
        """
        video, _, gap = self.source.keys[position]
        if not gap:
            return self.size
        if video not in self._sizes:
            self._sizes[video] = self._fit(self.source.some(position, ()))
        return self._sizes[video]

    def some(self, position: int, names: Collection[str]) -> Example:
        """Returns the arrays with these names that the record has; no other is decoded."""
        wanted = [name for name in self._part_of if name in names]
        if not self.keep:
            return self._decode(position, wanted)
        places = {name: self._place(position, name) for name in wanted}
        # None: there is no such array, and it is not looked for again.
        arrays = {name: self._kept[at] for name, at in places.items() if at in self._kept}
        missing = [name for name in wanted if name not in arrays]
        if missing:
            arrays |= dict.fromkeys(missing) | self._decode(position, missing)
            for name in missing:
                self._hold(places[name], arrays[name])
        return {name: arrays[name] for name in names if arrays.get(name) is not None}

    def _decode(self, position: int, names: Collection[str]) -> Example:
        parts = [self._part_of[name] for name in names]
        raw = self.source.some(position, parts)
        return decode(raw, self._fit(raw), parts)

    def _place(self, position: int, name: str) -> tuple:
        """Returns what an array is known by: the same for all records that have it."""
        video, frame, gap = self.source.keys[position]
        if name not in FLOWS:
            return name, video, frame
        return (
            ("flow", video, frame, gap) if name == FLOWS[0] else ("flow", video, frame + gap, -gap)
        )

    def _hold(self, place: tuple, array: np.ndarray | None) -> None:
        size = 0 if array is None else array.nbytes
        with self._holding:  # several threads decode
            if place not in self._kept and self._room.take(size):
                self._kept[place] = array

    def release(self) -> None:
        """Forgets what is held, and makes room for others."""
        with self._holding:
            self._room.give_back(sum(one.nbytes for one in self._kept.values() if one is not None))
            self._kept.clear()

    def part(self, position: int, name: str) -> np.ndarray:
        """Returns one array of an example, see ``some``."""
        return self.some(position, (name,))[name]

    def _fit(self, raw: dict) -> tuple[int, int]:
        if not int(raw["gap"]):
            return self.size
        return network_size((int(raw["height"]), int(raw["width"])), self.size)


@dataclass(frozen=True, slots=True)
class TrainingFrame:
    """Names a frame and the records that start at it.

    Attributes:
      video, name, group: see ``records``.
      positions: records of its pairs, one for each gap, the smallest gaps first; of a still image,
        its one record.
    """

    video: str
    name: str
    group: str
    positions: tuple[int, ...]


def frames_of(source: Records) -> list[TrainingFrame]:
    """Lists all frames of a source in the order of its records."""
    return [
        TrainingFrame(video.name, video.frame_names[frame], video.groups[frame], positions)
        for video, frame, positions in source.index.frames()
    ]


def own_videos(frames: Sequence[TrainingFrame]) -> list[TrainingFrame]:
    """Returns the frames of those videos that fall to this process."""
    mine = set(processes.mine(list(dict.fromkeys(frame.video for frame in frames))))
    return [frame for frame in frames if frame.video in mine]


def choose_videos(frames: Sequence[TrainingFrame], count: int, seed: int) -> list[TrainingFrame]:
    """Returns the frames of ``count`` videos, drawn at random.

    For one seed the choices are nested: more videos hold the fewer ones (Table 6).

    Raises:
      ValueError: there are not so many videos.
    """
    names = sorted({frame.video for frame in frames})
    if not 0 < count <= len(names):
        raise ValueError(f"data.videos is {count}; data.train has {len(names)} videos (0: all)")
    chosen = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
    return [frame for frame in frames if frame.video in chosen]


def training_batches(
    decoded: Decoded,
    frames: Sequence[TrainingFrame],
    *,
    seed: int,
    updates: int,
    batch_size: int,
    augmentation: Augmentation,
    threads: int,
    labels: "Sequence[Example] | None" = None,
    arrays: Collection[str] | None = None,
) -> "grain.DatasetIterator":
    """Iterates without end over batches with arrays [updates, this process's share of B, ...].

    The order of the examples and their augmentation depend on the seed alone, not on the number
    of processes, and the iterator's state goes into the checkpoint. Where videos have several sizes
    (``Decoded.size_of``), batches of each come in turn, as often as its share of the frames says;
    each size has its own epochs.

    Args:
      decoded: the records.
      frames: what an epoch visits.
      seed: differs for every phase.
      updates: minibatches in one batch.
      batch_size: B, over all processes.
      augmentation: see ``augment``.
      threads: that decode and augment.
      labels: for each frame, further arrays that go with its example.
      arrays: names of those that batches hold; None for all there are. What is left out costs no
        time and changes nothing else.
    """

    # Imported here: it takes half a second, which a prediction does without.
    import grain

    def load(number: int, rng: np.random.Generator) -> Example:
        frame = frames[number]
        position = frame.positions[int(rng.integers(len(frame.positions)))]
        example = decoded[position] if arrays is None else decoded.some(position, arrays)
        if labels is not None:
            example |= labels[number]
        example = augment(example, augmentation, rng)
        if arrays is None or "ellipse" in arrays:
            example["ellipse"] = draw_ellipse(rng)
        return example

    count = jax.process_count()
    if batch_size % count:
        raise ValueError(f"batch size {batch_size} is not a multiple of {count} processes")
    share = batch_size // count
    decoded.open()

    def by_update(batch: Example) -> Example:
        return {name: a.reshape(updates, share, *a.shape[1:]) for name, a in batch.items()}

    def of_one_size(numbers: Sequence[int], seed: int) -> "grain.MapDataset":
        dataset = grain.MapDataset.source(numbers).seed(seed).shuffle().repeat().random_map(load)
        return dataset[jax.process_index() :: count].batch(updates * share).map(by_update)

    by_size: dict[tuple[int, int], list[int]] = {}
    for number, frame in enumerate(frames):
        by_size.setdefault(decoded.size_of(frame.positions[0]), []).append(number)
    seeds = [seed, *np.random.SeedSequence(seed).generate_state(len(by_size) - 1).tolist()]
    parts = [of_one_size(*part) for part in zip(by_size.values(), seeds, strict=True)]
    dataset = parts[0]
    if len(parts) > 1:
        dataset = grain.MapDataset.mix(parts, [len(numbers) for numbers in by_size.values()])
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(dataset.to_iter_dataset(options))
