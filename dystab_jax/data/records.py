"""Reads records: each one ordered pair of frames of a video, as stored on disk.

A still image is a video of one frame: one record, with gap 0 and without flow.

A prepared data set is an ordinary TFDS directory of array_record files, ordered by (video, frame,
gap), and beside it one ``index-SPLIT.json`` per split, so that records can be grouped by video
without reading them. Each record holds

==================  ================================================================================
``image``           frame t: its own JPEG or PNG bytes, not encoded again; in the frame's record of
                    the smallest gap, empty in its others
``flow_forward``    u12, from frame t to frame t + gap (`encodings`)
``flow_backward``   u21, from frame t + gap to frame t; empty where it is ``flow_forward`` of
                    another record of the split, that of frame t + gap and -gap
``mask``            truth of frame t as PNG, 0 or 255, beside the image; empty in every split made
                    for training
``regions``         truth of frame t as PNG of numbers, 0 = background, 1, 2, ... = the objects,
                    255 = void, not scored; empty where there is no mask or no number
``video``           name of the video, or of the still image
``frame``           t, counted from 0
``frame_name``      the frame's file name without its ending
``gap``             signed distance to the other frame; 0 for still images
``height, width``   of the image, pixels; the flow has its own size
``estimator``       what computed the flow; empty for still images
``group``           kind of this frame where the data set says it (``movers``), else empty
==================  ================================================================================

`RecordSource` fills what is empty from the other records. Sets of earlier versions, which hold all
of it in each record and no ``regions``, are read as well.
"""

import contextlib
import re
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dystab_jax.data.dataset_registry import data_set
from dystab_jax.data.encodings import decode_flow, decode_image
from dystab_jax.data.file_digest import digest_of_samples
from dystab_jax.data.mask_files import decode_mask, decode_regions
from dystab_jax.data.record_keys import REPREPARE, Content, Index, elsewhere, read_index
from dystab_jax.data.record_keys import home_order as home_order  # for what writes records
from dystab_jax.data.remote_sets import local_copy
from dystab_jax.runtime.addresses import is_address
from dystab_jax.runtime.paths import user_path

VERSION = "1.0.0"
FLOW_FIELDS = ("flow_forward", "flow_backward")
TRUTH_FIELDS = ("mask", "regions")
PARTS = ("image", *FLOW_FIELDS, *TRUTH_FIELDS)
"""Fields that are stored as images."""
TEXT_FIELDS = ("video", "frame_name", "group", "estimator")
NUMBER_FIELDS = ("frame", "gap", "height", "width")
_OPENING = threading.Lock()


def decode_record(raw: Mapping[str, Any], parts: Collection[str] = PARTS) -> dict[str, Any]:
    """Turns the stored bytes of one record into arrays.

    Args:
      raw: a record as an `open_source` source returns it.
      parts: of `PARTS`, those to decode; the others are left out.

    Returns:
      ``image`` uint8 [H, W, 3] RGB; ``flow_forward`` and ``flow_backward`` float32 [h, w, 2],
      pixels per gap at [h, w], not of still images; ``mask`` uint8 [H, W] of 0 and 1 and
      ``regions`` uint8 [H, W] of numbers, each only where the record has one; ``video``,
      ``frame_name``, ``group``, ``estimator`` str; ``frame``, ``gap``, ``height``, ``width`` int.

    Raises:
      ValueError: a part does not decode, or not to the size that the record states. Names the
        data set, video and frame.
    """
    record: dict[str, Any] = {name: _text(raw[name]) for name in TEXT_FIELDS}
    record |= {name: int(raw[name]) for name in NUMBER_FIELDS}
    try:
        for part in PARTS:
            empty = part in TRUTH_FIELDS and not raw.get(part)
            if part in parts and part in raw and not empty:
                record[part] = _DECODERS[part](raw[part])
        for part in ("image", *TRUTH_FIELDS):
            expected = (record["height"], record["width"])
            if part in record and record[part].shape[:2] != expected:
                raise ValueError(
                    f"its size is {record[part].shape[:2]}, the record says {expected}"
                )
    except ValueError as error:
        dataset = _text(raw.get("dataset", "(unnamed data set)"))
        raise ValueError(
            f"{dataset}: corrupt record: {part} of video {record['video']}, frame "
            f"{record['frame_name']}, gap {record['gap']:+d}: {error}. {REPREPARE}"
        ) from error
    return record


