"""Dilated convolutions with few outputs are the same as shifts of products."""

import numpy as np

from dystab_jax.networks.deeplab import sum_of_convolutions
from dystab_jax.networks.kernels.sum_of_shifts import sum_of_shifts
from tests.support.tiny_networks import draw


def test_atrous_heads_as_shifts_agree_with_convolutions():
    x, kernels = draw(2, 7, 9, 5), draw(3, 3, 3, 5, 2, seed=1)
    rates = (1, 3, 8)  # 8 reaches past seven rows and not past nine columns.
    expected = sum_of_convolutions(x, kernels, rates)
    np.testing.assert_allclose(sum_of_shifts(x, kernels, rates), expected, rtol=1e-4, atol=1e-4)
