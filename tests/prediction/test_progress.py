"""The bar over all the work of a video's masks."""

import pytest

from dystab_jax.prediction.progress import PREDICTING, READING, REFINING, Bar, Progress


def work(bar, frames):
    for _ in range(frames):
        bar.read()
    bar.predicts(frames)
    bar.predicted(frames)
    for _ in range(frames):
        bar.done()


def test_all_the_work_is_one_bar(capfd):
    with Bar("dog", 4) as bar:
        for _ in range(4):
            bar.read()
        assert bar._bar.n / bar._bar.total == READING / (READING + PREDICTING + REFINING)
        bar.predicts(4)
        bar.say("half")
        bar.predicted(4)
        bar.done()
        assert bar._bar.desc == "dog: 1 of 4 masks, CRF and files"
        for _ in range(3):
            bar.done()
        assert bar._bar.n == bar._bar.total
    written = capfd.readouterr()
    assert "half" in written.out
    assert "dog: 0 of 4 masks, networks (4 frames)" in written.err
    assert "dog: 4 masks 100%" in written.err


@pytest.mark.parametrize(("stated", "frames"), [(2, 5), (9, 5), (0, 5)])
def test_a_wrong_or_unknown_length_ends_at_the_right_one(capfd, stated, frames):
    with Bar("dog", stated) as bar:
        work(bar, frames)
    assert bar.read_frames == bar.done_frames == frames
    last = capfd.readouterr().err.split("\r")[-1]
    assert "dog: 5 masks" in last and ("100%" in last) == bool(stated)


def test_an_error_leaves_the_bar_where_it_was(capfd):
    with pytest.raises(ValueError, match="broken"), Bar("dog", 4) as bar:
        bar.read()
        raise ValueError("broken")
    assert "100%" not in capfd.readouterr().err


def test_silence(capfd):
    work(bar := Progress(), 3)
    bar.say("nothing")
    assert (bar.read_frames, bar.done_frames) == (3, 3)
    assert capfd.readouterr() == ("", "")
