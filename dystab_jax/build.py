"""From a config to networks, optimizers and steps: one constructor for each section."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from dystab_jax.inference import Predictor
from dystab_jax.losses import LossOptions
from dystab_jax.networks.deeplab import DeepLab
from dystab_jax.networks.inpainter import Inpainter
from dystab_jax.networks.optimizers import make_optimizer
from dystab_jax.networks.pretrained import IMAGENET, check_pretrained, load_backbone
from dystab_jax.runtime import parallel, processes
from dystab_jax.runtime.parallel import AXIS
from dystab_jax.runtime.paths import user_path
from dystab_jax.state import State, Trainable, Variables
from dystab_jax.steps import Steps

NETWORKS = ("phi", "psi", "chi")


def unpack(constructor: Callable, section: Mapping[str, Any], name: str, **fixed) -> Any:
    """Calls a constructor with a config section as keyword arguments.

    Raises:
      ValueError: a key that the constructor does not take, or one that it misses; says which.
    """
    parameters = inspect.signature(constructor).parameters.values()
    is_module = inspect.isclass(constructor) and issubclass(constructor, nn.Module)
    not_ours = {*fixed, *(("parent", "name") if is_module else ())}  # Flax adds two of its own
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    accepted = [
        p.name for p in parameters if p.name not in not_ours and p.kind is not p.VAR_KEYWORD
    ]
    unknown = sorted(set(section) - set(accepted)) if not open_ended else []
    missing = [
        p.name
        for p in parameters
        if p.name in accepted and p.default is p.empty and p.name not in section
    ]
    if unknown or missing:
        raise ValueError(
            f"config.{name}: unknown keys {unknown}, missing keys {missing}; "
            f"it takes {', '.join(accepted)}"
        )
    try:
        return constructor(**fixed, **section)
    except ValueError as error:
        raise ValueError(f"config.{name}: {error}") from error


def make_steps(config: ConfigDict) -> Steps:
    """Networks, optimizers and losses of a config; stops at the first wrong name."""
    modules = {
        "phi": unpack(DeepLab, config.phi.model, "phi.model", inputs="flow", axis_name=AXIS),
        "psi": unpack(Inpainter, config.psi.model, "psi.model"),
        "chi": unpack(DeepLab, config.chi.model, "chi.model", inputs="image", axis_name=AXIS),
    }
    trained = {}
    for name, module in modules.items():
        section = config[name]
        if name != "psi" and section.pretrained:
            try:
                check_pretrained(section.pretrained, module)
            except ValueError as error:
                given = f"pretrained={section.pretrained!r}"
                raise ValueError(f"config.{name}: {given}: {error}") from error
        optimizer = unpack(make_optimizer, section.optimizer, f"{name}.optimizer")
        trained[name] = Trainable(module, optimizer, section.average_decay)
    return Steps(**trained, options=unpack(LossOptions, config.loss, "loss"))


def _devices(config: ConfigDict, trains: bool = True) -> list[jax.Device]:
    """Returns all devices; on a CPU, where they are its cores, as many as divide the batches.

    Of other kinds too, where there is nothing to train: nobody has to choose a batch to predict.
    """
    devices = jax.devices()
    if (devices[0].platform == "cpu" or not trains) and processes.count() == 1:
        batches = math.gcd(config.data.batch_size, config.eval.batch_size)
        count = next(n for n in range(len(devices), 0, -1) if batches % n == 0)
        return devices[:count]
    return devices


def initialise(module, key: jax.Array, *inputs: jax.Array) -> Variables:
    """Returns initial variables; "params" is there even where nothing is learned."""
    variables = dict(jax.jit(module.init)(key, *inputs))
    return {"params": variables.pop("params", {}), **variables}


def initial_state(config: ConfigDict, steps: Steps, pretrained: bool = True) -> State:
    """Returns the state before the first step, with the pretrained backbones that the config names.

    ``pretrained=False`` leaves those out: the shapes are the same.
    """
    height, width = config.data.image_size
    # This generator compiles several times as fast as the default one: seconds for each network.
    keys = jax.random.split(jax.random.key(config.seed, impl="rbg"), len(NETWORKS))
    mask, flow, image = (jnp.zeros((1, height, width, channels)) for channels in (1, 2, 3))
    inputs = {"phi": (flow,), "psi": (mask, flow, image), "chi": (image,)}
    variables = {}
    for name, key in zip(NETWORKS, keys, strict=True):
        trained = getattr(steps, name)
        variables[name] = initialise(trained.network, key, *inputs[name])
        if pretrained and name != "psi" and config[name].pretrained:
            path = config[name].pretrained
            path = path if path == IMAGENET else user_path(path)
            variables[name] = load_backbone(variables[name], path, trained.network)
    learners = {name: getattr(steps, name).start(variables[name]) for name in NETWORKS}
    chi_previous = jax.tree.map(jnp.copy, variables["chi"])
    return State(step=jnp.zeros((), jnp.int32), **learners, chi_previous=chi_previous)


@dataclass(frozen=True)
class Run:
    """Holds what a config stands for, ready to train or to predict.

    Attributes:
      config: resolved.
      workdir: where all of it goes.
      steps, mesh, predictor: see their modules.
    """

    config: ConfigDict
    workdir: Path
    steps: Steps
    mesh: Mesh
    predictor: Predictor

    @classmethod
    def of(cls, config: ConfigDict, workdir: Path, mesh: Mesh | None = None) -> "Run":
        """Builds networks and optimizers; nothing is read or written.

        Args:
          config: resolved.
          workdir: where all of it goes.
          mesh: default: all devices there are; of a CPU's, as many as divide the batches.

        Raises:
          ValueError: a wrong name or value, or a batch that the devices do not divide.
        """
        mesh = mesh or parallel.make_mesh(_devices(config))
        # Videos are shared out among the processes, so each predicts on its own devices.
        own = mesh if processes.count() == 1 else parallel.make_mesh(jax.local_devices())
        for name, devices in (("data", mesh.size), ("eval", own.size)):
            size = config[name].batch_size
            if size % devices:
                raise ValueError(
                    f"{name}.batch_size is {size}, not a multiple of the {devices} devices"
                )
        platform = mesh.devices.flat[0].platform
        steps = replace(make_steps(config), unrolled=platform == "cpu")
        predictor = Predictor(steps, own, config.eval.batch_size)
        return cls(config, workdir, steps, mesh, predictor)

    @classmethod
    def to_predict(cls, config: ConfigDict, workdir: Path) -> "Run":
        """Builds a run that is not trained, on as many devices as divide its batches."""
        return cls.of(config, workdir, parallel.make_mesh(_devices(config, trains=False)))

    def new_state(self) -> State:
        """Returns the state before the first step, on all devices."""
        return parallel.replicate(initial_state(self.config, self.steps), self.mesh)

    def abstract_state(self) -> State:
        """Returns shapes and places of the state, into which a checkpoint is restored."""
        shapes = jax.eval_shape(lambda: initial_state(self.config, self.steps, pretrained=False))
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes
        )

    def averages(self, state: State) -> dict[str, Variables]:
        """Returns what predicts: the averaged variables of each network."""
        return {name: getattr(state, name).average for name in NETWORKS}
