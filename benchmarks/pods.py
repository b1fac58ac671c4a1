"""Simulates how much of the time the chips of a TPU slice work, and how long they wait for hosts.

    python -m benchmarks.pods --compiled WORKDIR/compile/*.json [--data_dir data]
        [--hosts 4 16 64] [--cores 32] [--set data.keep_in_memory=True ...]

WORKDIR is that of `run.py --mode=compile` with the same config. What a host does for a step is
measured here, on one core: what loading a batch takes, how much of that is Python, of which one
thread runs at a time, and what handing over state and batch to the host's chips takes. What
a chip does is the least that the compiler's operations and bytes allow; so the shares are too low
rather than too high. `simpy` plays hosts and chips against each other: threads load batches ahead,
as Grain's do; the main thread hands over, up to ``AHEAD`` steps before the chips; and a step begins
on all chips when every host has handed it over. Needs `pip install simpy`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import simpy
from ml_collections import ConfigDict

from benchmarks.settings import load_config
from data_prep.datasets.drawing import draw_video
from data_prep.prepare import prepare
from dystab_jax.build import Run, unpack
from dystab_jax.commands.compile_ahead import step_name, training_batch
from dystab_jax.data.augmentation import Augmentation
from dystab_jax.data.pipeline import training_batches
from dystab_jax.data.training_set import TrainingSet
from dystab_jax.runtime import parallel
from dystab_jax.runtime.cores import MOST_THREADS
from dystab_jax.schedule import KINDS, Bootstrap, Phase, schedule

AHEAD = 32
"""Steps that JAX lets a program hand over before it waits for the first of them."""
CHIPS = 4
"""Of a host of a v5e or v6e slice, by Google's documentation."""
TINY = 48
"""Side of images whose pixels cost next to nothing: what remains is Python."""
FRAMES, VIDEOS = 100, 20
SAMPLES = 60
"""Batches, or calls, that are measured."""


@dataclass(frozen=True)
class Host:
    """Holds seconds of one core for one step.

    Attributes:
      batches: loading a batch, several measured.
      python: of that, while no other thread can run Python.
      handing: state and batch to all chips of the host; Python, too.
    """

    batches: np.ndarray
    python: float
    handing: float


def simulate(
    host: Host,
    chip: float,
    hosts: int,
    threads: int,
    cores: int,
    steps: int = 300,
    seed: int = 0,
) -> float:
    """Returns the share of the time in which the chips work.

    Args:
      host: what each host does.
      chip: seconds of a step on the chips.
      hosts: that must all have handed over a step before it begins.
      threads: of a host, that load.
      cores: of a host.
      steps: that are played; the first quarter, in which the buffers fill, is not counted.
      seed: of the batches' costs.
    """
    world, rng = simpy.Environment(), np.random.default_rng(seed)
    handed = [0] * steps
    begun = [world.event() for _ in range(steps)]
    done = [world.event() for _ in range(steps)]
    ends = np.zeros(steps)

    def load(machine: dict) -> Iterator[simpy.Event]:
        for step in machine["next"]:  # shared by the threads
            # As many batches are ahead as Grain is told to prefetch, see training_batches.
            if step >= 2 * threads:
                yield machine["taken"][step - 2 * threads]
            cost = rng.choice(host.batches)
            for kind, seconds in (("core", cost - host.python), ("python", host.python)):
                for _ in range(4):  # the thread lets go of both again and again
                    with machine[kind].request() as turn:
                        yield turn
                        yield world.timeout(max(0.0, seconds) / 4)
            machine["loaded"][step].succeed()

    def hand_over(machine: dict) -> Iterator[simpy.Event]:
        for step in range(steps):
            yield machine["loaded"][step]
            machine["taken"][step].succeed()
            if step >= AHEAD:
                yield done[step - AHEAD]
            with machine["python"].request() as turn:
                yield turn
                yield world.timeout(host.handing)
            handed[step] += 1
            if handed[step] == hosts:
                begun[step].succeed()

    def work() -> Iterator[simpy.Event]:
        for step in range(steps):
            yield begun[step]
            yield world.timeout(chip)
            done[step].succeed()
            ends[step] = world.now

    for _ in range(hosts):
        machine = {
            "core": simpy.Resource(world, cores),
            "python": simpy.Resource(world, 1),
            "next": iter(range(steps)),
            "loaded": [world.event() for _ in range(steps)],
            "taken": [world.event() for _ in range(steps)],
        }
        for _ in range(threads):
            world.process(load(machine))
        world.process(hand_over(machine))
    world.process(work())
    world.run()
    counted = steps - steps // 4
    return chip * counted / (ends[-1] - ends[-1 - counted])


