"""Maps of the canvas that stay the same from shot to shot: shadows, gains, bad pixels, gaps."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.detector.detector import Detector
from deepfreak.physics.detector.geometry import pixels
from deepfreak.physics.detector.obstacles import transmitted
from deepfreak.physics.detector.response import CCD, PhotonCounting

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]


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
