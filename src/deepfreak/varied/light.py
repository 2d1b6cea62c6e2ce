"""Light that no crystal sends, as shapes: rings, halos, streaks, layer lines, shading.

These are empirical pictures of expected photons, not physics: what powders, solvents, lipids,
fibres and slits leave on a detector, so that a network has seen light of such forms. Radii, widths
and brightnesses are drawn over all that 512 x 512 pixels can show.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.prepare import SIZE

Float = NDArray[np.float32]
Array = NDArray[np.float64]

PEAK_PHOTONS = 0.3, 300.0
HALO_PHOTONS = 3.0, 30_000.0
# What an arc of a ring is drawn with.
POINTS_OF_ARC = 9
# h^2 + k^2 + l^2 of a face-centred cubic lattice's rings, whose angles are taken to be small.
FACE_CENTRED = np.array(
    [3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32, 35, 36, 40, 43, 44, 48, 51, 52], np.float64
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """Where each pixel lies about the beam, all (SIZE, SIZE).

    Attributes
    ----------
    down, right
        Pixels from the beam.
    radius, angle
        The same in polar coordinates; the angle in radians.
    """

    down: Float
    right: Float
    radius: Float
    angle: Float

    @classmethod
    @lru_cache(maxsize=2)
    def about(cls, center_px: tuple[float, float]) -> "Plane":
        """Return the plane around a beam at (slow, fast)."""
        pixel = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
        down, right = np.meshgrid(pixel - center_px[0], pixel - center_px[1], indexing="ij")
        down, right = down.astype(np.float32), right.astype(np.float32)
        return cls(
            down=down, right=right, radius=np.hypot(down, right), angle=np.arctan2(down, right)
        )


def stray_light(plane: Plane, rng: np.random.Generator) -> tuple[Float, frozenset[str]]:
    """Return the expected photons (SIZE, SIZE) of what is drawn, and the names of its kinds."""
    total = np.zeros((SIZE, SIZE), np.float32)
    drawn = [kind for kind in KINDS if rng.random() < kind.share]
    for kind in drawn:
        total += kind.draw(plane, rng)
    return total, frozenset(kind.name for kind in drawn)


def shading(plane: Plane, rng: np.random.Generator) -> Float:
    """Return a factor on all light, (SIZE, SIZE), or (1, 1) and 1 in most cases.

    A slope across the image, or modules that differ by some per cent.
    """
    chance = rng.random()
    if chance < 1 / 5:
        direction = rng.uniform(0, 2 * math.pi)
        along = (plane.down * math.sin(direction) + plane.right * math.cos(direction)) / SIZE
        steepness, bend = rng.normal(0, [1.0, 1.0])
        slope = np.clip(steepness * along + bend * along**2, -3, 1)
        return np.asarray(np.exp(slope), np.float32)
    if chance < 2 / 5:
        rows, columns = rng.integers(1, 9, 2)
        levels = np.exp(rng.normal(0, rng.uniform(0.005, 0.1), (rows, columns)))
        row = np.arange(SIZE) * rows // SIZE
        column = np.arange(SIZE) * columns // SIZE
        return np.asarray(levels[np.ix_(row, column)], np.float32)
    return np.ones((1, 1), np.float32)


def _diffuse_rings(plane: Plane, rng: np.random.Generator) -> Float:
    """Return one to three broad rings: solvent, mother liquor, lipidic phases, plastic."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.integers(1, 4)):
        radius, width = rng.uniform(0.05, 0.8) * SIZE, _log_uniform(rng, 6, 80)
        ring = _log_uniform(rng, *PEAK_PHOTONS) * _bell((plane.radius - radius) / width)
        total += ring * _texture(plane, rng, share=1 / 4)
    return total


def _halo(plane: Plane, rng: np.random.Generator) -> Float:
    """Return light about the beam that fades as a power of the radius: small-angle scattering."""
    core, power = _log_uniform(rng, 3, 60), rng.uniform(0.75, 2)
    peak = _log_uniform(rng, *HALO_PHOTONS)
    halo = peak * (1 + (plane.radius / core) ** 2) ** -power
    return (halo * _texture(plane, rng, share=1 / 3)).astype(np.float32)


def _streak(plane: Plane, rng: np.random.Generator) -> Float:
    """Return one or two lines through the beam: a slit's, a surface's, a fibre's equator."""
    total = np.zeros((SIZE, SIZE), np.float32)
    direction = rng.uniform(0, math.pi)
    for turn in (0.0, math.pi / 2)[: rng.integers(1, 3)]:
        along, across = _turned(plane, direction + turn)
        length, narrowest = _log_uniform(rng, 15, 250), _log_uniform(rng, 0.6, 8)
        width = narrowest + rng.uniform(0, 0.05) * np.abs(along)
        peak = _log_uniform(rng, 3, 3000)
        total += peak * np.exp(-np.abs(along) / length) * _bell(across / width)
    return total


def _layer_lines(plane: Plane, rng: np.random.Generator) -> Float:
    """Return parallel lines at equal distances, each with some broad maxima: a fibre's pattern."""
    along, across = _turned(plane, rng.uniform(0, math.pi))
    spacing, width = _log_uniform(rng, 12, 120), _log_uniform(rng, 1, 6)
    peak = _log_uniform(rng, 1, 300)
    total = np.zeros((SIZE, SIZE), np.float32)
    for order in range(rng.integers(1, 3), 1 + int(min(10, 0.7 * SIZE / spacing))):
        line = np.zeros_like(total)
        for _ in range(rng.integers(1, 4)):
            place, length = rng.uniform(0, 150), _log_uniform(rng, 8, 120)
            line += rng.exponential() * _bell((np.abs(across) - place) / length)
        height = peak * math.exp(-order / _log_uniform(rng, 1, 6))
        total += height * line * _bell((np.abs(along) - order * spacing) / width)
    return total