def measure_loading(
    config: ConfigDict, data: TrainingSet, phase: Phase, examples: int
) -> np.ndarray:
    """Returns CPU seconds of each of some batches.

    Args:
      config: of the run.
      data: what is kept in memory is there already, as from the second epoch on.
      phase: that needs them.
      examples: of the host, in each minibatch.
    """
    batches = training_batches(
        data.decoded,
        data.frames,
        seed=0,
        updates=phase.updates,
        batch_size=examples,
        augmentation=unpack(Augmentation, config.data.augmentation, "data.augmentation"),
        threads=1,
        labels=Drawn(data) if KINDS[phase.kind].labels else None,
        arrays=KINDS[phase.kind].reads,
    )
    for _ in range(4):  # of which two are loaded ahead
        next(batches)
    seconds = []
    for _ in range(SAMPLES):
        began = time.process_time()
        next(batches)
        seconds.append(time.process_time() - began)
    return np.array(seconds)


def open_data(config: ConfigDict) -> TrainingSet:
    """Opens the training data, and decodes them where they are kept in memory."""
    data = TrainingSet.open(config, config.data.train, config.data.videos)
    if data.decoded.keep:
        for frame in data.frames:
            for position in frame.positions:
                data.decoded[position]
    return data


class Drawn:
    """Stands for χ's labels, which cost nothing here."""

    def __init__(self, data: TrainingSet):
        self._sizes = data.sizes()

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, frame: int) -> dict[str, np.ndarray]:
        mask = np.zeros((*self._sizes[frame], 1), np.uint8)
        numbers = dict.fromkeys(("confidence_phi", "confidence_chi"), np.float32(0))
        return dict.fromkeys(("motion_mask", "static_mask"), mask) | numbers


def prepare_tiny(config: ConfigDict, folder: Path) -> ConfigDict:
    """Prepares about as many frames as DAVIS has, of few pixels; returns the config for them."""
    for number in range(VIDEOS):
        video = draw_video("train", number, frames=FRAMES, height=TINY, width=TINY)
        (folder / "videos" / f"{number}").mkdir(parents=True)
        for t, frame in enumerate(video.frames):
            path = folder / "videos" / f"{number}" / f"{t:05d}.jpg"
            cv2.imwrite(str(path), frame[..., ::-1])
    prepare(
        dataset="folder", name="tiny", source=folder / "videos", data_dir=folder, max_gap=1, jobs=1
    )
    tiny = config.copy_and_resolve_references()
    tiny.data.update(dir=str(folder), train="folder/tiny:train", image_size=(TINY, TINY), videos=0)
    return tiny


