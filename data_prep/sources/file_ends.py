"""Notices cut video files by their bytes, where neither frames nor duration show it."""

from pathlib import Path

_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Identifier of the object in an ASF header that holds the size of the whole file."""
_LARGEST_OGG_PAGE = 65307
"""Bytes."""


def is_cut(path: Path, container: str) -> bool:
    """Checks if a file lacks its end.

    ASF states its size, the last page of Ogg is marked as such, GIF ends with a trailer. Others
    are never cut in this sense.

    Args:
      path: of the file.
      container: FFmpeg's name of its format.
    """
    check = {"asf": _asf_is_cut, "ogg": _ogg_is_cut, "gif": _gif_is_cut}.get(container)
    return check is not None and check(path)


def _asf_is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(1 << 16)
    start = header.find(_ASF_PROPERTIES)
    size, flags = (header[start + at : start + at + 8] for at in (40, 88))
    broadcast = not flags or flags[0] & 1  # written by something that could not know the size
    return start >= 0 and not broadcast and int.from_bytes(size, "little") > path.stat().st_size


def _ogg_is_cut(path: Path) -> bool:
    tail = _tail(path, 2 * _LARGEST_OGG_PAGE)
    page = tail.rfind(b"OggS")
    return page >= 0 and not (tail[page + 5 : page + 6] or b"\0")[0] & 4


def _gif_is_cut(path: Path) -> bool:
    return b"\0;" not in _tail(path, 16)  # a few bytes may follow


def _tail(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - length, 0))
        return file.read()
