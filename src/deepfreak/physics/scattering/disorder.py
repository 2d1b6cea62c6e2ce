"""What a disordered crystal scatters beside its spots: the light they lost, and Compton's."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.beam import Pulse
from deepfreak.physics.detector import Detector
from deepfreak.physics.scattering.amorphous import photons_from_table
from deepfreak.physics.scattering.atoms import R_E_SQR_M2, incoherent
from deepfreak.physics.structure_factors.factors import STOL, Composition
from deepfreak.physics.structure_factors.wilson import AVERAGINE

Array = NDArray[np.float64]

# The light of a spot in each of nanoBragg's shapes over that of the lattice sum which it stands
# for: the integral of its square over reciprocal space. What spots lose has the same excess.
SPOT_VOLUME = {
    "square": 1.0,
    "round": 1.0,
    "gauss": (np.pi * 0.63 / 2) ** 1.5,
    "tophat": 4 / 3 * np.pi * 0.63**3,
}

# Hydrogens a carbon of the mean protein ("averagine"), which models and statistics leave out.
HYDROGENS_PER_CARBON = 7.7583 / AVERAGINE["C"]
# Where only the cell is known it is taken to hold protein: a mean residue (111.1 Da) in each 267
# A^3, by Matthews' 2.4 A^3/Da (J. Mol. Biol. 33, 491, 1968).
RESIDUE_A3 = 267.0


def debye_waller(B_A2: float, stol: Array) -> Array:
    """Return exp(-B stol^2), by which disorder weakens the amplitudes at `stol` in 1/A."""
    return np.exp(-B_A2 * stol**2)


def diffuse_intensity(mean_square: Array, *, B_A2: float, stol: Array) -> Array:
    """Return what disorder takes from the spots of one cell, in electrons^2 at `stol` in 1/A.

    <F^2> (1 - exp(-2 B stol^2)): whole molecules displaced on their own scatter as much between the
    spots as these lose, at every angle (James, The Optical Principles of the Diffraction of X-rays,
    1948, ch. V, for atoms). `mean_square` is the mean F^2 of the ordered crystal's reflections at
    `stol`, (n,), `B_A2` the mean square displacement times 8 pi^2.
    """
    return mean_square * -np.expm1(-2 * B_A2 * stol**2)


def protein_of(cell_A3: float) -> Composition:
    """Return the atoms of protein that a cell of which no atoms are known is taken to hold."""
    return tuple((element, count * cell_A3 / RESIDUE_A3) for element, count in AVERAGINE.items())


def compton_intensity(composition: Composition, *, stol: Array) -> Array:
    """Return the incoherent intensity of one cell in electrons^2 at `stol` in 1/A.

    Where no hydrogens are listed a protein's are added, 1.57 a carbon.
    """
    counts = dict(composition)
    if not {"H", "D"} & counts.keys():
        counts["H"] = HYDROGENS_PER_CARBON * counts.get("C", 0.0)
    total = np.zeros_like(stol)
    for element, count in counts.items():
        total += count * incoherent(element, stol)
    return total


def disorder_photons(
    intensity: Array, *, cells: float, pulse: Pulse, detector: Detector
) -> NDArray[np.float32]:
    """Return the expected photons that a pulse scatters beside the spots, (slow, fast).

    r_e^2 x fluence x cells x intensity of a cell x solid angle x polarization, for the `cells` that
    the beam meets, and the `intensity` of one as `Experiment.cell_intensity` gives it.
    """
    strength = R_E_SQR_M2 * pulse.fluence * cells
    return photons_from_table(pulse, detector, stol=STOL, F=np.sqrt(intensity), strength=strength)
