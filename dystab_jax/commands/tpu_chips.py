"""Arithmetic, bandwidth and memory of TPU chips, and the least time that they allow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Holds what Google's documentation says of one chip.

    Attributes:
      flops: peak of bfloat16, operations per second.
      bandwidth: of its memory, bytes per second.
      memory: bytes.
    """

    flops: float
    bandwidth: float
    memory: float


CHIPS = {
    "TPU v4": Chip(275e12, 1228e9, 32 * 2**30),
    "TPU v5 lite": Chip(197e12, 819e9, 16 * 2**30),
    "TPU v5": Chip(459e12, 2765e9, 95 * 2**30),
    "TPU v6 lite": Chip(918e12, 1640e9, 32 * 2**30),
}
"""By JAX's ``device_kind``."""

CORES = {"TPU v4": 2, "TPU v5": 2}
"""Cores of a chip, where a topology counts each as a device."""


def device_of(kind: str) -> Chip | None:
    """Returns what is known of a device, which may be half a chip."""
    if kind not in CHIPS:
        return None
    chip, cores = CHIPS[kind], CORES.get(kind, 1)
    return Chip(chip.flops / cores, chip.bandwidth / cores, chip.memory / cores)


def roofline(device: Chip, flops: float, accessed: float) -> tuple[float, float]:
    """Returns the least seconds that a step takes, and the share of the peak that it reaches."""
    arithmetic = flops / device.flops
    seconds = max(arithmetic, accessed / device.bandwidth)
    return seconds, arithmetic / seconds if seconds else 0.0
