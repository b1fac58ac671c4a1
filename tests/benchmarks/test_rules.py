"""The benchmark of rules applies those that prediction applies."""

import itertools

import jax
import numpy as np
import pytest

from benchmarks import rules
from dystab_jax import inference
from dystab_jax.build import Run, initial_state
from dystab_jax.data import pipeline, records

SPEC = "folder/tiny:train"


@pytest.fixture
def run(tiny_config, tmp_path):
    tiny_config.eval.phi_cut = 0.45
    return Run.of(tiny_config, tmp_path)


def test_maps_are_those_of_prediction(run, tiny_data):
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    names = rules.choose(run, SPEC, every=2)
    assert names == ["video0", "video2"]
    (seen,) = rules.see(run, variables, SPEC, tiny_data.parent / "masks", names[1:])
    maps = rules.apply_rules(run, variables, seen)
    source = records.open_source(tiny_data, SPEC)
    frames = [frame for frame in pipeline.frames_of(source) if frame.video == "video2"]
    decoded = pipeline.Decoded(source, tuple(run.config.data.image_size), keep=False)
    options = run.config.eval
    (prediction,) = run.predictor.videos(
        variables, decoded, frames, inference.Reading.of(options), options.flows_per_frame
    )
    expected = inference.fuse(prediction, options)
    np.testing.assert_allclose(maps["phi, cut 0.45"], expected["phi"], atol=1e-5)
    np.testing.assert_allclose(maps["chi, mirrored"], expected["chi"], atol=1e-5)
    np.testing.assert_allclose(maps["L_A and areas, k 8"], expected["fused"], atol=1e-5)
    others = [maps[f"L_A, k 4, per {scope}"] for scope in rules.SCOPES]
    for one, other in itertools.combinations([*others, expected["fused"]], 2):
        assert np.abs(one - other).max() > 1e-6
    refined = rules.refine(seen, maps["mean"], "none")
    np.testing.assert_array_equal(refined, maps["mean"][:: rules.CRF_FRAMES])


def test_truth_is_that_of_the_frames(run, tiny_data):
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    (seen,) = rules.see(run, variables, SPEC, tiny_data.parent / "masks", ["video0"])
    assert seen.truth.shape == seen.images.shape[:3] and 0 < seen.truth.mean() < 0.5
    assert rules.score(seen.truth[..., None], seen.truth) == 1
    assert rules.score(1 - seen.truth[..., None], seen.truth) == 0
    # The first and the last frame have no say.
    wrong = seen.truth[..., None].copy()
    wrong[0] = wrong[-1] = 0
    assert rules.score(wrong, seen.truth) == 1


def test_videos_that_were_trained_on_are_left_out(run):
    with pytest.raises(ValueError, match="--held_out: the run was trained on all videos"):
        rules.choose(run, SPEC, held_out=True)
    run.config.data.videos = 2
    frames = pipeline.frames_of(records.open_source(run.config.data.dir, SPEC))
    trained = {frame.video for frame in pipeline.choose_videos(frames, 2, run.config.seed)}
    (other,) = rules.choose(run, SPEC, held_out=True)
    assert len(trained) == 2 and other not in trained
