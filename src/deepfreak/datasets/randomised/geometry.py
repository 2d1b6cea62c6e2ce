"""What the package's modules share: the angles of a flat detector, and a draw."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is uniform; 0, without a draw, where `low` is 0."""
    if low <= 0:
        return 0.0
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """A flat detector across the beam."""

    wavelength_A: float
    distance_mm: float
    pixel_mm: float
    # (slow, fast) in pixels, where the beam meets the detector's plane
    beam_center_px: tuple[float, float]
    polarization: float  # degree of linear polarisation, -1 (along slow) to 1 (along fast)

    def radius_px(self, d_A: Array) -> Array:
        """Return the radius of the ring of spacing d, NaN where no angle diffracts."""
        with np.errstate(invalid="ignore"):
            two_theta = 2 * np.arcsin(self.wavelength_A / (2 * d_A))
            tangent = np.where(two_theta < math.pi / 2, np.tan(two_theta), np.nan)
        return self.distance_mm / self.pixel_mm * tangent

    def q_at(self, radius_px: float) -> float:
        """Return 1/d in 1/A at a distance from the beam."""
        two_theta = math.atan(radius_px * self.pixel_mm / self.distance_mm)
        return 2 * math.sin(two_theta / 2) / self.wavelength_A

    def polarization_factor(self, two_theta: Array, azimuth: Array) -> Array:
        """Return the polarisation factor; `azimuth` counts from fast, along the field."""
        sin2 = np.sin(two_theta) ** 2
        return 1 - sin2 / 2 * (1 + self.polarization * np.cos(2 * azimuth))


def farthest_px(center_px: tuple[float, float], shape: tuple[int, int]) -> float:
    """Return how far the farthest corner of a canvas is from a place."""
    return math.hypot(*(max(abs(c), abs(n - c)) for c, n in zip(center_px, shape, strict=True)))
