"""Small flow fields of parametric motion, for the tests of what is fitted to them."""

import numpy as np

HEIGHT, WIDTH = 32, 48


def motion(terms, seed, batch=4):
    """Draws flow [B, H, W, 2] of random affine (3) or quadratic (6) motion, about ±5 px."""
    y, x = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y][:terms], -1)
    coefficients = np.random.default_rng(seed).uniform(-3, 3, (batch, terms, 2))
    return np.float32(np.einsum("hwk,bkc->bhwc", basis, coefficients))


def box(top, bottom, left, right, batch=4):
    mask = np.zeros((batch, HEIGHT, WIDTH, 1), np.float32)
    mask[:, top:bottom, left:right] = 1
    return mask


BOX = box(8, 24, 12, 40)