def _powder(plane: Plane, rng: np.random.Generator) -> Float:
    """Return the rings of any powder, smooth, textured, or of single grains."""
    radii = _ring_radii(rng)
    width, peak = _log_uniform(rng, 0.5, 6), _log_uniform(rng, *PEAK_PHOTONS)
    grains = _log_uniform(rng, 0.05, 10) if rng.random() < 1 / 2 else 0.0
    arc = _log_uniform(rng, 1, 30) if rng.random() < 1 / 2 else 0.0
    texture = _texture(plane, rng, share=1 / 3)
    total = np.zeros((SIZE, SIZE), np.float32)
    for radius in radii:
        height = peak * rng.uniform(0.05, 1)
        if grains == 0:
            total += height * _bell((plane.radius - radius) / width)
        else:
            total += _grainy_ring(plane, rng, radius, width, height=height, grains=grains, arc=arc)
    return total * texture


def _ring_radii(rng: np.random.Generator) -> Array:
    """Return radii in pixels: of any rings, of layers' equal steps, or of a cubic lattice's."""
    count = int(_log_uniform(rng, 1, 25))
    first = _log_uniform(rng, 15, 300)
    chance = rng.random()
    radii: Array
    if chance < 1 / 4:
        radii = first * np.arange(1, count + 1, dtype=np.float64)
    elif chance < 1 / 2:
        radii = np.asarray(first * np.sqrt(FACE_CENTRED[:count] / FACE_CENTRED[0]), np.float64)
    else:
        radii = rng.uniform(15, 0.85 * SIZE, count)
    return radii


def _grainy_ring(
    plane: Plane,
    rng: np.random.Generator,
    radius: float,
    width: float,
    *,
    height: float,
    grains: float,
    arc: float = 0.0,
) -> Float:
    """Return a ring of spots of random brightness, `grains` of them a pixel of its length.

    Each is drawn out along the ring by some pixels, `arc` in the mean. The light is that of a
    smooth ring of that height.
    """
    count = rng.poisson(grains * 2 * math.pi * radius)
    around = rng.uniform(0, 2 * math.pi, count)
    away = radius + width * rng.standard_normal(count)
    light = rng.exponential(height * width * math.sqrt(2 * math.pi) / grains, count)
    if arc > 0:
        along = np.linspace(-1, 1, POINTS_OF_ARC) * rng.exponential(arc / 2, (count, 1)) / radius
        around = (around[:, None] + along).ravel()
        away, light = (np.repeat(each, POINTS_OF_ARC) for each in (away, light / POINTS_OF_ARC))
    row = np.floor(away * np.sin(around) - plane.down[0, 0] + 0.5).astype(np.int64)
    column = np.floor(away * np.cos(around) - plane.right[0, 0] + 0.5).astype(np.int64)
    inside = (row >= 0) & (row < SIZE) & (column >= 0) & (column < SIZE)
    ring = np.zeros((SIZE, SIZE), np.float32)
    np.add.at(ring, (row[inside], column[inside]), light[inside].astype(np.float32))
    return _softened(ring)


def _softened(image: Float) -> Float:
    """Return `image` smoothed by 1 2 1 along both axes; its edges lose a quarter."""
    for axis in (0, 1):
        before, after = np.roll(image, 1, axis), np.roll(image, -1, axis)
        image = np.asarray((before + 2 * image + after) / 4, np.float32)
    return image


def _texture(plane: Plane, rng: np.random.Generator, *, share: float) -> Float | float:
    """Return a factor of mean 1 by the angle about the beam in `share` of the cases, else 1.

    Two opposite arcs, as of what lies in one direction.
    """
    if rng.random() >= share:
        return 1.0
    sharpness = _log_uniform(rng, 0.2, 12)
    arcs = np.exp(sharpness * (np.cos(2 * (plane.angle - rng.uniform(0, math.pi))) - 1))
    return np.asarray(arcs / np.exp(-sharpness) / np.i0(sharpness), np.float32)


def _turned(plane: Plane, angle: float) -> tuple[Float, Float]:
    """Return pixels from the beam along a direction, and across it."""
    sin, cos = np.float32(math.sin(angle)), np.float32(math.cos(angle))
    along: Float = plane.right * cos + plane.down * sin
    across: Float = plane.down * cos - plane.right * sin
    return along, across


def _bell(x: Any) -> Any:  # noqa: ANN401 -- arrays of either precision
    return np.exp(-0.5 * np.square(x))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of light, the share of images that show it, and what draws it."""

    name: str
    share: float
    draw: Callable[[Plane, np.random.Generator], Float]


KINDS = (
    Kind(name="diffuse rings", share=0.35, draw=_diffuse_rings),
    Kind(name="halo", share=0.35, draw=_halo),
    Kind(name="streak", share=0.15, draw=_streak),
    Kind(name="layer lines", share=0.1, draw=_layer_lines),
    Kind(name="powder", share=0.35, draw=_powder),
)
