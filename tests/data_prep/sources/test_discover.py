"""Directories that hold no video, or more than can be told apart."""

import cv2
import numpy as np
import pytest

from data_prep.sources.discover import list_videos
from tests.support.tiny_videos import sliding_texture, write_frames, write_masks, write_video


def test_sources_that_hold_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such file or directory"):
        list_videos(tmp_path / "absent")
    with pytest.raises(ValueError, match="no video in it; expected video files"):
        list_videos(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match="notes.txt: not a video file"):
        list_videos(tmp_path / "notes.txt")


def test_sources_that_are_ambiguous(tmp_path):
    write_frames(tmp_path / "a", sliding_texture(2))
    write_video(tmp_path / "a.avi", sliding_texture(2))
    with pytest.raises(ValueError, match="two videos are named a"):
        list_videos(tmp_path)
    cv2.imwrite(str(tmp_path / "0.png"), sliding_texture(1)[0])
    with pytest.raises(ValueError, match="holds images as well as videos"):
        list_videos(tmp_path)


def test_masks_that_fit_nothing(tmp_path):
    source = write_frames(tmp_path / "videos" / "a", sliding_texture(2)).parent
    with pytest.raises(FileNotFoundError, match="absent: no such directory; check --masks"):
        list_videos(source, tmp_path / "absent")
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match="masks: no masks in it; expected .*VIDEO/FRAME.png"):
        list_videos(source, tmp_path / "masks")
    write_masks(tmp_path / "masks" / "b", {"0": np.ones((2, 3), np.uint8)})
    with pytest.raises(ValueError, match="masks/b: masks of a video that is not in"):
        list_videos(source, tmp_path / "masks")
