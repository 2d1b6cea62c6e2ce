"""What a disordered crystal scatters beside its spots: the light they lost, and Compton's."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.beam import Beam
from deepfreak.detector import Detector, beam_factors, sin_theta
from deepfreak.errors import StructureError
from deepfreak.scattering.atoms import coherent, incoherent
from deepfreak.scattering.constants import R_E_SQR_M2
from deepfreak.scattering.tables import scatter_from_table
from deepfreak.structure_factors.factors import Composition

Array = NDArray[np.float64]

# Where intensities are computed, in 1/A: beyond 2 the form factors' coefficients do not hold.
STOL = np.linspace(0.0, 2.0, 801)
STOL.setflags(write=False)


def debye_waller(B_A2: float, stol: Array) -> Array:
    """Return exp(-B stol^2), by which disorder weakens the amplitudes at `stol` in 1/A."""
    damping: Array = np.exp(-B_A2 * stol**2)
    return damping


def diffuse_intensity(composition: Composition, *, B_A2: float, stol: Array) -> Array:
    """Return what disorder takes from the spots of one cell, in electrons^2 at `stol` in 1/A.

    The sum of f^2 (1 - exp(-2 B stol^2)) over the cell's atoms, each displaced on its own as in
    Einstein's crystal (James, The Optical Principles of the Diffraction of X-rays, 1948, ch. V).

    Parameters
    ----------
    composition
        Elements and how many atoms of each the cell has.
    B_A2
        Mean square displacement times 8 pi^2, all of it: with the B that the amplitudes themselves
        hold, if the light that this B took is to appear too.
    """
    per_cell = sum(count * coherent(element, stol) ** 2 for element, count in composition)
    lost: Array = per_cell * -np.expm1(-2 * B_A2 * stol**2)
    return lost


def compton_intensity(composition: Composition, *, stol: Array) -> Array:
    """Return the incoherent intensity of one cell in electrons^2 at `stol` in 1/A."""
    total = np.zeros_like(stol)
    for element, count in composition:
        total += count * incoherent(element, stol)
    return total


def cell_intensity(composition: Composition, *, B_A2: float, compton: bool, stol: Array) -> Array:
    """Return what one disordered cell scatters diffusely, in electrons^2 at `stol` in 1/A."""
    intensity = diffuse_intensity(composition, B_A2=B_A2, stol=stol)
    return intensity + compton_intensity(composition, stol=stol) if compton else intensity


def disorder_photons(
    composition: Composition,
    *,
    B_A2: float,
    cells: float,
    compton: bool,
    beam: Beam,
    detector: Detector,
    photons: float,
    wavelength_A: float,
) -> NDArray[np.float32]:
    """Return the expected photons that a pulse of `photons` scatters diffusely, (slow, fast).

    r_e^2 x fluence x cells x intensity of a cell x solid angle x polarization.

    Parameters
    ----------
    composition, B_A2
        As in `diffuse_intensity`; of `StructureFactors.composition`.
    cells
        How many unit cells the beam meets.
    compton
        Whether the atoms' incoherent scattering is added.

    Raises
    ------
    StructureError
        When the composition is not known.
    """
    if not composition:
        raise StructureError(
            "expected the atoms of the crystal for its diffuse scattering, found structure factors "
            "from a list of reflections, which names none; take a model or Wilson statistics"
        )
    image = np.empty(detector.image_size, dtype=np.float32)
    scatter_from_table(
        image,
        stol=STOL,
        F=_amplitude(composition, B_A2, compton),
        sin_theta=sin_theta(detector),
        wavelength=wavelength_A,
        factors=beam_factors(detector, beam),
        strength=R_E_SQR_M2 * beam.fluence(photons) * cells,
    )
    return image


@lru_cache(maxsize=8)
def _amplitude(composition: Composition, B_A2: float, compton: bool) -> Array:
    """Return the square root of a cell's intensity at `STOL`; shots of one experiment share it."""
    amplitude: Array = np.sqrt(cell_intensity(composition, B_A2=B_A2, compton=compton, stol=STOL))
    return amplitude
