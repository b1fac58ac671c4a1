"""Measures what it costs that long videos are predicted in pieces.

    python -m benchmarks.pieces --workdir=runs/of20 --data=davis2016:train --truth=DAVIS --held_out

J of fused masks, as ``benchmarks.rules`` has it: of whole videos; in pieces of ``--length`` frames,
each of which decides by itself which region is the object and whom to trust; and in pieces that
decide by all that has been seen of the video, as predictions do.
"""

import numpy as np

from benchmarks import rules
from dystab_jax import inference
from dystab_jax.build import Run
from dystab_jax.object_choice import NOTHING
from dystab_jax.refinement.flow_average import FramePair

WAYS = ("whole", "pieces alone", "pieces with what was seen")


def fuse_in_pieces(
    run: Run, variables: dict, seen: rules.Seen, length: int, remember: bool
) -> np.ndarray:
    """Returns fused maps [T, H, W, 1] of a video in pieces of ``length`` frames; see the module."""
    earlier, maps = NOTHING, []
    for start in range(0, len(seen.images), length):
        images = seen.images[start : start + length]
        pairs = [
            FramePair(pair.frame - start, pair.gap, pair.flow)
            for pair in seen.pairs
            if start <= pair.frame < start + len(images)
        ]
        frames = [(str(t), "") for t in range(len(images))]
        reading = inference.Reading.of(run.config.eval)
        one = run.predictor.video(
            variables, seen.name, frames, images, pairs, reading, earlier if remember else NOTHING
        )
        earlier = one.so_far()
        maps.append(inference.fuse(one, run.config.eval)["fused"])
    return np.concatenate(maps)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = rules.new_parser(__doc__)
    parser.add_argument("--length", type=int, default=15, help="frames of a piece")
    options = parser.parse_args(argv)
    run, snapshot, names = rules.open_run(options)
    table = []
    for seen in rules.see(run, snapshot.variables, options.data, options.truth, names):
        row = []
        for length, remember in ((10**9, False), (options.length, False), (options.length, True)):
            fused = fuse_in_pieces(run, snapshot.variables, seen, length, remember)
            row.append(rules.score(fused, seen.truth))
        js = ", ".join(f"{way} {j:.3f}" for way, j in zip(WAYS, row, strict=True))
        print(f"{seen.name}: {js}", flush=True)
        table.append(row)
    means = ", ".join(f"{way} {j:.4f}" for way, j in zip(WAYS, np.mean(table, 0), strict=True))
    print(f"J of {len(names)} videos in pieces of {options.length}, {snapshot.phase}: {means}")


if __name__ == "__main__":
    main()
