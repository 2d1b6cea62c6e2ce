"""What throws shadows on a frame: beamstops with arms and ghosts, foils, edges, apertures.

Empirical: shapes with a soft edge and one transmission each, drawn over all that frames show.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.chance import log_uniform

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# What a row of a table of shadows begins with. All take a place (slow, fast) and a size in pixels.
DISC, ARM, WEDGE, APERTURE = range(4)
NO_SHADOWS = np.zeros((0, 8))


def draw_shadows(
    rng: np.random.Generator, shape: tuple[int, int], center_px: tuple[float, float]
) -> Array:
    """Return a table of shadows, (n, 8).

    Columns: shape (`DISC`, `ARM`, `WEDGE`, `APERTURE`), place along slow and fast, angle from fast
    to slow, second angle (of a wedge), size, width of the edge, transmission.
    """
    scale = max(shape) / 512
    rows: list[tuple[float, ...]] = []
    if rng.random() < 1 / 2:
        rows += _beamstop(rng, scale, center_px)
    if rng.random() < 1 / 8:  # a foil's corner, or an edge across the frame
        angle = rng.uniform(0, 2 * math.pi)
        turned = angle + (rng.uniform(-2, 2) if rng.random() < 1 / 2 else 0.0)
        place = rng.uniform(0.1, 0.9, 2) * shape
        dim = rng.uniform(0.0, 0.9)
        rows.append((WEDGE, *place, angle, turned, 0.0, scale * rng.uniform(0.5, 20), dim))
    if rng.random() < 1 / 20:  # a cell's or a tube's opening
        size = rng.uniform(0.25, 0.6) * max(shape)
        place = np.asarray(center_px) + rng.normal(0, 0.03, 2) * max(shape)
        dim = rng.uniform(0.0, 0.6)
        rows.append((APERTURE, *place, 0.0, 0.0, size, scale * log_uniform(rng, 1, 40), dim))
    return np.array(rows, np.float64).reshape(-1, 8)


def _beamstop(
    rng: np.random.Generator, scale: float, center_px: tuple[float, float]
) -> list[tuple[float, ...]]:
    """Return a disc about the beam, its arm in most cases, and its ghost in some."""
    radius, edge = scale * log_uniform(rng, 4, 40), log_uniform(rng, 0.3, 4)
    place = np.asarray(center_px) + rng.normal(0, 0.2, 2) * radius
    dark = 0.0 if rng.random() < 2 / 3 else log_uniform(rng, 1e-3, 0.2)
    rows: list[tuple[float, ...]] = [(DISC, *place, 0.0, 0.0, radius, edge, dark)]
    if rng.random() < 2 / 3:
        half = radius * log_uniform(rng, 0.05, 0.8)
        angle = rng.uniform(0, 2 * math.pi)
        if rng.random() < 1 / 2:
            angle = round(angle / (math.pi / 2)) * math.pi / 2 + rng.normal(0, 0.02)
        dim = 0.0 if rng.random() < 1 / 2 else rng.uniform(0, 0.8)
        rows.append((ARM, *place, angle, 0.0, half, edge, dim))
    if rng.random() < 1 / 5:
        moved = place + rng.normal(0, 1.5, 2) * radius
        rows.append((DISC, *moved, 0.0, 0.0, radius, edge * rng.uniform(1, 6), rng.uniform(0.4, 1)))
    return rows


@njit(cache=True, nogil=True, error_model="numpy")
def darken(canvas: Float, shadows: Array) -> None:
    """Multiply a canvas by all shadows' transmission, in place (slow equal: `transmission`)."""
    rows, columns = canvas.shape
    for n in range(len(shadows)):
        kind, slow, fast, angle, second, size, edge, dim = shadows[n]
        sin, cos, sin_2, cos_2 = np.sin(angle), np.cos(angle), np.sin(second), np.cos(second)
        top, bottom, left, right = 0, rows, 0, columns
        reach = size + edge + 1
        if kind == DISC:
            top, bottom = max(int(slow - reach), 0), min(int(slow + reach + 1), rows)
            left, right = max(int(fast - reach), 0), min(int(fast + reach + 1), columns)
        for i in range(top, bottom):
            down = i + 0.5 - slow
            first, last = left, right
            if kind == ARM and abs(sin) > 1e-6:
                middle, half = fast + down * cos / sin, abs(reach / sin)
                first = int(min(max(middle - half, 0), columns))
                last = int(min(max(middle + half + 1, 0), columns))
            for j in range(first, last):
                outside = _outside(kind, down, j + 0.5 - fast, size, sin, cos, sin_2, cos_2)
                share = outside / edge + 0.5
                if share < 1:
                    canvas[i, j] *= np.float32(dim + (1 - dim) * max(share, 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def transmission(shadows: Array, slow: Array, fast: Array) -> Array:
    """Return the transmission of all shadows at places in pixels, (n,)."""
    result = np.ones(len(slow))
    for n in range(len(shadows)):
        kind, at_slow, at_fast, angle, second, size, edge, dim = shadows[n]
        sin, cos, sin_2, cos_2 = np.sin(angle), np.cos(angle), np.sin(second), np.cos(second)
        for i in range(len(slow)):
            down, right = slow[i] - at_slow, fast[i] - at_fast
            outside = _outside(kind, down, right, size, sin, cos, sin_2, cos_2)
            share = min(max(outside / edge + 0.5, 0.0), 1.0)
            result[i] *= dim + (1 - dim) * share
    return result


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _outside(
    kind: float,
    down: float,
    right: float,
    size: float,
    sin: float,
    cos: float,
    sin_2: float,
    cos_2: float,
) -> float:
    """Return how many pixels a place is outside a shadow; negative inside."""
    if kind == DISC:
        return math.sqrt(down * down + right * right) - size
    if kind == APERTURE:
        return size - math.sqrt(down * down + right * right)
    across = down * cos - right * sin
    if kind == ARM:
        return max(abs(across) - size, -(down * sin + right * cos))
    return max(across, down * cos_2 - right * sin_2)
