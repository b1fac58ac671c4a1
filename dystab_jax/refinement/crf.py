"""Post-processing of soft masks with their image: dense CRF, guided filter.

Dense CRF (Krähenbühl and Koltun 2011) with two labels. A pixel's label pays its unary energy and
agrees, weighted by Gaussians of distance in place and colour, with all other pixels. It is no
free gain: it sharpens maps that are nearly right and can ruin coarse ones; score with and without.
"""

import importlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.special import expit

from dystab_jax.refinement.guided_filter import guided_filter, guided_upsample
from dystab_jax.refinement.permutohedral import Lattice, build_lattice

Image = UInt8[np.ndarray, "H W 3"]
SoftMap = Float[np.ndarray, "H W"]
Frame = tuple[UInt8[np.ndarray, "_H _W 3"], Float[np.ndarray, "_H _W"]]
"""An image and its soft map, of any size; those of a sequence may differ."""
Backend = Literal["numpy", "jax"]
BACKENDS = ("numpy", "jax")
LOWEST = 1e-6  # probabilities of object stay this far from 0 and 1 in the unary energy
FLAT = 1e-6  # a map that varies by less shows no object to refine
LONGEST = 427
"""Pixels of the longer side at which our CRFs work: half of DAVIS at 480p, and somewhat more than
the networks see. On training sequences masks are better than at full size, in a third of the time,
and 1080p takes no more memory (benchmarks/crf_sizes.py)."""
EDGE_EPSILON = 1e-4
"""Of the enlargement, squared colours in [0, 1]."""


@dataclass(frozen=True)
class Kernel:
    """Describes one Gaussian of the pairwise energy.

    Attributes:
      sxy: standard deviation in place, pixels.
      compat: energy of unlike labels at full agreement of place and colour.
      srgb: standard deviation in colour, of 255 levels; None: place alone.
    """

    sxy: float
    compat: float
    srgb: float | None = None


def mean_field(
    image: Image,
    log_odds: SoftMap,
    kernels: Sequence[Kernel],
    iterations: int,
    backend: Backend = "numpy",
) -> Float32[np.ndarray, "H W"]:
    """Returns the probability of object under the dense CRF (Krähenbühl and Koltun, Alg. 1).

    With U the unary energy and K a Gaussian filter, all pixels at once take

        Q ← softmax(-U + Σ_kernels compat · n ⊙ K(n ⊙ Q)),    n = 1 / sqrt(K 1 + 1e-20).

    Two labels sum to one, so that a sigmoid and one filtering per kernel do:

        logit Q₁ ← U₀ - U₁ + Σ compat · n ⊙ (2 K(n ⊙ Q₁) - K n).

    Args:
      image: RGB.
      log_odds: U₀ - U₁ = log(p / (1 - p)) of each pixel's own probability p of object.
      kernels: the pairwise energy.
      iterations: updates after Q = softmax(-U).
      backend: "numpy", or "jax" for JAX's default device; lattices are built in NumPy.

    Returns:
      Q₁ in [0, 1].
    """
    start = np.ascontiguousarray(log_odds, np.float32).ravel()
    lattices = [build_lattice(_features(image, kernel)) for kernel in kernels]
    compats = tuple(float(kernel.compat) for kernel in kernels)
    if backend == "jax":
        # Imported where it is used: the other backend does without JAX.
        from dystab_jax.refinement import crf_jax

        result = crf_jax.mean_field(lattices, compats, start, iterations)
    else:
        result = _mean_field(lattices, compats, start, iterations)
    return result.reshape(log_odds.shape)


def _features(image: Image, kernel: Kernel) -> Float32[np.ndarray, "N d"]:
    height, width = image.shape[:2]
    features = np.empty((height, width, 2 if kernel.srgb is None else 5), np.float32)
    features[..., 0] = np.arange(width, dtype=np.float32) / np.float32(kernel.sxy)
    features[..., 1] = (np.arange(height, dtype=np.float32) / np.float32(kernel.sxy))[:, None]
    if kernel.srgb is not None:
        features[..., 2:] = image / np.float32(kernel.srgb)
    return features.reshape(height * width, -1)


