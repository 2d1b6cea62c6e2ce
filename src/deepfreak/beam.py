"""The X-ray beam: how many photons a pulse brings, at what wavelength, onto what area."""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.settings import Finite, NonNegative, Positive, Vector, settings

Array = NDArray[np.float64]


@settings
class Beam:
    """A pulsed beam along +x with a square top-hat profile.

    Parameters
    ----------
    wavelength_A, wavelength_rms
        Mean wavelength, and the relative RMS of its Gaussian jitter from shot to shot.
    photons_per_pulse, pulse_energy_rms
        Photons of a mean pulse (the paper's "fluence of 1e12"), and the relative RMS of their
        Gaussian fluctuation. A negative draw is a dark pulse (Appendix A: RMS equal to the mean).
    size_mm
        Side of the square spot at the crystal.
    polarization, polarization_axis
        Kahn's factor K between -1 and 1, 0 for unpolarized, and the electric field's direction.
    """

    wavelength_A: Positive
    wavelength_rms: NonNegative = 0.0
    photons_per_pulse: Positive
    pulse_energy_rms: NonNegative = 0.0
    size_mm: Positive
    polarization: Finite = 0.0
    polarization_axis: Vector = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if not -1 <= self.polarization <= 1:
            raise ValueError(f"polarization is between -1 and 1, found {self.polarization}")
        if self.wavelength_rms > 0.1:
            raise ValueError(
                f"wavelength_rms is relative and at most 0.1, found {self.wavelength_rms}"
            )
        if math.hypot(self.polarization_axis[1], self.polarization_axis[2]) < 1e-6:
            raise ValueError("polarization_axis must not lie along the beam (x)")

    @property
    def area_mm2(self) -> float:
        """Area of the spot."""
        return self.size_mm**2

    @property
    def direction(self) -> Array:
        """Unit vector along which the photons travel."""
        return np.array([1.0, 0.0, 0.0])

    def fluence(self, photons: float) -> float:
        """Return the photons/m^2 of a pulse of `photons`."""
        return photons / (self.area_mm2 * 1e-6)
