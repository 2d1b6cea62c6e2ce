"""A layer of ice: how much of it there is, of what kind, and what it scatters."""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.compiled import njit
from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector, beam_factors, largest_sin_theta, sin_theta
from deepfreak.physics.detector.maps import pixels, sin_theta_at
from deepfreak.physics.scattering.atoms import R_E_SQR_M2
from deepfreak.physics.scattering.ice.grains import Grains, grains_photons
from deepfreak.physics.scattering.ice.lattice import IceForm, reflections
from deepfreak.settings import Extent, Fraction, NonNegative, middle, settings

Array = NDArray[np.float64]

# Spacing of the rings' profile in sin(theta)/lambda, 1/A, a thirtieth of a pixel in the paper's
# geometry. A sharper ring is as wide as this, with all its light.
STEP = 2e-5
# A ring ends this many standard deviations from its middle.
CUT_SIGMAS = 6.0

# So many grains make a powder: each pixel of a ring in the paper's geometry then has the light of
# some ten of them, and following every one would take longer than the rest of the shot.
MAX_GRAINS = 100_000

# Width at half maximum of a crystallite's reflections, in units of 1 / size, as Scherrer found it
# for Gaussian profiles: 2 sqrt(ln 2 / pi) (Patterson, Phys. Rev. 56, 978, 1939).
SCHERRER = 2 * math.sqrt(math.log(2) / math.pi)
FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def powder_photons(
    pulse: Pulse, detector: Detector, *, profile: Array, volume_A3: float
) -> NDArray[np.float32]:
    """Return the expected photons of a powder with a `ring_profile`, (slow, fast).

    r_e^2 x fluence x volume x intensity x solid angle x polarization, the intensity averaged over
    the pixel: rings are often narrower.
    """
    image = np.empty(detector.image_size, dtype=np.float32)
    # the profile is straight between its entries; its integral, and that one's
    once = np.concatenate([[0.0], np.cumsum((profile[:-1] + profile[1:]) / 2)])
    step = once[:-1] + profile[:-1] / 3 + profile[1:] / 6
    _average_over_pixels(
        image,
        profile,
        once,
        np.concatenate([[0.0], np.cumsum(step)]),
        sin_theta=sin_theta(detector),
        extents=pixel_extents(detector),
        scale=1 / (pulse.wavelength_A * STEP),
        factors=beam_factors(detector, pulse.beam),
        strength=R_E_SQR_M2 * pulse.fluence * volume_A3,
    )
    return image


@lru_cache(maxsize=8)
def ring_profile(form: IceForm, shape_sigma: float, bandwidth_rms: float, stol_max: float) -> Array:
    """Return the powder's intensity in electrons^2/A^3 at every STEP of sin(theta)/lambda, (n,).

    `shape_sigma` is the RMS size in 1/A of a reciprocal lattice point, `bandwidth_rms` the relative
    width of the spectrum.

    Turned every way, a reflection spreads its light over the sphere of radius q = 1/d: |F|^2 /
    (4 pi q^2 V_cell^2) per volume, times a profile in |q| of area 1 (Warren, X-ray Diffraction,
    1969, ch. 4; his multiplicity and Lorentz factor are the sum over reflections and the sphere's
    area). The profile is a Gaussian, as wide as shape and spectrum make it.
    """
    found = reflections(form, stol_max)
    # equal spacings make one ring
    stol, which = np.unique(np.round(found.stol, 8), return_inverse=True)
    F_sqr = np.bincount(which, weights=found.F_sqr)
    # dq = 2 d stol, so an area of 1 in |q| is one of 1/2 in stol
    areas = F_sqr / (4 * math.pi * (2 * stol) ** 2 * found.cell_A3**2) / 2
    profile = np.zeros(math.ceil(stol_max / STEP) + 2)
    for center, area in zip(stol, areas, strict=True):
        sigma = math.hypot(shape_sigma / 2, bandwidth_rms * center)
        _add_gaussian(profile, center / STEP, sigma / STEP, area / STEP)
    profile.setflags(write=False)
    return profile


