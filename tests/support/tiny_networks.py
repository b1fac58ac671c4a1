"""φ, ψ and χ small enough to compile in seconds, with drawn weights and a batch for their steps."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dystab_jax.losses import LossOptions
from dystab_jax.networks.deeplab import DeepLab
from dystab_jax.networks.inpainter import Inpainter
from dystab_jax.runtime.parallel import AXIS
from dystab_jax.state import State, Trainable
from dystab_jax.steps import Steps

HEIGHT, WIDTH = 32, 48
LEARNERS = ("phi", "psi", "chi")


def tiny_steps(norm="group", average_decay=0.9, optimizer=None, **options) -> Steps:
    """Returns steps of networks for 32x48 pixels; SGD's updates are as smooth as gradients."""
    common = {"backbone": "small", "width": 16, "output_stride": 8, "axis_name": AXIS}
    modules = {
        "phi": DeepLab(inputs="flow", norm=norm, **common),
        "psi": Inpainter("affine", widths=(4,), reweightings=1),
        "chi": DeepLab(inputs="image", norm=norm, **common),
    }
    defaults = {
        "mask_mode": "straight_through",
        "epsilon": 1e-2,
        "slowest_flow": 0.5,
        "confidence_camera": "affine",
        "denominator": "observed",
        "ratio_clip": 1.0,
        "psi_objective": "ratio",
        "static": "confidence",
        "temporal_weight": 0.1,
        "alpha2": 1.5,
        "margin": 0.2,
        "consistency_weight": 1.0,
        "object_weight": 1.0,
    }
    optimizer = optimizer or optax.sgd(0.1)
    trained = {
        name: Trainable(module, optimizer, average_decay) for name, module in modules.items()
    }
    return Steps(**trained, options=LossOptions(**defaults | options))


def draw(*shape, seed=0):
    """Draws float32 numbers by NumPy: JAX would compile one more program for every shape."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def fill_variables(module, x):
    """Draws all variables, biases and moments too, without compiling the initialisation."""
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        values = generator.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return values * (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return 0.1 * values + (path[-1].key in ("scale", "var"))

    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree_util.tree_map_with_path(fill, shapes)


def draw_variables(module, *inputs, seed=0):
    """Draws by NumPy what ``module.init`` gives: compiling Flax's own takes ten times as long."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    drawn = {}
    for path, leaf in flax.traverse_util.flatten_dict(dict(shapes)).items():
        if path[-1] == "kernel":
            spread = np.prod(leaf.shape[:-1]) ** -0.5
            drawn[path] = spread * rng.standard_normal(leaf.shape, np.float32)
        else:
            drawn[path] = np.full(leaf.shape, path[-1] in ("scale", "var"), np.float32)
    return flax.traverse_util.unflatten_dict(jax.tree.map(jnp.asarray, drawn))


def tiny_state(steps: Steps, seed: int = 0) -> State:
    """Returns a state of drawn weights, as after some training: averages differ from variables."""
    mask, flow, image = (jnp.zeros((1, HEIGHT, WIDTH, channels)) for channels in (1, 2, 3))
    inputs = {"phi": (flow,), "psi": (mask, flow, image), "chi": (image,)}
    learners = {}
    for number, (name, values) in enumerate(inputs.items()):
        trained = getattr(steps, name)
        learner, older = (
            trained.start(draw_variables(trained.network, *values, seed=10 * seed + number + k))
            for k in (0, 100)
        )
        learners[name] = learner.replace(average=older.variables)
    previous = draw_variables(steps.chi.network, image, seed=10 * seed + 5)
    return State(step=jnp.zeros((), jnp.int32), **learners, chi_previous=previous)


def tiny_batch(batch: int = 4, seed: int = 0, updates: int | None = None) -> dict[str, np.ndarray]:
    """Draws a box of another colour that moves by itself: [B, ...] or [updates, B, ...]."""
    if updates is not None:
        parts = [tiny_batch(batch, 100 * seed + number) for number in range(updates)]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    rng = np.random.default_rng(seed)
    box = np.zeros((batch, HEIGHT, WIDTH, 1), np.uint8)
    for sample in box:
        top, left = rng.integers(4, 12), rng.integers(4, 20)
        sample[top : top + 14, left : left + 20] = 1
    image = rng.integers(0, 120, (batch, HEIGHT, WIDTH, 3)) + box * rng.integers(60, 130, 3)
    camera, own = rng.uniform(-3, 3, (2, batch, 1, 1, 2))
    flow = camera + box * own + rng.normal(0, 0.1, (batch, HEIGHT, WIDTH, 2))
    ellipses = [rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.4, 2), rng.uniform(0, 3, 1)]
    return {
        "image": image.astype(np.uint8),
        "flow_forward": flow.astype(np.float16),
        "flow_backward": (-flow).astype(np.float16),
        "ellipse": np.tile(np.float32(np.concatenate(ellipses)), (batch, 1)),
        "motion_mask": box,
        "static_mask": np.roll(box, 5, axis=2),
        "confidence_phi": np.float32(rng.uniform(1.2, 1.8, batch)),
        "confidence_chi": np.float32(rng.uniform(0.5, 1.0, batch)),
    }
