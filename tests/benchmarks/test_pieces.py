"""The benchmark of pieces predicts videos as the engine does."""

import jax
import numpy as np
import pytest

from benchmarks import pieces, rules
from dystab_jax import inference
from dystab_jax.build import Run, initial_state
from dystab_jax.object_choice import NOTHING
from tests.support.tiny_runs import Compiled


@pytest.fixture
def run(tiny_config, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        yield Run.of(tiny_config, tmp_path)


def test_pieces_are_decided_alone_or_by_what_was_seen(run, tiny_data, monkeypatch):
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    truth = tiny_data.parent / "masks"
    (seen,) = rules.see(run, variables, "folder/tiny:train", truth, ["video0"])
    video, calls = run.predictor.video, []

    def noted(*arguments):
        calls.append((arguments, video(*arguments)))
        return calls[-1][1]

    monkeypatch.setattr(run.predictor, "video", noted)
    whole = pieces.fuse_in_pieces(run, variables, seen, 100, remember=True)
    [(arguments, prediction)] = calls
    np.testing.assert_array_equal(whole, inference.fuse(prediction, run.config.eval)["fused"])
    assert arguments[4] == list(seen.pairs) and arguments[6] == NOTHING

    for remember in (False, True):
        calls.clear()
        cut = pieces.fuse_in_pieces(run, variables, seen, 3, remember)
        assert cut.shape == whole.shape
        (_, first), (arguments, _) = calls
        assert len(arguments[3]) == len(seen.images) - 3
        assert {pair.frame for pair in arguments[4]} == set(range(len(seen.images) - 3))
        assert arguments[6].frames == (3 if remember else 0)
        assert arguments[6].masks == (len(first.pairs) if remember else 0)
