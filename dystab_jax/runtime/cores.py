"""The cores and devices of this machine; on a CPU, one device for each core."""

import os

import jax

MOST = 4
"""Devices of a CPU; each holds a state of its own."""
MOST_THREADS = 32
"""That load: each keeps two batches ahead in memory."""


def use_cores() -> None:
    """Makes JAX see the CPU's cores as devices, among which batches are split.

    XLA's CPU backend spreads single operations over the cores, which gains little where networks
    are small: on two cores, two devices train 1.3 to 1.7 times as fast as one. To be called before
    JAX is used for the first time; does nothing where the user says how many devices there are,
    with JAX_NUM_CPU_DEVICES or XLA_FLAGS. GPUs and TPUs stay as they are.
    """
    chosen = "JAX_NUM_CPU_DEVICES" in os.environ
    chosen |= "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen:
        jax.config.update("jax_num_cpu_devices", min(MOST, count()))


def check_devices() -> None:
    """Finds the devices.

    Raises:
      ValueError: there are none of the kind that JAX_PLATFORMS names.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["no plugin for it is installed"])[0]
        raise ValueError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX cannot use it: {reason}. "
            'Install the plugin, with pip install "jax[cuda12]" or "jax[tpu]", or unset '
            "JAX_PLATFORMS"
        ) from error


def threads(asked: int) -> int:
    """Returns how many threads load examples, where 0 asks for one on each core."""
    return asked or min(MOST_THREADS, count())


def count() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
