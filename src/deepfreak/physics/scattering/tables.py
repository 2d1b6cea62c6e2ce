"""Scattering that depends on the angle alone: a table over sin(theta)/lambda, and its image."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.errors import RecipeError
from deepfreak.physics.beam import Pulse
from deepfreak.physics.detector import Detector, beam_factors, sin_theta

Array = NDArray[np.float64]

# Spacing in 1/A of the fine table that pixels look up. The usual tables' rows, 0.01 or 0.005 apart,
# lie on it, so that only the cubics between them are made straight: by less than 1e-6 of F^2.
STOL_STEP = 2e-5
MAX_TABLE_BYTES = 10_000_000


def read_stol(path: str | Path) -> tuple[Array, Array]:
    """Read nonBragg's table: sin(theta)/lambda in 1/A, ascending, and electrons per molecule.

    A text of two columns; blank lines and what follows a `#` are skipped. Returns two (n,) arrays.
    Raises `RecipeError` for a file that cannot be read and, with its number, for the first line
    that is not two numbers or is out of order.
    """
    try:
        if Path(path).stat().st_size > MAX_TABLE_BYTES:
            raise RecipeError(f"{path}: a scattering table has at most {MAX_TABLE_BYTES} bytes")
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: expected text of two columns, found binary data") from error
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        row = _numbers(words)
        if row is None:
            raise RecipeError(
                f"{path}, line {number}: expected sin(theta)/lambda and electrons, "
                f"found {line.strip()[:60]!r}"
            )
        if row[0] < 0 or (rows and row[0] <= rows[-1][0]):
            raise RecipeError(
                f"{path}, line {number}: expected sin(theta)/lambda from 0 upwards, each larger "
                f"than the one before, found {row[0]:g}; sort the table"
            )
        rows.append(row)
    if len(rows) < 3:
        raise RecipeError(f"{path}: expected at least 3 rows to interpolate, found {len(rows)}")
    stol, F = np.array(rows).T.copy()
    return stol, F


def _numbers(words: list[str]) -> tuple[float, float] | None:
    """Return the two finite numbers that `words` spell, if they do."""
    try:
        stol, F = (float(word) for word in words)
    except ValueError:
        return None
    return (stol, F) if np.isfinite([stol, F]).all() else None


def photons_from_table(
    pulse: Pulse, detector: Detector, *, stol: Array, F: Array, strength: float
) -> NDArray[np.float32]:
    """Return strength x F(sin theta / wavelength)^2 x solid angle x polarization, (slow, fast)."""
    image = np.empty(detector.image_size, dtype=np.float32)
    scatter_from_table(
        image,
        stol=stol,
        F=F,
        sin_theta=sin_theta(detector),
        wavelength=pulse.wavelength_A,
        factors=beam_factors(detector, pulse.beam),
        strength=strength,
    )
    return image


def scatter_from_table(
    image: NDArray[np.float32],
    *,
    stol: Array,
    F: Array,
    sin_theta: Array,
    wavelength: float,
    factors: Array,
    strength: float,
) -> None:
    """Fill `image` with strength x F(sin theta / wavelength)^2 x factors, pixel by pixel.

    F is interpolated by the cubic through four neighbours of the table (`stol` ascending); beyond
    its ends the end values repeat. Slow equivalent: `interpolate` at every pixel, which the finely
    interpolated table that is used instead meets to 1e-6.
    """
    last = min(float(sin_theta.max()) / wavelength, float(stol[-1]))
    fine = interpolate(STOL_STEP * np.arange(int(last / STOL_STEP) + 2.0), stol, F)
    _look_up(image, fine, sin_theta, 1 / (wavelength * STOL_STEP), factors, strength)


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(x: Array, stol: Array, F: Array) -> Array:
    """Return F at `x`, (n,), by the cubic through four neighbours of the table `stol`, `F`.

    Values of `x` in a row are best near each other. Beyond the table its end values repeat; in its
    first and last interval a parabola goes through three points.
    """
    n = len(stol)
    found = np.empty(len(x))
    i = 0
    for p in range(len(x)):
        if x[p] <= stol[0]:
            found[p] = F[0]
        elif x[p] >= stol[n - 1]:
            found[p] = F[n - 1]
        else:
            while stol[i] > x[p]:
                i -= 1
            while stol[i + 1] <= x[p]:
                i += 1
            first = max(i - 1, 0)
            found[p] = _lagrange(x[p], stol, F, first, min(i + 3, n) - first)
    return found


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _lagrange(x: float, xs: Array, ys: Array, first: int, count: int) -> float:
    """Return the polynomial through `count` points from `first`, at x."""
    total = 0.0
    for a in range(first, first + count):
        term = ys[a]
        for b in range(first, first + count):
            if b != a:
                term *= (x - xs[b]) / (xs[a] - xs[b])
        total += term
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _look_up(
    image: NDArray[np.float32],
    fine: Array,
    sin_theta: Array,
    scale: float,
    factors: Array,
    strength: float,
) -> None:
    """Fill `image` with strength x fine[scale x sin_theta]^2 x factors, `fine` made continuous."""
    last = len(fine) - 1
    for s in range(image.shape[0]):
        for f in range(image.shape[1]):
            x = min(scale * sin_theta[s, f], float(last))
            i = min(int(x), last - 1)
            value = fine[i] + (x - i) * (fine[i + 1] - fine[i])
            image[s, f] = strength * value * value * factors[s, f]
