"""Measures what a trained run gains when it adapts to single videos, after every round of it.

    python -m benchmarks.adaptation --workdir=runs/of20 --data=davis2016:train --truth=DAVIS \\
        --held_out --rounds=2

J as ``benchmarks.rules`` has it, of φ, χ, both fused, and their mean, before adaptation and after
each round; with ``--crf``, also of masks that it refines. How to adapt is chosen by this on
training sequences that the run has not seen; truth is read here and nowhere in learning.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks import rules
from dystab_jax import inference
from dystab_jax.build import Run
from dystab_jax.evaluation.adaptation import Adapter
from dystab_jax.inference import VideoPrediction


def predictions(
    run: Run, variables: dict, adapter: Adapter, seen: rules.Seen
) -> Iterator[VideoPrediction]:
    """Yields what is predicted of a video before adaptation and after each round."""
    frames = [(str(t), "") for t in range(len(seen.images))]
    reading = inference.Reading.of(run.config.eval)
    before = run.predictor.video(variables, seen.name, frames, seen.images, seen.pairs, reading)
    yield before
    yield from adapter.rounds(variables, before)


def measure(run: Run, prediction: VideoPrediction, seen: rules.Seen, preset: str) -> dict:
    """Returns J of the maps of a prediction, by what they are."""
    maps = inference.fuse(prediction, run.config.eval)
    maps["mean"] = (maps["phi"] + maps["chi"]) / 2
    found = {name: rules.score(one, seen.truth) for name, one in maps.items()}
    if preset != "none":
        for name, one in maps.items():
            found[f"{name}, {preset}"] = rules.score_refined(seen, one, preset)
    return found


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = rules.new_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of adaptation (default: 2)")
    parser.add_argument("--chi_updates", type=int, help="of a round; default: the run's own")
    parser.add_argument("--phi_rounds", type=int, help="of a round; default: the run's own")
    options = parser.parse_args(argv)
    run, snapshot, names = rules.open_run(options)
    adaptation = run.config.eval.adaptation
    for field in ("rounds", "chi_updates", "phi_rounds"):
        if getattr(options, field) is not None:
            adaptation[field] = getattr(options, field)
    adapter = Adapter(run)
    tables: list[dict[str, list[float]]] = [{} for _ in range(adaptation.rounds + 1)]
    for seen in rules.see(run, snapshot.variables, options.data, options.truth, names):
        steps = list(predictions(run, snapshot.variables, adapter, seen))
        # A video that shows no object stays as it is.
        steps += [steps[-1]] * (len(tables) - len(steps))
        print(f"{seen.name}: {len(seen.images)} frames")
        for number, (table, step) in enumerate(zip(tables, steps, strict=True)):
            found = measure(run, step, seen, options.crf)
            for name, j in found.items():
                table.setdefault(name, []).append(j)
            line = ", ".join(f"{name} {j:.3f}" for name, j in found.items())
            print(f"  round {number}: {line}", flush=True)
    print(f"J of {len(names)} videos, {snapshot.phase}")
    for name in tables[0]:
        js = "  ".join(f"{np.mean(table[name]):.4f}" for table in tables)
        print(f"  {js}  {name}")


if __name__ == "__main__":
    main()
