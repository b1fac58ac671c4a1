"""Writes what TensorBoard shows of a training run: curves, and what the networks see by then."""

import os
import time
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dystab_jax.build import Run
from dystab_jax.data.training_set import TrainingSet
from dystab_jax.evaluation.samples import spread
from dystab_jax.object_choice import canonicalise
from dystab_jax.report import pictures
from dystab_jax.runtime import processes
from dystab_jax.state import State

FOLDER = "tensorboard"
SHOWN = 4
"""Frames that are shown, the same all the time."""


class Board:
    """Writes WORKDIR/tensorboard/; ``tensorboard --logdir WORKDIR`` shows it.

    Of several processes the first writes. Each file is written by the thread that asks, so that an
    error, such as that of a full disk, reaches the caller. Used in a ``with`` block.
    """

    def __init__(self, run: Run):
        """Opens nothing yet.

        Args:
          run: whose training is shown.
        """
        self._run = run
        self._file: EventsWriter | None = None
        self._frames: list[tuple[str, np.ndarray, np.ndarray]] | None = None

    def begin(self, step: int) -> None:
        """Opens a file; what an earlier process wrote of the steps after this one is forgotten.

        Raises:
          OSError: it cannot be written.
        """
        if not processes.is_first():
            return
        folder = self._run.workdir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes measurements, a point of one curve each.

        Raises:
          OSError: they cannot be written.
        """
        if self._file is not None:
            for name, value in values.items():
                self._write(Event(step=step, summary=summary.scalar(name, value)))
            self._file.flush()

    def masks(self, step: int, state: State, data: TrainingSet) -> None:
        """Writes image, flow, φ and χ of some frames as one picture.

        Args:
          step: that is done.
          state: after it; averages are shown.
          data: the training data.

        Raises:
          OSError: it cannot be written.
        """
        if self._file is None:
            return
        if self._frames is None:
            self._frames = _choose(data)
        predictor = self._run.predictor
        networks = predictor.place({"phi": state.phi.average, "chi": state.chi.average})
        rows = []
        # A batch takes as long with one frame as with several; those of portrait videos are apart.
        for _, alike in groupby(self._frames, key=lambda frame: frame[1].shape):
            names, images, flows = zip(*alike, strict=True)
            phi, _ = canonicalise(predictor.dynamic(networks["phi"], np.stack(flows)))
            chi = predictor.static(networks["chi"], np.stack(images))
            for name, image, flow, *masks in zip(
                names, images, flows, np.asarray(phi), chi, strict=True
            ):
                row = [(name, image), ("flow", pictures.flow_to_color(flow.astype(np.float32)))]
                shown = zip(("phi", "chi"), masks, strict=True)
                rows.append(row + [(model, _grey(soft)) for model, soft in shown])
        sheet = pictures.sheet(rows)
        self._write(Event(step=step, summary=summary.image("masks", sheet, dataformats="HWC")))
        self._file.flush()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._file.write_event(event)


def _choose(data: TrainingSet) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns name, image and flow of frames from all over the training data."""
    chosen = []
    for frame in spread(data.frames, SHOWN):
        example = data.decoded.some(frame.positions[0], ("image", "flow_forward"))
        name = f"{Path(frame.video).name} {frame.name}"
        chosen.append((name, example["image"], example["flow_forward"]))
    return chosen


def _grey(soft: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(soft * 255).astype(np.uint8), 3, -1)
