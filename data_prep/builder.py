"""Writes intermediate files as a TFDS data set of records in array_record shards.

One builder serves every data set of videos, and `StillsBuilder` those of still images; the modules
of the data sets subclass them to give them names.
TensorFlow is not involved: images go in as encoded bytes.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from data_prep.sources.frames import FrameSource
from data_prep.video import Split, entries, pairs, read_details, read_record
from dystab_jax.data.record_keys import describe_video
from dystab_jax.data.records import VERSION, stored_split

SHARD_BYTES = 256 << 20
"""A shard is closed when it exceeds this; TFDS holds one shard in memory while writing it."""


@dataclass(frozen=True)
class Plan:
    """Lists what a data set consists of.

    Attributes:
      videos: all of them, each once; of still images, one "video" per image.
      train: names of the videos of split "train"; its records never hold truth.
      truth: split to names of videos; its records are those of the frames that have truth. Those
        of still images may be called "train" too: only evaluation reads what truth they hold.
      notes: what the user should know, e.g. parts of the data set that are absent.
      unlabelled: further splits like "train", by their names.
    """

    videos: tuple[FrameSource, ...]
    train: tuple[str, ...]
    truth: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    unlabelled: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Returns names of videos by split, of all splits."""
        return {"train": self.train} | self.unlabelled | self.truth


@dataclass(frozen=True)
class _Piece:
    """Names the records of one intermediate file that lie together in a shard.

    Attributes:
      path, details: of the file.
      pairs: (frame, gap) of these records.
      among: all that the split has of the video.
    """

    path: Path
    details: dict[str, Any]
    pairs: tuple[tuple[int, int], ...]
    among: Split


class RecordsBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes the records of prepared videos; see `dystab_jax.data.records` for the fields."""

    DESCRIPTION = "Ordered frame pairs with optical flow both ways (DyStaB-JAX records)."
    VERSION = tfds.core.Version(VERSION)
    # Nothing is downloaded. TFDS would look for checksums, with a package that it does not require.
    url_infos = None

    def __init__(
        self,
        *,
        plan: Plan | None = None,
        intermediates: dict[str, Path] | None = None,
        shard_bytes: int = SHARD_BYTES,
        progress: bool = False,
        **options: Any,
    ):
        """Keeps what writing needs; a builder made without it can only read.

        Args:
          plan: the data set.
          intermediates: video name to its file; videos of the plan may be absent.
          shard_bytes: see `SHARD_BYTES`.
          progress: whether to show a progress bar.
          options: of the TFDS builder.
        """
        self._plan, self._intermediates = plan, intermediates
        self._shard_bytes, self._progress = shard_bytes, progress
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(self._features()),
        )

    def _features(self) -> dict[str, Any]:
        flow = partial(
            tfds.features.Image, shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
        )
        # Those that may be empty are bytes to TFDS; an Image cannot be.
        often_empty = {name: tfds.features.Text() for name in ("image", "flow_backward")}
        return _still_features() | {"flow_forward": flow()} | often_empty

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _RepeatableWriter(self.info.file_format)

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager):
        if self._plan is None:
            raise ValueError(
                f"{self.name} is written by `python -m data_prep.prepare --dataset={self.name}`"
            )
        shards = {}
        for split, names in self._plan.splits.items():
            pieces = self._pieces(split, names)
            if pieces:
                self._write_index(split, pieces)
                cut = self._cut(pieces)
                shards[stored_split(split)] = [partial(self._examples, split, part) for part in cut]
        return shards

    def _pieces(self, split: str, names: Iterable[str]) -> list[_Piece]:
        pieces = []
        for name in names:
            path = self._intermediates.get(name)
            if path is None:
                continue
            details = read_details(path)
            frames = details["masked"] if split in self._plan.truth else None
            if frames is None:
                frames = range(len(details["frame_names"]))
            if frames:
                all_pairs = tuple(pairs(details, frames))
                among = Split.of(all_pairs, split in self._plan.truth)
                pieces.append(_Piece(path, details, all_pairs, among))
        return pieces

    def _write_index(self, split: str, pieces: Sequence[_Piece]) -> None:
        videos = [describe_video(piece.details, piece.pairs, _digest(piece)) for piece in pieces]
        (Path(self.data_dir) / f"index-{split}.json").write_text(json.dumps(videos))

    def _cut(self, pieces: Iterable[_Piece]) -> list[list[_Piece]]:
        """Cuts the row of records into shards by the size of what they hold."""
        shards: list[list[_Piece]] = [[]]
        filled = 0
        for piece in pieces:
            with zipfile.ZipFile(piece.path) as archive:
                size = {entry.filename: entry.file_size for entry in archive.infolist()}
            start = 0
            for position, (t, gap) in enumerate(piece.pairs):
                held = entries(t, gap, piece.details, piece.among)
                bytes_here = sum(size[entry] for entry in held.values())
                if filled and filled + bytes_here > self._shard_bytes:
                    if position > start:
                        shards[-1].append(replace(piece, pairs=piece.pairs[start:position]))
                    shards.append([])
                    start, filled = position, 0
                filled += bytes_here
            shards[-1].append(replace(piece, pairs=piece.pairs[start:]))
        return shards

    def _examples(self, split: str, shard: list[_Piece]) -> Iterator[tuple[int, dict[str, Any]]]:
        total = sum(len(piece.pairs) for piece in shard)
        number = 0
        with tqdm(total=total, desc=f"writing {split}", disable=not self._progress) as bar:
            for piece in shard:
                with zipfile.ZipFile(piece.path) as archive:
                    for t, gap in piece.pairs:
                        yield number, read_record(archive, piece.details, t, gap, piece.among)
                        number += 1
                        bar.update()


def _digest(piece: _Piece) -> str:
    """Returns what is the same as long as a video's records hold the same, from its checksums."""
    with zipfile.ZipFile(piece.path) as archive:
        sums = {entry.filename: (entry.CRC, entry.file_size) for entry in archive.infolist()}
    details = piece.details["frame_names"], piece.details["groups"]
    held = [
        (t, gap, [(field, sums[name]) for field, name in sorted(at.items())])
        for t, gap in piece.pairs
        for at in (entries(t, gap, piece.details, piece.among),)
    ]
    return hashlib.sha256(json.dumps([*details, held]).encode()).hexdigest()[:16]


class StillsBuilder(RecordsBuilder, skip_registration=True):
    """Writes the records of prepared still images, which have no flow."""

    DESCRIPTION = "Still images (DyStaB-JAX records)."

    def _features(self) -> dict[str, Any]:
        return _still_features()


def _still_features() -> dict[str, Any]:
    features = tfds.features
    return {
        "image": features.Image(shape=(None, None, 3)),
        "mask": features.Text(),  # PNG bytes; an Image feature cannot be empty
        "regions": features.Text(),  # PNG bytes
        "video": features.Text(),
        "frame": np.int32,
        "frame_name": features.Text(),
        "gap": np.int32,
        "height": np.int32,
        "width": np.int32,
        "estimator": features.Text(),
        "group": features.Text(),
    }


class _RepeatableWriter(tfds.core.ExampleWriter):
    """Writes the same bytes for the same records.

    TFDS serialises an example as a protobuf map, whose order changes from process to process unless
    asked otherwise. The payload is compressed already, so the container need not try again.
    """

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> None:
        try:
            writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
            for _, data in examples:
                example = tf_example_pb2.Example.FromString(data)
                writer.write(example.SerializeToString(deterministic=True))
            writer.close()
        except RuntimeError as error:  # the system's errors; says which, and names the file
            raise OSError(str(error)) from error
