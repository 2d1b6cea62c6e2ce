"""A layer of ice: how much of it there is, of what kind, and what it scatters."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.physics.beam import Beam
from deepfreak.physics.detector import Detector, largest_sin_theta
from deepfreak.physics.scattering.ice.grains import Grains, grains_photons
from deepfreak.physics.scattering.ice.lattice import IceForm
from deepfreak.physics.scattering.ice.rings import powder_photons
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
        Share of the lit shots that have this ice.
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


def lit_grains(ice: Ice, beam: Beam) -> Grains:
    """Return how many grains of `ice` the beam meets on average, and of what kind."""
    width_mm = min(ice.grain_size_mm, beam.size_mm)
    return Grains(
        mean_count=beam.area_mm2 * middle(ice.path_mm) / (ice.grain_size_mm * width_mm**2),
        volume_A3=1e21 * ice.grain_size_mm * width_mm**2,
        width_mm=width_mm,
        shape_sigma=ice.shape_sigma,
        mosaic_rms=math.radians(ice.mosaic_rms_deg),
    )


def ice_photons(
    ice: Ice,
    *,
    beam: Beam,
    detector: Detector,
    photons: float,
    wavelength_A: float,
    rng: np.random.Generator,
    bandwidth_rms: float = 0.0,
) -> NDArray[np.float32]:
    """Return the expected photons of a pulse of `photons` that ice reflects, (slow, fast).

    What ice scatters between its rings (thermal motion, Compton) is left out.

    Parameters
    ----------
    rng
        Draws number and orientations of single grains; a powder leaves it alone.
    bandwidth_rms
        Relative RMS width of the pulse's spectrum about `wavelength_A`.
    """
    fluence = beam.fluence(photons)
    # rounded up, so that shots of nearly equal wavelength share one table
    stol_max = math.ceil(20 * largest_sin_theta(detector) / wavelength_A) / 20
    grains = lit_grains(ice, beam)
    if ice.grains == "spots" and grains.mean_count <= MAX_GRAINS:
        return grains_photons(
            grains,
            form=ice.form,
            stol_max=stol_max,
            bandwidth_rms=bandwidth_rms,
            beam=beam,
            detector=detector,
            fluence=fluence,
            wavelength_A=wavelength_A,
            rng=rng,
        )
    return powder_photons(
        form=ice.form,
        volume_A3=1e21 * beam.area_mm2 * middle(ice.path_mm),
        shape_sigma=ice.shape_sigma,
        stol_max=stol_max,
        bandwidth_rms=bandwidth_rms,
        beam=beam,
        detector=detector,
        fluence=fluence,
        wavelength_A=wavelength_A,
    )
