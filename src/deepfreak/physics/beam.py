"""The X-ray beam: how many photons a pulse brings, at what wavelengths and directions."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import RecipeError
from deepfreak.settings import Finite, Fraction, NonNegative, Positive, Vector, settings

Array = NDArray[np.float64]

MAX_LINES = 10_000
MAX_FILE_BYTES = 10_000_000


@settings
class Lines:
    """Evenly spaced wavelengths of one weight, as nanoBragg's `-dispersion` makes them."""

    kind: Literal["lines"] = "lines"
    bandwidth: Fraction  # from the first to the last, relative to the mean wavelength
    steps: Annotated[int, Field(ge=2, le=1000)]  # how many

    def lines(self, wavelength_A: float, rng: np.random.Generator) -> Array:  # noqa: ARG002 -- as SASE
        """Return wavelengths in A and weights, (n, 2)."""
        offsets = self.bandwidth * (np.arange(self.steps) / (self.steps - 1) - 0.5)
        return np.column_stack([wavelength_A * (1 + offsets), np.ones(self.steps)])


@settings
class SASE:
    """A new spiky spectrum for each pulse, as self-amplified spontaneous emission gives.

    A field of independent complex Gaussian amplitudes, correlated over the width of a spike, under
    a Gaussian envelope: chaotic light, whose intensity is the square of the field.
    """

    kind: Literal["sase"] = "sase"
    # bandwidth, spike_width: full widths at half maximum of the mean spectrum and of a spike,
    # relative to the mean
    bandwidth: Positive
    spike_width: Positive
    # Lines that sample a spectrum, over three times its bandwidth
    steps: Annotated[int, Field(ge=3, le=1000)] = 50

    def __post_init__(self) -> None:
        if not self.spike_width <= self.bandwidth <= 0.2:
            raise ValueError(
                "expected spike_width <= bandwidth <= 0.2, "
                f"found {self.spike_width} and {self.bandwidth}"
            )

    def lines(self, wavelength_A: float, rng: np.random.Generator) -> Array:
        """Return wavelengths in A and weights, (n, 2)."""
        offsets = np.linspace(-1.5, 1.5, self.steps) * self.bandwidth
        per_fwhm = 2 * np.sqrt(2 * np.log(2))
        envelope = np.exp(-0.5 * (offsets / (self.bandwidth / per_fwhm)) ** 2)
        # Amplitudes smoothed by a Gaussian give a field whose squared correlation, the shape of an
        # intensity spike, is that same Gaussian.
        resolving = min(int(12 * self.bandwidth / self.spike_width), MAX_LINES)
        fine = np.linspace(-1.6, 1.6, max(self.steps, resolving) * 2) * self.bandwidth
        field = rng.standard_normal((2, fine.size))
        width = self.spike_width / per_fwhm
        smooth = np.exp(-0.5 * ((offsets[:, None] - fine) / width) ** 2)
        smooth /= np.sqrt((smooth**2).sum(axis=1, keepdims=True))
        intensity = ((field @ smooth.T) ** 2).sum(axis=0) / 2
        return np.column_stack([wavelength_A * (1 + offsets), envelope * intensity])


@settings
class SpectrumFile:
    """A measured spectrum: text of two columns, wavelength in A and weight; `#` begins a comment.

    It moves with the pulse's mean wavelength, whose place in it is the weighted mean.
    """

    kind: Literal["file"] = "file"
    file: str

    def lines(self, wavelength_A: float, rng: np.random.Generator) -> Array:  # noqa: ARG002 -- as SASE
        """Return wavelengths in A and weights, (n, 2).

        Raises `RecipeError` if the file cannot be read or holds anything but positive wavelengths
        and weights.
        """
        table = self._read()
        mean = np.average(table[:, 0], weights=table[:, 1])
        return np.column_stack([table[:, 0] * wavelength_A / mean, table[:, 1]])

    def _read(self) -> Array:
        path = Path(self.file)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise RecipeError(f"{path}: a spectrum has at most {MAX_FILE_BYTES} bytes")
            table = np.loadtxt(path, ndmin=2)
        except OSError as error:
            raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise RecipeError(f"{path}: expected two columns of numbers: {error}") from error
        if table.shape[1:] != (2,) or not 0 < len(table) <= MAX_LINES:
            raise RecipeError(
                f"{path}: expected 1 to {MAX_LINES} lines of wavelength in A and weight, "
                f"found a table of {table.shape[0]} x {table.shape[1]}"
            )
        good = np.isfinite(table).all() and (table[:, 0] > 0).all() and (table[:, 1] >= 0).all()
        if not good or table[:, 1].sum() <= 0:
            raise RecipeError(
                f"{path}: expected positive wavelengths and weights that are not all 0"
            )
        return table


