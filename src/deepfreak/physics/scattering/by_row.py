"""Bragg spots without an end: every subpixel and domain, a row of subpixels at a time.

The tails of the square and the round crystal reach everywhere, so nothing can be left out. What
`by_pixel` defines for one subpixel is done here for a whole row with the same few operations and no
branches, which the compiler turns into vector instructions.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.detector import Panel
from deepfreak.physics.scattering.by_pixel import ROUND_FUDGE, SQUARE, RenderedCrystal
from deepfreak.physics.scattering.projection import Matrix, Vector

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# An index this near to an integer is as good as on it; it keeps 0 / 0 out of the ratio of sines.
MIN_DISTANCE = 1e-9


class Rows(NamedTuple):
    """The components of a vector for each subpixel of a row."""

    x: Array
    y: Array
    z: Array


class Place(NamedTuple):
    """Where F stands in a table: first index and number of entries less one, and the strides."""

    low: Vector
    top: Vector
    strides: tuple[float, float]


@njit(cache=True, nogil=True, error_model="numpy")
def by_row(
    image: Array, crystal: RenderedCrystal, panel: Panel, sources: Array, oversample: int
) -> None:
    """Add what `by_pixel` adds for a square or a round crystal; see there for the parameters."""
    F, hkl_min = crystal.F, crystal.hkl_min
    real_axes, domains = crystal.real_axes, crystal.domains
    origin, fast, slow = panel.origin_mm, panel.fast_axis, panel.slow_axis
    n_slow, n_fast = image.shape[0] * oversample, image.shape[1] * oversample
    sub = panel.pixel_size_mm / oversample
    # beyond the table an index is moved to its border, which holds default_F
    size = (F.shape[0] + 2, F.shape[1] + 2, F.shape[2] + 2)
    padded = np.full(size, np.float32(crystal.default_F))
    padded[1:-1, 1:-1, 1:-1] = F
    table = padded.ravel()
    place = Place(
        (hkl_min[0] - 1.0, hkl_min[1] - 1.0, hkl_min[2] - 1.0),
        (size[0] - 1.0, size[1] - 1.0, size[2] - 1.0),
        (float(size[1] * size[2]), float(size[2])),
    )
    N = (crystal.cells[0], crystal.cells[1], crystal.cells[2])

    dx, dy, dz = np.empty(n_fast), np.empty(n_fast), np.empty(n_fast)
    q = Rows(np.empty(n_fast), np.empty(n_fast), np.empty(n_fast))
    lattice_sqr = np.empty(n_fast, dtype=np.float32)
    distance = np.empty((3, n_fast), dtype=np.float32)
    phase = np.empty((3, n_fast), dtype=np.float32)
    index = np.empty(n_fast, dtype=np.uint32)
    total = np.empty(n_fast)
    for s in range(n_slow):
        for f in range(n_fast):
            x = origin[0] + (f + 0.5) * sub * fast[0] + (s + 0.5) * sub * slow[0]
            y = origin[1] + (f + 0.5) * sub * fast[1] + (s + 0.5) * sub * slow[1]
            z = origin[2] + (f + 0.5) * sub * fast[2] + (s + 0.5) * sub * slow[2]
            R = math.sqrt(x * x + y * y + z * z)
            dx[f], dy[f], dz[f] = x / R, y / R, z / R
        total[:] = 0
        for source in range(sources.shape[0]):
            wavelength, weight = sources[source, 3], sources[source, 4]
            for f in range(n_fast):
                q.x[f] = (dx[f] - sources[source, 0]) / wavelength
                q.y[f] = (dy[f] - sources[source, 1]) / wavelength
                q.z[f] = (dz[f] - sources[source, 2]) / wavelength
            for step in range(real_axes.shape[0]):
                for domain in range(domains.shape[0]):
                    a, b, c = real_axes[step] @ domains[domain].T
                    axes = ((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2]))
                    if crystal.shape == SQUARE:
                        _square(lattice_sqr, distance, phase, axes, q, N, index, place)
                    else:
                        _round(lattice_sqr, axes, q, N, index, place)
                    for f in range(n_fast):
                        amplitude = np.float64(table[index[f]])
                        total[f] += weight * amplitude * amplitude * np.float64(lattice_sqr[f])
        row = s // oversample
        for f in range(n_fast):
            image[row, f // oversample] += total[f]


# `contract` lets a product and a sum become one instruction: it moves the last bit of an expected
# intensity, and decides no count.
@njit(cache=True, nogil=True, error_model="numpy", inline="always", fastmath={"contract"})
def sin_pi(x: float) -> float:
    """Return sin(pi x) for -1/2 <= x <= 1/2, to 3e-11: a polynomial through Chebyshev's points."""
    u = x * x
    inner = 0.08205035003144684 - 0.007028303652380903 * u
    inner = -0.5992521864819006 + u * inner
    inner = 2.550163317932369 + u * inner
    inner = -5.1677127645927206 + u * inner
    return x * (3.141592653536129 + u * inner)


