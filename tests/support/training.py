"""Trains tiny runs in this process, and compares what comes of them."""

import dataclasses
import json
import shutil
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from dystab_jax import build
from dystab_jax.bootstrap import train
from dystab_jax.runtime import parallel
from tests.support.tiny_networks import draw_variables


class Trainer:
    """Runs of one config in as many workdirs as asked for, compiled once."""

    def __init__(self, config: ConfigDict, monkeypatch):
        self._functions, self._map_step = {}, parallel.map_step
        self.before = lambda step: None
        self.after = lambda state, metrics: (state, metrics)
        one = parallel.make_mesh(jax.devices()[:1])
        monkeypatch.setattr(parallel, "make_mesh", lambda *_: one)
        monkeypatch.setattr(parallel, "map_step", self._mapped)
        # Flax's own initialisation takes longer to compile than all steps together.
        monkeypatch.setattr(build, "initialise", lambda m, key, *x: draw_variables(m, *x))
        self.run = build.Run.of(config, None)

    def train(self, workdir, interruption=None, **changes):
        """``train`` in a workdir, with single fields changed: section__field=value."""
        config = self.run.config.copy_and_resolve_references()
        # Writing a checkpoint takes longer than all else: where phases end is often enough.
        for name, value in {"log__checkpoint_every": 100, **changes}.items():
            section, field = name.split("__")
            config[section][field] = value
        workdir.mkdir(exist_ok=True)
        run = dataclasses.replace(self.run, config=config, workdir=workdir)
        return jax.device_get(train(run, interruption))

    def _mapped(self, step, mesh):
        key = repr(getattr(step, "__name__", step))
        if key not in self._functions:
            self._functions[key] = self._map_step(step, mesh)

        def run(state, batch):
            self.before(int(state.step))
            return self.after(*self._functions[key](state, batch))

        return run


def copy(source, target):
    """What is on disk at this moment, as a kill would leave it; a writer may be at work."""

    def copy_file(file, to):
        try:
            shutil.copyfile(file, to)
        except FileNotFoundError:  # renamed meanwhile
            return

    try:
        shutil.copytree(source, target, copy_function=copy_file)
    except (FileNotFoundError, shutil.Error):
        return


def wait_for(checkpoint):
    for _ in range(600):
        if checkpoint.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{checkpoint} is still not written")


def assert_bitwise(found, expected):
    leaves = zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True)
    for (path, one), other in leaves:
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(path))


def metrics_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
