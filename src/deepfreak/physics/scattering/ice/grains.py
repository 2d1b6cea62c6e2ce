"""Single grains of ice: each turned at random, each reflection in it that diffracts a spot."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.beam import Pulse
from deepfreak.physics.crystal import rotations_of
from deepfreak.physics.detector import Detector, Panel, beam_factors, polarization_factor
from deepfreak.physics.scattering.atoms import R_E_SQR_M2
from deepfreak.physics.scattering.ice.lattice import IceReflections

Array = NDArray[np.float64]

# Grains turned at a time: a product of matrices of a few MB.
BATCH = 4096
# A reflection that misses Bragg's condition by more standard deviations than this scatters
# nothing.
CUT_SIGMAS = 4.5
# A spot is drawn out to this many standard deviations.
DRAWN_SIGMAS = 4.0
# Variance of a pixel's own square, in pixels^2.
PIXEL_VARIANCE = 1 / 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Grains:
    """The grains that the beam meets."""

    # mean_count, volume_A3, width_mm: how many on average; the volume of one, and its width across
    # the beam
    mean_count: float
    volume_A3: float
    width_mm: float
    shape_sigma: float  # RMS size in 1/A of its reciprocal lattice points
    mosaic_rms: float  # RMS misorientation within it in radians


class GrainSpots(NamedTuple):
    """Where the spots of grains go and how bright they are."""

    directions: Array  # (n, 3) unit vectors from the crystal
    photons: Array  # (n,) photons in them, before polarization
    # along, across: (n,) RMS widths in radians, away from the beam and around it
    along: Array
    across: Array


def grains_photons(
    grains: Grains,
    pulse: Pulse,
    detector: Detector,
    found: IceReflections,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the expected photons of the grains that one shot meets, (slow, fast).

    Their number is drawn from Poisson's law and each is turned uniformly on SO(3), so that the mean
    of many shots is `layer.powder_photons`. `found` are ice's reflections.
    """
    image = np.zeros(detector.image_size, dtype=np.float32)
    beam = pulse.beam
    for orientations in _orientations(int(rng.poisson(grains.mean_count)), rng):
        spots = excited_spots(found, orientations, grains, pulse)
        photons = R_E_SQR_M2 * pulse.fluence * spots.photons
        photons *= polarization_factor(
            spots.directions,
            incident=beam.direction,
            polarization=beam.polarization,
            polarization_axis=np.array(beam.polarization_axis),
        )
        for panel in detector.resolved_panels():
            variance = PIXEL_VARIANCE * (1 + (grains.width_mm / panel.pixel_size_mm) ** 2)
            _draw(image[panel.region], spots._replace(photons=photons), panel, variance)
    # what falls between modules is not seen
    image[beam_factors(detector, beam) == 0] = 0
    return image


def excited_spots(
    found: IceReflections, orientations: Array, grains: Grains, pulse: Pulse
) -> GrainSpots:
    """Return the spots of grains in `orientations` (n, 3, 3), per r_e^2 x fluence.

    A reflection turned to the angle `a` against the plane across the beam, while Bragg's is theta,
    has lambda^3 |F|^2 V / (V_cell^2 sin(2 theta)) of light (Warren, X-ray Diffraction, 1969, ch. 4)
    times a normal density in a - theta, per radian. Two things let it miss: the grain's mosaic
    spread and the sideways size of its lattice point, which tilt it by `tilt`; and the spectrum and
    the point's lengthwise size, which move theta by `shift` and the spot with it. Which of the
    two it was is known only in the mean: hence the spot's place and its width `along`.
    """
    wavelength_A, bandwidth_rms = pulse.wavelength_A, pulse.bandwidth_rms
    q = np.linalg.norm(found.q, axis=1)
    sines = wavelength_A * found.stol
    can_diffract = sines < 1
    theta = np.arcsin(np.minimum(sines, 1 - 1e-9))
    point = grains.shape_sigma / q
    tilt = np.hypot(grains.mosaic_rms, point)
    shift = np.tan(theta) * np.hypot(bandwidth_rms, point)
    miss = np.hypot(tilt, shift)
    lowest = np.sin(theta - CUT_SIGMAS * miss)
    highest = np.where(can_diffract, np.sin(np.minimum(theta + CUT_SIGMAS * miss, np.pi / 2)), -1)

    # row 0 of an orientation times q is what of q lies along the beam; it must point against it
    against = -orientations[:, 0, :] @ (found.q / q[:, None]).T
    which_grain, which = np.nonzero((against > lowest) & (against < highest))
    q_lab = np.einsum("nij,nj->ni", orientations[which_grain], found.q[which])

    theta, tilt, shift, miss = theta[which], tilt[which], shift[which], miss[which]
    missed_by = np.arcsin(against[which_grain, which]) - theta
    density = np.exp(-((missed_by / miss) ** 2) / 2) / (math.sqrt(2 * math.pi) * miss)
    two_theta = 2 * (theta + missed_by * (shift / miss) ** 2)
    around = q_lab[:, 1:] / np.linalg.norm(q_lab[:, 1:], axis=1, keepdims=True)
    return GrainSpots(
        directions=np.column_stack([np.cos(two_theta), np.sin(two_theta)[:, None] * around]),
        photons=wavelength_A**3
        * found.F_sqr[which]
        * (grains.volume_A3 / found.cell_A3**2)
        * density
        / np.sin(2 * theta),
        along=2 * shift * tilt / miss,
        across=2 * np.sin(theta) * tilt,
    )


