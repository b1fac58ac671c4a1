"""The Python door: what it takes and gives, by tiny networks that were exported."""

import json
import time
from threading import Event

import cv2
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import dystab_jax
from dystab_jax import Segmenter
from dystab_jax.build import Run, initial_state
from dystab_jax.data import network_file
from dystab_jax.data.resize import resize_image
from dystab_jax.evaluation import run_facts
from dystab_jax.inference import PIECE
from tests.support.tiny_videos import sliding_texture, write_frames

FRAMES = sliding_texture(5, height=49, width=65)


@pytest.fixture(scope="module")
def workdir(new_tiny_config, tmp_path_factory):
    """Exported networks with drawn weights; their flow was DIS with gaps up to two."""
    folder = tmp_path_factory.mktemp("exported")
    config: ConfigDict = new_tiny_config()
    config.eval.crf = "none"
    run = Run.of(config, folder)
    shapes = jax.eval_shape(lambda: initial_state(config, run.steps))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(leaf.dtype), shapes)
    # χ's masks are to be neither empty nor full.
    small = np.float32(resize_image(FRAMES[0], config.data.still_size)[None]) / 255
    chi = state.chi.average
    logits = np.asarray(jax.jit(run.steps.chi.network.apply)(chi, small))
    chi["params"]["logits"]["bias"][1] -= np.median(logits[..., 1] - logits[..., 0])
    position = {"phase": "1-joint", "complete": True, "step": 3}
    network_file.write(folder / network_file.FILE, run.averages(state), position)
    (folder / "config.json").write_text(json.dumps(run_facts.as_json(config)))
    facts = {"flow": "dis", "flow_size": "native", "max_gap": 2}
    (folder / "preparation.json").write_text(json.dumps({"folder/tiny:train": facts}))
    return folder


@pytest.fixture(scope="module")
def segmenter(workdir):
    return Segmenter.from_workdir(workdir)


def test_arrays_iterators_and_files_give_the_same_masks(segmenter, tmp_path):
    masks = segmenter(FRAMES)
    assert masks.shape == (5, 49, 65) and masks.dtype == np.float32
    assert 0 <= masks.min() and masks.max() <= 1
    assert 0.1 < np.mean(masks > 0.5) < 0.9
    np.testing.assert_array_equal(segmenter(iter(FRAMES)), masks)
    np.testing.assert_array_equal(segmenter(list(FRAMES)), masks)
    np.testing.assert_array_equal(segmenter(write_frames(tmp_path / "in", FRAMES)), masks)
    np.testing.assert_array_equal(segmenter(str(tmp_path / "in")), masks)


def test_an_image_has_one_mask(segmenter, tmp_path):
    masks = segmenter(FRAMES[0])
    assert masks.shape == (1, 49, 65)
    assert cv2.imwrite(str(tmp_path / "image.png"), FRAMES[0, ..., ::-1])
    np.testing.assert_array_equal(segmenter(tmp_path / "image.png"), masks)
    # A video of one frame has no flow either.
    np.testing.assert_array_equal(segmenter(FRAMES[:1]), masks)


def test_frames_come_with_what_led_to_their_masks(segmenter):
    frames = list(segmenter.frames(FRAMES))
    assert [frame.name for frame in frames] == [f"{t:05d}" for t in range(5)]
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, FRAMES[t])
        np.testing.assert_array_equal(frame.mask, frame.soft > 0.5)
        assert frame.trace.phi.shape == frame.trace.chi.shape == (32, 48)
        assert list(frame.trace.flows)[0] == (1 if t < 4 else -1)
        assert sorted(frame.trace.flows) == [gap for gap in (-1, 1) if 0 <= t + gap < 5]
    alone = next(segmenter.frames(FRAMES[0]))
    assert alone.trace is None and alone.shot == 0


def test_masks_come_before_an_endless_video_ends(segmenter):
    drawn, closing = [], Event()

    def endless():
        while True:
            for frame in FRAMES:
                if len(drawn) > 2 * PIECE:  # some of the next piece
                    closing.wait(60)
                drawn.append(len(drawn))
                yield frame

    frames = segmenter.frames(endless())
    assert [next(frames).name for _ in range(3)] == ["00000", "00001", "00002"]
    closing.set()
    frames.close()
    # Not even the rest of the next piece is read from here on.
    count = len(drawn)
    assert 2 * PIECE <= count <= 2 * PIECE + PIECE // 2
    time.sleep(0.2)
    assert len(drawn) == count


def test_an_error_comes_behind_the_frames_before_it(segmenter):
    def breaking():
        for t in range(2 * PIECE + 3):
            yield FRAMES[t % 5]
        raise ValueError("the cable is out")

    frames, seen = segmenter.frames(breaking()), []
    with pytest.raises(ValueError, match="the cable is out"):
        for frame in frames:
            seen.append(frame.name)
    assert seen == [f"{t:05d}" for t in range(PIECE)]


def test_programs_are_compiled_while_the_first_frames_are_read(workdir, monkeypatch):
    segmenter, asked = Segmenter.from_workdir(workdir), []
    predictor = segmenter._engine._run.predictor
    compile_all, run = predictor.compile, predictor._run
    monkeypatch.setattr(predictor, "compile", lambda *a: (asked.append(a[1]), compile_all(*a)))
    first, compiled = [], []

    def watched(*arguments):
        first.append(len(asked))
        compiled.clear()
        result = run(*arguments)
        assert not compiled, "a program was compiled that should have been there"
        return result

    monkeypatch.setattr(predictor, "_run", watched)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    masks = segmenter(FRAMES)
    assert masks.shape == (5, 49, 65)
    assert asked == [(32, 48)] and first[0] == 1
    segmenter(FRAMES)
    assert asked == [(32, 48)]


def test_rules_are_those_of_the_config_unless_asked_otherwise(workdir):
    refined = Segmenter.from_workdir(workdir, crf="guided")(FRAMES[:3])
    assert np.abs(refined - Segmenter.from_workdir(workdir)(FRAMES[:3])).max() > 0.001
    assert Segmenter.from_workdir(workdir)._engine._adapter is None
    assert Segmenter.from_workdir(workdir, adapt=True)._engine._adapter is not None
    with pytest.raises(ValueError, match="sharpest"):
        Segmenter.from_workdir(workdir, crf="sharpest")
    with pytest.raises(ValueError, match="raft"):
        Segmenter.from_workdir(workdir, flow="raft_small")


def test_what_cannot_be_segmented(segmenter, tmp_path):
    with pytest.raises(ValueError, match=r"frame 1 is 65x40, frame 00000|00001 is 65x40"):
        segmenter([FRAMES[0], FRAMES[1, :40]])
    with pytest.raises(FileNotFoundError, match="nowhere.mp4: no such file"):
        segmenter("nowhere.mp4")
    with pytest.raises(ValueError, match="no videos? in it"):
        segmenter(tmp_path)
    with pytest.raises(ValueError, match="expected RGB, uint8"):
        segmenter(FRAMES.astype(float))
    with pytest.raises(ValueError, match="no frame"):
        segmenter(FRAMES[:0])
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Segmenter.from_workdir(tmp_path)


def test_the_package_has_one_door():
    assert dystab_jax.Segmenter is Segmenter
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        dystab_jax.Segmentor  # noqa: B018
