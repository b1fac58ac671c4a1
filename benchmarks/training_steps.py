"""Steps of training and predictions, ours and PyTorch's, for `benchmarks.training` to measure."""

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from dystab_jax import inference
from dystab_jax.bootstrap import map_phase
from dystab_jax.build import NETWORKS, Run, unpack
from dystab_jax.commands.compile_ahead import training_batch
from dystab_jax.refinement.flow_average import FramePair
from dystab_jax.runtime import parallel
from dystab_jax.schedule import Bootstrap, Phase

UPDATES = {
    "phi": ("dynamic", (1, 0)),
    "phi_joint": ("joint", (1, 0)),
    "psi": ("dynamic", (0, 1)),
    "chi": ("static", None),
    "dynamic": ("dynamic", None),
    "joint": ("joint", None),
}
"""Kind of phase and updates of φ and ψ; None: as many as the config says."""
PREDICTIONS = ("predict_phi", "predict_chi", "predict_fused")
Step = Callable[[], Any]
"""Starts one step or prediction; returns what the side's ``wait`` takes."""


def draw_examples(count: int, height: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws an ellipse of another colour that moves against a turning camera, [count, ...]."""
    rng = np.random.default_rng(seed)

    def number(low: float, high: float, channels: int = 1) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1, channels)).astype(np.float32)

    y = np.linspace(-1, 1, height, dtype=np.float32)[None, :, None, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, None, :, None]
    down, right = y - number(-0.4, 0.4), x - number(-0.4, 0.4)
    region = (down / number(0.25, 0.5)) ** 2 + (right / number(0.2, 0.4)) ** 2 < 1
    camera = number(-4, 4, 2) + number(-1, 1, 2) * y + number(-1, 1, 2) * x
    noise = rng.standard_normal((count, height, width, 2), np.float32)
    flow = camera + region * number(-6, 6, 2) + 0.1 * noise
    waves = np.sin(number(2, 9, 3) * x + number(2, 9, 3) * y + number(0, 6, 3))
    image = 100 + 60 * waves + region * number(-90, 90, 3)
    image += 8 * rng.standard_normal(image.shape, np.float32)
    return {
        "image": np.clip(image, 0, 255),
        "flow_forward": flow,
        "flow_backward": -flow,
        "motion_mask": region,
        "static_mask": np.roll(region, width // 20, axis=2),
        "confidence_phi": number(1.2, 1.8).ravel(),
        "confidence_chi": number(0.5, 1.0).ravel(),
    }


def draw_batch(row: str, run: Run) -> dict[str, np.ndarray]:
    """Draws what a step of training takes, [updates, B, ...], or a prediction, [B, ...]."""
    height, width = run.config.data.image_size
    if row in PREDICTIONS:
        drawn = draw_examples(run.config.eval.batch_size, height, width)
        flow = drawn["flow_forward"].astype(np.float16)
        return {"flow": flow, "image": drawn["image"].astype(np.uint8)}
    phase, _ = phase_of(row, run)
    drawn = draw_examples(phase.updates * run.config.data.batch_size, height, width)
    return {
        name: drawn[name].astype(spec.dtype).reshape(spec.shape)
        for name, spec in training_batch(phase, run).items()
    }


def phase_of(row: str, run: Run) -> tuple[Phase, SimpleNamespace]:
    """Returns a phase that repeats the step, and its updates of φ and ψ."""
    kind, game = UPDATES[row]
    bootstrap = unpack(Bootstrap, run.config.bootstrap, "bootstrap")
    # Not a Bootstrap, which refuses a game without φ.
    phi_updates, psi_updates = game or (bootstrap.phi_updates, bootstrap.psi_updates)
    updates = 1 if kind == "static" else phi_updates + psi_updates
    phase = Phase(row, kind, 0, 1, updates, first=False)
    return phase, SimpleNamespace(phi_updates=phi_updates, psi_updates=psi_updates)


# -- the two sides --------------------------------------------------------------------------------


class Ours:
    """Holds steps of training and predictions as a run maps them over its devices."""

    def __init__(self, run: Run):
        self.run, self.state = run, run.new_state()

    def wait(self, started: Any) -> None:
        """Waits until what was started last has ended."""
        jax.block_until_ready(started)

    def step(self, row: str, batch: Mapping[str, np.ndarray]) -> Step:
        """Returns what a turn repeats; its first call compiles."""
        run = self.run
        steps = run.steps
        if row == "predict_fused":
            return partial(self._fuse, batch)
        if row in PREDICTIONS:
            name, array, predict = {
                "predict_phi": ("phi", "flow", steps.predict_dynamic),
                "predict_chi": ("chi", "image", steps.predict_static),
            }[row]
            mapped = parallel.map_prediction(predict, run.mesh)
            shards = parallel.shard({array: batch[array]}, run.mesh, 0)
            variables = run.averages(self.state)[name]
            return partial(mapped, variables, shards)
        phase, game = phase_of(row, run)
        mapped = map_phase(phase, steps, game, run.mesh)
        shards = parallel.shard(batch, run.mesh)

        def update() -> Any:
            self.state, metrics = mapped(self.state, shards)
            return self.state, metrics

        return update

    def _fuse(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Predicts a video of as many frames as a batch has, as evaluation predicts it."""
        images, flows = batch["image"], batch["flow"]
        video = self.run.predictor.video(
            self.run.averages(self.state),
            "drawn",
            [(str(number), "") for number in range(len(images))],
            images,
            [FramePair(number, 1, flow) for number, flow in enumerate(flows)],
            inference.Reading.of(self.run.config.eval),
        )
        return inference.fuse(video, self.run.config.eval)["fused"]


class Theirs:
    """Holds the same in PyTorch."""

    def __init__(self, run: Run, layout: str, device: str = "cpu", compiled: bool = False):
        import torch

        from benchmarks.pytorch import dystab

        self.run, self.layout, self.device = run, getattr(torch, layout), device
        optimizers = {
            name: unpack(dystab.make_optimizer, run.config[name].optimizer, f"{name}.optimizer")
            for name in NETWORKS
        }
        self.steps = dystab.Steps(run.steps, optimizers, self.layout, device)
        if compiled:
            self.steps.compile()

    def wait(self, _: Any) -> None:
        """Waits until all that was started has ended."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()

    def step(self, row: str, batch: Mapping[str, np.ndarray]) -> Step:
        """Returns what a turn repeats."""
        from benchmarks.pytorch.dystab import to_tensor

        given = {
            name: to_tensor(array, self.layout).to(self.device) for name, array in batch.items()
        }
        steps = self.steps
        if row in PREDICTIONS:
            options = self.run.config.eval
            fusing = options.vote, options.fusion_sharpness, options.fusion_floor
            return {
                "predict_phi": lambda: steps.predict_dynamic(given["flow"]),
                "predict_chi": lambda: steps.predict_static(given["image"]),
                "predict_fused": lambda: steps.predict_fused(
                    given["flow"], given["image"], *fusing
                ),
            }[row]
        phase, game = phase_of(row, self.run)
        if phase.kind == "static":
            minibatch = {name: tensor[0] for name, tensor in given.items()}
            return partial(steps.update_chi, minibatch, first=False)
        return partial(steps.dynamic_round, given, **vars(game), with_static=phase.kind == "joint")
