"""Reads text that users bring, such as lists of names: with byte order marks, of any system."""

import codecs
import re
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like that of UTF-16, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: Path, errors: str = "strict") -> str:
    """Reads a text file: UTF-8 with or without a mark, or UTF-16 or UTF-32 with one.

    Args:
      path: of the file.
      errors: "strict", or "replace" where single characters do not matter.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is not text; names file and place.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    data = path.read_bytes()
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8")
    )
    if not mark and b"\0" in data:
        raise ValueError(
            f"{path}: not text: it holds a zero byte at {data.index(0)}; save it as UTF-8"
        )
    try:
        return data[len(mark) :].decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not text in {encoding.upper()[:6].rstrip('-')} ({error.reason} at byte "
            f"{error.start + len(mark)}); save it as UTF-8"
        ) from error


def read_lines(path: Path) -> list[str]:
    """Reads a list: its lines without blanks at the ends, without empty ones and remarks.

    A remark is a line that begins with # and a blank, or is # alone.

    Raises:
      FileNotFoundError, ValueError: as for `read_text`.
    """
    return [line for _, line in number_lines(path)]


def number_lines(path: Path) -> list[tuple[int, str]]:
    """Reads a list as `read_lines` does, each line with its number in the file, from 1."""
    lines = enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1)
    stripped = [(number, line.strip()) for number, line in lines]
    return [(number, line) for number, line in stripped if line and line.split()[0] != "#"]
