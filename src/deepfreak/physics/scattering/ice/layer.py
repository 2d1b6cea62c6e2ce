"""A layer of ice: how much of it there is, of what kind, and what it scatters."""

import math
from dataclasses import replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector, largest_sin_theta
from deepfreak.physics.scattering.ice.grains import Grains, grains_photons
from deepfreak.physics.scattering.ice.lattice import IceForm, reflections
from deepfreak.physics.scattering.ice.rings import powder_photons, ring_profile
from deepfreak.settings import Extent, Fraction, NonNegative, middle, settings

# So many grains make a powder: each pixel of a ring in the paper's geometry then has the light of
# some ten of them, and following every one would take longer than the rest of the shot.
MAX_GRAINS = 100_000

# Width at half maximum of a crystallite's reflections, in units of 1 / size, as Scherrer found it
# for Gaussian profiles: 2 sqrt(ln 2 / pi) (Patterson, Phys. Rev. 56, 978, 1939).
SCHERRER = 2 * math.sqrt(math.log(2) / math.pi)
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@settings
class Ice:
    """A layer of ice in the beam, of grains in all orientations, at about 100 K.

    Parameters
    ----------
    form
        Hexagonal ice (Ih) or cubic ice (Ic, without stacking faults).
    thickness_mm
        How far the beam travels in ice; may be a range.
    grains
        "powder" for the mean over all orientations, smooth rings; "spots" for the grains that one
        shot meets, each turned at random.
    grain_size_mm
        Side of a grain: the smaller, the wider the rings (Scherrer) and the more the spots. Above
        100,000 grains in the beam "spots" is a powder too.
    mosaic_rms_deg
        RMS misorientation within a grain, which lets more reflections diffract, each with less.
    probability
        Share of the exposed shots that have this ice.
    """

    material: Literal["ice"] = "ice"
    form: IceForm = "hexagonal"
    thickness_mm: Extent
    grains: Literal["powder", "spots"] = "powder"
    # 5 nm: below, a ring is no longer narrow against its distance from the beam
    grain_size_mm: Annotated[float, Field(ge=5e-6, allow_inf_nan=False)]
    mosaic_rms_deg: Annotated[NonNegative, Field(le=2)] = 0.05
    probability: Fraction = 1.0

    def __post_init__(self) -> None:
        thinnest = min(self.path_mm) if isinstance(self.path_mm, tuple) else self.path_mm
        if self.grain_size_mm > thinnest:
            raise ValueError(
                f"grain_size_mm is at most thickness_mm, {thinnest:g}, found {self.grain_size_mm:g}"
            )

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it."""
        return self.thickness_mm

    @property
    def shape_sigma(self) -> float:
        """RMS size in 1/A of a reciprocal lattice point, from the size of the grains."""
        return SCHERRER / (FWHM_PER_SIGMA * self.grain_size_mm * 1e7)

    def with_path(self, path_mm: float) -> Self:
        """Return ice of this thickness."""
        return replace(self, thickness_mm=path_mm)

    def is_met(self, rng: np.random.Generator) -> bool:
        """Draw whether a pulse meets ice."""
        return bool(rng.uniform() < self.probability)

    def per_mm(self, stol: NDArray[np.float64], beam: Beam) -> None:  # noqa: ARG002 -- see there
        """Return None: rings are narrower than a pixel, and grains are single spots."""
        return

    def exposed_grains(self, beam: Beam) -> Grains:
        """Return how many grains the beam meets on average, and of what kind."""
        width_mm = min(self.grain_size_mm, beam.size_mm)
        return Grains(
            mean_count=beam.area_mm2 * middle(self.path_mm) / (self.grain_size_mm * width_mm**2),
            volume_A3=1e21 * self.grain_size_mm * width_mm**2,
            width_mm=width_mm,
            shape_sigma=self.shape_sigma,
            mosaic_rms=math.radians(self.mosaic_rms_deg),
        )

    def photons(
        self, pulse: Pulse, detector: Detector, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the expected photons of a pulse that ice reflects, (slow, fast).

        What ice scatters between its rings (thermal motion, Compton) is left out. `rng` draws the
        number and the orientations of single grains; a powder leaves it alone.
        """
        # rounded up, so that shots of nearly equal wavelength share one table
        stol_max = math.ceil(20 * largest_sin_theta(detector) / pulse.wavelength_A) / 20
        grains = self.exposed_grains(pulse.beam)
        if self.grains == "spots" and grains.mean_count <= MAX_GRAINS:
            return grains_photons(grains, pulse, detector, reflections(self.form, stol_max), rng)
        return powder_photons(
            pulse,
            detector,
            profile=ring_profile(self.form, self.shape_sigma, pulse.bandwidth_rms, stol_max),
            volume_A3=1e21 * pulse.beam.area_mm2 * middle(self.path_mm),
        )
