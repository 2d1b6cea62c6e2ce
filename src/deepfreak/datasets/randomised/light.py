"""Light that is collected as shapes and painted once on the canvas, and shadows over it.

What is smooth is kept on a coarse grid, what depends on the radius as a table. Shadows (beamstops
with arms and ghosts, foils, edges, apertures) are empirical: shapes with a soft edge and one
transmission each, drawn over all that frames show.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.geometry import farthest_px, log_uniform

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# What a row of a table of shadows begins with. All take a place (slow, fast) and a size in pixels.
DISC, ARM, WEDGE, APERTURE = range(4)
NO_SHADOWS = np.zeros((0, 8))

FAINT_PHOTONS = 0.02  # in an empty frame other light is as bright as if this were its level
_COARSE_PX = 8
_STEP_PX = 0.25  # of tables by radius
BINS = 256  # of tables by angle


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


@dataclass(frozen=True, slots=True)
class Texture:
    """How light depends on the angle about its centre: von Mises arcs of mean 1."""

    sharpness: float = 0.0  # 0 is even
    angle: float = 0.0  # of the brightest direction in radians, from fast to slow
    arcs: int = 2  # 2, opposite, or 1

    def at(self, azimuth: Array) -> Array:
        """Return the factor at angles in radians."""
        return self.by_cosine(np.cos(self.arcs * (azimuth - self.angle)))

    def by_cosine(self, cosine: Array) -> Array:
        """Return the factor by the cosine of `arcs` times the angle from the brightest."""
        mean = float(np.exp(self.sharpness * (np.cos(np.arange(720) * np.pi / 360) - 1)).mean())
        return np.exp(self.sharpness * (cosine - 1)) / mean


EVEN = Texture()


def draw_texture(rng: np.random.Generator, share: float, sharpest: float = 12.0) -> Texture:
    """Return arcs in `share` of the cases, else even light."""
    if rng.random() >= share:
        return EVEN
    arcs = 2 if rng.random() < 3 / 4 else 1
    return Texture(log_uniform(rng, 0.2, sharpest), rng.uniform(0, 2 * math.pi), arcs)


@dataclass(slots=True, kw_only=True, eq=False)
class Light:
    """Light that is collected as shapes and painted once."""

    # shape, center_px: of the canvas, and where the beam meets it, (slow, fast) in pixels
    shape: tuple[int, int]
    center_px: tuple[float, float]
    level: float  # photons a pixel of the smooth light, by which the other light is scaled
    # As `draw_shadows` returns them, over all light
    shadows: Array = field(default_factory=lambda: NO_SHADOWS)
    _smooth: Float = field(init=False)
    _factor: Float | None = field(init=False, default=None)
    _radial: dict[tuple[float, float, Texture], Float] = field(init=False, default_factory=dict)
    _painters: list[Callable[[Float], None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        grid = (-(-self.shape[0] // _COARSE_PX) + 1, -(-self.shape[1] // _COARSE_PX) + 1)
        self._smooth = np.zeros(grid, np.float32)

    @property
    def scale(self) -> float:
        """How much larger the canvas is than 512 pixels: shapes grow with it."""
        return max(self.shape) / 512

    @property
    def base(self) -> float:
        """Photons a pixel by which other light is scaled."""
        return max(self.level, FAINT_PHOTONS)

    def grid(self) -> tuple[Array, Array]:
        """Return pixels from the beam along slow (n, 1) and fast (1, m) of the coarse grid."""
        slow, fast = (
            np.arange(size, dtype=np.float64) * _COARSE_PX + 0.5 - center
            for size, center in zip(self._smooth.shape, self.center_px, strict=True)
        )
        return slow[:, None], fast[None, :]

    def add_smooth(self, photons: Array | float) -> None:
        """Add light given on the coarse grid."""
        self._smooth += np.asarray(photons, np.float32)

    def multiply(self, factor: Array) -> None:
        """Multiply all light but what painters add by a factor on the coarse grid."""
        before = 1.0 if self._factor is None else self._factor
        self._factor = np.asarray(before * factor, np.float32)

    def add_radial(
        self,
        photons: Callable[[Array], Array],
        texture: Texture = EVEN,
        center_px: tuple[float, float] | None = None,
    ) -> None:
        """Add light that depends on the radius in pixels."""
        center = self.center_px if center_px is None else center_px
        radius = np.arange(0, farthest_px(center, self.shape) + 4, _STEP_PX)
        key = (*center, texture)
        table = np.asarray(photons(radius), np.float32)
        self._radial[key] = table + self._radial[key] if key in self._radial else table

    def add_painter(self, painter: Callable[[Float], None]) -> None:
        """Add what changes a canvas in place, after all other light, in the order given."""
        self._painters.append(painter)

    def paint(self) -> Float:
        """Return the expected photons, (slow, fast)."""
        canvas = np.zeros(self.shape, np.float32)
        _stretch(self._smooth, canvas, False)
        cosine = np.linspace(-1, 1, BINS + 1)
        for (slow, fast, texture), table in self._radial.items():
            by_cosine = texture.by_cosine(cosine).astype(np.float32)
            turn = texture.arcs * texture.angle
            sin, cos = math.sin(turn), math.cos(turn)
            arcs = texture.arcs if texture.sharpness > 0 else 0
            lit = np.flatnonzero(table)
            if len(lit):
                near, far = lit[0] * _STEP_PX - 1, lit[-1] * _STEP_PX + 1
                _add_radial(canvas, slow, fast, table, near, far, by_cosine, arcs, sin, cos)
        if self._factor is not None:
            _stretch(self._factor, canvas, True)
        for painter in self._painters:
            painter(canvas)
        darken(canvas, self.shadows)
        return canvas


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _stretch(grid: Float, canvas: Float, multiply: bool) -> None:
    """Write a coarse grid to a canvas by linear interpolation, or multiply the canvas by it."""
    row = np.empty(grid.shape[1], np.float32)
    for i in range(canvas.shape[0]):
        k, share = i // _COARSE_PX, np.float32((i % _COARSE_PX) / _COARSE_PX)
        for j in range(grid.shape[1]):
            row[j] = grid[k, j] + share * (grid[k + 1, j] - grid[k, j])
        for block in range(grid.shape[1] - 1):
            step = (row[block + 1] - row[block]) / np.float32(_COARSE_PX)
            start = block * _COARSE_PX
            for j in range(min(_COARSE_PX, canvas.shape[1] - start)):
                value = row[block] + np.float32(j) * step
                canvas[i, start + j] = value * canvas[i, start + j] if multiply else value


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_radial(
    canvas: Float,
    slow: float,
    fast: float,
    table: Float,
    near: float,
    far: float,
    by_cosine: Float,
    arcs: int,
    sin: float,
    cos: float,
) -> None:
    """Add a table by radius, times one by the cosine of the angle if `arcs` is not 0."""
    rows, columns = canvas.shape
    finer, half = np.float32(1 / _STEP_PX), np.float32(BINS / 2)
    sin32, cos32 = np.float32(sin), np.float32(cos)
    one = np.float32(1)
    last = np.float32(len(table) - 2)
    for i in range(rows):
        down = np.float32(i + 0.5 - slow)
        # columns within the table's lit part
        reach2 = far * far - down * down
        if reach2 <= 0:
            continue
        reach = np.sqrt(reach2)
        left, right = max(int(fast - reach), 0), min(int(fast + reach) + 1, columns)
        gap2 = near * near - down * down
        gap = np.sqrt(gap2) if near > 0 and gap2 > 0 else 0.0
        for side in range(2):
            start = left if side == 0 else max(int(np.ceil(fast + gap)), left)
            stop = right if side == 1 else min(int(np.ceil(fast - gap)), right)
            if side == 0 and gap == 0:
                stop = right
            elif side == 1 and gap == 0:
                continue
            start = max(start, 0)
            for j in range(start, stop):
                across = np.float32(j + 0.5 - fast)
                r2 = down * down + across * across
                x = min(np.sqrt(r2) * finer, last)
                k = np.uint32(x)
                share = x - np.float32(k)
                value = table[k] + share * (table[k + 1] - table[k])
                if arcs > 0 and value > 0:
                    if arcs == 2:
                        cosine = (across * across - down * down) * cos32
                        cosine += np.float32(2) * across * down * sin32
                        cosine /= r2
                    else:
                        cosine = (across * cos32 + down * sin32) / np.sqrt(r2)
                    y = min(max((cosine + one) * half, np.float32(0)), np.float32(BINS - 1))
                    m = np.uint32(y)
                    bit = y - np.float32(m)
                    value *= by_cosine[m] + bit * (by_cosine[m + 1] - by_cosine[m])
                canvas[i, j] += value
