"""Says where the pages lie that play the videos of a report, and removes those out of date."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

from dystab_jax.runtime import processes
from dystab_jax.runtime.atomic_files import bounded


def path(workdir: Path, data_set: str, video: str) -> Path:
    """Returns where the page of a video lies.

    Args:
      workdir: of the run.
      data_set: its name in files, such as "davis2016-val".
      video: its name.
    """
    return _folder(workdir) / data_set / f"{bounded(video)}.html"


def links(workdir: Path, data_set: str, videos: Collection[str]) -> dict[str, str]:
    """Returns links from the report to the pages that there are of these videos.

    Args:
      workdir, data_set: as for `path`.
      videos: their names.
    """
    pages = {video: path(workdir, data_set, video) for video in videos}
    return {
        video: quote(os.path.relpath(page, workdir / "report"))
        for video, page in pages.items()
        if page.exists()
    }


def link_back(workdir: Path, data_set: str, video: str) -> str:
    """Returns the path of the report's page from the folder of a video's page.

    Args:
      workdir, data_set, video: as for `path`.
    """
    page = path(workdir, data_set, video)
    return os.path.relpath(workdir / "report" / f"{data_set}.html", page.parent)


def remove_others(workdir: Path, videos: dict[str, Collection[str]]) -> None:
    """Removes pages of an earlier evaluation to which the report does not link any more.

    Of a data set that has not been evaluated anew they stay as long as its page does.

    Args:
      workdir: of the run.
      videos: that have just been evaluated, by data set.
    """
    if not processes.is_first():
        return
    for folder in _folder(workdir).glob("*"):
        if folder.name in videos:
            known = {path(workdir, folder.name, video) for video in videos[folder.name]}
            for page in set(folder.rglob("*.html")) - known:
                page.unlink()
        elif not (workdir / "report" / f"{folder.name}.html").exists():
            shutil.rmtree(folder)


def _folder(workdir: Path) -> Path:
    return workdir / "report" / "videos"
