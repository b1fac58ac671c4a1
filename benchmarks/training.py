"""Training steps and predictions: ours, beside a PyTorch implementation of the same ones.

    pip install torch                    # for a CPU its CPU build will do
    python -m benchmarks.training [--config configs/davis.py:small] [--only phi chi ...]
        [--size 96 160] [--batch 4] [--set phi.model.shrink=1 ...] [--repeats 5] [--steps 2]
        [--compile] [--memory] [--json FILE]

Ours are the functions that training and evaluation run; both sides start from the same weights, get
the same drawn batch again and again, and take turns on all cores or on one GPU. A turn is several
steps in a row, as training takes them; one before does not count, since virtual machines take
memory back from who waits. Of each step: the fastest and the median turn; and how many times as
long PyTorch's median takes, with the smallest and the largest ratio of two turns.

    phi, phi_joint      one update of φ, by Eq. (5) and by Eq. (8)
    psi, chi            one update of ψ, and of χ in a later round
    dynamic, joint      one round of the game: all its updates of φ and ψ
    predict_phi, predict_chi
    predict_fused       per frame: φ of one flow, χ, the confidences of both, their fusion
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from benchmarks.settings import load_config
from dystab_jax import masks
from dystab_jax.bootstrap import map_phase
from dystab_jax.build import NETWORKS, Run, unpack
from dystab_jax.commands import train_and_score
from dystab_jax.commands.compile_ahead import training_batch
from dystab_jax.runtime import parallel
from dystab_jax.runtime.cores import use_cores
from dystab_jax.runtime.huge_pages import restart_with_huge_pages
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
ROWS = (*UPDATES, *PREDICTIONS)
SIDES = ("jax", "torch")
LAYOUTS = ("channels_last", "contiguous_format")
# After a turn PyTorch's threads spin for a while, on the cores of the other side's turn.
PAUSE = 0.05
Step = Callable[[], Any]
"""Starts one step or prediction; returns what the side's ``wait`` takes."""


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    options = _parse(argv)
    try:
        run = open_run(options)
        rows = [row for row in options.only if row in UPDATES or not options.memory]
        if "psi" in rows and not run.config.psi.model.widths:
            print("psi is left out: it learns nothing where psi.model.widths is empty")
            rows.remove("psi")
        device = set_up_torch(run)
        if device != "cpu" and options.memory:
            raise ValueError("--memory is of the CPU; set JAX_PLATFORMS=cpu")
        if options.memory_of:
            print(json.dumps(memory_of(options.memory_of, run, rows[0], options.layout)))
            return
        print(_describe(run, options))
        if options.memory:
            results = measure_memory(options, rows)
        else:
            results = measure_times(run, device, rows, options)
    except train_and_score.USER_ERRORS as error:
        sys.exit(f"error: {error}")
    if options.json:
        facts = {"config": options.config, "overrides": _overrides(options), **_versions()}
        options.json.write_text(json.dumps(facts | results, indent=1) + "\n")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", default="configs/davis.py:small", metavar="FILE[:VARIANT]")
    add("--set", nargs="+", action="extend", default=[], metavar="SECTION.FIELD=VALUE")
    add("--only", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=", ".join(ROWS))
    add("--batch", type=int, metavar="N", help="data.batch_size and eval.batch_size")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="data.image_size")
    add("--repeats", type=int, default=5, help="turns of each")
    add("--steps", type=int, default=2, help="in a turn")
    add("--layout", choices=LAYOUTS, default=LAYOUTS[0], help="of PyTorch's convolutions")
    add("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    add("--memory", action="store_true", help="resident memory of the training steps, no times")
    add("--memory_of", choices=SIDES, help=argparse.SUPPRESS)
    add("--json", type=Path, metavar="FILE", help="where to save all turns")
    options = parser.parse_args(argv)
    for name in ("repeats", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; expected 1 or more")
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        parser.error("PyTorch is not installed: pip install torch (the CPU build will do)")
    return options


def _overrides(options: argparse.Namespace) -> list[str]:
    given = list(options.set)
    if options.batch is not None:
        given += [f"{section}.batch_size={options.batch}" for section in ("data", "eval")]
    if options.size is not None:
        given.append(f"data.image_size={tuple(options.size)}")
    return given


def open_run(options: argparse.Namespace) -> Run:
    """What ``run.py`` would train.

    Raises:
      ValueError, OSError: the config cannot be had or has a wrong name or value.
    """
    return Run.of(load_config(options.config, _overrides(options)), Path("unused"))


def set_up_torch(run: Run) -> str:
    """Has PyTorch compute as XLA does; returns its name of the run's device.

    Raises:
      ValueError: PyTorch cannot use it, or it is several.
    """
    import torch

    platform = run.mesh.devices.flat[0].platform
    if platform == "cpu":
        return platform
    if platform != "gpu" or not torch.cuda.is_available():
        raise ValueError(
            f"JAX computes on {platform}, which PyTorch cannot use here; set JAX_PLATFORMS=cpu"
        )
    if run.mesh.size > 1:
        raise ValueError(
            f"JAX computes on {run.mesh.size} GPUs, PyTorch here on one; set CUDA_VISIBLE_DEVICES=0"
        )
    torch.set_float32_matmul_precision("high")  # as XLA multiplies float32 on GPUs
    torch.backends.cudnn.benchmark = True  # as XLA chooses its convolutions
    return "cuda"


def _describe(run: Run, options: argparse.Namespace) -> str:
    data, predicted = run.config.data, run.config.eval.batch_size
    height, width = data.image_size
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    return (
        f"{' '.join([options.config, *_overrides(options)])}\n"
        f"{height}x{width}, batches of {data.batch_size}, for predictions of {predicted}; PyTorch "
        f"in {options.layout}\n{versions}; load {os.getloadavg()[0]:.1f} before the start"
    )


def _versions() -> dict[str, Any]:
    import torch

    on = jax.devices()[0]
    return {
        "device": torch.cuda.get_device_name() if on.platform == "gpu" else on.device_kind,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


# -- what both get --------------------------------------------------------------------------------


def draw_examples(count: int, height: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """An ellipse of another colour that moves against a turning, zooming camera, [count, ...]."""
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
    """What a step of training takes, [updates, B, ...]; or of a prediction, [B, ...]."""
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
    """A phase that repeats the step, and its updates of φ and ψ as in section ``bootstrap``."""
    kind, game = UPDATES[row]
    bootstrap = unpack(Bootstrap, run.config.bootstrap, "bootstrap")
    # Not a Bootstrap, which refuses a game without φ.
    phi_updates, psi_updates = game or (bootstrap.phi_updates, bootstrap.psi_updates)
    updates = 1 if kind == "static" else phi_updates + psi_updates
    phase = Phase(row, kind, 0, 1, updates, first=False)
    return phase, SimpleNamespace(phi_updates=phi_updates, psi_updates=psi_updates)


# -- the two sides --------------------------------------------------------------------------------


class Ours:
    """Steps of training and predictions as a run maps them over its devices."""

    def __init__(self, run: Run):
        self.run, self.state = run, run.new_state()

    def wait(self, started: Any) -> None:
        """Until what was started last has ended."""
        jax.block_until_ready(started)

    def step(self, row: str, batch: Mapping[str, np.ndarray]) -> Step:
        """What a turn repeats; its first call compiles."""
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
        """A video of as many frames as a batch has, as evaluation predicts it."""
        images, flows = batch["image"], batch["flow"]
        video = self.run.predictor.video(
            self.run.averages(self.state),
            "drawn",
            [(str(number), "") for number in range(len(images))],
            images,
            list(enumerate(flows)),
            self.run.config.eval.vote,
        )
        margin = self.run.config.loss.margin
        trusts = video.confidence_phi, video.confidence_chi
        return masks.fuse(video.phi, video.chi, *trusts, margin=margin)


class Theirs:
    """The same in PyTorch."""

    def __init__(self, run: Run, layout: str, device: str = "cpu", compiled: bool = False):
        import torch

        from benchmarks import torch_dystab

        self.run, self.layout, self.device = run, getattr(torch, layout), device
        optimizers = {
            name: unpack(
                torch_dystab.make_optimizer, run.config[name].optimizer, f"{name}.optimizer"
            )
            for name in NETWORKS
        }
        self.steps = torch_dystab.Steps(run.steps, optimizers, self.layout, device)
        if compiled:
            self.steps.compile()

    def wait(self, _: Any) -> None:
        """Until all that was started has ended."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()

    def step(self, row: str, batch: Mapping[str, np.ndarray]) -> Step:
        """What a turn repeats."""
        from benchmarks.torch_dystab import to_tensor

        given = {
            name: to_tensor(array, self.layout).to(self.device) for name, array in batch.items()
        }
        steps = self.steps
        if row in PREDICTIONS:
            vote = self.run.config.eval.vote
            return {
                "predict_phi": lambda: steps.predict_dynamic(given["flow"]),
                "predict_chi": lambda: steps.predict_static(given["image"]),
                "predict_fused": lambda: steps.predict_fused(given["flow"], given["image"], vote),
            }[row]
        phase, game = phase_of(row, self.run)
        if phase.kind == "static":
            minibatch = {name: tensor[0] for name, tensor in given.items()}
            return partial(steps.update_chi, minibatch, first=False)
        return partial(steps.dynamic_round, given, **vars(game), with_static=phase.kind == "joint")


# -- times ----------------------------------------------------------------------------------------


def measure_times(
    run: Run, device: str, rows: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Prints the table; returns the seconds of all turns, by row and side."""
    ours = Ours(run)
    sides = {"jax": ours, "torch": Theirs(run, options.layout, device)}
    if options.compile:
        sides["torch.compile"] = Theirs(run, options.layout, device, compiled=True)
    for theirs in list(sides.values())[1:]:
        theirs.steps.load(jax.device_get(ours.state))
    print(
        f"{'step':14} {'by':14} {'ms fastest':>10} {'median':>9} {'frames/s':>9}  "
        "times ours (from, to)"
    )
    seconds = {}
    for row in rows:
        batch = draw_batch(row, run)
        steps = {by: side.step(row, batch) for by, side in sides.items()}
        seconds[row] = take_turns(sides, steps, options.repeats, options.steps)
        frames = run.config.eval.batch_size if row in PREDICTIONS else None
        for by in seconds[row]:
            print(_line(row, by, seconds[row], frames), flush=True)
    return {"seconds": seconds}


def take_turns(
    sides: Mapping[str, Ours | Theirs], steps: Mapping[str, Step], repeats: int, length: int
) -> dict[str, list[float]]:
    """Seconds of a step in each turn of ``length`` steps, one side after the other."""
    seconds: dict[str, list[float]] = {by: [] for by in steps}
    for by, step in steps.items():
        _repeat(sides[by], step, 2)  # compiles, and finds its memory
    for _ in range(repeats):
        for by, step in steps.items():
            time.sleep(PAUSE)
            _repeat(sides[by], step, 1)
            start = time.perf_counter()
            _repeat(sides[by], step, length)
            seconds[by].append((time.perf_counter() - start) / length)
    return seconds


def _repeat(side: Ours | Theirs, step: Step, times: int) -> None:
    """Nothing waits between the steps."""
    for _ in range(times):
        started = step()
    side.wait(started)


def _line(row: str, by: str, seconds: Mapping[str, list[float]], frames: int | None) -> str:
    fastest, median = min(seconds[by]), statistics.median(seconds[by])
    rate = f"{frames / median:9.1f}" if frames else f"{'':9}"
    line = f"{row:14} {by:14} {1e3 * fastest:10.1f} {1e3 * median:9.1f} {rate}"
    if by == "jax":
        return line.rstrip()
    ratios = [theirs / ours for theirs, ours in zip(seconds[by], seconds["jax"], strict=True)]
    ratio = median / statistics.median(seconds["jax"])
    return f"{line}  {ratio:.2f} ({min(ratios):.2f}, {max(ratios):.2f})"


# -- memory ---------------------------------------------------------------------------------------


def measure_memory(options: argparse.Namespace, rows: list[str]) -> dict[str, Any]:
    """Prints the table; each number is that of a process of its own.

    Raises:
      OSError: such a process fails.
    """
    print(f"{'step':14} {'by':8} {'MB of a step':>12} {'with start':>11}")
    results: dict[str, Any] = {}
    for row in rows:
        for by in SIDES:
            command = [sys.executable, "-m", "benchmarks.training", "--config", options.config]
            for override in _overrides(options):
                command += ["--set", override]
            command += ["--only", row, "--layout", options.layout, "--memory", "--memory_of", by]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
                raise OSError(f"memory of {row} by {by}: {reason}")
            found = json.loads(done.stdout.splitlines()[-1])
            results.setdefault(row, {})[by] = found
            step, whole = (found[key] / 1e6 for key in ("step", "whole"))
            print(f"{row:14} {by:8} {step:12.0f} {whole:11.0f}", flush=True)
    return {"memory": results}


def memory_of(by: str, run: Run, row: str, layout: str) -> dict[str, int]:
    """Bytes that a side needs beyond its imports: while it repeats a step, and from the start on.

    The start has the compilation and the first steps in it.

    Raises:
      OSError: not on Linux.
    """
    import torch  # noqa: F401

    from benchmarks import torch_dystab  # noqa: F401

    imported = _resident("VmRSS")
    side = Ours(run) if by == "jax" else Theirs(run, layout)
    step = side.step(row, draw_batch(row, run))
    for _ in range(2):
        _repeat(side, step, 1)
    whole = _resident("VmHWM")
    # Back to the system with what compiling has left, and the peak forgotten.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(2):
        _repeat(side, step, 1)
    return {"step": _resident("VmHWM") - imported, "whole": whole - imported}


def _resident(field: str) -> int:
    """VmRSS, resident bytes of this process, or VmHWM, their peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise OSError("--memory reads /proc/self/status, which only Linux has")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


if __name__ == "__main__":
    # Leaves PyTorch its share of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    restart_with_huge_pages()  # both sides, as training runs
    use_cores()
    main()
