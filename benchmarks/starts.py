"""Starts training and evaluation again and again on a tiny data set, and reports what hangs.

    python -m benchmarks.starts [--times 50] [--timeout 600] [--dir DIR]

Each time a new run is trained for a few steps and scored, and then scored again by a process of its
own: in both, threads read records as soon as they are there. A process that is not done in time is
ended by SIGABRT, so that its log shows where each of its threads was.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.kills import SETTINGS, Command, draw

SHORT = {
    "bootstrap.rounds": 1,
    "bootstrap.warm_up_epochs": 0.2,
    "bootstrap.dynamic_epochs": 0.2,
    "bootstrap.static_epochs": 0.2,
    "bootstrap.joint_epochs": 0.2,
    "eval.data": "folder/drawn:val",
}
"""Settings that make a run take a few steps only."""


def hangs(command: Command, timeout: float) -> bool:
    """Starts a command and waits for its end.

    Args:
      command: what to start.
      timeout: seconds.

    Returns:
      True where it was not done in time.

    Raises:
      RuntimeError: it failed.
    """
    process = command.start()
    try:
        failed = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        process.wait()
    if failed:
        raise RuntimeError(f"{command.workdir}: --mode={command.mode} failed, see {command.log}")
    return False


def main(argv: list[str] | None = None) -> None:
    """Starts, waits and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50, help="starts of each kind")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that each may take")
    parser.add_argument("--dir", type=Path, help="kept there; a temporary folder without it")
    arguments = parser.parse_args(argv)
    if arguments.times < 1:
        parser.error(f"--times is {arguments.times}, expected 1 or more")
    if arguments.dir and arguments.dir.exists() and any(arguments.dir.iterdir()):
        parser.error(f"--dir={arguments.dir} is not empty; name a new folder")
    hung = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.dir or Path(temporary)).resolve()
        draw(root / "videos", root / "data")
        for number in range(1, arguments.times + 1):
            training = Command(
                root / "data", root / f"run-{number}", root / "cache", SETTINGS | SHORT
            )
            took = []
            for command in (training, dataclasses.replace(training, mode="eval")):
                began = time.perf_counter()
                stuck = hangs(command, arguments.timeout)
                hung += stuck
                took.append("HANGS" if stuck else f"{time.perf_counter() - began:.0f} s")
                if stuck:
                    print(command.log.read_text()[-4000:])
            print(f"start {number}: training {took[0]}, evaluation {took[1]}", flush=True)
            if arguments.dir is None:
                shutil.rmtree(training.workdir, ignore_errors=True)
    print(f"{2 * arguments.times} starts, {hung} hang")
    if hung:
        sys.exit(1)


if __name__ == "__main__":
    main()
