"""Measures how well the objects of a mask get their numbers back, by the protocol of DAVIS-2017.

    python -m benchmarks.instances --davis DAVIS [--every 2] [--save FOLDER]
    python -m benchmarks.instances --davis DAVIS --single

Sequences of DAVIS-2016, which have one object each, are put together by twos: the object of one,
made smaller, crosses the other sequence in front of it. So it is known which pixel belongs to which
object, also where both are one region. The masks of both together, and flow that DIS estimates
between the frames as ``--mode=predict`` does, go to the tracker. Compared are

* tracked: its numbers;
* by area: regions numbered by their areas in each frame, without memory;
* one: a single object.

Prints J&F of each pair, the numbers that the tracker gave, and its seconds per frame, flow not
included. ``--save`` keeps frames and numbers. ``--single`` takes the sequences as they are, one
object each, often cut in parts by what is in front: what is below 1 is lost by telling apart.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.flow import FlowOptions, make_estimator
from data_prep.video import Recipe
from dystab_jax.data import mask_files
from dystab_jax.data.mask_rule import davis_palette
from dystab_jax.data.resize import network_size, resize_flow, resize_image
from dystab_jax.evaluation.protocols.base import Video
from dystab_jax.evaluation.protocols.davis2017 import MAX_PROPOSALS, Davis2017
from dystab_jax.prediction.files import overlay_objects
from dystab_jax.prediction.objects import ObjectTracker
from dystab_jax.prediction.segmented import SegmentedFrame, Trace

SCALE = 0.5
"""Of the object that is put in front."""
TRAVEL = 0.6
"""Share of the frame's width that it moves beside its own motion, from the left to the right."""
NETWORK = (192, 352)
WAYS = ("tracked", "by area", "one")


class Scene(NamedTuple):
    """Holds a frame that was put together.

    Attributes:
      image: RGB uint8 [H, W, 3].
      truth: uint8 [H, W]: 1 the object behind, 2 the one in front.
    """

    image: np.ndarray
    truth: np.ndarray


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path, required=True, help="with JPEGImages/480p")
    parser.add_argument("--every", type=int, default=1, help="take every n-th pair or sequence")
    parser.add_argument("--single", action="store_true", help="sequences by themselves")
    parser.add_argument("--save", type=Path, help="folder for frames with their numbers")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    names = sorted(path.name for path in (arguments.davis / "JPEGImages" / "480p").iterdir())
    scores, seconds, frames = [], 0.0, 0
    print(f"{'behind + in front':34}" + "".join(f"{way:>9}" for way in WAYS) + "  numbers")
    pairs = [(name,) for name in names]
    if not arguments.single:
        pairs = list(zip(names[::2], names[1::2], strict=False))
    for pair in pairs[:: arguments.every]:
        scenes = list(compose(arguments.davis, *pair))
        numbers, took = track(scenes)
        seconds, frames = seconds + took, frames + len(scenes)
        found = {"tracked": numbers, "by area": [by_area(scene.truth) for scene in scenes]}
        found["one"] = [(scene.truth != 0).astype(np.uint8) for scene in scenes]
        scores.append([score(scenes, found[way]) for way in WAYS])
        shown = "".join(f"{one:9.3f}" for one in scores[-1])
        print(f"{' + '.join(pair):34}{shown}  {max(map(np.max, numbers))}", flush=True)
        if arguments.save:
            save(arguments.save / "-".join(pair), scenes, numbers)
    means = "".join(f"{one:9.3f}" for one in np.mean(scores, axis=0))
    print(f"{f'mean of {len(scores)}':34}{means}")
    print(f"tracker: {seconds / frames:.3f} s per frame")


def compose(davis: Path, behind: str, front: str | None = None) -> Iterator[Scene]:
    """Yields the frames of two sequences put together, as many as both have, or those of one."""
    if front is None:
        yield from (Scene(*frame) for frame in read(davis, behind))
        return
    pairs = zip(read(davis, behind), read(davis, front), strict=False)
    count = min(len(os.listdir(davis / "JPEGImages" / "480p" / name)) for name in (behind, front))
    for t, ((image, mask), (other, other_mask)) in enumerate(pairs):
        height, width = mask.shape
        shift = TRAVEL * width * (t / max(count - 1, 1) - 0.5)
        left, top = (1 - SCALE) / 2 * width + shift, (1 - SCALE) / 2 * height
        place = np.array([[SCALE, 0, left], [0, SCALE, top]], np.float32)
        other = cv2.warpAffine(other, place, (width, height), flags=cv2.INTER_AREA)
        inside = cv2.warpAffine(other_mask, place, (width, height), flags=cv2.INTER_NEAREST) != 0
        yield Scene(
            np.where(inside[..., None], other, image),
            np.where(inside, 2, mask).astype(np.uint8),
        )


def read(davis: Path, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the images and masks (0 and 1) of a sequence."""
    for path in sorted((davis / "JPEGImages" / "480p" / name).iterdir()):
        mask = mask_files.read_mask(davis / "Annotations" / "480p" / name / f"{path.stem}.png")
        yield cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), mask


def track(scenes: Sequence[Scene]) -> tuple[list[np.ndarray], float]:
    """Returns the tracker's numbers of all frames, and the seconds that it took without flow."""
    tracker, numbers, seconds = ObjectTracker(), [], 0.0
    estimator, recipe, before = make_estimator(FlowOptions(), "scenes"), Recipe(), None
    for t, scene in enumerate(scenes):
        height, width = scene.truth.shape
        working = recipe.working_size(width, height)
        encoded = estimator.encode(
            resize_image(scene.image, working[::-1]), str(t), (height, width)
        )
        flows, size = {}, network_size((height, width), NETWORK)
        if before is not None:
            flow = estimator.match([encoded], [before])[0]
            flows[-1] = resize_flow(flow, size).astype(np.float16)
        before, empty = encoded, np.zeros(size, np.float32)
        trace = Trace(flows, empty, empty, empty, 0.0, 0.0)
        soft = (scene.truth != 0).astype(np.float32)
        frame = SegmentedFrame(f"{t:05d}", None, scene.image, soft, trace)
        start = time.perf_counter()
        numbers.append(tracker.numbers(frame))
        seconds += time.perf_counter() - start
    return numbers, seconds


def by_area(truth: np.ndarray) -> np.ndarray:
    """Numbers the regions of a mask, the largest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((truth != 0).astype(np.uint8))
    order = np.argsort(-stats[1:, cv2.CC_STAT_AREA]) + 1
    table = np.zeros(count, np.uint8)
    table[order[:MAX_PROPOSALS]] = np.arange(1, 1 + len(order[:MAX_PROPOSALS]))
    return table[labels]


def score(scenes: Sequence[Scene], numbers: Sequence[np.ndarray]) -> float:
    """Returns J&F over the objects."""
    video = Video(regions=[scene.truth for scene in scenes], objects=numbers)
    return Davis2017()({"scenes": video})["j_and_f"]


def save(folder: Path, scenes: Sequence[Scene], numbers: Sequence[np.ndarray]) -> None:
    """Writes FRAME.jpg with the objects in colours, and their numbers, FRAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, (scene, found) in enumerate(zip(scenes, numbers, strict=True)):
        picture = overlay_objects(scene.image, found)
        cv2.imwrite(str(folder / f"{t:05d}.jpg"), picture[..., ::-1])
        data = mask_files.encode_levels(found, davis_palette())
        (folder / f"{t:05d}.png").write_bytes(data)


if __name__ == "__main__":
    main()
