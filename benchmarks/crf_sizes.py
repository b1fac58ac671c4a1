"""Measures at which size the CRF of fused masks is best, and what it takes.

    python -m benchmarks.crf_sizes --workdir=runs/of20 --data=davis2016:train --truth=DAVIS \\
        --held_out

J, and F of contours, at the size of the frames, of ``--frames`` of each video, evenly spread:
without a CRF, of ``--crf`` in the frame's own size, and of the same in smaller ones, enlarged along
the edges of the frame by guided filters of several radii (`DenseCRF.longest`, `DenseCRF.edge`). Of
sequences in DAVIS's own folders, whose truth is read here and nowhere in training.
"""

import dataclasses
import time

import numpy as np

from benchmarks import rules
from data_prep.sources.frames import read_image
from dystab_jax import inference
from dystab_jax.data import mask_files, resize
from dystab_jax.evaluation import metrics
from dystab_jax.refinement.crf import PRESETS, DenseCRF

SIZES = (640, 427, 320)
RADII = (4, 8, 12)


def variants(preset: str) -> dict[str, DenseCRF]:
    """Returns what is compared, by name."""
    whole = dataclasses.replace(PRESETS[preset], longest=None)
    found = {f"{preset}, size of the frame": whole}
    for size in SIZES:
        for radius in RADII:
            one = dataclasses.replace(whole, longest=size, edge=radius)
            found[f"{preset}, {size} pixels, radius {radius}"] = one
    return found


def score(soft: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Returns J and F of a map [H, W] cut at one half."""
    hard = soft > 0.5
    return metrics.jaccard(hard, truth), metrics.boundary_f(hard, truth)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = rules.new_parser(__doc__)
    parser.set_defaults(crf="medium")
    parser.add_argument("--frames", type=int, default=4, help="of each video")
    options = parser.parse_args(argv)
    run, snapshot, names = rules.open_run(options)
    ways = variants(options.crf)
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in ("no CRF", *ways)}
    seconds = dict.fromkeys(ways, 0.0)
    reading = inference.Reading.of(run.config.eval)
    for seen in rules.see(run, snapshot.variables, options.data, options.truth, names):
        frames = [(str(t), "") for t in range(len(seen.images))]
        given = (seen.name, frames, seen.images, seen.pairs, reading)
        prediction = run.predictor.video(snapshot.variables, *given)
        fused = inference.fuse(prediction, run.config.eval)["fused"]
        paths = sorted((options.truth / "JPEGImages" / "480p" / seen.name).glob("*.jpg"))
        for t in np.linspace(2, len(paths) - 3, options.frames).astype(int):
            image, _ = read_image(paths[t])
            folder = options.truth / "Annotations" / "480p" / seen.name
            truth = mask_files.read_mask(folder / f"{paths[t].stem}.png") > 0
            soft = resize.upsample(fused[t], truth.shape)[..., 0].astype(np.float32)
            table["no CRF"].append(score(soft, truth))
            for name, crf in ways.items():
                start = time.process_time()
                refined = crf.apply(image, soft, "numpy") if soft.max() > 0.5 else soft
                seconds[name] += time.process_time() - start
                table[name].append(score(refined, truth))
        print(f"{seen.name}: {len(seen.images)} frames", flush=True)
    count = len(table["no CRF"])
    print(f"{count} frames of {len(names)} videos, {snapshot.phase}")
    for name, scores in table.items():
        took = f", {seconds[name] / count:.2f} s of a core a frame" if name in ways else ""
        j, f = np.mean(scores, 0)
        print(f"  J {j:.4f}  F {f:.4f}  {name}{took}")


if __name__ == "__main__":
    main()
