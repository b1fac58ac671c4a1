"""Makes what χ learns from: masks and confidences of every training frame, made once per phase."""

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from dystab_jax.build import Run
from dystab_jax.data.array_files import read_arrays
from dystab_jax.data.augmentation import Example
from dystab_jax.data.pipeline import Decoded, TrainingFrame, own_videos
from dystab_jax.data.training_set import TrainingSet
from dystab_jax.inference import Predictor, Reading, chunks
from dystab_jax.object_choice import FLOOR, SHARPNESS, fuse_masks, trust_in_phi
from dystab_jax.refinement.crf import refine_frames
from dystab_jax.runtime import processes
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.schedule import Phase, Sections
from dystab_jax.state import State, Variables

Refine = Callable[[Iterator[tuple[np.ndarray, np.ndarray]]], Iterator[np.ndarray]]
"""Makes better masks of pairs of image and soft mask: ``crf.refine_frames`` with its options."""


class PseudoLabels:
    """Holds one label for each frame, masks as single bits.

    Those of the loop hold ``motion_mask`` (m) and ``static_mask`` (χ′(I)), uint8 [H, W, 1] of 0
    and 1, and their L_A, ``confidence_phi`` and ``confidence_chi``, float32; those of
    self-training hold ``target``, uint8 [H, W, 1].

    Attributes:
      sizes: (height, width) of the masks of each frame, [N, 2].
      confidences: of each kind, [N], by name.

    Args:
      sizes: those, or (height, width) of all, [2].
      bits: of each kind of mask, [N, ⌈H·W/8⌉] packed; smaller masks leave the end of a row unused.
      confidences: those.
    """

    def __init__(self, sizes: Sequence | np.ndarray, bits: dict, confidences: dict):
        self._bits = bits
        self.sizes = np.broadcast_to(np.asarray(sizes), (len(self), 2))
        self.confidences = confidences

    def __len__(self) -> int:
        return len(next(iter(self._bits.values())))

    def __getitem__(self, number: int) -> Example:
        height, width = self.sizes[number].tolist()
        label = {
            name: np.unpackbits(bits[number], count=height * width).reshape(height, width, 1)
            for name, bits in self._bits.items()
        }
        return label | {name: values[number] for name, values in self.confidences.items()}

    def save(self, path: Path, frames: str = "") -> None:
        """Writes an npz that is either whole or absent.

        Args:
          path: of the file.
          frames: digest of the frames that are labelled.
        """
        buffer = io.BytesIO()
        np.savez(buffer, size=self.sizes, frames=frames, **self._bits, **self.confidences)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(
        cls,
        path: Path,
        frames: Collection[str] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> "PseudoLabels":
        """Reads what ``save`` wrote, now or when all masks of a file had one size.

        Args:
          path: of the file.
          frames: digests, of which the labels must have one; None for any.
          sizes: (height, width) of each frame that the masks must have; None for any.

        Raises:
          ValueError: these are labels of other frames or sizes, or the file is damaged.
        """
        try:
            arrays = read_arrays(path.read_bytes())
            stored = arrays.pop("size")
            labelled = str(arrays.pop("frames", ""))
            bits = {name: array for name, array in arrays.items() if array.ndim == 2}
            confidences = {name: arrays[name] for name in arrays.keys() - bits.keys()}
            _check_sizes(stored, bits, confidences)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"{path} is damaged: {error}. Remove it together with the checkpoints of its phase"
            ) from error
        if frames is not None and labelled not in ("", *frames):
            raise ValueError(
                f"{path} holds labels of other frames than those of the data now; prepare the data "
                "as they were, or use another --workdir"
            )
        labels = cls(stored, bits, confidences)
        if sizes is not None and not np.array_equal(labels.sizes, sizes):
            raise ValueError(
                f"{path} holds masks of other sizes than those at which the frames are seen now, "
                "as it was made with another data.image_size, or before portrait videos kept their "
                "proportions; remove it together with the checkpoints of its phase"
            )
        return labels


