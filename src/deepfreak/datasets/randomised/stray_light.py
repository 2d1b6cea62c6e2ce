"""Light that no crystal sends, as shapes: solvents, halos, streaks, layer lines, gradients.

These are empirical pictures of expected photons, not physics: radii, widths and brightnesses are
drawn over all that frames show. What is smooth is drawn on a coarse grid, what depends on the
radius as a table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.chance import log_uniform
from deepfreak.datasets.randomised.geometry import farthest_px
from deepfreak.datasets.randomised.shadows import NO_SHADOWS, darken

Array = NDArray[np.float64]
Float = NDArray[np.float32]

BRIGHTEST_PHOTONS = 3e4
FAINT_PHOTONS = 0.02  # in an empty frame other light is as bright as if this were its level
_COARSE_PX = 8
_STEP_PX = 0.25  # of tables by radius
_BINS = 256  # of tables by angle


@dataclass(frozen=True, slots=True)
class Texture:
    """How light depends on the angle about its centre: von Mises arcs of mean 1.

    Attributes
    ----------
    sharpness
        0 is even.
    angle
        Of the brightest direction in radians, from fast to slow.
    arcs
        2, opposite, or 1.
    """

    sharpness: float = 0.0
    angle: float = 0.0
    arcs: int = 2

    def at(self, azimuth: Array) -> Array:
        """Return the factor at angles in radians."""
        return self.by_cosine(np.cos(self.arcs * (azimuth - self.angle)))

    def by_cosine(self, cosine: Array) -> Array:
        """Return the factor by the cosine of `arcs` times the angle from the brightest."""
        mean = float(np.exp(self.sharpness * (np.cos(np.arange(720) * np.pi / 360) - 1)).mean())
        factor: Array = np.exp(self.sharpness * (cosine - 1)) / mean
        return factor


EVEN = Texture()


def draw_texture(rng: np.random.Generator, share: float, sharpest: float = 12.0) -> Texture:
    """Return arcs in `share` of the cases, else even light."""
    if rng.random() >= share:
        return EVEN
    arcs = 2 if rng.random() < 3 / 4 else 1
    return Texture(log_uniform(rng, 0.2, sharpest), rng.uniform(0, 2 * math.pi), arcs)


@dataclass(slots=True, kw_only=True, eq=False)
class Light:
    """Light that is collected as shapes and painted once.

    Attributes
    ----------
    shape, center_px
        Of the canvas, and where the beam meets it, (slow, fast) in pixels.
    level
        Photons a pixel of the smooth light, by which the other light is scaled.
    shadows
        As `draw_shadows` returns them, over all light.
    """

    shape: tuple[int, int]
    center_px: tuple[float, float]
    level: float
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
        cosine = np.linspace(-1, 1, _BINS + 1)
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
    peak = min(light.base * log_uniform(rng, 1, 1000), BRIGHTEST_PHOTONS)
    texture = draw_texture(rng, 1 / 4, 4.0)
    light.add_radial(lambda r: peak * (1 + (r / core) ** 2) ** -power, texture)


def streak(light: Light, rng: np.random.Generator) -> None:
    """Add one or two lines through the beam: a slit's, a jet's, a surface's, a fibre's equator."""
    direction = rng.uniform(0, math.pi)
    for turn in (0.0, math.pi / 2)[: rng.integers(1, 3)]:
        length, narrowest = light.scale * log_uniform(rng, 15, 250), log_uniform(rng, 0.6, 8)
        wider = rng.choice([0.0, rng.uniform(0, 0.04)])
        peak = min(light.base * log_uniform(rng, 2, 500), BRIGHTEST_PHOTONS)
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
    peak = min(light.base * log_uniform(rng, 0.5, 100), BRIGHTEST_PHOTONS)
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
    fringes = (1 + depth * np.cos(np.arange(_BINS) * 2 * np.pi / _BINS)).astype(np.float32)
    down, right = math.sin(angle) / period * _BINS, math.cos(angle) / period * _BINS
    light.add_painter(lambda canvas: _modulate(canvas, down, right, fringes))


def _ring(r: Array, radius: float, width: float, height: float) -> Array:
    return height * _bell((r - radius) / width)


def _bell(x: Array) -> Array:
    return np.asarray(np.exp(-0.5 * np.square(x)))


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
    finer, half = np.float32(1 / _STEP_PX), np.float32(_BINS / 2)
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
                    y = min(max((cosine + one) * half, np.float32(0)), np.float32(_BINS - 1))
                    m = np.uint32(y)
                    bit = y - np.float32(m)
                    value *= by_cosine[m] + bit * (by_cosine[m + 1] - by_cosine[m])
                canvas[i, j] += value


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
