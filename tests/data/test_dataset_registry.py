"""The table of data sets."""

import pytest

from dystab_jax.data.dataset_registry import DATA_SETS, data_set


def test_an_entry_is_found_by_its_name():
    assert all(data_set(name).name == name for name in DATA_SETS)
    for strange in ("davis", "folder/mine", ""):
        with pytest.raises(ValueError, match=f"no data set {strange!r}; there are: movers, davis2"):
            data_set(strange)


def test_still_images_are_scored_as_maps_and_videos_as_masks():
    for one in DATA_SETS.values():
        assert (one.layout.pixels == "map") == ("saliency" in one.protocols) == one.stills
        assert ("{video}" in one.layout.file) != one.stills


def test_two_frames_never_share_a_file():
    for one in DATA_SETS.values():
        videos = "ab" if not one.stills else "a"
        files = {one.layout.file.format(video=v, frame=f) for v in videos for f in ("0", "1")}
        assert len(files) == 2 * len(videos)
