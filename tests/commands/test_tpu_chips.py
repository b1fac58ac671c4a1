"""The least time that a TPU chip needs for a step."""

from dystab_jax.commands import tpu_chips


def test_the_roofline_is_the_slower_of_arithmetic_and_memory():
    one = tpu_chips.Chip(flops=100.0, bandwidth=10.0, memory=1.0)
    assert tpu_chips.roofline(one, flops=1000.0, accessed=50.0) == (10.0, 1.0)
    seconds, share = tpu_chips.roofline(one, flops=1000.0, accessed=400.0)
    assert (seconds, share) == (40.0, 0.25)


def test_half_a_chip_has_half_of_everything():
    whole, half = tpu_chips.CHIPS["TPU v4"], tpu_chips.device_of("TPU v4")
    assert (half.flops, half.memory) == (whole.flops / 2, whole.memory / 2)
    assert tpu_chips.device_of("TPU v6 lite") == tpu_chips.CHIPS["TPU v6 lite"]
    assert tpu_chips.device_of("cpu") is None