Spectrum = Annotated[Lines | SASE | SpectrumFile, Field(discriminator="kind")]


@settings
class Divergence:
    """Directions on an even grid, as nanoBragg's `-hdivrange` and `-vdivrange` make them."""

    # horizontal_mrad, vertical_mrad: full ranges, about y and z of the laboratory
    horizontal_mrad: NonNegative = 0.0
    vertical_mrad: NonNegative = 0.0
    # horizontal_steps, vertical_steps: how many directions along each
    horizontal_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    vertical_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    rounded: bool = True  # leave out those beyond the ellipse within the ranges

    def __post_init__(self) -> None:
        if max(self.horizontal_mrad, self.vertical_mrad) > 200:
            raise ValueError("divergence is at most 200 mrad")

    def directions(self) -> Array:
        """Return unit vectors, (n, 3), about +x."""
        horizontal, vertical = np.meshgrid(
            _even(self.horizontal_mrad, self.horizontal_steps),
            _even(self.vertical_mrad, self.vertical_steps),
            indexing="ij",
        )
        if self.rounded:
            reach = (2 * horizontal / (self.horizontal_mrad or 1)) ** 2
            reach += (2 * vertical / (self.vertical_mrad or 1)) ** 2
            inside = reach <= 1 + 1e-9
            horizontal, vertical = horizontal[inside], vertical[inside]
        h, v = horizontal.ravel() / 1000, vertical.ravel() / 1000
        return np.column_stack([np.cos(h) * np.cos(v), np.cos(h) * np.sin(v), np.sin(h)])


def bandwidth_rms(sources: Array) -> float:
    """Return the relative RMS width of the spectrum of `sources`, (n, 5)."""
    mean = np.average(sources[:, 3], weights=sources[:, 4])
    variance = np.average((sources[:, 3] - mean) ** 2, weights=sources[:, 4])
    return float(np.sqrt(variance) / mean)


def _even(width: float, steps: int) -> Array:
    """Return `steps` values evenly over `width` about 0."""
    return width * (np.arange(steps) / (steps - 1) - 0.5) if steps > 1 else np.zeros(1)


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
        lines = np.array([[wavelength_A, 1.0]])
        if self.spectrum:
            lines = self.spectrum.lines(wavelength_A, rng)
            lines = lines[lines[:, 1] > 0]
        directions = self.divergence.directions() if self.divergence else np.array([[1.0, 0, 0]])
        sources = np.column_stack(
            [np.repeat(directions, len(lines), axis=0), np.tile(lines, (len(directions), 1))]
        )
        if self.equal_weights:
            sources[:, 4] = 1
        sources[:, 4] /= sources[:, 4].sum()
        return sources

    def fluence(self, photons: float) -> float:
        """Return the photons/m^2 of a pulse of `photons`."""
        return photons / (self.area_mm2 * 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One pulse of a beam."""

    beam: Beam
    # photons, wavelength_A: how many there are, and their mean wavelength
    photons: float
    wavelength_A: float
    bandwidth_rms: float = 0.0  # relative RMS width of its spectrum

    @property
    def fluence(self) -> float:
        """Photons/m^2."""
        return self.beam.fluence(self.photons)
