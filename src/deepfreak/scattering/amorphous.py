"""Scattering by matter without order: the water around the crystal and the air along the beam."""

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.beam import Beam
from deepfreak.detector import Detector, beam_factors, sin_theta
from deepfreak.scattering.constants import AVOGADRO, R_E_SQR_M2
from deepfreak.settings import Positive, settings

Array = NDArray[np.float64]

# Amplitude of liquid water in electrons per molecule at sin(theta)/lambda = 0, 0.01, ... 0.5 1/A:
# the curve that Holton's nonBragg is run with, thinned to what four-point interpolation restores.
WATER_STOL_STEP = 0.01
WATER_F = (
    2.570,
    2.573,
    2.577,
    2.583,
    2.595,
    2.623,
    2.691,
    2.827,
    3.047,
    3.347,
    3.743,
    4.302,
    5.092,
    6.073,
    7.048,
    7.754,
    8.009,
    7.822,
    7.389,
    6.974,
    6.753,
    6.724,
    6.743,
    6.638,
    6.325,
    5.845,
    5.318,
    4.864,
    4.550,
    4.378,
    4.312,
    4.307,
    4.326,
    4.347,
    4.359,
    4.356,
    4.338,
    4.303,
    4.255,
    4.192,
    4.117,
    4.033,
    3.940,
    3.841,
    3.739,
    3.635,
    3.531,
    3.429,
    3.331,
    3.238,
    3.150,
)

# Air by Debye's formula for its two main molecules: number fractions and bond lengths in A (CRC
# Handbook of Chemistry and Physics), form factors of the free atoms (International Tables C 6.1.1).
AIR = (("N", 0.79, 1.0977), ("O", 0.21, 1.2075))


@settings
class Water:
    """A layer of liquid water across the beam (Appendix A: 10 microns)."""

    material: Literal["water"] = "water"
    thickness_mm: Positive
    density_g_cm3: Positive = 1.0
    molar_mass_g: Positive = 18.015

    @property
    def path_mm(self) -> float:
        """How far the beam travels in it."""
        return self.thickness_mm


@settings
class Air:
    """Air along the beam (Appendix A: 5 mm), all of it taken to be at the crystal."""

    material: Literal["air"] = "air"
    path_mm: Positive
    density_g_cm3: Positive = 1.2e-3
    molar_mass_g: Positive = 28.97


Amorphous = Annotated[Water | Air, Field(discriminator="material")]


@lru_cache(maxsize=4)
def form_factor(material: str) -> tuple[Array, Array]:
    """Return sin(theta)/lambda in 1/A, ascending, and the amplitude in electrons per molecule."""
    return _water() if material == "water" else _air()


def _water() -> tuple[Array, Array]:
    F: Array = np.array(WATER_F)
    stol: Array = WATER_STOL_STEP * np.arange(len(WATER_F), dtype=np.float64)
    return stol, F


def _air() -> tuple[Array, Array]:
    import gemmi

    stol: Array = np.linspace(0.0, 0.6, 121)
    intensity: Array = np.zeros_like(stol)
    for element, fraction, bond_A in AIR:
        table = gemmi.Element(element).it92
        f = np.array([table.calculate_sf(s * s) for s in stol])
        # np.sinc(x) = sin(pi x) / (pi x), and q r = 4 pi stol r
        intensity += fraction * 2 * f**2 * (1 + np.sinc(4 * stol * bond_A))
    F: Array = np.sqrt(intensity)
    return stol, F


def molecules(matter: Water | Air, beam: Beam) -> float:
    """Return how many molecules the beam meets: its area times the path through `matter`."""
    volume_cm3 = beam.area_mm2 * matter.path_mm * 1e-3
    return volume_cm3 * matter.density_g_cm3 * AVOGADRO / matter.molar_mass_g


def amorphous_photons(
    matter: Water | Air, *, beam: Beam, detector: Detector, photons: float, wavelength_A: float
) -> NDArray[np.float32]:
    """Return the expected photons a pulse of `photons` scatters to each pixel, (slow, fast).

    r_e^2 x fluence x molecules x F^2 x solid angle x polarization (Holton et al. 2014).
    """
    stol, F = form_factor(matter.material)
    strength = R_E_SQR_M2 * beam.fluence(photons) * molecules(matter, beam)
    image = np.empty(detector.image_size, dtype=np.float32)
    scatter_from_table(
        image,
        stol=stol,
        F=F,
        sin_theta=sin_theta(detector),
        wavelength=wavelength_A,
        factors=beam_factors(detector, beam),
        strength=strength,
    )
    return image


@njit(cache=True, nogil=True, error_model="numpy")
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

    F is interpolated by the cubic through four neighbours of the table (stol ascending); beyond
    its ends the end values repeat.
    """
    n = len(stol)
    for s in range(image.shape[0]):
        i = 1
        for f in range(image.shape[1]):
            x = sin_theta[s, f] / wavelength
            if x <= stol[0]:
                value = F[0]
            elif x >= stol[n - 1]:
                value = F[n - 1]
            else:
                # neighbours in a row: walk from the last pixel's interval
                i = min(max(i, 0), n - 2)
                while stol[i] > x:
                    i -= 1
                while stol[i + 1] <= x:
                    i += 1
                if i == 0 or i == n - 2:
                    # the table ends here: a parabola through its last three points
                    j = 0 if i == 0 else n - 3
                    value = _lagrange(x, stol, F, j, 3)
                else:
                    value = _lagrange(x, stol, F, i - 1, 4)
            image[s, f] = strength * value * value * factors[s, f]


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