def _mean_field(
    lattices: list[Lattice],
    compats: tuple[float, ...],
    log_odds: Float32[np.ndarray, " N"],
    iterations: int,
) -> Float32[np.ndarray, " N"]:
    ones = np.ones_like(log_odds)
    constant = log_odds.copy()
    messages = []
    for lattice, compat in zip(lattices, compats, strict=True):
        norm = 1 / np.sqrt(lattice.filter(ones) + np.float32(1e-20))
        # n sits in the slicing matrix and in its transpose, so that the loop below only multiplies.
        read = lattice.slicing(norm)
        splat = read.T
        factor = np.float32(compat * lattice.gain)
        constant -= read @ (factor * lattice.blur(splat @ ones))
        messages.append((lattice, read, splat, 2 * factor))
    probability = expit(log_odds)
    for _ in range(iterations):
        total = constant.copy()
        for lattice, read, splat, factor in messages:
            total += read @ (factor * lattice.blur(splat @ probability))
        probability = expit(total)
    return probability


@dataclass(frozen=True)
class DenseCRF:
    """Holds a dense CRF whose unary energy is -log p of the soft map.

    Attributes:
      kernels, iterations: see `mean_field`.
      divide_by_maximum: p is the map over its greatest value.
      unary_weight: factor of the unary energy.
      longer_side: of the images, pixels, that the kernels' `sxy` are meant for; they scale with
        the longer side of each image, wide or upright. None: they are pixels of every image.
      side: all is computed in a square of so many pixels, the result resized back; None: in the
        image's own size.
      longest: images with a longer side than so many pixels are shrunk to it, and the result is
        enlarged along the edges of the image; None: all are computed in their own size.
      edge: radius of the windows of this enlargement, pixels of the shrunk image.
    """

    kernels: tuple[Kernel, ...]
    iterations: int
    divide_by_maximum: bool = False
    unary_weight: float = 1.0
    longer_side: int | None = None
    side: int | None = None
    longest: int | None = None
    edge: int = 8

    def apply(self, image: Image, soft: SoftMap, backend: Backend) -> Float32[np.ndarray, "H W"]:
        """Returns the refined map; one that is the same everywhere comes back as it is."""
        if soft.max() - soft.min() < FLAT:
            return soft.copy()
        height, width = soft.shape
        if self.longest is not None and max(height, width) > self.longest:
            return self._apply_small(image, soft, backend)
        if self.side is not None:
            square = (self.side, self.side)
            image = cv2.resize(image, square, interpolation=cv2.INTER_LINEAR)
            soft = cv2.resize(soft, square, interpolation=cv2.INTER_LINEAR)
        if self.divide_by_maximum:
            soft = soft / soft.max()
        p = np.clip(soft, LOWEST, 1 - LOWEST).astype(np.float64)
        kernels = self.kernels
        if self.longer_side is not None:
            scale = max(height, width) / self.longer_side
            kernels = tuple(Kernel(k.sxy * scale, k.compat, k.srgb) for k in kernels)
        log_odds = self.unary_weight * np.log(p / (1 - p))
        result = mean_field(image, log_odds, kernels, self.iterations, backend)
        if self.side is not None:
            result = cv2.resize(result, (width, height), interpolation=cv2.INTER_LINEAR)
        return result

    def _apply_small(
        self, image: Image, soft: SoftMap, backend: Backend
    ) -> Float32[np.ndarray, "H W"]:
        """Returns the map of a large image, refined at ``longest``; see there."""
        scale = self.longest / max(soft.shape)
        size = tuple(max(1, round(scale * side)) for side in soft.shape[::-1])
        small, coarse = (
            cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (image, soft)
        )
        refined = self.apply(small, coarse, backend)
        guides = [one.astype(np.float32) / np.float32(255) for one in (image, small)]
        return np.clip(guided_upsample(*guides, refined, self.edge, EDGE_EPSILON), 0, 1)


@dataclass(frozen=True)
class GuidedFilter:
    """Holds a guided filter with the colour image, in [0, 1], as its guide.

    Attributes:
      radius: of the windows, pixels of images of `longer_side`; scales with the longer side.
      epsilon: colour variance above which the image is taken to have an edge.
      longer_side: of those images, pixels.
    """

    radius: int
    epsilon: float
    longer_side: int

    def apply(self, image: Image, soft: SoftMap, backend: Backend) -> Float32[np.ndarray, "H W"]:
        """Returns the filtered map; computed by OpenCV and NumPy whatever the backend."""
        radius = max(1, round(self.radius * max(soft.shape) / self.longer_side))
        guide = image.astype(np.float32) / np.float32(255)
        return np.clip(guided_filter(guide, soft, radius, self.epsilon), 0, 1)


