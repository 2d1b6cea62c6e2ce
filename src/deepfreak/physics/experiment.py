"""The experiment: everything that makes an image, and which kinds of shot there are."""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.physics.beam import Beam
from deepfreak.physics.crystal import Crystal, real_axes
from deepfreak.physics.detector import Detector, largest_sin_theta
from deepfreak.physics.scattering.disorder import (
    SPOT_VOLUME,
    compton_intensity,
    debye_waller,
    diffuse_intensity,
    protein_of,
)
from deepfreak.physics.shot import Matter, Shot, draw
from deepfreak.physics.structure_factors import (
    Model,
    Reflections,
    StructureFactors,
    Wilson,
    structure_factors_for,
)
from deepfreak.physics.structure_factors.factors import STOL
from deepfreak.settings import Fraction, NonNegative, settings
from deepfreak.splits import DatasetPlan

Array = NDArray[np.float64]

# Structure factors reach this much further than the detector's corner at the mean wavelength.
WAVELENGTH_SIGMAS = 5.0


@settings
class ShotClass:
    """A class of exposed shots: those whose pulse had photons.

    Parameters
    ----------
    name, probability
        Its name, and its share of the exposed shots.
    crystal_fraction
        Range of the crystalline volume in the beam as a fraction of the whole crystal's, drawn
        log-uniformly; (0, 0) for shots without crystal.
    """

    name: str
    probability: Fraction
    crystal_fraction: tuple[NonNegative, NonNegative] = (0.0, 0.0)

    def __post_init__(self) -> None:
        low, high = self.crystal_fraction
        if high < low or (low == 0) != (high == 0):
            raise ValueError(
                "crystal_fraction is a range (low, high) with 0 < low <= high, or (0, 0), "
                f"found {self.crystal_fraction}"
            )


@settings
class Classes:
    """What a shot can be, decided before it is rendered and never read off its image.

    Parameters
    ----------
    label_version
        Name of this choice of boundaries.
    dark
        Name of the class of blank shots, whose pulse had no photons.
    lit
        Classes of the exposed shots; their probabilities sum to one.
    """

    label_version: str
    dark: str
    lit: Annotated[tuple[ShotClass, ...], Field(min_length=1)]

    def __post_init__(self) -> None:
        total = sum(lit.probability for lit in self.lit)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the probabilities of the lit classes sum to 1, found {total:.6g}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class names are distinct, found {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All class names; a label is an index into them."""
        return (self.dark, *(lit.name for lit in self.lit))


@settings
class Experiment:
    """Beam, crystal, surroundings and detector, and which shots to make of them."""

    name: str = "experiment"
    crystal: Crystal
    beam: Beam
    detector: Detector
    background: tuple[Matter, ...] = ()
    classes: Classes
    dataset: DatasetPlan | None = None

    def draw(self, *, seed: int, index: int) -> Shot:
        """Return shot `index` of the series that `seed` names; see `shot.draw`."""
        return draw(self, seed=seed, index=index)

    @property
    def d_min_A(self) -> float:
        """Finest spacing that can reach the detector at the shortest wavelength drawn."""
        shortest = self.beam.wavelength_A * (1 - WAVELENGTH_SIGMAS * self.beam.wavelength_rms)
        # rounded down, so that nearly equal experiments share one cached table
        return math.floor(100 * shortest / (2 * largest_sin_theta(self.detector))) / 100

    def structure_factors(self) -> StructureFactors:
        """Return the crystal's structure factors to `d_min_A`, weakened by its disorder.

        `lost` is all the light that they lost and that appears beside them.
        """
        crystal = self.crystal
        return _structure_factors(
            crystal.structure, self.d_min_A, crystal.disorder_B_A2, crystal.diffuse
        )

    def cell_intensity(self) -> Array:
        """Return what a cell of the crystal scatters beside the spots, in electrons^2 at `STOL`."""
        crystal = self.crystal
        return _cell_intensity(
            crystal.structure,
            self.d_min_A,
            crystal.disorder_B_A2,
            crystal.diffuse,
            crystal.compton,
            crystal.xtal_shape,
        )


@lru_cache(maxsize=2)
def _structure_factors(
    source: Model | Reflections | Wilson, d_min_A: float, disorder_B_A2: float, diffuse: bool
) -> StructureFactors:
    """Keep what the last shots used in memory; shots of one experiment share it."""
    factors = structure_factors_for(source, d_min_A)
    lost = factors.lost if diffuse else np.zeros_like(STOL)
    if disorder_B_A2 == 0:
        return replace(factors, lost=lost)
    lost = lost + diffuse_intensity(factors.mean_square(), B_A2=disorder_B_A2, stol=STOL)
    reciprocal_axes = np.linalg.inv(real_axes(factors.cell)).T
    indices = [
        first + np.arange(n) for first, n in zip(factors.hkl_min, factors.F.shape, strict=True)
    ]
    F = np.empty_like(factors.F)
    k, l = np.meshgrid(*indices[1:], indexing="ij")
    for plane, h in enumerate(indices[0]):
        g = np.stack([np.full_like(k, h), k, l], axis=-1) @ reciprocal_axes
        stol = np.linalg.norm(g, axis=-1) / 2
        F[plane] = factors.F[plane] * debye_waller(disorder_B_A2, stol)
    return replace(factors, F=F, lost=lost)


@lru_cache(maxsize=8)
def _cell_intensity(
    source: Model | Reflections | Wilson,
    d_min_A: float,
    disorder_B_A2: float,
    diffuse: bool,
    compton: bool,
    xtal_shape: str,
) -> Array:
    factors = _structure_factors(source, d_min_A, disorder_B_A2, diffuse)
    intensity: Array = SPOT_VOLUME[xtal_shape] * factors.lost
    if compton:
        cell_A3 = abs(float(np.linalg.det(real_axes(factors.cell))))
        intensity += compton_intensity(factors.composition or protein_of(cell_A3), stol=STOL)
    return intensity
