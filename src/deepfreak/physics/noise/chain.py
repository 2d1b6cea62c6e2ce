"""The chain from expected photons to counts, and the square root that makes 8 bits of them.

For a CCD, in the order of Appendix A:

1. what obstacles let through, and each pixel's calibration error, both fixed for a detector;
2. Poisson deviates;
3. point spread of the fibre-coupled CCD;
4. read-out noise, pedestal, saturation, whole counts;
5. what dead and hot pixels report instead.

A photon-counting detector has 1, counting with its dead time, saturation, and 5.
"""

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.detector import (
    CCD,
    Detector,
    PhotonCounting,
    hot_pixels,
    missing_pixels,
    sensitivity_map,
)
from deepfreak.physics.noise.counting import count_with_dead_time, poisson
from deepfreak.physics.noise.point_spread import point_spread

Float = NDArray[np.float32]
Counts = NDArray[np.uint16]

# Far beyond any detector's range, and within that of the arithmetic.
MAX_PHOTONS = 1e12


def detect(expected: Float, detector: Detector, rng: np.random.Generator) -> Counts:
    """Return the counts that `detector` reports for the `expected` photons, (slow, fast).

    Gaps and dead pixels report 0. Raises `ValueError` if `expected` has not the detector's size, or
    is nowhere a number of photons.
    """
    if expected.shape != detector.image_size:
        raise ValueError(
            f"expected photons of {detector.image_size} pixels, found shape {expected.shape}"
        )
    faintest, brightest = float(expected.min()), float(expected.max())
    if not 0 <= faintest <= brightest <= MAX_PHOTONS:
        raise ValueError(
            f"expected photons between 0 and {MAX_PHOTONS:g}, found {faintest:g} to {brightest:g}"
        )
    response = detector.response
    if brightest > 0:
        expected = expected * sensitivity_map(detector)
    if isinstance(response, PhotonCounting):
        counts = _count(expected, response, rng)
    else:
        # without light there is nothing to count or spread, and most of the time is saved
        photons = _spread_counts(expected, detector, response, rng) if brightest > 0 else expected
        counts = read_out(photons, response, rng)
    return _with_bad_pixels(counts, detector)


def read_out(photons: Float, response: CCD, rng: np.random.Generator) -> Counts:
    """Add read-out noise and pedestal, clip to the range and drop fractions."""
    values = rng.standard_normal(photons.shape, dtype=np.float32)
    values *= np.float32(response.readout_noise_adu)
    values += photons
    values += np.float32(response.adc_offset_adu)
    np.clip(values, 0, response.saturation_value, out=values)
    return values.astype(np.uint16)


def _spread_counts(
    expected: Float, detector: Detector, response: CCD, rng: np.random.Generator
) -> Float:
    """Return the light that reaches the CCD's pixels, within each module or panel."""
    photons = poisson(expected, rng)
    for region in detector.sensitive_regions():
        photons[region] = point_spread(
            photons[region], fwhm_mm=response.psf_fwhm_mm, pixel_size_mm=detector.pixel_size_mm
        )
    return photons


def _count(expected: Float, response: PhotonCounting, rng: np.random.Generator) -> Counts:
    if response.dead_share == 0:
        photons = poisson(expected, rng)
    else:
        photons = count_with_dead_time(
            expected, rng, dead_share=response.dead_share, paralyzable=response.paralyzable
        )
    return np.minimum(photons, np.float32(response.saturation_value)).astype(np.uint16)


def _with_bad_pixels(counts: Counts, detector: Detector) -> Counts:
    """Overwrite in `counts` what pixels without light of their own report."""
    bad = detector.bad_pixels
    if bad.hot_fraction > 0:
        counts[hot_pixels(detector)] = bad.hot_value or detector.response.saturation_value
    if bad.dead_fraction > 0 or detector.modules is not None or detector.panels:
        counts[missing_pixels(detector)] = 0
    return counts
