"""Adapting to a video: what is learned, what stays, and that it ends the same each time."""

import json

import jax
import numpy as np
import pytest

from dystab_jax import bootstrap, inference
from dystab_jax.build import Run, initial_state
from dystab_jax.commands.runs import open_runs
from dystab_jax.evaluation import options, score_run, snapshots
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.refinement.flow_average import FramePair
from tests.support.tiny_runs import Compiled

FRAMES, HEIGHT, WIDTH = 6, 32, 48


@pytest.fixture(scope="module")
def run(new_tiny_config, tmp_path_factory):
    config = new_tiny_config()
    config.eval.adaptation.update(rounds=1, chi_updates=40, phi_rounds=2, crf="none")
    config.chi.optimizer.learning_rate = 3e-3
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        yield Run.of(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def variables(run):
    return run.averages(initial_state(run.config, run.steps))


def square(t):
    """A red square that moves by two pixels a frame, and where it is."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:22, 6 + 2 * t : 18 + 2 * t] = True
    image = np.full((HEIGHT, WIDTH, 3), (70, 90, 140), np.uint8)
    image[mask] = (210, 60, 50)
    return image, mask


def predicted(run, variables, seen=True):
    """A prediction in which φ has found the square, if it was seen, and χ knows nothing."""
    images, masks = map(np.stack, zip(*map(square, range(FRAMES)), strict=True))
    pairs = [
        FramePair(t, gap, np.float16(masks[t][..., None] * (2.0 * gap, 0)))
        for t in range(FRAMES)
        for gap in (-1, 1)
        if 0 <= t + gap < FRAMES
    ]
    frames = [(str(t), "") for t in range(FRAMES)]
    prediction = run.predictor.video(
        variables, "square", frames, images, pairs, inference.Reading(vote=True)
    )
    phi = np.float32(masks[..., None]) * seen
    zeros = np.zeros(FRAMES)
    return inference.VideoPrediction(
        "square", prediction.frames, prediction.groups, phi, prediction.chi * 0,
        zeros + 2 * seen, zeros, images, pairs, prediction.borders,
    ), masks  # fmt: skip


def agreement(soft, masks):
    hard = soft[..., 0] > 0.5
    return (hard & masks).sum() / (hard | masks).sum()


def test_chi_learns_what_phi_has_found(run, variables):
    prediction, masks = predicted(run, variables)
    before = jax.tree.map(np.array, variables)
    adapted = Adapter(run).adapt(variables, prediction)
    chi = run.predictor.static(variables["chi"], prediction.images)
    assert agreement(adapted.chi, masks) > 0.8 > 0.5 > agreement(chi, masks)
    assert adapted.frames == prediction.frames and adapted.video == "square"
    # The networks that were given go on to the next video.
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(variables))
    again = Adapter(run).adapt(variables, prediction)
    np.testing.assert_array_equal(again.chi, adapted.chi)
    np.testing.assert_array_equal(again.phi, adapted.phi)


def test_who_is_trusted_is_decided_before_the_networks_adapt(run, variables):
    prediction, _ = predicted(run, variables)
    options = run.config.eval
    trust = inference.weigh(prediction, options)
    adapted = Adapter(run).adapt(variables, prediction)
    np.testing.assert_array_equal(adapted.weight, trust)
    assert not np.allclose(inference.weigh(adapted, options), trust)
    weight = trust[:, None, None, None]
    expected = weight * adapted.phi + (1 - weight) * adapted.chi
    np.testing.assert_array_equal(inference.fuse(adapted, options)["fused"], expected)


def test_where_nothing_is_found_nothing_is_learned(run, variables):
    prediction, _ = predicted(run, variables, seen=False)
    assert Adapter(run).adapt(variables, prediction) is prediction


def test_scores_of_adapted_networks_say_so(tiny_config, tmp_path):
    tiny_config.bootstrap.update(warm_up_epochs=0.0, static_epochs=0.0, joint_epochs=0.0)
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        bootstrap.train(next(open_runs(tiny_config, tmp_path, "train")))
        rows = {}
        for rounds in (0, 1):
            tiny_config.eval.adaptation.update(rounds=rounds, chi_updates=3, phi_rounds=1)
            run = next(open_runs(tiny_config, tmp_path, "eval"))
            assert not score_run.is_scored(run, snapshots.newest(run), "folder/tiny:val")
            score_run.score(run, snapshots.newest(run), "folder/tiny:val")
            report = json.loads((tmp_path / "eval" / "folder-tiny-val.json").read_text())
            assert report["rules"]["adaptation"]["rounds"] == rounds
            rows[rounds] = report["rows"]
    assert [row["model"] for row in rows[0]] == [row["model"] for row in rows[1]]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("rounds", -1, "rounds is -1; expected 0 or more"), ("crf", "x", "crf is 'x'; there are")],
)
def test_wrong_options_are_named(tiny_config, field, value, said):
    tiny_config.eval.adaptation[field] = value
    with pytest.raises(ValueError, match=rf"config.eval.adaptation: {said}"):
        options.check(tiny_config)
