"""Maps of the canvas: what each pixel sees of the light, shadows, gains, bad pixels, gaps."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.beam import Beam
from deepfreak.physics.detector.detector import CCD, Detector, PhotonCounting
from deepfreak.physics.detector.obstacles import transmitted
from deepfreak.physics.detector.panel import Panel, Region
from deepfreak.settings import Vector

Array = NDArray[np.float64]

# Positions take three numbers a pixel, so that large panels are worked through in parts.
PIXELS_AT_ONCE = 2**20

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]


@lru_cache(maxsize=4)
def sin_theta(detector: Detector) -> Array:
    """Return sin(theta) at each pixel's centre, (slow, fast), half the scattering angle's sine.

    Gaps have 0.
    """
    image = np.zeros(detector.image_size)
    for region, _, positions in pixels(detector):
        image[region] = sin_theta_at(positions)
    return _in_regions(image, detector)


def largest_sin_theta(detector: Detector) -> float:
    """Return the largest sin(theta) that any point of the detector sees."""
    largest = 0.0
    for panel in detector.resolved_panels():
        corners = panel.corners_mm
        largest = max(largest, float(sin_theta_at(corners).max()))
        if corners[:, 0].min() < 0:
            # of a panel behind the crystal the middle may see more than the corners
            positions = (positions for _, of, positions in pixels(detector) if of is panel)
            largest = max(largest, *(float(sin_theta_at(part).max()) for part in positions))
    return largest


@lru_cache(maxsize=4)
def solid_angle_and_polarization(
    detector: Detector,
    polarization: float,
    polarization_axis: Vector,
    subpixel: tuple[float, float] = (0.5, 0.5),
) -> Array:
    """Return each pixel's solid angle in steradian times its polarization factor, (slow, fast).

    Both are taken at one point within the pixel, `subpixel` (slow, fast): its centre for smooth
    scattering, its first subpixel for Bragg spots, as nanoBragg does. Gaps have 0.
    """
    image = np.zeros(detector.image_size)
    for region, panel, positions in pixels(detector, subpixel=subpixel):
        image[region] = solid_angle(
            positions,
            pixel_size_mm=detector.pixel_size_mm,
            close_distance_mm=panel.close_distance_mm,
        )
        image[region] *= polarization_factor(
            positions,
            incident=np.array([1.0, 0.0, 0.0]),
            polarization=polarization,
            polarization_axis=np.array(polarization_axis),
        )
    return _in_regions(image, detector)


def solid_angle(positions_mm: Array, *, pixel_size_mm: float, close_distance_mm: float) -> Array:
    """Return the solid angle in steradian of pixels at `positions_mm`, (..., xyz).

    pixel^2 / R^2 times the obliquity D / R, D the perpendicular distance of the panel.
    """
    R = np.linalg.norm(positions_mm, axis=-1)
    omega: Array = pixel_size_mm**2 * close_distance_mm / R**3
    return omega


def polarization_factor(
    positions: Array, *, incident: Array, polarization: float, polarization_axis: Array
) -> Array:
    """Return the share of light that Thomson scattering sends towards `positions`, (..., xyz).

    (1 + cos^2(2 theta) - K cos(2 psi) sin^2(2 theta)) / 2 with Kahn's factor K = `polarization`,
    psi measured around the beam from the electric field, made perpendicular to `incident`.
    """
    direction = positions / np.linalg.norm(positions, axis=-1, keepdims=True)
    magnetic = np.cross(polarization_axis, incident)
    magnetic /= np.linalg.norm(magnetic)
    electric = np.cross(incident, magnetic)
    along, across = direction @ electric, direction @ magnetic
    # cos(2 psi) sin^2(2 theta) = along^2 - across^2
    factor: Array = (1 + (direction @ incident) ** 2 - polarization * (along**2 - across**2)) / 2
    return factor


def beam_factors(detector: Detector, beam: Beam, *, oversample: int = 1) -> Array:
    """Return `solid_angle_and_polarization` for `beam` at the first of oversample^2 subpixels."""
    first = 0.5 / oversample
    return solid_angle_and_polarization(
        detector, beam.polarization, beam.polarization_axis, (first, first)
    )


def pixels(
    detector: Detector,
    *,
    subpixel: tuple[float, float] = (0.5, 0.5),
    at_once: int = PIXELS_AT_ONCE,
) -> Iterator[tuple[Region, Panel, Array]]:
    """Go through the canvas in parts: which pixels, their panel, and their positions in mm.

    A part has about `at_once` pixels, whole rows.
    """
    for panel in detector.resolved_panels():
        columns = panel.region[1]
        rows_at_once = max(1, at_once // panel.image_size[1])
        for start in range(0, panel.image_size[0], rows_at_once):
            stop = min(start + rows_at_once, panel.image_size[0])
            positions = panel.pixel_positions_mm(subpixel=subpixel, rows=slice(start, stop))
            first = panel.first[0]
            yield (slice(first + start, first + stop), columns), panel, positions


def sin_theta_at(positions_mm: Array) -> Array:
    """Return sin(theta) at positions from the crystal, (..., xyz)."""
    cos_2theta = positions_mm[..., 0] / np.linalg.norm(positions_mm, axis=-1)
    sines: Array = np.sqrt(np.maximum(0.0, (1 - cos_2theta) / 2))
    return sines


def _in_regions(image: Array, detector: Detector) -> Array:
    """Return a read-only `image` with zeros in the gaps."""
    image[gaps(detector)] = 0
    image.setflags(write=False)
    return image


@lru_cache(maxsize=4)
def transmission_map(detector: Detector) -> Float:
    """Return the share of light that passes all obstacles to each pixel, (slow, fast).

    Gaps have 0.
    """
    image = np.zeros(detector.image_size, dtype=np.float32)
    for region, _, positions in pixels(detector):
        passing = np.ones(positions.shape[:-1])
        for obstacle in detector.obstacles:
            # panels have no distance, but then each obstacle has its own
            passing *= transmitted(obstacle, positions, distance_mm=detector.distance_mm or 0.0)
        image[region] = passing
    image[gaps(detector)] = 0
    image.setflags(write=False)
    return image


@lru_cache(maxsize=8)
def calibration_map(response: CCD | PhotonCounting, image_size: tuple[int, int]) -> Float:
    """Return each pixel's gain, (slow, fast), the same for every shot of this detector."""
    rng = np.random.default_rng(response.calibration_seed)
    errors = rng.standard_normal(image_size, dtype=np.float32)
    gains: Float = np.maximum(1 + np.float32(response.calibration_rms) * errors, np.float32(0))
    gains.setflags(write=False)
    return gains


