"""Section eval of a config: what is refused."""

import pytest

from dystab_jax.evaluation import options as eval_options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crf": "dense"}, "eval.crf is 'dense'; there are"),
        ({"still_crf": "dense"}, "eval.still_crf is 'dense'; there are"),
        ({"crf_backend": "torch"}, "eval.crf_backend is 'torch'; there are numpy, jax"),
        ({"crf_models": "fused,psi"}, r"eval.crf_models has \['psi'\]; there are phi, chi, fused"),
        ({"data": "davis:val"}, "eval.data has 'davis:val'; data sets are"),
        ({"data": "ecssd:test,davis2016:val+x:y"}, r"eval.data has .*; put commas between"),
        ({"fusion_floor": 0.0}, "eval.fusion_floor is 0.0; expected more than 0"),
        ({"fusion_sharpness": -1.0}, "eval.fusion_sharpness is -1.0; expected 0 or more"),
        ({"fusion": "weigthed"}, "eval.fusion is 'weigthed'; there are geometric, product"),
        ({"phi_cut": 1.0}, "eval.phi_cut is 1.0; expected between 0 and 1"),
        ({"jobs": 0}, "eval.jobs is 0; expected 1 or more"),
        ({"protocol": "mine"}, "protocol 'mine' is unknown"),
    ],
)
def test_wrong_options_are_named(tiny_config, options, said):
    eval_options.check(tiny_config)
    tiny_config.eval.update(options)
    with pytest.raises(ValueError, match=said):
        eval_options.check(tiny_config)
