"""Shapes are compared with annotations while tests run, see tests/conftest.py."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from dystab_jax import losses
from dystab_jax.data.encodings import encode_flow
from dystab_jax.refinement.crf import GuidedFilter


def test_arguments_of_other_shapes_are_refused():
    mask, flow = jnp.ones((2, 4, 6, 1)), jnp.ones((2, 4, 6, 2))
    assert losses.adversarial(mask, flow, flow, flow, 1e-2).shape == (2,)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'flow'"):
        losses.adversarial(mask[:, :3], flow, flow, flow, 1e-2)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'mask'"):
        losses.adversarial(flow, flow, flow, flow, 1e-2)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'flow'"):
        encode_flow(np.zeros((4, 6, 3), np.float32))


def test_fields_of_other_types_are_refused():
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'radius'"):
        GuidedFilter(radius=1.5, epsilon=1, longer_side=854)


def test_checks_can_be_left_out_for_one_test(unchecked):
    with pytest.raises(ValueError, match="expected"):
        encode_flow(np.zeros((4, 6, 3), np.float32))