def _orientations(count: int, rng: np.random.Generator) -> Iterator[Array]:
    """Go through `count` rotation matrices, uniform on SO(3), in batches (n, 3, 3)."""
    for first in range(0, count, BATCH):
        quaternions = rng.standard_normal((4, min(BATCH, count - first)))
        quaternions /= np.linalg.norm(quaternions, axis=0)
        yield np.ascontiguousarray(rotations_of(quaternions).transpose(2, 0, 1))


@njit(cache=True, nogil=True, error_model="numpy")
def _draw(image: NDArray[np.float32], spots: GrainSpots, panel: Panel, own_variance: float) -> None:
    """Add spots to a panel's `image`, (slow, fast), as Gaussians that keep their photons.

    A spot's angular widths are projected onto the panel; `own_variance` in pixels^2, that of a
    pixel's square and of the grain's width, is added in every direction.
    """
    origin, fast, slow = panel.origin_mm, panel.fast_axis, panel.slow_axis
    pixel_size = panel.pixel_size_mm
    normal = np.cross(fast, slow)
    height = (origin * normal).sum()
    offset_fast, offset_slow = (origin * fast).sum(), (origin * slow).sum()
    for spot in range(len(spots.photons)):
        d = spots.directions[spot]
        toward = (d * normal).sum()
        if toward * height <= 0:
            continue
        t = height / toward
        center_f = (t * (d * fast).sum() - offset_fast) / pixel_size - 0.5
        center_s = (t * (d * slow).sum() - offset_slow) / pixel_size - 0.5
        # far off a tilted panel, light grazes its plane and its spot there would have no end
        if (
            abs(center_f - image.shape[1] / 2) > 1.5 * image.shape[1]
            or abs(center_s - image.shape[0] / 2) > 1.5 * image.shape[0]
        ):
            continue
        sine = math.sqrt(d[1] * d[1] + d[2] * d[2])
        ff, fs, ss = own_variance, 0.0, own_variance
        for axis in range(2):
            # the unit vectors in which the direction turns away from the beam, and around it
            if axis == 0:
                e = np.array([-sine, d[0] * d[1] / sine, d[0] * d[2] / sine])
                sigma = spots.along[spot]
            else:
                e = np.array([0.0, -d[2] / sine, d[1] / sine])
                sigma = spots.across[spot]
            moved = t * sigma / pixel_size * (e - d * ((e * normal).sum() / toward))
            f, s = (moved * fast).sum(), (moved * slow).sum()
            ff += f * f
            fs += f * s
            ss += s * s
        _add_gaussian(image, spots.photons[spot], center_s, center_f, ss, fs, ff)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_gaussian(
    image: NDArray[np.float32],
    photons: float,
    center_s: float,
    center_f: float,
    ss: float,
    fs: float,
    ff: float,
) -> None:
    """Add `photons` to `image` as a Gaussian with the covariance [[ss, fs], [fs, ff]] in pixels^2.

    What of it falls beyond the image's edge is lost.
    """
    reach_s, reach_f = DRAWN_SIGMAS * math.sqrt(ss), DRAWN_SIGMAS * math.sqrt(ff)
    first_s, last_s = math.ceil(center_s - reach_s), math.floor(center_s + reach_s)
    first_f, last_f = math.ceil(center_f - reach_f), math.floor(center_f + reach_f)
    if last_s < 0 or last_f < 0 or first_s >= image.shape[0] or first_f >= image.shape[1]:
        return
    inverse = 0.5 / (ss * ff - fs * fs)
    # first the sum, so that what is drawn adds up to the spot's photons
    total = 0.0
    for s in range(first_s, last_s + 1):
        for f in range(first_f, last_f + 1):
            y, x = s - center_s, f - center_f
            total += math.exp(-inverse * (ss * x * x - 2 * fs * x * y + ff * y * y))
    for s in range(max(first_s, 0), min(last_s + 1, image.shape[0])):
        for f in range(max(first_f, 0), min(last_f + 1, image.shape[1])):
            y, x = s - center_s, f - center_f
            share = math.exp(-inverse * (ss * x * x - 2 * fs * x * y + ff * y * y)) / total
            image[s, f] += photons * share
