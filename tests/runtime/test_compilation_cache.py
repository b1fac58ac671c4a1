"""A second start compiles nothing, unless the user wants it to."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import jax
import jax.numpy as jnp
from dystab_jax.runtime.compilation_cache import keep_compiled_programs

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
folder = keep_compiled_programs()
if folder is not None:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: jnp.sin(x) @ x.T)(jnp.ones((3, 4)))
counts = [events.count(f"cache_{kind}") for kind in ("hits", "misses")]
print(json.dumps([folder and str(folder), *counts]))
"""


@pytest.fixture
def start(pytestconfig, tmp_path):
    """Starts a program that compiles, with a cache folder of its own and these variables."""

    def run(**environment):
        clean = {k: v for k, v in os.environ.items() if "CACHE" not in k}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(pytestconfig.rootpath)],
            env=clean | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_second_start_compiles_nothing(start, tmp_path):
    folder, hits, misses = start()
    assert folder.startswith(str(tmp_path / "cache" / "dystab-jax" / "compiled-"))
    assert hits == 0 and misses > 0
    assert "can be removed" in (tmp_path / "cache" / "dystab-jax" / "README.txt").read_text()
    assert start() == [folder, misses, 0]


def test_the_choice_of_the_user_holds(start, tmp_path):
    chosen = tmp_path / "chosen"
    folder, _, _ = start(JAX_COMPILATION_CACHE_DIR=str(chosen))
    assert folder is None and chosen.is_dir() and not (tmp_path / "cache").exists()
    assert start(JAX_ENABLE_COMPILATION_CACHE="false") == [None, 0, 0]
    assert not (tmp_path / "cache").exists()


def test_without_a_place_to_write_it_compiles(start, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert start() == [None, 0, 0]
