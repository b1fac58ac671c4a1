"""Plans ``folder``: any videos, as folders of frames or as video files; masks optional.

Splits: train (all videos, never masks) and, where masks are given, val (the frames that have one).
"""

from pathlib import Path

from data_prep.builder import Plan, RecordsBuilder
from data_prep.sources.discover import left_out, list_videos


class Folder(RecordsBuilder):
    """Writes the records of ``folder``, one configuration per prepared directory."""


BUILDER = Folder


def plan(source: Path, masks: Path | None = None) -> Plan:
    """Lists the videos; see `data_prep.sources.discover.list_videos` for layout and errors."""
    videos = tuple(list_videos(source, masks))
    notes = left_out(source, masks)
    names = tuple(video.name for video in videos)
    with_masks = tuple(video.name for video in videos if video.masks)
    return Plan(videos, names, {"val": with_masks} if with_masks else {}, tuple(notes))
