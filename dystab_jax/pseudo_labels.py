"""What χ learns from: masks and confidences of every training frame, made once per phase."""

import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dystab_jax.inference import Predictor
from dystab_jax.pipeline import Decoded, Example, Frame
from dystab_jax.state import State


class PseudoLabels:
    """One label for each frame, masks as single bits.

    Each label holds ``motion_mask`` (m) and ``static_mask`` (χ′(I)), uint8 [H, W, 1] of 0 and 1,
    and their L_A, ``confidence_phi`` and ``confidence_chi``, float32.
    """

    def __init__(self, size: tuple[int, int], bits: dict, confidences: dict):
        self.size = size
        self._bits = bits
        self._confidences = confidences

    def __len__(self) -> int:
        return len(self._bits["motion_mask"])

    def __getitem__(self, number: int) -> Example:
        height, width = self.size
        label = {
            name: np.unpackbits(bits[number], count=height * width).reshape(height, width, 1)
            for name, bits in self._bits.items()
        }
        return label | {name: values[number] for name, values in self._confidences.items()}

    def save(self, path: Path) -> None:
        """Writes an npz that is either whole or absent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with partial.open("wb") as file:
            np.savez(file, size=self.size, **self._bits, **self._confidences)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "PseudoLabels":
        """Reads what ``save`` wrote."""
        with np.load(path) as stored:
            size = tuple(int(side) for side in stored["size"])
            bits = {name: stored[name] for name in ("motion_mask", "static_mask")}
            names = ("confidence_phi", "confidence_chi")
            return cls(size, bits, {name: stored[name] for name in names})


def make_pseudo_labels(
    predictor: Predictor,
    state: State,
    decoded: Decoded,
    frames: list[Frame],
    vote: bool,
    flows_per_frame: int,
) -> PseudoLabels:
    """Labels all frames with the averages of φ and ψ and with χ′.

    A function of what stays as it is while χ learns, so a resumed phase gets the same labels.

    Args:
      predictor: runs the networks.
      state: its ``chi_previous`` is χ′.
      decoded, frames: the training data.
      vote, flows_per_frame: see ``Predictor.videos``.
    """
    variables = {
        "phi": state.phi.average,
        "psi": state.psi.average,
        "chi": state.chi_previous,
    }
    bits = {"motion_mask": [], "static_mask": []}
    confidences = {"confidence_phi": [], "confidence_chi": []}
    with tqdm(total=len(frames), desc="pseudo-labels", unit="frame") as bar:
        for video in predictor.videos(variables, decoded, frames, vote, flows_per_frame):
            for name, soft in (("motion_mask", video.phi), ("static_mask", video.chi)):
                bits[name].append(np.packbits((soft > 0.5).reshape(len(soft), -1), axis=-1))
            for name in confidences:
                confidences[name].append(getattr(video, name))
            bar.update(len(video.frames))
    return PseudoLabels(
        decoded.size,
        {name: np.concatenate(parts) for name, parts in bits.items()},
        {name: np.concatenate(parts) for name, parts in confidences.items()},
    )