def _add_gaussian(profile: Array, center: float, sigma: float, area: float) -> None:
    """Add a Gaussian, averaged over the neighbourhood of each entry so that none is too narrow."""
    from scipy.special import ndtr

    reach = CUT_SIGMAS * sigma + 1
    first, last = max(0, math.floor(center - reach)), min(len(profile), math.ceil(center + reach))
    if last <= first:
        return
    z = (np.arange(first - 1, last + 1) - center) / sigma
    # second antiderivative; its second differences are averages under a triangle of base 2 STEP
    twice = sigma * (z * ndtr(z) + np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))
    profile[first:last] += area * np.diff(twice, 2)


@lru_cache(maxsize=8)
def pixel_extents(detector: Detector) -> NDArray[np.float32]:
    """Return by how much sin(theta) changes across each pixel, (2, slow, fast): slow, then fast."""
    extents = np.zeros((2, *detector.image_size), dtype=np.float32)
    for axis, (before, after) in enumerate([((0.0, 0.5), (1.0, 0.5)), ((0.5, 0.0), (0.5, 1.0))]):
        edges = zip(
            pixels(detector, subpixel=before), pixels(detector, subpixel=after), strict=True
        )
        for (region, _, one_edge), (_, _, other_edge) in edges:
            extents[axis][region] = np.abs(sin_theta_at(other_edge) - sin_theta_at(one_edge))
    extents.setflags(write=False)
    return extents


@njit(cache=True, nogil=True, error_model="numpy")
def _average_over_pixels(
    image: NDArray[np.float32],
    profile: Array,
    once: Array,
    twice: Array,
    sin_theta: Array,
    extents: NDArray[np.float32],
    scale: float,
    factors: Array,
    strength: float,
) -> None:
    """Fill `image` with strength x factors x the profile's mean over each pixel.

    Along the gradient of sin(theta), which hardly changes within it, a square pixel is a trapezoid:
    the convolution of two boxes, as wide as its two sides are along the gradient. Seen through all
    pixels these trapezoids add up to one everywhere, so no light is lost or doubled.
    """
    for s in range(image.shape[0]):
        for f in range(image.shape[1]):
            if factors[s, f] == 0.0:
                image[s, f] = 0.0
                continue
            x = scale * sin_theta[s, f]
            a, b = scale * extents[0, s, f], scale * extents[1, s, f]
            wide = max(a, b, 1.0)
            # a trapezoid that is nearly a box stays one; without sides it could not be divided by
            narrow = max(min(a, b), 0.01 * wide)
            outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
            mean = (
                _at(profile, once, twice, x + outer)
                - _at(profile, once, twice, x + inner)
                - _at(profile, once, twice, x - inner)
                + _at(profile, once, twice, x - outer)
            ) / (wide * narrow)
            image[s, f] = strength * factors[s, f] * max(mean, 0.0)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _at(profile: Array, once: Array, twice: Array, x: float) -> float:
    """Return the second antiderivative at entry `x`, a fraction; outside, the profile is 0."""
    if x <= 0.0:
        return 0.0
    last = len(profile) - 1
    i = int(x)
    if i >= last:
        beyond: float = twice[last] + once[last] * (x - last)
        return beyond
    t = x - i
    bend = profile[i + 1] - profile[i]
    value: float = twice[i] + t * (once[i] + t * (profile[i] / 2 + t * bend / 6))
    return value


@settings
class Ice:
    """A layer of ice in the beam, of grains in all orientations, at about 100 K."""

    material: Literal["ice"] = "ice"
    form: IceForm = "hexagonal"  # hexagonal ice (Ih) or cubic ice (Ic, without stacking faults)
    thickness_mm: Extent  # how far the beam travels in ice; may be a range
    # "powder" for the mean over all orientations, smooth rings; "spots" for the grains that one
    # shot meets, each turned at random
    grains: Literal["powder", "spots"] = "powder"
    # 5 nm: below, a ring is no longer narrow against its distance from the beam
    # Side of a grain: the smaller, the wider the rings (Scherrer) and the more the spots. Above
    # 100,000 grains in the beam "spots" is a powder too.
    grain_size_mm: Annotated[float, Field(ge=5e-6, allow_inf_nan=False)]
    # RMS misorientation within a grain, which lets more reflections diffract, each with less
    mosaic_rms_deg: Annotated[NonNegative, Field(le=2)] = 0.05
    probability: Fraction = 1.0  # share of the exposed shots that have this ice

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