class Labeller:
    """Makes and keeps what χ learns from in one phase."""

    def __init__(
        self,
        run: Run,
        sections: Sections,
        phase: Phase,
        data: TrainingSet,
        digests: Sequence[str],
    ):
        """Computes nothing yet.

        Args:
          run, sections: of what is trained.
          phase: in which χ learns.
          data: that it visits.
          digests: of these frames; labels that are kept bear one of them, new ones the first.
        """
        self._run, self._sections, self._phase = run, sections, phase
        self._data, self._digests = data, digests

    def labels(self, state: State, step: int) -> PseudoLabels:
        """Returns the labels of a phase, those that are kept where it is under way.

        Args:
          state: after the last step done.
          step: its number.

        Raises:
          FileNotFoundError: the phase is under way, its labels are gone and cannot be made again.
          ValueError: those that are kept are of other frames.
        """
        phase = self._phase
        path = self._run.workdir / "pseudo_labels" / f"{phase.name}.npz"
        begun = step > phase.start
        if begun and path.exists():
            return PseudoLabels.load(path, self._digests, self._data.sizes())
        if begun and phase.kind == "self_training":
            raise FileNotFoundError(
                f"{path} is gone, and χ has changed since it was made; restore it, or remove the "
                f"checkpoints after step {phase.start}"
            )
        make = self._label_videos if phase.kind == "static" else self._label_images
        labels = make(state)
        labels.save(path, self._digests[0])
        return labels

    def _label_videos(self, state: State) -> PseudoLabels:
        """Labels frames of videos by φ, ψ and χ′."""
        options = self._sections.bootstrap
        return make_pseudo_labels(
            self._run.predictor,
            state,
            self._data.decoded,
            self._data.frames,
            Reading(options.label_vote, options.label_cut),
            options.label_flows,
            None if options.label_crf == "none" else self._refiner(options.label_crf),
            self._phase.first,
            options.label_fused,
        )

    def _label_images(self, state: State) -> PseudoLabels:
        """Labels the images of self-training by χ and a CRF."""
        refine = self._refiner(self._sections.self_training.crf)
        decoded, frames = self._data.decoded, self._data.frames
        return refine_predictions(self._run.predictor, state.chi.average, decoded, frames, refine)

    def _refiner(self, preset: str) -> partial:
        options = self._run.config.eval
        return partial(refine_frames, preset=preset, jobs=options.jobs, backend=options.crf_backend)


def make_pseudo_labels(
    predictor: Predictor,
    state: State,
    decoded: Decoded,
    frames: list[TrainingFrame],
    reading: Reading,
    flows_per_frame: int,
    refine: Refine | None = None,
    first: bool = False,
    fused: bool = False,
) -> PseudoLabels:
    """Labels all frames with the averages of φ and ψ and, once it has learned, with χ′.

    A function of what stays as it is while χ learns, so a resumed phase gets the same labels.

    Args:
      predictor: runs the networks.
      state: its ``chi_previous`` is χ′.
      decoded, frames: the training data.
      reading, flows_per_frame: see ``Predictor.videos``.
      refine: makes better masks of φ's, see ``Refine``; None leaves them as they are. L_A is
        that of φ's own.
      first: whether χ learns for the first time. χ′ then has no say, and is not asked.
      fused: in place of χ′'s masks, χ is held to those of φ and χ′ together, refined like φ's.
    """
    networks = {"phi": state.phi.average, "psi": state.psi.average}
    variables = predictor.place(networks | ({} if first else {"chi": state.chi_previous}))
    own = own_videos(frames)

    def refined(soft: np.ndarray, images: np.ndarray) -> np.ndarray:
        if refine is None:
            return soft
        return np.stack(list(refine(zip(images, soft[..., 0], strict=True))))

    made: dict[str, list[Example]] = {}  # pieces of each video
    with processes.bar(total=len(own), desc="pseudo-labels", unit="frame") as bar:
        for piece in predictor.videos(variables, decoded, own, reading, flows_per_frame):
            static = piece.chi
            if fused and not first:
                masks, confidences = (piece.phi, piece.chi), piece.confidences
                weight = trust_in_phi(masks, confidences, SHARPNESS, FLOOR, piece.earlier)
                static = refined(fuse_masks(*masks, *confidences, weight=weight), piece.images)
            label = {
                "sizes": np.tile(piece.phi.shape[1:3], (len(piece.frames), 1)),
                "motion_mask": _pack(refined(piece.phi, piece.images)),
                "static_mask": _pack(static),
                "confidence_phi": piece.confidence_phi,
                "confidence_chi": piece.confidence_chi,
            }
            made.setdefault(piece.video, []).append(label)
            bar.update(len(piece.frames))
    names = dict.fromkeys(frame.video for frame in frames)
    everything = {name: one for part in processes.gather(made) for name, one in part.items()}

    def joined(array: str) -> np.ndarray:
        return _concatenate([piece[array] for name in names for piece in everything[name]])

    return PseudoLabels(
        joined("sizes"),
        {name: joined(name) for name in ("motion_mask", "static_mask")},
        {name: joined(name) for name in ("confidence_phi", "confidence_chi")},
    )


