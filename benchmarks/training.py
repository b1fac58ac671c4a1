"""Measures training steps and predictions: ours, beside a PyTorch implementation of the same ones.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks.settings import load_config
from benchmarks.training_steps import PREDICTIONS, UPDATES, Ours, Step, Theirs, draw_batch
from dystab_jax.build import Run
from dystab_jax.commands.user_errors import USER_ERRORS
from dystab_jax.runtime.cores import use_cores
from dystab_jax.runtime.huge_pages import restart_with_huge_pages

ROWS = (*UPDATES, *PREDICTIONS)
SIDES = ("jax", "torch")
LAYOUTS = ("channels_last", "contiguous_format")
# After a turn PyTorch's threads spin for a while, on the cores of the other side's turn.
PAUSE = 0.05


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
    except USER_ERRORS as error:
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
    """Opens what ``run.py`` would train.

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
    """Measures seconds of a step in each turn of ``length`` steps, one side after the other."""
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
    """Takes the steps in a row; nothing waits between them."""
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
    """Measures a side's bytes beyond its imports: while it repeats a step, and from the start on.

    The start has the compilation and the first steps in it.

    Raises:
      OSError: not on Linux.
    """
    import torch  # noqa: F401

    from benchmarks.pytorch import dystab  # noqa: F401

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
    """Reads VmRSS, resident bytes of this process, or VmHWM, their peak."""
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
