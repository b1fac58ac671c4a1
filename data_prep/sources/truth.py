"""Names the files that hold a frame's truth, in the encodings of the data sets.

A truth file is a small picklable object with

* ``path``: for messages;
* ``read(shape)``: the `Truth` of a frame of that (height, width);
* ``fingerprint()``: what changes when the files behind it change.

What is wrong with a file is a ValueError (FileNotFoundError where it is missing) that names it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from data_prep.sources.layout import file_stamp
from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import Levels, foreground


class Truth(NamedTuple):
    """Holds what is known about the objects of one frame.

    Attributes:
      mask: 1 = object.
      regions: 0 = background, 1, 2, ... = the objects, 255 = void; None where they have no numbers.
    """

    mask: Levels
    regions: Levels | None = None


@runtime_checkable
class TruthFile(Protocol):
    """Describes what every truth file has, see the module."""

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""


@dataclass(frozen=True)
class MaskFile:
    """Names a mask image of any encoding, read by `mask_files.read_mask`.

    Attributes:
      path: the image.
      numbered: the masks of its sequence number their objects.
    """

    path: Path
    numbered: bool = False

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""
        return Truth(mask_files.read_mask(self.path, self.numbered))

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""
        return [file_stamp(self.path)]


@dataclass(frozen=True)
class IndexFile:
    """Names an image whose levels number the objects, see `mask_files.read_truth_numbers`.

    Level 255 is void: neither object nor background, not scored.
    """

    path: Path

    def read(self, shape: tuple[int, int]) -> Truth:
        """Reads the truth of a frame of that (height, width)."""
        regions = mask_files.read_truth_numbers(self.path)
        return Truth(foreground(regions), regions)

    def fingerprint(self) -> list[Any]:
        """Returns what changes when the files behind the truth do."""
        return [file_stamp(self.path)]
