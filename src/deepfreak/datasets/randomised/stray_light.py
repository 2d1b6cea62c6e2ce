"""Light that no crystal sends, as shapes: solvents, halos, streaks, layer lines, gradients.

These are empirical pictures of expected photons, not physics: radii, widths and brightnesses are
drawn over all that frames show.
"""

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.geometry import log_uniform
from deepfreak.datasets.randomised.light import BINS, Light, draw_texture

Array = NDArray[np.float64]
Float = NDArray[np.float32]

MAX_PHOTONS = 3e4


def level(light: Light, rng: np.random.Generator) -> None:
    """Add light of the level: even, and falling from the beam as air's."""
    falling = rng.choice([0.0, 1.0, rng.random()])
    light.add_smooth(light.level * (1 - falling))
    if falling:
        core, power = log_uniform(rng, 0.1, 0.8) * max(light.shape), rng.uniform(0.5, 2)
        middle = (1 + (0.3 * max(light.shape) / core) ** 2) ** -power
        peak = light.level * falling / middle
        light.add_radial(lambda r: peak * (1 + (r / core) ** 2) ** -power)


def solvent(light: Light, rng: np.random.Generator) -> None:
    """Add one to three broad rings: solvent, mother liquor, lipidic phases, plastic."""
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(0.05, 0.8) * max(light.shape)
        width = light.scale * log_uniform(rng, 6, 80)
        height = light.base * log_uniform(rng, 0.2, 5)
        ring = partial(_ring, radius=radius, width=width, height=height)
        light.add_radial(ring, draw_texture(rng, 1 / 8, 2.0))


def halo(light: Light, rng: np.random.Generator) -> None:
    """Add light about the beam that fades as a power of the radius: small-angle scattering."""
    core, power = light.scale * log_uniform(rng, 3, 60), rng.uniform(0.75, 2)
    peak = min(light.base * log_uniform(rng, 1, 1000), MAX_PHOTONS)
    texture = draw_texture(rng, 1 / 4, 4.0)
    light.add_radial(lambda r: peak * (1 + (r / core) ** 2) ** -power, texture)


def streak(light: Light, rng: np.random.Generator) -> None:
    """Add one or two lines through the beam: a slit's, a jet's, a surface's, a fibre's equator."""
    direction = rng.uniform(0, math.pi)
    for turn in (0.0, math.pi / 2)[: rng.integers(1, 3)]:
        length, narrowest = light.scale * log_uniform(rng, 15, 250), log_uniform(rng, 0.6, 8)
        wider = rng.choice([0.0, rng.uniform(0, 0.04)])
        peak = min(light.base * log_uniform(rng, 2, 500), MAX_PHOTONS)
        line = np.array([*light.center_px, direction + turn, length, narrowest, wider, peak])
        light.add_painter(partial(_add_streak, line=line))


def rim(
    light: Light, rng: np.random.Generator, center_px: tuple[float, float], radius_px: float
) -> None:
    """Add what a beamstop's edge scatters: a narrow ring, mostly in one direction."""
    height, width = light.base * log_uniform(rng, 1, 50), log_uniform(rng, 0.7, 4)
    ring = partial(_ring, radius=radius_px, width=width, height=height)
    light.add_radial(ring, draw_texture(rng, 3 / 4), center_px)


def tube(light: Light, rng: np.random.Generator) -> None:
    """Add a broad band across the beam: a capillary, a nozzle, a jet seen from the side."""
    slow, fast = light.grid()
    angle = rng.uniform(0, math.pi)
    along = slow * math.sin(angle) + fast * math.cos(angle)
    across = slow * math.cos(angle) - fast * math.sin(angle)
    width, length = log_uniform(rng, 0.03, 0.3), log_uniform(rng, 0.1, 1)
    offset = rng.normal(0, 0.1) if rng.random() < 1 / 2 else 0.0
    size = max(light.shape)
    shape = _bell((across / size - offset) / width) / (1 + (along / size / length) ** 2)
    light.add_smooth(light.base * log_uniform(rng, 0.3, 20) * shape)