_DECODERS = {
    "image": lambda data: decode_image(data, cv2.IMREAD_COLOR_RGB, "image"),
    "flow_forward": decode_flow,
    "flow_backward": decode_flow,
    "mask": decode_mask,
    "regions": decode_regions,
}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class RecordSource(Sequence):
    """Gives random access to the records of one split of one prepared data set.

    Files are opened by ``open``, to be called before several threads read, or else at the first
    access. A source can be pickled, so Grain's worker processes can have it; they open files anew.

    Attributes:
      spec: "movers:train", "davis2016:val", "folder/NAME:train".
      directory: where the files lie.
      index: names of the records, in order, and of its columns
      keys: the `Key` of every record,
      groups: the group of every record, "" where the data set has none,
      frame_names: the frame name of every record.
      has_flow: whether the records are frame pairs of videos, not still images.
    """

    def __init__(self, spec: str, directory: Path, split: str):
        self.spec = spec
        self.directory = directory
        self.split = split
        self.index = read_index(directory / f"index-{split}.json", spec)
        self.keys, self.groups = self.index.keys, self.index.groups
        self.frame_names = self.index.frame_names
        self._records: Sequence | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_records": None}

    def open(self) -> None:
        """Opens the files, once; ValueError where they hold other records than the index names."""
        # One lock for all: threads that import the same packages at once can wait for ever.
        with _OPENING:
            if self._records is None:
                self._records = self._open()

    def fingerprint(self) -> dict[str, str]:
        """Returns the spec with a digest that changes when the records do, without reading all."""
        files = sorted(self.directory.glob(f"*-{stored_split(self.split)}.array_record*"))
        files.append(self.directory / f"index-{self.split}.json")
        return {self.spec: digest_of_samples(files)}

    def contents(self) -> dict[str, Content]:
        """Returns what each video holds; in sets of earlier versions a digest of all files."""
        known = {one.name: one.digest for one in self.index.videos}
        whole = "" if all(known.values()) else self.fingerprint()[self.spec]
        return {name: Content(f"{self.spec}/{name}", one or whole) for name, one in known.items()}

    @property
    def has_flow(self) -> bool:
        """Returns True for frame pairs of videos, False for still images."""
        return bool(self.index.gap.any())

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Returns the record with its images as encoded bytes, plus ``dataset`` = the spec.

        Raises:
          IndexError: no such record.
          ValueError: the file is damaged there.
        """
        return self.some(position, PARTS)

    def some(self, position: int, parts: Collection[str]) -> dict[str, Any]:
        """Returns a record of which these parts are needed; others may be absent.

        Args:
          position: of the record.
          parts: of `PARTS`; what lies in another record is read there.

        Raises:
          IndexError, ValueError: as in ``__getitem__``.
        """
        position = range(len(self))[position]
        record = self._read(position)
        missing = [part for part in parts if part in record and not record[part]]
        for part, (at, field) in elsewhere(self.keys, position, missing).items():
            record[part] = self._read(at).get(field)
        empty = {part for part in PARTS if not record.get(part)}
        return {k: v for k, v in record.items() if k not in empty} | {"dataset": self.spec}

    def _read(self, position: int) -> dict[str, Any]:
        if self._records is None:
            self.open()
        try:
            return self._records[position]
        except Exception as error:  # array_record, protobuf and TFDS each raise their own
            video, frame, gap = self.keys[position]
            raise ValueError(
                f"{self.spec}: record {position} (video {video}, frame {frame}, gap {gap:+d}) in "
                f"{self.directory} cannot be read: {error}. {REPREPARE}"
            ) from error

    def __repr__(self) -> str:
        return f"RecordSource({self.spec!r}, {len(self)} records)"

    def _open(self) -> Sequence:
        # Imported here: it takes a second, and not every user of this module reads files.
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(self.directory)
        images = [k for k, one in builder.info.features.items() if hasattr(one, "encoding_format")]
        skip = {name: tfds.decode.SkipDecoding() for name in images}
        records = builder.as_data_source(split=stored_split(self.split), decoders=skip)
        if len(records) != len(self):
            raise ValueError(
                f"{self.spec}: {self.directory} holds {len(records)} records, its index names "
                f"{len(self)}. {REPREPARE}"
            )
        # The first one read imports what decodes it. Damage is reported where it is asked for.
        with contextlib.suppress(Exception):
            records[0]
        return records


class JoinedSource(Sequence):
    """Joins several sources one after the other; the attributes are those of `RecordSource`.

    Names of videos are those of `Index.joined`.

    Raises:
      ValueError: some are videos and some still images.
    """

    def __init__(self, parts: Sequence[RecordSource]):
        if len({part.has_flow for part in parts}) > 1:
            kinds = {part.spec: "videos" if part.has_flow else "still images" for part in parts}
            raise ValueError(
                "videos and still images cannot be joined: "
                + ", ".join(f"{spec} holds {kind}" for spec, kind in kinds.items())
            )
        self.has_flow = parts[0].has_flow
        self.spec = "+".join(part.spec for part in parts)
        self.parts = list(parts)
        self.index = Index.joined([(part.spec, part.index) for part in parts])
        self.keys, self.groups = self.index.keys, self.index.groups
        self.frame_names = self.index.frame_names
        self._ends = np.cumsum([len(part) for part in parts])

    def open(self) -> None:
        """Opens the files of all parts; see `RecordSource.open`."""
        for part in self.parts:
            part.open()

    def fingerprint(self) -> dict[str, str]:
        """Returns the digest of each part by its spec; see `RecordSource.fingerprint`."""
        return {part.spec: part.fingerprint()[part.spec] for part in self.parts}

    def contents(self) -> dict[str, Content]:
        """Returns what each video holds; names and digests are those of its own data set."""
        own = [content for part in self.parts for content in part.contents().values()]
        return dict(zip((one.name for one in self.index.videos), own, strict=True))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.some(position, PARTS)

    def some(self, position: int, parts: Collection[str]) -> dict[str, Any]:
        """Returns a record of which these parts are needed; see `RecordSource.some`."""
        position = range(len(self))[position]
        part = int(np.searchsorted(self._ends, position, side="right"))
        source = self.parts[part]
        return source.some(position - int(self._ends[part] - len(source)), parts)

    def __repr__(self) -> str:
        return f"JoinedSource({self.spec!r}, {len(self)} records)"


def dataset_directory(
    data_dir: str | Path, dataset: str, name: str | None = None, split: str | None = None
) -> Path:
    """Returns where a prepared set lies: DATA_DIR/movers/1.0.0, DATA_DIR/folder/NAME/1.0.0.

    Of an address such as gs://bucket/data, the set's own files and the records of a split are
    copied to this host, see `local_copy`, which raises ValueError as `user_path` does.
    """
    subfolder = "/".join(filter(None, [dataset, name, VERSION]))
    if is_address(data_dir):
        needed = f"-{re.escape(stored_split(split))}[.]array_record" if split else "(?!)"
        return local_copy(str(data_dir), subfolder, needed)
    return user_path(data_dir) / subfolder


def stored_split(split: str) -> str:
    """Returns a split's name in the files: to TFDS, "all" means every split at once."""
    return "all_images" if split == "all" else split


