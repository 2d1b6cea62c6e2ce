"""Spots that rise above the noise: counted on expected photons, where nothing is random."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.detector import CCD, Detector, sensitivity_map, sin_theta

Float = NDArray[np.float32]
Array = NDArray[np.float64]

# Less than this is no spot, however dark its surroundings.
MIN_PHOTONS = 1.0


class SpotCounts(NamedTuple):
    """How many spots of a shot exceed 3 and 5 sigma, and the finest spacing in A of the latter."""

    above_3_sigma: int
    above_5_sigma: int
    d_min_A: float | None


def count_spots(
    bragg: Float, background: Float, detector: Detector, wavelength_A: float
) -> SpotCounts:
    """Count the spots in expected photons, both (slow, fast).

    A spot is a local maximum of the Bragg photons that the detector's pixels take in, before the
    point spread. Its signal is their sum over the 3 x 3 pixels around it; sigma is the root of what
    the background and the read-out noise vary by there, and is at least one photon. SpotCounts that
    touch count as one. A spot's spacing is that of its brightest pixel's centre.
    """
    response = detector.response
    readout = response.readout_noise_adu if isinstance(response, CCD) else 0.0
    sensitivity = sensitivity_map(detector)
    strong, clear, sin_largest = _count(
        bragg * sensitivity, background, sensitivity, sin_theta(detector), readout**2
    )
    finest = wavelength_A / (2 * sin_largest) if sin_largest > 0 else None
    return SpotCounts(strong, clear, finest)


@njit(cache=True, nogil=True, error_model="numpy")
def _count(
    light: Float, background: Float, sensitivity: Float, sin_theta: Array, readout_variance: float
) -> tuple[int, int, float]:
    """Return the spots above 3 sigma, those above 5, and the largest sin(theta) of the latter."""
    rows, columns = light.shape
    above_3, above_5, sin_largest = 0, 0, 0.0
    # of 9 pixels the brightest holds a ninth at least: most others are passed over at once,
    # and half of the rest for their neighbour before
    least = max(MIN_PHOTONS, 3 * np.sqrt(max(1.0, 9 * readout_variance))) / 9
    for i in range(rows):
        for j in range(columns):
            if light[i, j] < least or (j > 0 and light[i, j - 1] >= light[i, j]):
                continue
            signal, variance = _spot(light, background, sensitivity, i, j, readout_variance)
            if signal < MIN_PHOTONS:
                continue
            sigma = np.sqrt(max(variance, 1.0))
            if signal >= 3 * sigma:
                above_3 += 1
            if signal >= 5 * sigma:
                above_5 += 1
                sin_largest = max(sin_largest, sin_theta[i, j])
    return above_3, above_5, sin_largest


@njit(cache=True, nogil=True, error_model="numpy")
def _spot(
    light: Float, background: Float, sensitivity: Float, i: int, j: int, readout_variance: float
) -> tuple[float, float]:
    """Return the photons around a local maximum and the variance there, (0, 0) if it is none."""
    rows, columns = light.shape
    here = light[i, j]
    signal, variance = 0.0, 0.0
    for k in range(max(i - 1, 0), min(i + 2, rows)):
        for l in range(max(j - 1, 0), min(j + 2, columns)):
            there = light[k, l]
            # of equal neighbours the first is the maximum
            earlier = k < i or (k == i and l < j)
            if there > here or (earlier and there == here):
                return 0.0, 0.0
            signal += there
            variance += background[k, l] * sensitivity[k, l] + readout_variance
    return signal, variance
