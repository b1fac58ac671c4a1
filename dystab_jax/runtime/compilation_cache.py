"""Keeps compiled programs on disk, so that a second start compiles nothing."""

import hashlib
import platform
from pathlib import Path

import jax

from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.paths import cache_folder

MOST_BYTES = 2 << 30
"""What was used longest ago goes when there is more. `configs/davis.py` has 0.1 GB."""
SHORTEST = 0.1
"""Seconds; what compiles faster is not kept: reading it would take as long."""
ABOUT = """\
What DyStaB-JAX keeps on this machine. All of it can be removed while no run is at work.

compiled-*  programs compiled with JAX for the machine's processors or accelerators: a second start
            finds them here and compiles nothing. 2 GiB at most. JAX_COMPILATION_CACHE_DIR=FOLDER
            chooses another folder, JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
runs        copies of runs that are kept in buckets
data        copies of prepared data sets that lie in buckets
"""


def keep_compiled_programs() -> Path | None:
    """Has JAX keep what it compiles in a folder of the user's cache, see ``ABOUT``.

    To be called before anything is compiled. Does nothing where the user has chosen a folder, or
    none. Machines that share a home directory each have a folder there: a program may use
    instructions that the processor of another lacks.

    Returns:
      The folder; None where programs are not kept, or where the user says.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return None
    try:
        folder = cache_folder() / f"compiled-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder.parent / "README.txt", ABOUT, everyone=True)
    except (OSError, RuntimeError):  # no home, a disk that is full or may not be written
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    return folder


def _processor() -> str:
    """Returns eight digits that differ between kinds of processors."""
    said = platform.machine() + platform.processor()
    try:
        with open("/proc/cpuinfo") as lines:
            kept = ("flags", "Features", "model name")
            said += "".join(sorted({line for line in lines if line.startswith(kept)}))
    except OSError:
        pass  # not Linux
    return hashlib.sha256(said.encode()).hexdigest()[:8]
