"""Masks of images and videos from Python, in one line."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_prep.flow import FlowOptions
from data_prep.sources.frames import read_image
from dystab_jax.build import Run
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation import saved_config, snapshot_choice
from dystab_jax.prediction import flow_of_training
from dystab_jax.prediction.engine import Engine, learned, set_adaptation
from dystab_jax.prediction.flow_of_training import Asked
from dystab_jax.prediction.progress import Progress
from dystab_jax.prediction.segmented import SegmentedFrame
from dystab_jax.prediction.sources import as_picture, as_video, is_image
from dystab_jax.runtime.compilation_cache import keep_compiled_programs
from dystab_jax.runtime.cores import use_cores
from dystab_jax.runtime.mirror import mirrored
from dystab_jax.runtime.paths import user_path

SHIPPED = Path(__file__).resolve().parents[1] / "networks" / "weights" / "davis_small"
"""Exported networks that come with the program; the README there is their model card."""

Source = str | Path | np.ndarray | Iterable[np.ndarray]
"""Path of a video, a folder of frames or an image; or RGB uint8: [T, H, W, 3], [H, W, 3], or an
iterable of images [H, W, 3] of any length."""


class Segmenter:
    """Finds the object in images, and what moves independently in videos.

    ``Segmenter()`` has the networks that come with the program. Where JAX has not been used yet, it
    sees each core of a CPU as a device from here on, up to four; JAX_NUM_CPU_DEVICES=1 prevents it.
    """

    def __init__(
        self,
        *,
        crf: str | None = None,
        adapt: bool | None = None,
        flow: str | None = None,
        flow_weights: str | Path | None = None,
    ):
        """Loads networks; JAX compiles at the first masks of each size of video.

        Args:
          crf: of `dystab_jax.refinement.crf.PRESETS`, for videos; "none" is fastest. Default: what
            the networks' config says.
          adapt: whether networks learn from each piece of a video first, a minute each on a CPU.
            Default: what their config says.
          flow: "dis" (default), "raft_large", "raft_small" or "pwcnet".
          flow_weights: checkpoint of the network that estimates flow.

        Raises:
          ValueError, FileNotFoundError: a wrong name, or no such file.
        """
        if flow is None and flow_weights is None:
            flow = FlowOptions.estimator  # that of training is not shipped
        self._engine = _open(SHIPPED, crf, adapt, flow, flow_weights)

    @classmethod
    def from_workdir(
        cls,
        workdir: str | Path,
        *,
        crf: str | None = None,
        adapt: bool | None = None,
        flow: str | None = None,
        flow_weights: str | Path | None = None,
    ) -> "Segmenter":
        """Takes the networks of a run, or of a folder to which they were exported.

        Args:
          workdir: of a run of ``run.py``, a folder or an address such as gs://bucket/runs/mine.
          crf, adapt, flow_weights: see the constructor.
          flow: default: as that of the training data.

        Raises:
          ValueError, FileNotFoundError: it holds no run that has learned.
        """
        made = cls.__new__(cls)
        folder = user_path(mirrored(str(workdir), make=False))
        made._engine = _open(folder, crf, adapt, flow, flow_weights)
        return made

    def __call__(self, source: Source) -> np.ndarray:
        """Returns soft masks float32 [T, H, W] at native size; object is where they exceed 1/2.

        T is 1 for an image. All of them are held in memory: for long videos take ``frames``.

        Args:
          source: see `Source`.

        Raises:
          ValueError, FileNotFoundError: it cannot be read; says which frame or file.
        """
        masks = [frame.soft for frame in self.frames(source)]
        if not masks:
            raise ValueError("there is no frame in what was given")
        return np.stack(masks)

    def frames(self, source: Source) -> Iterator[SegmentedFrame]:
        """Yields frames with their masks; memory does not grow with the length of the source.

        They come in pieces: once a shot is over, or 60 of 120 frames that have been read. The next
        piece is read, in a thread, while one is masked. Where the source ends by an error, frames
        that have not come yet are lost.

        Args and errors as in ``__call__``.
        """
        path = user_path(source) if isinstance(source, str | Path) else None
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if path is not None and is_image(path):
            yield self._engine.image(read_image(path)[0], path.stem)
        elif isinstance(source, np.ndarray) and source.ndim == 3:
            yield self._engine.image(as_picture(source, "the image"), "image")
        else:
            yield from self._engine.video(as_video(source if path is None else path), Progress())


def _open(
    workdir: Path,
    crf: str | None,
    adapt: bool | None,
    flow: str | None,
    flow_weights: str | Path | None,
) -> Engine:
    _set_up_jax()
    config = saved_config.with_absolute_data(saved_config.read(workdir))
    if config.runs:
        raise ValueError(f"{workdir} holds several runs; give the folder of one")
    if crf is not None:
        config.eval.crf = crf
    set_adaptation(config, adapt)
    eval_options.check(config)
    run = Run.to_predict(config, workdir)
    weights = None if flow_weights is None else user_path(flow_weights)
    recipe, notes = flow_of_training.choose(run, Asked(flow, weights))
    for note in notes:
        if note.startswith("warning: "):
            warnings.warn(note.removeprefix("warning: "), stacklevel=3)
    (snapshot,) = snapshot_choice.chosen(run, "last")
    return Engine(run, learned(snapshot), recipe)


def _set_up_jax() -> None:
    keep_compiled_programs()
    try:
        use_cores()
    except RuntimeError:
        pass  # the program has used JAX already: its devices stay as they are
