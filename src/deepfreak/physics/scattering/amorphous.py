"""Scattering by matter without order: water around the crystal, air along the beam, any table."""

from dataclasses import replace
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector
from deepfreak.physics.scattering.atoms import coherent, incoherent
from deepfreak.physics.scattering.constants import AVOGADRO, R_E_SQR_M2
from deepfreak.physics.scattering.tables import interpolate, photons_from_table, read_stol
from deepfreak.settings import Extent, Positive, middle, settings

Array = NDArray[np.float64]

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


class Amorphous:
    """What all matter without order has in common; a base without settings of its own."""

    __slots__ = ()
    density_g_cm3: float
    molar_mass_g: float

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it."""
        raise NotImplementedError

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
        per_mm: Array = R_E_SQR_M2 * self.molecules_per_mm(beam) * amplitude**2
        return per_mm


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

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it."""
        return self.thickness_mm

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
    """A layer of any matter across the beam, by its measured or computed amplitude.

    Parameters
    ----------
    file
        nonBragg's `.stol` text: sin(theta)/lambda in 1/A and electrons per molecule, two columns.
    thickness_mm
        How far the beam travels in it; may be a range.
    density_g_cm3, molar_mass_g
        What turns the path into a number of molecules.
    """

    material: Literal["table"] = "table"
    file: str
    thickness_mm: Extent
    density_g_cm3: Positive
    molar_mass_g: Positive

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it."""
        return self.thickness_mm

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