@njit(cache=True, nogil=True, error_model="numpy", inline="always", fastmath={"contract"})
def sin_pi_single(x: np.float32) -> np.float32:
    """Return what `sin_pi` does, in single precision, to 1e-7."""
    u = x * x
    inner = np.float32(-0.5982904112667203) + np.float32(0.07765591224331467) * u
    inner = np.float32(2.550077386526186) + u * inner
    inner = np.float32(-5.167710076668165) + u * inner
    return x * (np.float32(3.1415926400772016) + u * inner)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _square(
    lattice_sqr: Float,
    distance: Float,
    phase: Float,
    axes: Matrix,
    q: Rows,
    cells: Vector,
    index: NDArray[np.uint32],
    place: Place,
) -> None:
    """Fill in the product of (sin(pi N h) / sin(pi h))^2 and where F stands in the table.

    How far an index is from an integer is found in double precision and kept in single, in which
    the sines then take half the time; `distance` and `phase` are (3, n) to work in.
    """
    a, b, c = axes
    qx, qy, qz = q
    Na, Nb, Nc = cells
    for f in range(len(qx)):
        h = a[0] * qx[f] + a[1] * qy[f] + a[2] * qz[f]
        k = b[0] * qx[f] + b[1] * qy[f] + b[2] * qz[f]
        l = c[0] * qx[f] + c[1] * qy[f] + c[2] * qz[f]
        h0, k0, l0 = np.ceil(h - 0.5), np.ceil(k - 0.5), np.ceil(l - 0.5)
        index[f] = _index(h0, k0, l0, place)
        h, k, l = _off(h - h0), _off(k - k0), _off(l - l0)
        distance[0, f], distance[1, f], distance[2, f] = h, k, l
        h, k, l = Na * h, Nb * k, Nc * l
        phase[0, f] = h - np.floor(h + 0.5)
        phase[1, f] = k - np.floor(k + 0.5)
        phase[2, f] = l - np.floor(l + 0.5)
    for f in range(len(qx)):
        above = sin_pi_single(phase[0, f]) * sin_pi_single(phase[1, f])
        below = sin_pi_single(distance[0, f]) * sin_pi_single(distance[1, f])
        ratio = (above * sin_pi_single(phase[2, f])) / (below * sin_pi_single(distance[2, f]))
        lattice_sqr[f] = ratio * ratio


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _round(
    lattice_sqr: Float,
    axes: Matrix,
    q: Rows,
    cells: Vector,
    index: NDArray[np.uint32],
    place: Place,
) -> None:
    """Fill in (volume x fudge x 3 (sin x / x - cos x) / x^2)^2 and where F stands in the table."""
    a, b, c = axes
    qx, qy, qz = q
    Na, Nb, Nc = cells
    peak = Na * Nb * Nc * ROUND_FUDGE
    for f in range(len(qx)):
        h = a[0] * qx[f] + a[1] * qy[f] + a[2] * qz[f]
        k = b[0] * qx[f] + b[1] * qy[f] + b[2] * qz[f]
        l = c[0] * qx[f] + c[1] * qy[f] + c[2] * qz[f]
        h0, k0, l0 = np.ceil(h - 0.5), np.ceil(k - 0.5), np.ceil(l - 0.5)
        index[f] = _index(h0, k0, l0, place)
        h, k, l = Na * (h - h0), Nb * (k - k0), Nc * (l - l0)
        hr_sqr = h * h + k * k + l * l
        x_sqr = math.pi * math.pi * hr_sqr
        half_turns = math.sqrt(hr_sqr)
        t = half_turns - np.floor(half_turns + 0.5)
        # leaving out whole half turns costs sine and cosine their sign, which the square loses
        sine, cosine = sin_pi(t), sin_pi(0.5 - abs(t))
        near = x_sqr < 0.01
        divisor = 1.0 if near else x_sqr
        far = 3 * (sine / math.sqrt(divisor) - cosine) / divisor
        series = 1 - x_sqr / 10 * (1 - x_sqr / 28 * (1 - x_sqr / 54))
        form = peak * (series if near else far)
        lattice_sqr[f] = form * form


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _index(h0: float, k0: float, l0: float, place: Place) -> np.uint32:
    """Return where the table holds F(h0, k0, l0)."""
    low, top, strides = place
    ih = min(max(h0 - low[0], 0.0), top[0])
    ik = min(max(k0 - low[1], 0.0), top[1])
    il = min(max(l0 - low[2], 0.0), top[2])
    return np.uint32(ih * strides[0] + ik * strides[1] + il)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _off(distance: float) -> float:
    """Return a distance from an integer that is not 0."""
    return MIN_DISTANCE if abs(distance) < MIN_DISTANCE else distance
