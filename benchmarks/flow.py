"""Measures fields of optical flow per second: ours, beside the same networks in PyTorch.

    pip install torch                    # the CPU build will do
    python -m benchmarks.flow [--flow raft_small pwcnet dis] [--size 640 384] [--repeats 3]

Both get the same drawn frames and random weights (the time does not depend on them) and work as
preparing does: each frame is encoded once, both directions of a pair are matched at once. They take
turns on one core; as many processes as there are cores do that many times the work. Prints the
fastest and the median turn.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

from data_prep.workers import HUGE_PAGES

ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1"} | dict([HUGE_PAGES])
"""Environment in which `data_prep.workers` runs networks; the same for PyTorch."""
NETWORKS = ("raft_small", "raft_large", "pwcnet")
FRAMES = 3


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--flow", nargs="+", choices=("dis", *NETWORKS), default=("dis", "raft_small", "pwcnet"))
    add("--size", type=int, nargs=2, default=(640, 384), metavar=("W", "H"))
    add("--repeats", type=int, default=3, help="turns of each")
    add("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    frames = _draw(*arguments.size)
    fields = FRAMES * (FRAMES - 1)
    width, height = arguments.size
    print(f"{width} x {height}, {FRAMES} frames, {fields} fields a turn, one thread")
    print(f"{'flow':11} {'by':14} {'fields/s':>9} {'median':>7}  ratio of the fastest, medians")
    for name in arguments.flow:
        rivals = _make(name, arguments.compile)
        seconds: dict[str, list[float]] = {by: [] for by in rivals}
        for run in rivals.values():
            run(frames)  # compiles
        for _ in range(arguments.repeats):
            for by, run in rivals.items():
                start = time.perf_counter()
                run(frames)
                seconds[by].append(time.perf_counter() - start)
        ours = next(iter(seconds.values()))
        for by, turns in seconds.items():
            ratios = [measure(turns) / measure(ours) for measure in (min, statistics.median)]
            rates = [fields / measure(turns) for measure in (min, statistics.median)]
            print(
                f"{name:11} {by:14} {rates[0]:9.2f} {rates[1]:7.2f}  "
                f"{ratios[0]:.2f}, {ratios[1]:.2f}",
                flush=True,
            )


def _draw(width: int, height: int) -> list[Any]:
    from data_prep.datasets.drawing import draw_video

    return list(draw_video("train", 0, frames=FRAMES, height=height, width=width).frames)


def _make(name: str, with_compile: bool) -> dict[str, Callable[[list[Any]], Any]]:
    """Returns what takes turns by its name, ours first."""
    if name == "dis":
        import cv2

        from data_prep.flow.dis import Dis

        cv2.setNumThreads(1)
        return {"opencv": lambda frames: _run_ours(Dis(), frames)}
    ours, twin = _make_networks(name)
    rivals = {"jax": lambda frames: _run_ours(ours, frames)}
    rivals["torch"] = lambda frames: _run_torch(twin.encode, twin.match, frames)
    if with_compile:
        import torch

        encode, match = torch.compile(twin.encode), torch.compile(twin.match)
        rivals["torch.compile"] = lambda frames: _run_torch(encode, match, frames)
    return rivals


def _make_networks(name: str) -> tuple[Any, Any]:
    """Returns our estimator and the PyTorch network, with the same random parameters."""
    import torch

    from benchmarks.pytorch import pwcnet as torch_pwcnet
    from benchmarks.pytorch import raft as torch_raft
    from data_prep.flow.network import NetworkEstimator, variable_shapes
    from data_prep.flow.pwcnet import estimator as pwcnet
    from data_prep.flow.raft import estimator as raft

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == "pwcnet":
        twin, module = torch_pwcnet.PwcNet(), pwcnet.PwcNet()
        convert, options = pwcnet.convert, {"multiple": pwcnet.MULTIPLE, "fit": "resize"}
    else:
        size = raft.SIZES[name]
        twin, module = torch_raft.Raft(size), raft.Raft(size, minimal=True)
        convert, options = raft.convert, {"multiple": raft.STRIDE, "fit": "pad"}
    state = {key: tensor.numpy() for key, tensor in twin.state_dict().items()}
    variables = convert(variable_shapes(module), state, "twin")
    return NetworkEstimator(module, variables, **options), twin.eval()


def _run_ours(estimator: Any, frames: list[Any]) -> None:
    encoded = [estimator.encode(frame, "", frame.shape[:2]) for frame in frames]
    for first, second in combinations(encoded, 2):
        estimator.match([first, second], [second, first])


def _run_torch(encode: Callable, match: Callable, frames: list[Any]) -> None:
    import torch

    with torch.inference_mode():
        tensors = [torch.from_numpy(frame.transpose(2, 0, 1)[None]).float() for frame in frames]
        encoded = [encode(tensor) for tensor in tensors]
        for first, second in combinations(encoded, 2):
            pairs = zip(first, second, strict=True)
            firsts, seconds = zip(
                *((torch.cat([a, b]), torch.cat([b, a])) for a, b in pairs), strict=True
            )
            match(firsts, seconds).numpy()


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.flow", *sys.argv[1:]],
            os.environ | ONE_THREAD,
        )
    main()