@lru_cache(maxsize=4)
def sensitivity_map(detector: Detector) -> Float:
    """Return what each pixel makes of a photon sent towards it, (slow, fast).

    Its transmission times its gain.
    """
    gains = calibration_map(detector.response, detector.image_size)
    if not (detector.obstacles or detector.modules or detector.panels):
        return gains  # two maps less in memory
    sensitivity: Float = transmission_map(detector) * gains
    sensitivity.setflags(write=False)
    return sensitivity


@lru_cache(maxsize=4)
def gaps(detector: Detector) -> Mask:
    """Return which pixels of the canvas are in no module or panel, (slow, fast)."""
    mask = np.ones(detector.image_size, dtype=bool)
    for region in detector.sensitive_regions():
        mask[region] = False
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=4)
def hot_pixels(detector: Detector) -> Mask:
    """Return which pixels report the same whatever they see, (slow, fast)."""
    hot = ~gaps(detector) & (_lot(detector) >= 1 - detector.bad_pixels.hot_fraction)
    hot.setflags(write=False)
    return hot


@lru_cache(maxsize=4)
def missing_pixels(detector: Detector) -> Mask:
    """Return which pixels report nothing, (slow, fast): those in gaps, and the dead ones.

    Their counts, and their 8-bit values, are 0. Hot pixels report something wrong, and pixels
    behind a beamstop report correctly that there was no light: neither is missing.
    """
    missing = gaps(detector) | (_lot(detector) < detector.bad_pixels.dead_fraction)
    missing.setflags(write=False)
    return missing


def _lot(detector: Detector) -> NDArray[np.float64]:
    """Return a number between 0 and 1 for each pixel: the lowest are dead, the highest hot."""
    return np.random.default_rng(detector.bad_pixels.seed).random(detector.image_size)
