"""Exports what a run has learned: a small folder that predicts as the workdir does."""

import json
from pathlib import Path

import jax

from dystab_jax.build import Run
from dystab_jax.data import network_file, preparation
from dystab_jax.evaluation import run_facts
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.runtime.atomic_files import write_whole


def export(run: Run, snapshot: Snapshot, output: Path) -> list[Path]:
    """Writes averaged networks, config and how the flow of training was computed.

    Nothing in the folder depends on where the run and its data lie, so that it can be passed on.
    ``--workdir=OUTPUT --mode=predict`` and ``--mode=eval`` take it; training does not go on there.

    Args:
      run: gives the config.
      snapshot: the networks.
      output: folder, made where absent; its three files are replaced.

    Returns:
      The files written.

    Raises:
      ValueError: the folder holds a run, or χ has not learned yet.
      OSError: it cannot be written.
    """
    if (output / "checkpoints").exists():
        raise ValueError(f"--output={output} is the workdir of a run; choose another folder")
    if not snapshot.chi_has_learned:
        raise ValueError(
            f"{run.workdir} is in phase {snapshot.phase}: chi has learned nothing yet; train on"
        )
    config = run_facts.as_json(run.config)
    config["data"]["dir"] = "data"
    facts = preparation.of_run(run.workdir, run.config.data.dir, run.config.data.train)
    # The networks last: with them the folder is whole.
    contents = {"config.json": config, preparation.FILE: facts}
    for name, content in contents.items():
        write_whole(output / name, json.dumps(content, indent=1) + "\n")
    path = output / network_file.FILE
    position = {name: getattr(snapshot, name) for name in ("phase", "complete", "step")}
    network_file.write(path, jax.device_get(snapshot.variables), position)
    return [*(output / name for name in contents), path]