def layer_lines(light: Light, rng: np.random.Generator) -> None:
    """Add parallel lines at equal distances, each with some broad maxima: a fibre's pattern."""
    spacing, width = light.scale * log_uniform(rng, 12, 120), log_uniform(rng, 1, 6)
    far = math.hypot(*light.shape) * 1.2
    across = np.arange(0, far, 1.0)
    orders = 1 + int(min(12, far / spacing))
    lines = np.zeros((orders, len(across)), np.float32)
    first, fade = rng.integers(0, 2), log_uniform(rng, 1, 6)
    peak = min(light.base * log_uniform(rng, 0.5, 100), MAX_PHOTONS)
    for order in range(first, orders):
        for _ in range(rng.integers(1, 4)):
            place = light.scale * rng.uniform(0, 150) if order else 0.0
            length = light.scale * log_uniform(rng, 8, 120)
            height = peak * math.exp(-order / fade) * rng.exponential()
            lines[order] += (height * _bell((across - place) / length)).astype(np.float32)
    slow, fast = light.center_px
    angle = rng.uniform(0, math.pi)
    sin, cos = math.sin(angle), math.cos(angle)
    light.add_painter(
        lambda canvas: _add_layer_lines(canvas, slow, fast, sin, cos, spacing, width, lines)
    )


def shading(light: Light, rng: np.random.Generator) -> None:
    """Multiply by a slope across the frame."""
    slow, fast = light.grid()
    direction = rng.uniform(0, 2 * math.pi)
    along = (slow * math.sin(direction) + fast * math.cos(direction)) / max(light.shape)
    steepness, bend = rng.normal(0, [1.0, 1.0])
    light.multiply(np.exp(np.clip(steepness * along + bend * along**2, -3, 1)))


def moire(light: Light, rng: np.random.Generator) -> None:
    """Multiply by fringes."""
    period, angle = log_uniform(rng, 5, 200), rng.uniform(0, math.pi)
    depth = log_uniform(rng, 0.01, 0.1)
    fringes = (1 + depth * np.cos(np.arange(BINS) * 2 * np.pi / BINS)).astype(np.float32)
    down, right = math.sin(angle) / period * BINS, math.cos(angle) / period * BINS
    light.add_painter(lambda canvas: _modulate(canvas, down, right, fringes))


def _ring(r: Array, radius: float, width: float, height: float) -> Array:
    return height * _bell((r - radius) / width)


def _bell(x: Array) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(x)))


@njit(cache=True, nogil=True, error_model="numpy")
def _add_streak(canvas: Float, line: Array) -> None:
    """Add peak exp(-|along| / length) of a Gaussian across, `narrowest` + `wider` |along| wide."""
    slow, fast, angle, length, narrowest, wider, peak = line
    sin, cos = np.sin(angle), np.cos(angle)
    rows, columns = canvas.shape
    longest = length * np.log(peak / 1e-3) if peak > 1e-3 else 0.0
    reach = 4 * (narrowest + wider * longest)
    for i in range(rows):
        down = i + 0.5 - slow
        first, last = 0, columns
        if abs(sin) > 1e-6:  # across = down cos - right sin within the reach
            middle, half = fast + down * cos / sin, abs(reach / sin)
            first = int(max(first, min(middle - half, columns)))
            last = int(min(last, max(middle + half + 1, 0)))
        for j in range(first, last):
            right = j + 0.5 - fast
            along = abs(down * sin + right * cos)
            across = abs(down * cos - right * sin)
            width = narrowest + wider * along
            if along < longest and across < 4 * width:
                canvas[i, j] += peak * np.exp(-along / length - 0.5 * (across / width) ** 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_layer_lines(
    canvas: Float,
    slow: float,
    fast: float,
    sin: float,
    cos: float,
    spacing: float,
    width: float,
    lines: Float,
) -> None:
    """Add lines (order, pixels across) at multiples of a distance along a direction."""
    for i in range(canvas.shape[0]):
        down = i + 0.5 - slow
        for j in range(canvas.shape[1]):
            right = j + 0.5 - fast
            along = abs(down * sin + right * cos)
            order = np.uint32(along / spacing + 0.5)
            off = along - order * spacing
            if abs(off) < 4 * width and order < len(lines):
                across = np.uint32(abs(down * cos - right * sin))
                if across < lines.shape[1]:
                    canvas[i, j] += lines[order, across] * np.exp(-0.5 * (off / width) ** 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _modulate(canvas: Float, down: float, right: float, fringes: Float) -> None:
    """Multiply by a table of one period; `down` and `right` are bins a pixel."""
    period = len(fringes)
    for i in range(canvas.shape[0]):
        start = i * down + 1e6 * period  # never negative
        for j in range(canvas.shape[1]):
            canvas[i, j] *= fringes[np.uint64(start + j * right) % period]