@dataclass(frozen=True)
class Unchanged:
    """Leaves maps as they are."""

    def apply(self, image: Image, soft: SoftMap, backend: Backend) -> Float32[np.ndarray, "H W"]:
        """Returns the map as it came."""
        return soft


PRESETS: dict[str, DenseCRF | GuidedFilter | Unchanged] = {
    "none": Unchanged(),
    # What earlier systems of unsupervised video segmentation apply to 854-pixel frames.
    "cis": DenseCRF((Kernel(60, 5, 5),), 50, divide_by_maximum=True, longer_side=854),
    # Ours, chosen on the truth of DAVIS' training sequences: for φ's masks as labels, and for what
    # both models make together.
    "light": DenseCRF((Kernel(60, 5, 5),), 5, unary_weight=2, longer_side=854, longest=LONGEST),
    "medium": DenseCRF((Kernel(60, 5, 5),), 5, unary_weight=1, longer_side=854, longest=LONGEST),
    # Saliency at the size of the networks of Table 4.
    "deepusps": DenseCRF((Kernel(3, 3), Kernel(80, 10, 13)), 5, side=432),
    # Ours: on published masks of DAVIS videos, made coarse, wider windows lost small objects.
    "guided": GuidedFilter(radius=16, epsilon=1e-3, longer_side=854),
}


def refine(
    image: Image, soft: SoftMap, preset: str, backend: Backend = "numpy"
) -> Float32[np.ndarray, "H W"]:
    """Returns the soft mask of one image after post-processing.

    Where no pixel is above one half there is no object, and where every pixel is, no background: no
    preset has anything to go by, and the map comes back as it is.

    Args:
      image: RGB, uint8.
      soft: probability of object of each pixel, in [0, 1], any float type.
      preset: a name of `PRESETS`.
      backend: "numpy" (SciPy's sparse products, one core) or "jax" (JAX's default device).

    Returns:
      Probability of object, in [0, 1]; object is where it is greater than 0.5.

    Raises:
      ValueError: an unknown preset or backend; arrays of other shapes, types or ranges.
    """
    _check_names(preset, backend)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}; expected uint8 [H, W, 3], RGB")
    if not np.issubdtype(soft.dtype, np.floating) or soft.ndim != 2 or not soft.size:
        raise ValueError(f"soft map is {soft.dtype} {soft.shape}; expected float [H, W]")
    if soft.shape != image.shape[:2]:
        raise ValueError(
            f"soft map {soft.shape} and image {image.shape} differ in height and width; "
            "resize the map first"
        )
    low, high = float(soft.min()), float(soft.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"soft map ranges over [{low:g}, {high:g}]; expected [0, 1]")
    soft = soft.astype(np.float32, copy=False)
    if soft.max() <= 0.5 or soft.min() > 0.5:
        return soft.copy()
    return PRESETS[preset].apply(image, soft, backend)


def refine_frames(
    frames: Iterable[Frame], preset: str, jobs: int = 1, backend: Backend = "numpy"
) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Refines each frame, in order, `jobs` of them at once in threads.

    The slow parts release Python's lock. At most 2 · jobs frames are held; one of 480 x 854 takes
    about 150 MB while it is refined. The result does not depend on `jobs`.

    Args:
      frames: pairs (image, soft map) for `refine`, read as they are needed.
      preset, backend: for `refine`.
      jobs: frames at once.

    Raises:
      ValueError: here for the names and jobs; at its turn for a frame that `refine` rejects.
    """
    _check_names(preset, backend)
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    if backend == "jax":
        importlib.import_module("dystab_jax.refinement.crf_jax")  # before threads do it at once
    return _refine_frames(iter(frames), preset, jobs, backend)


def _refine_frames(frames, preset, jobs, backend):
    pool = ThreadPoolExecutor(max_workers=jobs)

    def submit(count):
        return [pool.submit(refine, *frame, preset, backend) for frame in islice(frames, count)]

    try:
        waiting = deque(submit(2 * jobs))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(submit(1))
    finally:
        pool.shutdown(cancel_futures=True)


def _check_names(preset: str, backend: str) -> None:
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}")
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