def open_source(data_dir: str | Path, spec: str) -> RecordSource | JoinedSource:
    """Opens prepared records for random access; nothing but the index is read.

    Args:
      data_dir: the --data_dir of data_prep.prepare.
      spec: DATASET:SPLIT, e.g. "movers:train", "davis2016:val", "folder/NAME:train"; several,
        joined by "+", follow one another.

    Raises:
      FileNotFoundError: not prepared; the message holds the command that prepares it.
      ValueError: malformed spec, no such data set, a split that it does not have, videos joined
        with still images, or an address that cannot be opened.
    """
    folder = data_dir if is_address(data_dir) else user_path(data_dir)
    parts = [_open_one(folder, part.strip()) for part in spec.split("+")]
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def _open_one(data_dir: str | Path, spec: str) -> RecordSource:
    dataset, colon, split = spec.partition(":")
    dataset, slash, name = dataset.partition("/")
    if (
        not (dataset and colon and split)
        or (slash and not name)
        or (dataset == "folder") != bool(slash)
    ):
        raise ValueError(
            f"data set {spec!r} is not of the form DATASET:SPLIT, such as movers:train, "
            "davis2016:val or folder/NAME:train"
        )
    directory = dataset_directory(data_dir, dataset, name, split)
    if not (directory / "dataset_info.json").is_file():
        try:
            options = "" if data_set(dataset).source is None else " --source=DIR"
        except ValueError as error:
            raise ValueError(f"{spec}: {error}") from error
        options += f" --name={name}" if name else ""
        raise FileNotFoundError(
            f"{spec}: no prepared data set in {directory}; prepare it first with `python -m "
            f"data_prep.prepare --dataset={dataset}{options} --data_dir={data_dir}`"
        )
    splits = sorted(path.stem[len("index-") :] for path in directory.glob("index-*.json"))
    if split not in splits:
        raise ValueError(f"{spec}: no split {split!r} in {directory}; there are: {splits}")
    return RecordSource(spec, directory, split)