def refine_predictions(
    predictor: Predictor,
    chi: Variables,
    decoded: Decoded,
    frames: Sequence[TrainingFrame],
    refine: Refine,
) -> PseudoLabels:
    """Labels of self-training (Sec. 5.6): what a CRF makes of χ's own masks.

    Args:
      predictor: runs χ.
      chi: its averages.
      decoded, frames: the images; no truth is read.
      refine: see ``Refine``.
    """

    chi, own = predictor.place(chi), processes.mine(frames)

    def size_of(frame: TrainingFrame) -> tuple[int, int]:
        return decoded.size_of(frame.positions[0])

    def predicted() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, alike in groupby(own, key=size_of):
            for chunk in chunks(list(alike), predictor.batch_size):
                images = np.stack([decoded.part(frame.positions[0], "image") for frame in chunk])
                yield from zip(images, predictor.static(chi, images)[..., 0], strict=True)

    bar = processes.bar(
        refine(predicted()), total=len(own), desc="self-training labels", unit="image"
    )
    parts = processes.gather([_pack(soft[None]) for soft in bar])
    bits = [parts[number % len(parts)][number // len(parts)] for number in range(len(frames))]
    return PseudoLabels(
        np.array([size_of(frame) for frame in frames]), {"target": _concatenate(bits)}, {}
    )


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    """Joins arrays [n, ...] along their first axis; shorter rows of bits get zeros at their end."""
    if arrays[0].ndim == 2:
        width = max(array.shape[1] for array in arrays)
        arrays = [np.pad(array, [(0, 0), (0, width - array.shape[1])]) for array in arrays]
    return np.concatenate(arrays)


def _check_sizes(sizes: np.ndarray, bits: dict, confidences: dict) -> None:
    """Raises ValueError where labels cannot be those of as many frames of these sizes."""
    counts = {len(array) for array in bits.values()} | {
        array.shape[0] if array.ndim == 1 else -1 for array in confidences.values()
    }
    known = sizes.dtype.kind in "iu" and sizes.shape in {(2,), *((count, 2) for count in counts)}
    known = known and sizes.size and sizes.min() >= 1
    width = (int(np.max(sizes.astype(object).prod(-1))) + 7) // 8 if known else 0
    fit = all(one.dtype == np.uint8 and one.shape[1] == width for one in bits.values())
    if not bits or not known or not fit or len(counts) != 1:
        shapes = {name: array.shape for name, array in (bits | confidences).items()}
        raise ValueError(f"arrays of shapes {shapes} for masks of sizes {sizes.shape}")


def _pack(soft: np.ndarray) -> np.ndarray:
    """Packs masks [N, H, W, ...], cut at one half, into bits [N, ⌈H·W/8⌉]."""
    return np.packbits((soft > 0.5).reshape(len(soft), -1), axis=-1)
