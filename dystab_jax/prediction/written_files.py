"""Writes small files below the folder of a prediction, and says why one cannot be written."""

from pathlib import Path


def not_written(path: Path, error: Exception) -> OSError:
    """Returns the error that a file of a prediction cannot be written, which names the reason."""
    return OSError(
        f"{path.name} cannot be written below {path.parent.parent}: {error}; is the disk full?"
    )


def write_file(path: Path, data: bytes) -> None:
    """Writes a file; its own folder is made where absent.

    Raises:
      OSError: it cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise not_written(path, error) from error


def append_text(path: Path, text: str) -> None:
    """Appends to a text file, which is made where absent.

    Raises:
      OSError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise not_written(path, error) from error
