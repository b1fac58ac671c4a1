"""Paints what lives in the `movers` videos: families of objects and the plane below them.

A family paints one individual into the *unit* square [-1, 1]²; everything is random but for the
family's traits, and drawn from the generator that is handed in.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

Grid = Float64[np.ndarray, "S S"]


# --- Families ------------------------------------------------------------------------------------


class Look(NamedTuple):
    """Holds a painted unit square: outside > 0 > inside, and the second colour's pattern (> 0)."""

    distance: Grid
    pattern: Grid


def _disc(x: Grid, y: Grid, centre: tuple[float, float], radii: tuple[float, float]) -> Grid:
    (cx, cy), (rx, ry) = centre, radii
    return (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def _rod(x: Grid, y: Grid, start: tuple[float, float], end: tuple[float, float], r: float) -> Grid:
    (ax, ay), (bx, by) = start, end
    along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)) - r


def _striped_beetle(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    body = _disc(x, y, (-0.1, 0), (0.68, rng.uniform(0.4, 0.52)))
    head = _disc(x, y, (0.64, 0), (0.24, 0.22))
    legs = [  # left and right alike
        _rod(x, np.abs(y), (at * 0.36, 0.25), (at * 0.46, 0.72), 0.075) for at in (-1.2, -0.2, 0.8)
    ]
    stripes = np.where((body < -0.02) & (head > 0), np.sin(x * rng.uniform(13, 18)), 1.0)
    return Look(np.minimum.reduce([body, head, *legs]), stripes)


def _ringed_disc(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    disc = _disc(x, y, (0, 0), (0.9, rng.uniform(0.7, 0.9)))
    return Look(disc, np.sin(disc * rng.uniform(17, 23) + 2.0))


def _checkered_box(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    beyond = np.abs(x) - 0.67, np.abs(y) - rng.uniform(0.37, 0.62)
    box = np.hypot(np.maximum(beyond[0], 0), np.maximum(beyond[1], 0)) - 0.18  # rounded
    rate = rng.uniform(7, 10)
    return Look(box, np.sin(x * rate) * np.sin(y * rate) * 2)


def _dotted_star(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    points, angle = rng.integers(5, 8), np.arctan2(y, x)
    star = (np.hypot(x, y) - 0.72 - 0.2 * np.cos(points * angle)) * 0.75
    rate = rng.uniform(10, 13)
    return Look(star, np.cos(x * rate) + np.cos(y * rate) - 0.7)


def _scaly_fish(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    body = _disc(x, y, (0.18, 0), (0.74, rng.uniform(0.38, 0.5)))
    tail = _rod(x, np.abs(y), (-0.5, 0), (-0.8, 0.32), 0.16)
    fin = _rod(x, y, (0.2, -0.35), (-0.1, -0.6), 0.11)
    eye = _disc(x, y, (0.66, -0.1), (0.09, 0.09))
    side = rng.uniform(0.2, 0.26)
    row = np.round(y / side * 2)
    column = (x / side + 0.5 * (row % 2)) % 1.0 - 0.5  # every other row is shifted by half a scale
    scales = np.hypot(column, y / side - 0.5 * row) - 0.33
    return Look(np.minimum.reduce([body, fin, tail]), np.where(x > 0.5, -eye, scales) * 8)


def _caterpillar(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    count, bend = rng.integers(5, 7), rng.uniform(0.15, 0.4)
    along = np.linspace(-0.68, 0.68, count)[:, None, None]
    parts = np.hypot(x - along, y - bend * (np.cos(3 * along) - 0.5)) - 1.3 / count
    body, odd = parts.min(axis=0), np.argmin(parts, axis=0) % 2
    return Look(body, np.where(odd, -1.0, body + 0.16) * 8)


def _petalled_flower(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    petals, radius, angle = rng.integers(5, 9), np.hypot(x, y), np.arctan2(y, x)
    flower = (radius - 0.55 - 0.36 * np.abs(np.cos(petals * angle / 2))) * 0.7
    return Look(flower, np.where(radius < 0.25, 1.0, np.sin(2 * petals * angle) * radius * 3))


def _zigzag_kite(x: Grid, y: Grid, rng: np.random.Generator) -> Look:
    kite = (np.abs(x) + np.abs(y) * rng.uniform(1.15, 1.6) - 0.9) * 0.65
    wave = np.abs((x * rng.uniform(2.2, 3.0)) % 1.0 - 0.5)
    return Look(kite, np.sin((y + 0.5 * wave) * rng.uniform(16, 22)))


class Family(NamedTuple):
    """Describes a recurring kind of object: how to paint it, its two hues (turns of the wheel)."""

    paint: Callable[[Grid, Grid, np.random.Generator], Look]
    hues: tuple[float, float]


TRAINING_FAMILIES = {
    "striped_beetle": Family(_striped_beetle, (0.13, 0.02)),
    "ringed_disc": Family(_ringed_disc, (0.98, 0.15)),
    "checkered_box": Family(_checkered_box, (0.60, 0.13)),
    "dotted_star": Family(_dotted_star, (0.80, 0.50)),
    "scaly_fish": Family(_scaly_fish, (0.52, 0.07)),
    "caterpillar": Family(_caterpillar, (0.30, 0.92)),
}
HELD_OUT_FAMILIES = {
    "petalled_flower": Family(_petalled_flower, (0.90, 0.62)),
    "zigzag_kite": Family(_zigzag_kite, (0.06, 0.45)),
}
FAMILIES = TRAINING_FAMILIES | HELD_OUT_FAMILIES


# --- Painting ------------------------------------------------------------------------------------


def _rgb(hue: float, saturation: float, value: float) -> Float64[np.ndarray, " 3"]:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def _noise(
    rng: np.random.Generator, shape: tuple[int, int], grains: tuple[float, ...], decay: float = 1.0
) -> Float32[np.ndarray, "h w"]:
    """Sums smooth noises, one per grain size (pixels), each `decay` times as strong as the last.

    Their sum has mean about 0 and variance 1.
    """
    total = np.zeros(shape, np.float32)
    for octave, grain in enumerate(grains):
        step = max(1.0, grain / 3)  # three samples per grain, smoothed: no lattice shows
        coarse = [round(side / step) + 2 for side in shape]
        field = cv2.GaussianBlur(rng.standard_normal(coarse, np.float32), (0, 0), grain / step / 2)
        field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
        total += decay**octave * field / field.std()
    return total / total.std()


def paint_plane(
    rng: np.random.Generator, shape: tuple[int, int], density: float
) -> UInt8[np.ndarray, "h w 3"]:
    """Paints ground with stones and twigs in muted colours, textured everywhere.

    `shape` is in canvas pixels, `density` in canvas pixels per world pixel.
    """
    hues = rng.choice([0.04, 0.09, 0.13, 0.2, 0.3, 0.42, 0.55, 0.62], 2)

    def muted() -> Float64[np.ndarray, " 3"]:
        hue = rng.normal(rng.choice(hues), 0.03)
        return _rgb(hue, rng.uniform(0.05, 0.42), rng.uniform(0.3, 0.75))

    def corners(points: Float64[np.ndarray, "n 2"]) -> list[np.ndarray]:
        return [np.round(points * 16).astype(np.int32)]  # OpenCV's fixed point with 4 bits

    regions = _noise(rng, shape, (90 * density, 40 * density, 12 * density), 0.7)
    share = 1 / (1 + np.exp(-2 * regions[..., None]))
    plane = (muted() * (1 - share) + muted() * share).astype(np.uint8)
    for _ in range(round(shape[0] * shape[1] / density**2 / 3000)):
        centre = rng.uniform(0, 1, 2) * shape[::-1]
        if rng.uniform() < 0.3:
            twig = centre + np.cumsum(rng.normal(0, 14 * density, (4, 2)), axis=0)
            width = max(1, round(rng.uniform(1, 3.5) * density))
            cv2.polylines(plane, corners(twig), False, tuple(muted()), width, cv2.LINE_AA, 4)
        else:
            turns = np.linspace(0, 2 * np.pi, rng.integers(5, 12), endpoint=False)
            radii = rng.uniform(0.75, 1.15, len(turns)) * rng.uniform(3, 15) * density
            stone = np.stack([np.cos(turns), rng.uniform(0.5, 1) * np.sin(turns)], axis=-1)
            stone, colour = centre + stone * radii[:, None], muted()
            shadow = corners(stone + 1.5 * density)
            cv2.fillPoly(plane, shadow, tuple(0.55 * colour), cv2.LINE_AA, 4)
            cv2.fillPoly(plane, corners(stone), tuple(colour), cv2.LINE_AA, 4)
    grain = _noise(rng, shape, (24 * density, 9 * density, 4 * density, 2 * density), 0.9)
    light = 1 + rng.uniform(0.13, 0.2) * np.clip(grain, -2.5, 2.5)
    return np.clip(plane * light[..., None], 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Sprite:
    """Holds a painted unit square.

    Attributes:
      paint: red, green, blue (0..255, premultiplied) and coverage (0..1).
      size: half of the square's side, world pixels.
      reach: distance of the object's farthest point from the centre, world pixels.
    """

    paint: Float32[np.ndarray, "S S 4"]
    size: float
    reach: float


def paint_object(
    rng: np.random.Generator,
    family: Family,
    area: float,
    largest_reach: float,
    density: float,
    plane: UInt8[np.ndarray, "h w 3"] | None,
) -> Sprite:
    """Paints an individual in its family's colours or, given a plane, in a mirrored piece of it.

    It covers `area` world pixels², less where it would reach farther than `largest_reach` world
    pixels; `density` is in canvas pixels per world pixel.
    """
    individual = rng.integers(2**32)

    def look(side: int) -> tuple[Grid, Grid, Look]:
        x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2)
        return x, y, family.paint(x, y, np.random.default_rng(individual))

    x, y, (distance, _) = look(96)
    reach = float(np.hypot(x, y)[distance < 0].max())
    size = min(np.sqrt(area / (4 * (distance < 0).mean())), largest_reach / reach)

    side = round(2 * size * density) + 1
    x, y, (distance, pattern) = look(side)
    coverage = np.clip(0.5 - distance * side / 2, 0, 1)
    if plane is None:
        shift = rng.uniform(-0.035, 0.035)
        first, second = (
            _rgb(hue + shift, rng.uniform(0.65, 0.95), rng.uniform(0.65, 1.0))
            for hue in family.hues
        )
        share = np.clip(0.5 + pattern * 3, 0, 1)[..., None]
        rim = np.clip(0.5 + (distance + 0.05) * side / 4, 0, 1)[..., None]
        grain = _noise(rng, x.shape, (12.0, 4.0))[..., None]
        colour = (first + share * (second - first)) * (1 - 0.8 * rim) * (1 + 0.16 * grain)
    else:
        top, left = (rng.integers(extent - side + 1) for extent in plane.shape[:2])
        colour = plane[top : top + side, left : left + side][::-1, ::-1]
    premultiplied = np.clip(colour, 0, 255) * coverage[..., None]
    return Sprite(np.dstack([premultiplied, coverage]).astype(np.float32), size, reach * size)
