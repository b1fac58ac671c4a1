"""Draws the videos of the embedded data set `movers`, with exact object masks.

A camera pans, turns and zooms over a textured plane on which one or two objects live. Three
coordinate systems: *world* (pixels of a 192-row frame; the origin is where the camera looks half
way through), *unit* (the square [-1, 1]² in which a family paints itself) and *frame* (pixels).
Each frame is resampled from one canvas and one sprite per object by a single affine map each, so
motion is smooth below a pixel and what rests on the plane moves exactly with the camera.

Groups of frames:
  moving       the object moves on the plane
  paused       the object rests for now, and looks so in every flow of gap ±1..±3 from this frame
  never        the object rests in the whole video: flow says nothing about it
  camouflaged  moving, painted with the plane's own texture: colours tell little about it
  unseen       moving, of a family that the training and validation splits do not contain
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from data_prep.datasets.painting import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    TRAINING_FAMILIES,
    Sprite,
    paint_object,
    paint_plane,
)

MIX = {
    "train": {"moving": 58, "paused": 14, "never": 12, "camouflaged": 12},
    "val": {"moving": 6, "paused": 2, "never": 2, "camouflaged": 2},
    "test": {"moving": 7, "paused": 7, "never": 9, "camouflaged": 3, "unseen": 6},
}
"""Videos of each group in each split."""
VIDEOS = {split: sum(groups.values()) for split, groups in MIX.items()}
"""Number of videos in each split."""

MAX_GAP = 3  # frames between the two of a pair, at most: what "paused" must withstand
DENSITY = 1.5  # canvas and sprite pixels per frame pixel, so that resampling does not blur
WORLD_HEIGHT = 192
FASTEST = 6.5  # px per frame: gap 3 must stay within the reach of a coarse-to-fine flow
PAIR_SHARE = 0.2  # of the videos show two objects

Affine = Float64[np.ndarray, "3 3"]
Point = tuple[float, float] | Float64[np.ndarray, " 2"]


@dataclass(frozen=True)
class DrawnVideo:
    """Holds one drawn video and the truth about it.

    Attributes:
      name: "SPLIT-INDEX-FAMILY", families of several objects joined by "+".
      frames: RGB.
      masks: 1 where objects cover at least half of the pixel, else 0.
      groups: group of each frame (see the module's docstring).
      views: for each frame the map from world to frame coordinates, pixels.
    """

    name: str
    frames: UInt8[np.ndarray, "T H W 3"]
    masks: UInt8[np.ndarray, "T H W"]
    groups: tuple[str, ...]
    views: Float64[np.ndarray, "T 3 3"]


# --- Motion --------------------------------------------------------------------------------------


def _similarity(scale: float, degrees: float, start: Point, end: Point) -> Affine:
    """Turns and scales about `start`, then carries `start` to `end`."""
    cosine, sine = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = np.asarray(end) - turn @ np.asarray(start)
    return matrix


def _curve(
    velocity: tuple[float, float], bend: float, clock: Float64[np.ndarray, " T"]
) -> Float64[np.ndarray, "T 2"]:
    """Returns offsets along a parabola: `velocity` at clock 0, then an acceleration across it."""
    velocity = np.asarray(velocity)
    across = np.array([-velocity[1], velocity[0]])
    return clock[:, None] * velocity + bend * clock[:, None] ** 2 * across


def _heading(rng: np.random.Generator, speed: float) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return speed * np.cos(angle), speed * np.sin(angle)


def _camera(
    rng: np.random.Generator, count: int, height: int, width: int
) -> Float64[np.ndarray, "T 3 3"]:
    """Returns maps from world to frame: pan up to 4, turn, zoom up to 1 px/frame at the rim."""
    clock = np.arange(count) - (count - 1) / 2
    liveliness = rng.choice([0.05, 1.0], p=[0.15, 0.85])  # some cameras hardly move
    pan = _curve(_heading(rng, liveliness * rng.uniform(0.5, 3.8)), rng.uniform(-0.03, 0.03), clock)
    turn = liveliness * rng.uniform(-0.3, 0.3) * clock
    zoom = np.exp(liveliness * rng.uniform(-0.005, 0.005) * clock)
    middle = ((width - 1) / 2, (height - 1) / 2)
    scale = height / WORLD_HEIGHT
    return np.stack([_similarity(scale * zoom[t], turn[t], pan[t], middle) for t in range(count)])


def _clock(rng: np.random.Generator, group: str, count: int) -> Float64[np.ndarray, " T"]:
    """Returns the time that passes for an object: its pose depends on nothing else."""
    clock = np.arange(count, dtype=float)
    if group == "never":
        clock[:] = 0
    if group == "paused":
        moves = rng.integers(2, 4)
        clock = np.minimum(clock, moves)
        if rng.uniform() < 0.5:  # rests first, leaves late
            clock = -clock[::-1]
    return clock - clock[count // 2]


class Body(NamedTuple):
    """Holds a sprite and its maps from unit to frame coordinates, one per frame."""

    sprite: Sprite
    poses: Float64[np.ndarray, "T 3 3"]


def _room(body: Body, others: list[Body], height: int, width: int) -> float:
    """Returns the frame pixels to spare, at worst, until a body is too far, near or fast.

    A body may stick out of the frame by a fifth of its reach and overlap others' reach by a tenth.
    """
    zoom = np.sqrt(np.linalg.det(body.poses[:, :2, :2])) / body.sprite.size
    centres, reach = body.poses[:, :2, 2], zoom * body.sprite.reach
    inside = np.minimum(centres, np.array([width - 1, height - 1]) - centres).min(axis=1)
    step = np.linalg.norm(np.diff(centres, axis=0), axis=1).max()
    apart = [
        np.linalg.norm(centres - other.poses[:, :2, 2], axis=1)
        - 0.9 * (reach + zoom * other.sprite.reach)
        for other in others
    ]
    slack = np.min([inside - 0.8 * reach, *apart])
    return float(min(slack, FASTEST * height / WORLD_HEIGHT - step))


def _let_live(
    rng: np.random.Generator,
    sprite: Sprite,
    clock: Float64[np.ndarray, " T"],
    views: Float64[np.ndarray, "T 3 3"],
    others: list[Body],
    height: int,
    width: int,
) -> Body:
    """Sets a sprite on the first drawn path that has room enough (the roomiest of 100 if none)."""
    best, best_room = None, -np.inf
    for _ in range(100):
        place = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        start = (np.linalg.inv(views[len(views) // 2]) @ [*place, 1])[:2]
        path = start + _curve(_heading(rng, rng.uniform(2, 5)), rng.uniform(-0.04, 0.04), clock)
        degrees = rng.uniform(0, 360) + rng.uniform(-2.5, 2.5) * clock
        scale = sprite.size * np.exp(rng.uniform(-0.006, 0.006) * clock)
        world = [
            _similarity(*pose, (0, 0), end) for *pose, end in zip(scale, degrees, path, strict=True)
        ]
        body = Body(sprite, views @ np.stack(world))
        room = _room(body, others, height, width)
        if room > best_room:
            best, best_room = body, room
        if room >= 0:
            break
    return best


# --- Videos --------------------------------------------------------------------------------------


def _cast(rng: np.random.Generator, split: str, index: int) -> tuple[str, list[str]]:
    """Chooses group and families of a video; groups, and in each the first families, take turns."""
    order = sorted(
        ((rank + 0.5) / count, rank, group)
        for group, count in MIX[split].items()
        for rank in range(count)
    )
    _, rank, group = order[index]
    pool = list(HELD_OUT_FAMILIES if group == "unseen" else TRAINING_FAMILIES)
    first = pool[(rank + 2 * list(MIX[split]).index(group)) % len(pool)]
    second = pool[rng.integers(len(pool))]
    return group, [first, second] if rng.uniform() < PAIR_SHARE else [first]


def _ground(
    rng: np.random.Generator, views: Float64[np.ndarray, "T 3 3"], height: int, width: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float64[np.ndarray, "T 3 3"]]:
    """Paints a plane as large as the camera sees of it; maps from its canvas to frame pixels."""
    density = DENSITY * height / WORLD_HEIGHT
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    seen = (np.linalg.inv(views) @ corners)[:, :2]
    first, last = seen.min(axis=(0, 2)) - 2, seen.max(axis=(0, 2)) + 2
    columns, rows = np.ceil((last - first) * density).astype(int).tolist()
    plane = paint_plane(rng, (rows, columns), density)
    return plane, views @ _similarity(1 / density, 0, (0, 0), first)


def _render(
    rng: np.random.Generator,
    plane: UInt8[np.ndarray, "h w 3"],
    plane_poses: Float64[np.ndarray, "T 3 3"],
    bodies: list[Body],
    height: int,
    width: int,
) -> tuple[UInt8[np.ndarray, "T H W 3"], UInt8[np.ndarray, "T H W"]]:
    """Renders frames, with flickering light and sensor noise, and the truth."""
    count, size = len(plane_poses), (width, height)
    images = np.empty((count, height, width, 3), np.uint8)
    masks = np.empty((count, height, width), np.uint8)
    flicker, noise = rng.uniform(0, 0.02), rng.uniform(1, 2.5)
    for t in range(count):
        image = cv2.warpAffine(plane, plane_poses[t, :2], size).astype(np.float32)
        visible = np.ones((height, width, 1), np.float32)
        for sprite, poses in bodies:
            middle = (len(sprite.paint) - 1) / 2
            pose = poses[t] @ _similarity(1 / middle, 0, (middle, middle), (0, 0))
            paint = cv2.warpAffine(sprite.paint, pose[:2], size)
            image = image * (1 - paint[..., 3:]) + paint[..., :3]
            visible *= 1 - paint[..., 3:]
        image *= 1 + flicker * np.sin(t)
        image += noise * rng.standard_normal(image.shape, np.float32)
        images[t] = np.clip(np.rint(image), 0, 255)
        masks[t] = visible[..., 0] <= 0.5
    return images, masks


def _labels(group: str, clock: Float64[np.ndarray, " T"]) -> tuple[str, ...]:
    """Groups each frame; one of a paused video is moving if any of its flows shows motion."""
    if group != "paused":
        return (group,) * len(clock)
    near = [clock[max(0, t - MAX_GAP) : t + MAX_GAP + 1] for t in range(len(clock))]
    return tuple("paused" if np.ptp(window) == 0 else "moving" for window in near)


def draw_video(
    split: str,
    index: int,
    *,
    frames: int = 10,
    height: int = 192,
    width: int = 320,
    seed: int = 0,
) -> DrawnVideo:
    """Draws one video; the same arguments give the same pixels, in whatever order videos are drawn.

    Args:
      split: "train", "val" or "test".
      index: which video, 0 <= index < VIDEOS[split].
      frames: how many, at least 2; paths are made for about ten.
      height: pixels, at least 48; sizes and speeds are in proportion to it.
      width: pixels, at least 48.
      seed: of the whole data set, not negative.

    Raises:
      ValueError: on arguments outside these ranges.
    """
    if split not in VIDEOS:
        raise ValueError(f"movers has no split {split!r}; choose one of {sorted(VIDEOS)}")
    if not 0 <= index < VIDEOS[split]:
        raise ValueError(f"movers:{split} has videos 0 to {VIDEOS[split] - 1}, not {index}")
    if frames < 2 or min(height, width) < 48:
        raise ValueError(
            f"{frames} frames of {height}x{width} asked for; movers needs 2 frames and 48x48 pixels"
        )
    rng = np.random.default_rng([seed, sorted(VIDEOS).index(split), index])
    group, families = _cast(rng, split, index)
    views = _camera(rng, frames, height, width)
    clock = _clock(rng, group, frames)
    plane, plane_poses = _ground(rng, views, height, width)
    bodies: list[Body] = []
    for family in families:
        share = rng.uniform(0.048, 0.13) if len(families) == 1 else rng.uniform(0.042, 0.065)
        sprite = paint_object(
            rng,
            FAMILIES[family],
            area=share * WORLD_HEIGHT**2 * width / height,
            largest_reach=0.33 * WORLD_HEIGHT * min(1, width / height),
            density=DENSITY * height / WORLD_HEIGHT,
            plane=plane if group == "camouflaged" else None,
        )
        bodies.append(_let_live(rng, sprite, clock, views, bodies, height, width))

    images, masks = _render(rng, plane, plane_poses, bodies, height, width)
    name = f"{split}-{index:03d}-{'+'.join(families)}"
    return DrawnVideo(name, images, masks, _labels(group, clock), views)
