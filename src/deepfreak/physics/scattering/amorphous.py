"""Scattering that depends on the angle alone: water around the crystal, air, any table."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.errors import RecipeError
from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector, beam_factors, sin_theta
from deepfreak.physics.scattering.atoms import AVOGADRO, R_E_SQR_M2, coherent, incoherent
from deepfreak.settings import Extent, Positive, middle, settings

Array = NDArray[np.float64]

# Spacing in 1/A of the fine table that pixels look up. The usual tables' rows, 0.01 or 0.005 apart,
# lie on it, so that only the cubics between them are made straight: by less than 1e-6 of F^2.
STOL_STEP = 2e-5
MAX_TABLE_BYTES = 10_000_000

# Amplitude of liquid water in electrons per molecule at sin(theta)/lambda = 0, 0.01, ... 0.5 1/A:
# the curve that Holton's nonBragg is run with, thinned to what four-point interpolation restores.
WATER_STOL_STEP = 0.01
WATER_F = (
    2.570, 2.573, 2.577, 2.583, 2.595, 2.623, 2.691, 2.827, 3.047, 3.347, 3.743, 4.302, 5.092,
    6.073, 7.048, 7.754, 8.009, 7.822, 7.389, 6.974, 6.753, 6.724, 6.743, 6.638, 6.325, 5.845,
    5.318, 4.864, 4.550, 4.378, 4.312, 4.307, 4.326, 4.347, 4.359, 4.356, 4.338, 4.303, 4.255,
    4.192, 4.117, 4.033, 3.940, 3.841, 3.739, 3.635, 3.531, 3.429, 3.331, 3.238, 3.150,
)  # fmt: skip

# Air by Debye's formula for its two main molecules: number fractions and bond lengths in A (CRC
# Handbook of Chemistry and Physics), form factors of the free atoms (International Tables C 6.1.1).
AIR = (("N", 0.79, 1.0977), ("O", 0.21, 1.2075))


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


class Amorphous:
    """What all matter without order has in common; a base without settings of its own."""

    __slots__ = ()
    density_g_cm3: float
    molar_mass_g: float
    thickness_mm: float | tuple[float, float]

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it."""
        return self.thickness_mm

    def form_factor(self) -> tuple[Array, Array]:
        """Return sin(theta)/lambda in 1/A, ascending, and the amplitude in electrons/molecule."""
        raise NotImplementedError

    def is_met(self, rng: np.random.Generator) -> bool:  # noqa: ARG002 -- as every scatterer
        """Return True: it is there for every pulse."""
        return True

    def molecules_per_mm(self, beam: Beam) -> float:
        """Return how many molecules the beam meets in each mm."""
        return beam.area_mm2 * 1e-3 * self.density_g_cm3 * AVOGADRO / self.molar_mass_g

    def molecules(self, beam: Beam) -> float:
        """Return how many molecules the beam meets; of a range of paths, the mean over shots."""
        return middle(self.path_mm) * self.molecules_per_mm(beam)

    def photons(
        self,
        pulse: Pulse,
        detector: Detector,
        rng: np.random.Generator,  # noqa: ARG002 -- as every scatterer
    ) -> NDArray[np.float32]:
        """Return the expected photons that a pulse scatters to each pixel, (slow, fast).

        r_e^2 x fluence x molecules x F^2 x solid angle x polarization (Holton et al. 2014).
        """
        stol, F = self.form_factor()
        strength = R_E_SQR_M2 * pulse.fluence * self.molecules(pulse.beam)
        return photons_from_table(pulse, detector, stol=stol, F=F, strength=strength)

    def per_mm(self, stol: Array, beam: Beam) -> Array:
        """Return the photons per steradian and fluence from 1 mm of it at `stol` in 1/A, (n,)."""
        amplitude = interpolate(stol, *self.form_factor())
        return R_E_SQR_M2 * self.molecules_per_mm(beam) * amplitude**2


@settings
class Water(Amorphous):
    """A layer of liquid water across the beam (Appendix A: 10 microns).

    Its curve was measured and contains what water scatters incoherently. `thickness_mm` may be a
    range.
    """

    material: Literal["water"] = "water"
    thickness_mm: Extent
    density_g_cm3: Positive = 1.0
    molar_mass_g: Positive = 18.015

    def with_path(self, path_mm: float) -> Self:
        """Return water of this thickness."""
        return replace(self, thickness_mm=path_mm)

    def form_factor(self) -> tuple[Array, Array]:
        """Return the measured curve."""
        F: Array = np.array(WATER_F)
        stol: Array = WATER_STOL_STEP * np.arange(len(WATER_F), dtype=np.float64)
        return stol, F


@settings
class Air(Amorphous):
    """Air along the beam (Appendix A: 5 mm), all of it taken to be at the crystal.

    `compton` adds what the molecules scatter incoherently, a fifth of the light at 2 A resolution.
    `path_mm` may be a range.
    """

    material: Literal["air"] = "air"
    path_mm: Extent
    density_g_cm3: Positive = 1.2e-3
    molar_mass_g: Positive = 28.97
    compton: bool = False

    def with_path(self, path_mm: float) -> Self:
        """Return air of this length."""
        return replace(self, path_mm=path_mm)

    def form_factor(self) -> tuple[Array, Array]:
        """Return the mean amplitude of free molecules by Debye's formula."""
        return _air(self.compton)


@settings
class TabulatedMatter(Amorphous):
    """A layer of any matter across the beam, by its measured or computed amplitude."""

    material: Literal["table"] = "table"
    # nonBragg's `.stol` text: sin(theta)/lambda in 1/A and electrons per molecule, two columns
    file: str
    thickness_mm: Extent  # how far the beam travels in it; may be a range
    # density_g_cm3, molar_mass_g: what turns the path into a number of molecules
    density_g_cm3: Positive
    molar_mass_g: Positive

    def with_path(self, path_mm: float) -> Self:
        """Return matter of this thickness."""
        return replace(self, thickness_mm=path_mm)

    def form_factor(self) -> tuple[Array, Array]:
        """Return the file's columns."""
        return _read_table(self.file)


@lru_cache(maxsize=2)
def _air(compton: bool) -> tuple[Array, Array]:
    stol: Array = np.linspace(0.0, 2.0, 401)
    intensity: Array = np.zeros_like(stol)
    for element, fraction, bond_A in AIR:
        # np.sinc(x) = sin(pi x) / (pi x), and q r = 4 pi stol r
        elastic = coherent(element, stol) ** 2 * (1 + np.sinc(4 * stol * bond_A))
        recoil = incoherent(element, stol) if compton else 0.0
        intensity += fraction * 2 * (elastic + recoil)
    F: Array = np.sqrt(intensity)
    return stol, F


@lru_cache(maxsize=8)
def _read_table(file: str) -> tuple[Array, Array]:
    """Read a file once a process: shots of one experiment share it."""
    return read_stol(file)
