"""Kills a run again and again, and compares its end with that of an undisturbed one.

    python -m benchmarks.kills [--times 20] [--twice] [--seed 0] [--dir DIR]

A small run of every kind of phase on drawn videos, in processes of its own. Each is ended by
SIGKILL: four of five somewhere after its first step (a checkpoint is written every few steps, so
that many die while writing), one of five while starting or restoring. Then parameters, moments,
averages, phases, pseudo-labels and metrics must be the undisturbed run's, bit for bit.

With --twice two processes are started in the workdir at once, each time. One must be refused, and
its coming must not change how the other ends.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.datasets.drawing import draw_video
from data_prep.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH, FRAMES, VIDEOS = 64, 96, 12, 4
REFUSAL = "is in use by"
"""What a run says whose workdir another one holds."""
SETTINGS = {
    "data.train": "folder/drawn:train",
    "data.image_size": f"({HEIGHT},{WIDTH})",
    "data.batch_size": 4,
    "phi.model.width": 16,
    "psi.model.widths": "(4,)",
    "chi.model.width": 16,
    "bootstrap.rounds": 2,
    "bootstrap.warm_up_epochs": 2.0,
    "bootstrap.psi_updates": 1,
    "bootstrap.dynamic_epochs": 6.0,
    "bootstrap.static_epochs": 4.0,
    "bootstrap.joint_epochs": 3.0,
    "bootstrap.least_updates": 0,
    "bootstrap.smallest_mask": 0.0,
    "eval.data": "",
    "log.every": 1,
    "log.checkpoint_every": 4,
}


@dataclass(frozen=True)
class Command:
    """Describes one run of ``run.py``; the same command goes on with what is there.

    Attributes:
      data_dir: with the drawn videos.
      workdir: of the run.
      cache: of compiled programs, so that starting does not take minutes.
      settings: fields of the config.
      mode: of ``run.py``.
    """

    data_dir: Path
    workdir: Path
    cache: Path
    settings: Mapping[str, Any] = field(default_factory=lambda: SETTINGS)
    mode: str = "train"

    def start(self) -> subprocess.Popen:
        """Starts it in a process group of its own; what it prints goes to WORKDIR.log."""
        flags = [f"--config.{name}={value}" for name, value in self.settings.items()]
        command = [sys.executable, "run.py", "--config=configs/demo.py", f"--mode={self.mode}"]
        command += [*flags, f"--workdir={self.workdir}", f"--config.data.dir={self.data_dir}"]
        cache = {
            "PYTHONFAULTHANDLER": "1",  # SIGABRT leaves in the log where each thread was
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        with self.log.open("a") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | cache,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        """Names the file of what the run prints."""
        return self.workdir.with_suffix(".log")

    @property
    def unfinished(self) -> set[str]:
        """Names the checkpoints that are not whole."""
        return {path.name for path in (self.workdir / "checkpoints").glob("*tmp*")}

    @property
    def refusals(self) -> int:
        """Counts how often the log says that another process has the workdir."""
        return self.log.read_text().count(REFUSAL)

    @property
    def lines(self) -> int:
        """Counts the steps that metrics.jsonl reports."""
        path = self.workdir / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for_steps(self, process: subprocess.Popen, count: int = 1) -> None:
        """Waits until the process has taken so many, or has ended."""
        fewest = self.lines
        while process.poll() is None and self.lines < fewest + count:
            # What lies behind the checkpoint that it goes on from is cut off first.
            fewest = min(fewest, self.lines)
            time.sleep(0.005)

    def survivor(self, processes: list[subprocess.Popen]) -> subprocess.Popen:
        """Waits until all but one of the processes are refused, and returns that one.

        Raises:
          RuntimeError: another one ended otherwise.
        """
        before = self.refusals  # a process needs seconds to be refused
        while sum(process.poll() is None for process in processes) > 1:
            time.sleep(0.005)
        kept = [process for process in processes if not process.poll()]
        if len(kept) != 1 or self.refusals - before != len(processes) - 1:
            codes = [process.returncode for process in processes]
            raise RuntimeError(
                f"{self.workdir}: one run must go on, exit codes {codes}; {self.log}"
            )
        return kept[0]

    def finish(self, starts: int = 1) -> tuple[float, float]:
        """Waits for the end; returns seconds until the first step, and from there on.

        Args:
          starts: as many processes are started, of which all but one must be refused.

        Raises:
          RuntimeError: it failed.
        """
        began = time.perf_counter()
        processes = [self.start() for _ in range(starts)]
        try:
            process = self.survivor(processes)
            self.wait_for_steps(process)
            first = time.perf_counter()
            failed = process.wait()
        finally:
            for process in processes:
                process.kill()  # where this one is interrupted
        if failed:
            raise RuntimeError(f"{self.workdir}: failed, see {self.log}")
        return first - began, time.perf_counter() - first


def kill(
    command: Command, starting: float | None, steps: int, working: float, starts: int = 1
) -> str | None:
    """Starts the run and kills it.

    Args:
      command: the run.
      starting: seconds after its start to do so; None for after some steps.
      steps: that it takes before, where ``starting`` is None.
      working: seconds after the last of them.
      starts: see ``Command.finish``.

    Returns:
      The moment of its death in words; None where it had ended before.
    """
    left = command.unfinished
    processes = [command.start() for _ in range(starts)]
    if starting is None:
        process = command.survivor(processes)
        command.wait_for_steps(process, steps)
        time.sleep(working)
        when = f"{working:.2f} s after {steps} steps"
    else:
        time.sleep(starting)
        when = f"{starting:.2f} s after its start"
    writing = bool(command.unfinished - left)  # what an earlier kill left may still be there
    living = [process for process in processes if process.poll() is None]
    if not living:
        if all(process.returncode for process in processes):
            raise RuntimeError(f"{command.workdir}: failed, see {command.log}")
        return None
    for process in living:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return when + (", while writing a checkpoint" if writing else "")


def differences(one: Path, other: Path) -> list[str]:
    """Lists what differs, bit for bit, between two workdirs of runs."""
    found = []
    for folder in ("checkpoints", "phases"):
        steps = [sorted(path.name for path in (run / folder).iterdir()) for run in (one, other)]
        if steps[0] != steps[1]:
            found.append(f"{folder}: {steps[0]} and {steps[1]}")
            continue
        for step in steps[0]:
            names = [_arrays(run / folder / step / "state") for run in (one, other)]
            if names[0].keys() != names[1].keys():
                found.append(f"{folder}/{step}: other arrays")
            for name in names[0].keys() & names[1].keys():
                if names[0][name].tobytes() != names[1][name].tobytes():
                    found.append(f"{folder}/{step}: {name}")
    for path in sorted((one / "pseudo_labels").iterdir()):
        labels = [np.load(run / "pseudo_labels" / path.name) for run in (one, other)]
        for name in labels[0].files:
            if labels[0][name].tobytes() != labels[1][name].tobytes():
                found.append(f"pseudo_labels/{path.name}: {name}")
    metrics = [(run / "metrics.jsonl").read_text().splitlines() for run in (one, other)]
    if [json.loads(line) for line in metrics[0]] != [json.loads(line) for line in metrics[1]]:
        found.append("metrics.jsonl")
    return found


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    """Reads every array of a checkpoint, by its path, whatever devices it was written from."""
    import jax
    import orbax.checkpoint as ocp

    checkpointer = ocp.PyTreeCheckpointer()
    tree = checkpointer.metadata(folder).item_metadata.tree
    plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    tree = checkpointer.restore(folder, restore_args=plain)
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def draw(source: Path, data_dir: Path) -> None:
    """Prepares a few drawn videos as ``folder/drawn:train``, with their truth as ``:val``."""
    masks = source.with_name(f"{source.name}-masks")
    for number in range(VIDEOS):
        video = draw_video("train", number, frames=FRAMES, height=HEIGHT, width=WIDTH)
        folder = source / f"video-{number}"
        folder.mkdir(parents=True)
        (masks / folder.name).mkdir(parents=True)
        for index, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
            cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])
            cv2.imwrite(str(masks / folder.name / f"{index:05d}.png"), 255 * mask)
    prepare(dataset="folder", name="drawn", source=source, masks=masks, data_dir=data_dir, jobs=1)


def main(argv: list[str] | None = None) -> None:
    """Kills, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="kills")
    parser.add_argument("--twice", action="store_true", help="two processes at once, each time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--dir", type=Path, help="kept there; a temporary folder without it")
    arguments = parser.parse_args(argv)
    if arguments.times < 1:
        parser.error(f"--times is {arguments.times}, expected 1 or more")
    if arguments.dir and arguments.dir.exists() and any(arguments.dir.iterdir()):
        parser.error(f"--dir={arguments.dir} is not empty; name a new folder")
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.dir or Path(temporary)).resolve()
        draw(root / "videos", root / "data")
        undisturbed = Command(root / "data", root / "undisturbed", root / "cache")
        undisturbed.finish()  # compiles
        # Again, with what is compiled at hand, as the killed one will have it.
        again = Command(root / "data", root / "again", root / "cache")
        starting, working = again.finish()
        print(f"undisturbed: {starting:.0f} s to the first step, then {working:.0f} s", flush=True)
        moments, starts = random.Random(arguments.seed), 2 if arguments.twice else 1
        killed = Command(root / "data", root / "killed", root / "cache")
        done, steps = 0, again.lines
        while done < arguments.times:
            early = done % 5 == 4
            delay = moments.uniform(0, starting) if early else None
            # So that all kills together take about the steps of the run.
            taken = moments.randint(1, max(1, 2 * steps // arguments.times))
            when = kill(killed, delay, taken, moments.uniform(0, working / steps), starts)
            if when is None:
                break
            done += 1
            print(f"kill {done}: {when}; {killed.lines} of {steps} steps", flush=True)
        killed.finish(starts)
        print(f"killed {done} times")
        bad = 0
        for name in ("again", "killed"):
            found = differences(undisturbed.workdir, root / name)
            bad += len(found)
            print(f"{name}: " + ("; ".join(found) or "the same as undisturbed, bit for bit"))
        if bad or done < arguments.times:
            sys.exit(1)


if __name__ == "__main__":
    main()
