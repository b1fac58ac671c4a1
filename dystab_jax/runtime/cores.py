"""The devices of this machine; on a CPU, one for each core."""

import os

import jax

MOST = 4
"""Each device holds a state of its own."""


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
        jax.config.update("jax_num_cpu_devices", min(MOST, _count()))


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


def _count() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
