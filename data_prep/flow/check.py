"""Checks an estimator against a flow that is known: does a converted checkpoint do what it should?

    python -m data_prep.flow.check --flow=pwcnet --flow_weights=FILE.pth \\
        --frames FIRST.png SECOND.png --reference FLOW.npz

Estimates flow between two frames at their full size and compares it with a reference: a flow file
(.flo, .png of KITTI's format, .npy, .npz with an array ``flow``; see `formats`), or an
.npz with ``forward``, ``backward`` or both, [height, width, 2] in pixels. The reference is the
output of the original implementation, or the truth; for the truth, give as --tolerance the error
that the estimator is known to have.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.flow import ESTIMATORS, PRECISIONS, FlowOptions, make_estimator
from data_prep.flow.formats import UNKNOWN, FlowField, read_flow
from data_prep.sources.frames import read_image
from dystab_jax.data.array_files import array_names, read_arrays
from dystab_jax.runtime.paths import user_path

TOLERANCE = 0.1
"""Mean end-point difference in pixels between two implementations with the same weights. Ours: more
than rounding makes, less than exchanged colours do (on RubberWhale with RAFT small, bfloat16 makes
0.009 px, BGR for RGB 0.13 px)."""


class Difference(NamedTuple):
    """Holds how far a flow is from its reference, over the pixels where that is known.

    Attributes:
      mean, high: mean and 99th percentile of the end-point differences, pixels.
      length, reference_length: mean lengths of both, pixels.
      pixels: how many are compared.
    """

    mean: float
    high: float
    length: float
    reference_length: float
    pixels: int


def compare(flow: FlowField, reference: FlowField) -> Difference:
    """Returns the difference of two fields.

    Args:
      flow: pixels.
      reference: of the same size; NaN where unknown.

    Raises:
      ValueError: the sizes differ, or nothing is known.
    """
    if flow.shape != reference.shape:
        sizes = (f"{field.shape[1]}x{field.shape[0]}" for field in (reference, flow))
        raise ValueError("the reference is {}, the frames are {}".format(*sizes))
    known = np.isfinite(reference).all(axis=-1)
    if not known.any():
        raise ValueError("the reference is unknown everywhere")
    flow, reference = flow[known], reference[known]
    differences = np.linalg.norm(flow - reference, axis=-1)
    return Difference(
        float(differences.mean()),
        float(np.percentile(differences, 99)),
        float(np.linalg.norm(flow, axis=-1).mean()),
        float(np.linalg.norm(reference, axis=-1).mean()),
        int(known.sum()),
    )


def check(
    options: FlowOptions, frames: tuple[Path, Path], reference: Path
) -> dict[str, Difference]:
    """Estimates flow between two frames and compares it with the reference.

    Args:
      options: the estimator.
      frames: images of the first and of the second frame.
      reference: file of the reference, see above.

    Returns:
      By direction, "forward" or "backward".

    Raises:
      FileNotFoundError, ValueError: something is wrong with the options or a file.
    """
    options.check()
    references = _read_reference(reference)
    images = [read_image(path)[0] for path in frames]
    if images[0].shape != images[1].shape:
        sizes = (
            f"{path} is {i.shape[1]}x{i.shape[0]}" for path, i in zip(frames, images, strict=True)
        )
        raise ValueError(f"{', '.join(sizes)}; the two frames must have one size")
    estimator = make_estimator(options, frames[0].parent.name)
    first, second = (
        estimator.encode(image, path.stem, image.shape[:2])
        for path, image in zip(frames, images, strict=True)
    )
    forward, backward = estimator.match([first, second], [second, first])
    flows = {"forward": forward, "backward": backward}
    try:
        return {name: compare(flows[name], field) for name, field in references.items()}
    except ValueError as error:
        raise ValueError(f"{reference}: {error}") from error


def _read_reference(path: Path) -> dict[str, FlowField]:
    """Reads fields by direction, NaN where unknown; a file of one field is forward."""
    fields = {}
    if path.suffix.lower() == ".npz" and path.is_file():
        try:
            data = path.read_bytes()
            there = [name for name in ("forward", "backward") if name in array_names(data)]
            fields = read_arrays(data, there)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
    for name, field in fields.items():
        if field.ndim != 3 or field.shape[2] != 2 or field.dtype.kind != "f":
            raise ValueError(
                f"{path}: {name} is {field.dtype} {field.shape}; expected floats [height, width, 2]"
            )
        known = (np.abs(field) <= UNKNOWN).all(axis=-1, keepdims=True)
        fields[name] = np.where(known, field, np.nan)
    if fields:
        return fields
    return {"forward": read_flow(path)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.flow.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    names = [name for name in ESTIMATORS if name != "precomputed"]
    add("--flow", required=True, choices=names, help="estimator")
    add("--flow_weights", metavar="FILE", help="checkpoint (.pth) of a network")
    add(
        "--flow_iterations",
        type=int,
        default=FlowOptions.iterations,
        help="updates of RAFT (default: %(default)s)",
    )
    add(
        "--flow_precision",
        default=FlowOptions.precision,
        choices=PRECISIONS,
        help="in which networks compute (default: %(default)s)",
    )
    add("--frames", nargs=2, required=True, metavar=("FIRST", "SECOND"), help="images")
    add("--reference", required=True, metavar="FILE", help="the flow that is known")
    add(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="PIXELS",
        help="mean end-point difference that is accepted (default: %(default)s, for the output of "
        "another implementation with the same weights)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 (the flow differs) or 2 (the input is wrong)."""
    given = _parser().parse_args(arguments)
    try:
        weights = user_path(given.flow_weights) if given.flow_weights is not None else None
        options = FlowOptions(given.flow, weights, given.flow_iterations, given.flow_precision)
        frames = tuple(map(user_path, given.frames))
        differences = check(options, frames, user_path(given.reference))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, difference in differences.items():
        print(
            f"{name}: end-point difference {difference.mean:.4f} px in the mean, "
            f"{difference.high:.4f} px at the 99th percentile, over {difference.pixels} pixels; "
            f"mean length {difference.length:.3f} px, reference "
            f"{difference.reference_length:.3f} px"
        )
    # Written so that NaN, which a broken network gives, does not pass.
    wrong = [name for name, each in differences.items() if not each.mean <= given.tolerance]
    if wrong:
        print(
            f"--flow={given.flow} differs from {given.reference} ({', '.join(wrong)}) by more than "
            f"the tolerance of {given.tolerance:g} px in the mean; check that weights, frames, "
            "their order and the reference belong together",
            file=sys.stderr,
        )
        return 1
    print(f"--flow={given.flow} agrees with {given.reference} within {given.tolerance:g} px")
    return 0


if __name__ == "__main__":
    sys.exit(main())