def measure_handing(config: ConfigDict, phase: Phase, examples: int) -> float:
    """Returns seconds in which state and batch of a step go to the chips of a host."""
    own = config.copy_and_resolve_references()
    own.data.batch_size = own.eval.batch_size = examples
    run = Run.of(own, Path("unused"), parallel.make_mesh(jax.devices()[:CHIPS]))
    state, _ = run.new_state().split(KINDS[phase.kind].networks)
    step = parallel.map_step(lambda state, batch: (state, {}), run.mesh)
    shapes = training_batch(phase, run)
    batch = {name: np.zeros(one.shape, one.dtype) for name, one in shapes.items()}
    seconds = []
    for _ in range(SAMPLES):
        jax.block_until_ready(state)
        began = time.perf_counter()
        state, _ = step(state, parallel.shard(batch, run.mesh))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def chip_seconds(compiled: dict[str, Any], phase: Phase, options: Bootstrap) -> float | None:
    """Returns the least seconds of a step, from what ``--mode=compile`` saved; None: not there.

    The compiler counts the body of a loop once: in a round of the game one update of φ and one of
    ψ, of several updates of χ one.
    """
    seconds = {one["step"]: one["roofline_seconds"] for one in compiled["steps"]}
    plays = KINDS[phase.kind].plays
    needed = {step_name(phase)} | ({"warm_up"} if plays and options.psi_updates else set())
    if not needed <= seconds.keys():
        return None
    if not plays:
        return phase.updates * seconds[step_name(phase)]
    psi = seconds["warm_up"] if options.psi_updates else 0.0
    return options.phi_updates * (seconds[step_name(phase)] - psi) + options.psi_updates * psi


def main(argv: list[str] | None = None) -> None:
    """Measures, simulates and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--compiled", type=Path, nargs="+", required=True, help="what --mode=compile saved")
    add("--config", default="configs/davis.py")
    add("--data_dir", type=Path, default=Path("data"))
    add("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the config")
    add("--hosts", type=int, nargs="+", default=[4, 16, 64])
    add("--cores", type=int, default=56, help="of a host")
    add("--threads", type=int, nargs="+", help="that load; default: data.threads")
    asked = parser.parse_args(argv)
    slices = [json.loads(path.read_text()) for path in asked.compiled]
    per_chip, *others = {one["batch_size"] // one["devices"] for one in slices}
    if others:
        parser.error("--compiled: files of batches that give each chip the same number of examples")
    settings = [*asked.set, f"data.dir={asked.data_dir}", f"data.batch_size={per_chip * CHIPS}"]
    config = load_config(asked.config, settings)
    options = unpack(Bootstrap, config.bootstrap, "bootstrap")
    loading = config.data.threads or min(MOST_THREADS, asked.cores)
    phases = {}
    for phase in schedule(options, 10**9, config.data.batch_size):
        phases.setdefault(step_name(phase), phase)
    print(
        f"{per_chip} examples a chip, {CHIPS} chips a host; milliseconds of a step, and share of\n"
        f"the time in which chips work\n{'slice':12}{'step':16}{'threads':>8}{'load':>8}"
        f"{'Python':>8}{'hand over':>10}{'chip ≥':>8}"
        + "".join(f"{f'{hosts} hosts':>10}" for hosts in asked.hosts)
    )
    with tempfile.TemporaryDirectory() as folder:
        small = prepare_tiny(config, Path(folder))
        data, tiny = open_data(config), open_data(small)
        for name, phase in phases.items():
            known = [(one["topology"], chip_seconds(one, phase, options)) for one in slices]
            if not any(chip for _, chip in known):
                print(f"{name}: not compiled", flush=True)
                continue
            batches = measure_loading(config, data, phase, per_chip * CHIPS)
            python = np.median(measure_loading(small, tiny, phase, per_chip * CHIPS))
            host = Host(batches, python, measure_handing(config, phase, per_chip * CHIPS))
            times = (host.batches.mean(), host.python, host.handing)
            load, python, handing = (1e3 * one for one in times)
            for topology, chip in known:
                for threads in (asked.threads or [loading]) if chip else []:
                    shares = [simulate(host, chip, n, threads, asked.cores) for n in asked.hosts]
                    print(
                        f"{topology:12}{name:16}{threads:8}{load:8.1f}{python:8.1f}{handing:10.1f}"
                        f"{1e3 * chip:8.1f}" + "".join(f"{share:>10.0%}" for share in shares),
                        flush=True,
                    )


if __name__ == "__main__":
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(CHIPS))
    main()
