"""Whole runs of tiny networks that share what is compiled, and still images for them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.datasets.drawing import draw_video
from data_prep.prepare import prepare
from dystab_jax import bootstrap, build
from dystab_jax.runtime import parallel
from dystab_jax.state import State
from tests.support.tiny_networks import draw_variables


class Compiled:
    """Gives all runs one device, and compiles steps and predictions of equal networks once.

    Attributes:
      before: called with the state before each step.
    """

    def __init__(self):
        self.before: Callable[[State], object] = lambda state: None
        self._functions, self._variables = {}, {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Serves all runs that are opened until the patch is undone."""
        mesh = parallel.make_mesh(jax.devices()[:1])
        map_phase = bootstrap.map_phase
        map_step, map_prediction = parallel.map_step, parallel.map_prediction

        def mapped_phase(*arguments):
            function = map_phase(*arguments)

            def run(state, batch):
                self.before(state)
                return function(state, batch)

            return run

        patch.setattr(parallel, "make_mesh", lambda *_: mesh)
        patch.setattr(bootstrap, "map_phase", mapped_phase)
        patch.setattr(parallel, "map_step", lambda *a: self._once(map_step, *a))
        patch.setattr(parallel, "map_prediction", lambda *a: self._once(map_prediction, *a))
        # Flax's own initialisation takes longer to compile than all steps together.
        patch.setattr(build, "initialise", lambda module, key, *x: self._drawn(module, *x))

    def _drawn(self, module, *inputs):
        key = repr([module, [one.shape for one in inputs]])
        if key not in self._variables:
            # Also asked for where shapes alone are wanted, inside jax.eval_shape.
            with jax.ensure_compile_time_eval():
                self._variables[key] = jax.device_get(draw_variables(module, *inputs))
        return jax.tree.map(jnp.asarray, self._variables[key])

    def _once(self, mapping, function, mesh):
        method = getattr(function, "func", function)
        fixed = getattr(function, "keywords", {})
        steps = method.__self__
        networks = [steps.phi.network, steps.psi.network, steps.chi.network]
        key = repr([method.__name__, sorted(fixed.items()), steps.options, networks])
        if key not in self._functions:
            self._functions[key] = mapping(function, mesh)
        return self._functions[key]


def prepare_stills(source: Path, data_dir: Path, count: int = 5) -> None:
    """Writes images of drawn objects and prepares them as ``ecssd:test``."""
    for number in range(count):
        # Of different sizes, as photographs are.
        height, width = 48 + 4 * number, 64 - 2 * number
        video = draw_video("val", number, frames=2, height=height, width=width)
        for folder, image in (
            ("images", video.frames[0][..., ::-1]),
            ("ground_truth_mask", video.masks[0] * np.uint8(255)),
        ):
            (source / folder).mkdir(parents=True, exist_ok=True)
            ending = "jpg" if folder == "images" else "png"
            assert cv2.imwrite(str(source / folder / f"{number:04d}.{ending}"), image)
    prepare(dataset="ecssd", source=source, data_dir=data_dir, jobs=1, progress=False)
