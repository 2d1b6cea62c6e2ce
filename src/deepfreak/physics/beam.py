"""The X-ray beam: how many photons a pulse brings, at what wavelengths, onto what area."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.spectrum import Divergence, Spectrum, beam_sources
from deepfreak.settings import Finite, NonNegative, Positive, Vector, settings

Array = NDArray[np.float64]


@settings
class Beam:
    """A pulsed beam along +x with a square top-hat profile.

    Parameters
    ----------
    wavelength_A, wavelength_rms
        Mean wavelength, and the relative RMS of its Gaussian jitter from shot to shot.
    spectrum, divergence
        How a pulse's photons are spread over wavelengths and directions; by default not at all.
    equal_weights
        Let all lines and directions weigh the same, as nanoBragg does whatever its list says.
    photons_per_pulse, pulse_energy_rms, pulse_energy_law
        Photons of a mean pulse (the paper's "fluence of 1e12"), and the relative RMS of their
        fluctuation: Gaussian, a negative draw giving a pulse without photons (Appendix A: RMS
        equal to the mean), or gamma, the law of SASE pulses (Saldin et al. 1998: 1 / RMS^2 modes).
    size_mm
        Side of the square spot at the crystal.
    polarization, polarization_axis
        Kahn's factor K between -1 and 1, 0 for unpolarized, and the electric field's direction.
    """

    wavelength_A: Positive
    wavelength_rms: NonNegative = 0.0
    spectrum: Spectrum | None = None
    divergence: Divergence | None = None
    equal_weights: bool = False
    photons_per_pulse: Positive
    pulse_energy_rms: NonNegative = 0.0
    pulse_energy_law: Literal["gaussian", "gamma"] = "gaussian"
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

    def draw_energy(self, rng: np.random.Generator) -> float:
        """Return the photons of one pulse as a multiple of the mean, which may be 0."""
        if self.pulse_energy_rms == 0:
            return 1.0
        if self.pulse_energy_law == "gamma":
            modes = self.pulse_energy_rms**-2
            return float(rng.gamma(modes, 1 / modes))
        return max(0.0, 1 + self.pulse_energy_rms * rng.standard_normal())

    def sources(self, wavelength_A: float, rng: np.random.Generator) -> Array:
        """Return the plane waves a pulse of mean `wavelength_A` consists of, (n, 5).

        Direction of travel, wavelength in A, and the share of the photons; shares sum to one.
        """
        lines = self.spectrum.lines(wavelength_A, rng) if self.spectrum else None
        return beam_sources(
            wavelength_A,
            lines=lines,
            divergence=self.divergence,
            equal_weights=self.equal_weights,
        )

    def fluence(self, photons: float) -> float:
        """Return the photons/m^2 of a pulse of `photons`."""
        return photons / (self.area_mm2 * 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One pulse of a beam.

    Parameters
    ----------
    photons, wavelength_A
        How many there are, and their mean wavelength.
    bandwidth_rms
        Relative RMS width of its spectrum.
    """

    beam: Beam
    photons: float
    wavelength_A: float
    bandwidth_rms: float = 0.0

    @property
    def fluence(self) -> float:
        """Photons/m^2."""
        return self.beam.fluence(self.photons)
