"""Measures how much colours of neighbouring frames differ, within shots and over cuts.

    python -m benchmarks.cuts --source=DAVIS/JPEGImages/480p

Each folder of frames there is one shot. Cuts are made by hand: the last frame of each folder beside
the first ones of others. `dystab_jax.prediction.shots.DIFFERENT` lies between what is printed.
"""

import argparse
from itertools import pairwise
from pathlib import Path

from data_prep.sources.discover import list_videos
from data_prep.sources.frames import read_image
from dystab_jax.prediction.shots import DIFFERENT, colour_distance

STEPS = (1, 5, 11)
"""How far on in the list of folders the other shots of a cut are."""


def measure(source: Path) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Returns distances within shots and over cuts, with names, each sorted from the smallest."""
    shots = list_videos(source)
    within, ends = [], []
    for shot in shots:
        images = (read_image(path)[0] for path in shot.paths)
        first = last = None
        for number, (before, after) in enumerate(pairwise(images), 1):
            within.append((colour_distance(before, after), f"{shot.name} {number}"))
            first, last = (before if first is None else first), after
        ends.append((first, last))
    over = [
        (
            colour_distance(last, ends[(number + step) % len(shots)][0]),
            f"{shots[number].name} to {shots[(number + step) % len(shots)].name}",
        )
        for number, (_, last) in enumerate(ends)
        for step in STEPS
    ]
    return sorted(within), sorted(over)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--source", type=Path, required=True, help="folders of frames")
    options = parser.parse_args(argv)
    within, over = measure(options.source)
    print(f"a cut is above {DIFFERENT}")
    largest = ", ".join(f"{value:.3f} {name}" for value, name in within[:-4:-1])
    smallest = ", ".join(f"{value:.3f} {name}" for value, name in over[:3])
    print(f"{len(within)} pairs within shots; the largest: {largest}")
    print(f"{len(over)} cuts; the smallest: {smallest}")


if __name__ == "__main__":
    main()
