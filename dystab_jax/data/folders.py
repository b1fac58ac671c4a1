"""Lists what lies in folders: one rule of what is visible, one of order, one of equal names.

All readers of what users bring go through it, so that none takes a file that another passes over.
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CLUTTER = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""Names, in lower case, that systems leave in folders and users never mean."""


def is_visible(name: str) -> bool:
    """Reports whether a file or folder of that name is the user's: neither hidden nor clutter.

    Hidden is what begins with a dot, such as .DS_Store, ._0001.png and .ipynb_checkpoints.
    """
    return not name.startswith(".") and name.lower() not in CLUTTER


def list_visible(folder: Path) -> list[Path]:
    """Lists the visible files and folders of a folder in natural order.

    Raises:
      ValueError: a name is not text in UTF-8, so that no record could hold it.
    """
    paths = [path for path in folder.iterdir() if is_visible(path.name)]
    for path in paths:
        _check_name(path)
    return sorted(paths, key=natural_order)


def list_folders(folder: Path) -> list[Path]:
    """Lists the visible folders of a folder in natural order."""
    return [path for path in list_visible(folder) if path.is_dir()]


def list_files(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Lists the visible files of a folder that end so, in natural order.

    Args:
      folder: where they lie.
      endings: with their dot and in lower case; those of files may be in upper case.
    """
    wanted = frozenset(endings)
    found = (path for path in list_visible(folder) if path.suffix.lower() in wanted)
    return [path for path in found if not path.is_dir()]


def list_files_below(folder: Path) -> list[Path]:
    """Lists the visible files at any depth below a folder in natural order of their names.

    Raises:
      OSError: a folder cannot be read.
      ValueError: a name is not text in UTF-8.
    """

    def fail(error: OSError) -> None:
        raise error

    found = []
    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(filter(is_visible, folders))
        found += [Path(place, name) for name in files if is_visible(name)]
    for path in found:
        _check_name(path)
    return sorted(found, key=lambda path: (natural_order(path), path))


def natural_order(path: Path) -> tuple[Any, ...]:
    """Returns a sorting key under which frame2 comes before frame10, and dog before dog2.

    Names are compared without their endings; digits are those that ``int`` reads, of any script.
    """
    name = composed(path.name)
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, ending = name, ""
    return _parts(stem), _parts(ending), path.name


def _parts(text: str) -> list[Any]:
    # Text and numbers by turns, beginning with text, so that like is compared with like.
    parts = re.split(r"(\d+)", text)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def composed(name: str) -> str:
    """Returns a name in the form in which names are compared: accents joined with their letters.

    Some systems write é as one character, others as e and an accent; users see one name.
    """
    return unicodedata.normalize("NFC", name)


def by_name(paths: Iterable[Path], stem: bool = True) -> dict[str, Path]:
    """Returns paths by their composed names, in order.

    Args:
      paths: files or folders.
      stem: by names without ending.

    Raises:
      ValueError: two have one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = composed(path.stem if stem else path.name)
        if name in named:
            raise ValueError(f"{path} and {named[name]}: two files of one name; remove one")
        named[name] = path
    return named


def on_disk(path: Path) -> Path:
    """Returns the path as the disk spells it; as given where there is nothing of that name.

    Lists may come from a system that composes accents otherwise or does not tell .jpg from .JPG.
    """
    if path.exists() or path == path.parent:
        return path
    parent = on_disk(path.parent)
    if parent.is_dir():
        wanted = _spelled(path)
        found = sorted(entry for entry in parent.iterdir() if _spelled(entry) == wanted)
        if found:
            return found[0]
    return parent / path.name


def _spelled(path: Path) -> tuple[str, str]:
    return composed(path.stem), path.suffix.lower()


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path.name)
        raise ValueError(
            f"{path.parent}: the name {shown!r} in it is not text in UTF-8; rename it"
        ) from error
