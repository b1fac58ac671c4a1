"""The benchmark of adaptation measures what evaluation and prediction do."""

import jax
import numpy as np
import pytest

from benchmarks import adaptation, rules
from dystab_jax.build import Run, initial_state
from dystab_jax.evaluation.adaptation import Adapter
from tests.support.tiny_runs import Compiled

SPEC = "folder/tiny:train"
ROUNDS = 2


@pytest.fixture
def run(tiny_config, tmp_path):
    tiny_config.eval.adaptation.update(rounds=ROUNDS, chi_updates=2, phi_rounds=1, crf="none")
    with pytest.MonkeyPatch.context() as patch:
        Compiled().install(patch)
        yield Run.of(tiny_config, tmp_path)


def test_last_round_is_what_prediction_writes(run, tiny_data):
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    (seen,) = rules.see(run, variables, SPEC, tiny_data.parent / "masks", ["video0"])
    adapter = Adapter(run)
    steps = list(adaptation.predictions(run, variables, adapter, seen))
    assert len(steps) == 1 + ROUNDS
    expected = adapter.adapt(variables, steps[0])
    np.testing.assert_array_equal(steps[-1].phi, expected.phi)
    np.testing.assert_array_equal(steps[-1].chi, expected.chi)
    for one, other in zip(steps, steps[1:], strict=False):
        assert np.abs(one.chi - other.chi).max() > 1e-6 and np.abs(one.phi - other.phi).max() > 1e-6


def test_scores_are_of_the_maps_and_of_what_the_crf_makes_of_them(run, tiny_data, monkeypatch):
    monkeypatch.setattr(rules, "CRF_FRAMES", 1)
    variables = jax.device_get(run.averages(initial_state(run.config, run.steps)))
    (seen,) = rules.see(run, variables, SPEC, tiny_data.parent / "masks", ["video0"])
    first = next(adaptation.predictions(run, variables, Adapter(run), seen))
    found = adaptation.measure(run, first, seen, "guided")
    assert list(found) == [
        *("phi", "chi", "fused", "mean"),
        *(f"{name}, guided" for name in ("phi", "chi", "fused", "mean")),
    ]
    assert found["chi"] == rules.score(first.chi, seen.truth)
    refined = rules.refine(seen, first.chi, "guided")
    assert found["chi, guided"] == rules.score(refined, seen.truth)
    assert list(adaptation.measure(run, first, seen, "none")) == ["phi", "chi", "fused", "mean"]
