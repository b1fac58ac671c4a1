"""Finds mask files in folders, in the layouts of data sets, of other tools and of this project.

Truth is found in                                Predictions of SEQUENCE also in

    DIR/SEQUENCE/FRAME.png                           DIR/SEQUENCE/masks/FRAME.png
    DIR/IMAGE.png, still images                      DIR/masks/FRAME.png, DIR/FRAME.png: where
    DIR/Annotations/SEQUENCE/FRAME.png                   the truth is of one sequence
    DIR/Annotations/480p/SEQUENCE/FRAME.png          any folder in DIR, three deep at most, that
    the same in Annotations_unsupervised                 holds a folder of a sequence

Where several folders would do, none is taken: the error names them. In one folder the PNG files
count, or, where there are none, images of other kinds. Hidden files are not seen. For protocols of
numbered objects a folder "instances", and for those of soft maps "soft", goes before "masks".
"""

from collections.abc import Collection
from pathlib import Path

from dystab_jax.data.folders import by_name, composed, list_files, list_folders

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".pgm", ".ppm")
ANNOTATIONS = ("Annotations", "Annotations_unsupervised")
RESOLUTIONS = ("480p", "Full-Resolution")
DEPTH = 3
"""Folders that may lie between --masks and the sequences."""
INNER = {"masks": ("masks",), "objects": ("instances", "masks"), "maps": ("soft", "masks")}
"""By what is scored: folders in that of a sequence, the first of which that is there is read."""


def list_masks(folder: Path) -> dict[str, Path]:
    """Returns the mask files of a folder by their names without ending, frame2 before frame10.

    Raises:
      ValueError: two differ in their endings alone.
    """
    files = list_files(folder, ENDINGS)
    return by_name([path for path in files if path.suffix.lower() == ".png"] or files)


def find_davis(root: Path) -> Path | None:
    """Returns the folder of sequences in the root of a DAVIS benchmark; None of another folder."""
    found = (root / name / size for name in ANNOTATIONS for size in RESOLUTIONS)
    return next((folder for folder in found if folder.is_dir()), None)


def find_truth(folder: Path) -> Path:
    """Returns the folder of the sequences, or of the images, at or below a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: there are several; names them.
    """
    named = [folder / name for name in ANNOTATIONS if (folder / name).is_dir()]
    for _ in range(DEPTH):
        if list_masks(folder) or any(map(list_masks, list_folders(folder))):
            return folder
        below = [path for path in named or list_folders(folder) if list_folders(path)]
        if len(below) > 1:
            raise ValueError(f"{folder} holds several folders of truth; give one: {_list(below)}")
        if not below:
            break
        folder, named = below[0], []
    if any(map(list_masks, list_folders(folder))):
        return folder
    raise FileNotFoundError(
        f"{folder} has no folder of masks; expected SEQUENCE/FRAME.png (or IMAGE.png) in it"
    )


def find_predictions(
    masks: Path, sequences: Collection[str], stills: bool, kind: str = "masks"
) -> tuple[dict[str, Path], list[str]]:
    """Finds the folder that holds the predicted frames of each sequence.

    Args:
      masks: --masks.
      sequences: names in the truth.
      stills: each is a single image, called like its only frame.
      kind: what is scored, a key of `INNER`.

    Returns:
      Folders by sequence, and the names of further folders beside them.

    Raises:
      FileNotFoundError: no such folder, nothing in it, or sequences without one.
      ValueError: there are several of equal right.
    """
    if not masks.is_dir():
        raise FileNotFoundError(f"{masks} is not a folder; --masks expects one")
    names = {composed(name): name for name in sequences}
    if not any(name in names for name in map(_name, list_folders(masks))):
        for flat in (masks, *(masks / inner for inner in INNER[kind])):
            if (stills or len(sequences) == 1) and flat.is_dir() and list_masks(flat):
                return dict.fromkeys(sequences, flat), []
    root = _root_of(masks, names)
    folders = by_name(list_folders(root), stem=False)
    missing = sorted(set(names) - set(folders))
    if missing:
        there = _list(sorted(folders)) or ("files alone" if any(root.iterdir()) else "nothing")
        raise FileNotFoundError(
            f"{root} has no folder for {_list(missing)}; add them, or pass the others to "
            f"--sequences. Found: {there}; expected SEQUENCE/FRAME.png, SEQUENCE as in the truth"
        )
    others = sorted(set(folders) - set(names))
    return {name: _frames_of(folders[one], kind) for one, name in names.items()}, others


def _root_of(masks: Path, sequences: Collection[str]) -> Path:
    """Returns the folder at or below `masks` that has folders of sequences; else itself."""
    level = [masks]
    for _ in range(DEPTH + 1):
        held = {
            folder: sum(_name(path) in sequences for path in list_folders(folder))
            for folder in level
        }
        found = [folder for folder, count in held.items() if count]
        # Frames and predictions of one data set lie side by side.
        found = [path for path in found if path.name != "JPEGImages"] or found
        if len(found) > 1:
            raise ValueError(f"{masks} holds several folders of masks; give one: {_list(found)}")
        if found:
            return found[0]
        level = [below for folder in level for below in list_folders(folder)]
    return masks


def _frames_of(folder: Path, kind: str) -> Path:
    """Returns where the frames of a sequence lie: --mode=predict leaves overlays beside them."""
    if list_masks(folder):
        return folder
    return next((folder / name for name in INNER[kind] if (folder / name).is_dir()), folder)


def _name(path: Path) -> str:
    return composed(path.name)


def _list(names: Collection[str | Path], most: int = 8) -> str:
    shown = [str(name) for name in names][:most]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*shown, *more])
