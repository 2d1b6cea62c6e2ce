"""The detector: where each pixel is, and what the device does to the photons it receives."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.beam import Beam
from deepfreak.settings import Count, Finite, NonNegative, Positive, Vector, settings

Array = NDArray[np.float64]


@settings
class CCD:
    """A fibre-coupled CCD, as Appendix A simulates it.

    Parameters
    ----------
    calibration_rms, calibration_seed
        Relative RMS of the pixels' calibration error, and the seed of this device's fixed map.
    psf_fwhm_mm
        Full width at half maximum of the fibre's point spread (Holton et al. 2012); 0 for none.
    readout_noise_adu, adc_offset_adu, saturation_value
        RMS read-out noise, pedestal, and largest count; one count is one photon.
    """

    calibration_rms: NonNegative = 0.0
    calibration_seed: int = 0
    psf_fwhm_mm: NonNegative = 0.0
    readout_noise_adu: NonNegative = 0.0
    adc_offset_adu: NonNegative = 0.0
    saturation_value: Count = 65025

    def __post_init__(self) -> None:
        if self.saturation_value > 65535:
            raise ValueError(
                f"saturation_value fits 16 bits (at most 65535), found {self.saturation_value}"
            )


@settings
class Detector:
    """One flat panel of square pixels, in any position and tilt.

    Parameters
    ----------
    image_size
        Pixels along (slow, fast).
    pixel_size_mm
        Side of a pixel.
    distance_mm
        From the crystal to where the beam meets the panel's plane, along the beam.
    beam_center_px
        That point as (slow, fast) in pixels from the first pixel's outer corner; by default the
        panel's middle.
    fast_axis, slow_axis
        Directions in which the indices grow; they need not have unit length.
    response
        What turns expected photons into counts.
    """

    image_size: tuple[Count, Count]
    pixel_size_mm: Positive
    distance_mm: Positive
    beam_center_px: tuple[Finite, Finite] | None = None
    fast_axis: Vector = (0.0, 0.0, 1.0)
    slow_axis: Vector = (0.0, -1.0, 0.0)
    response: CCD = CCD()

    def __post_init__(self) -> None:
        if max(self.image_size) > 16384:
            raise ValueError(f"image_size is at most 16384 x 16384, found {self.image_size}")
        fast, slow = np.array(self.fast_axis), np.array(self.slow_axis)
        lengths = np.linalg.norm(fast) * np.linalg.norm(slow)
        if lengths == 0 or abs(fast @ slow) > 1e-6 * lengths:
            raise ValueError("fast_axis and slow_axis must be perpendicular")
        if abs(np.cross(fast, slow)[0]) < 1e-6 * lengths:
            raise ValueError("fast_axis and slow_axis must not span a plane along the beam (x)")

    @classmethod
    def flat(
        cls,
        *,
        image_size: tuple[int, int],
        pixel_size_mm: float,
        distance_mm: float,
        response: CCD | None = None,
    ) -> "Detector":
        """Return a panel facing the beam, which meets its middle."""
        return cls(
            image_size=image_size,
            pixel_size_mm=pixel_size_mm,
            distance_mm=distance_mm,
            response=response or CCD(),
        )

    @property
    def axes(self) -> tuple[Array, Array]:
        """Unit vectors along fast and slow."""
        fast, slow = np.array(self.fast_axis), np.array(self.slow_axis)
        return fast / np.linalg.norm(fast), slow / np.linalg.norm(slow)

    @property
    def origin_mm(self) -> Array:
        """Outer corner of pixel [0, 0], from the crystal."""
        fast, slow = self.axes
        center = self.beam_center_px or (self.image_size[0] / 2, self.image_size[1] / 2)
        beam_mm = self.pixel_size_mm * (center[0] * slow + center[1] * fast)
        origin: Array = np.array([self.distance_mm, 0.0, 0.0]) - beam_mm
        return origin

    @property
    def normal(self) -> Array:
        """Unit vector from the crystal towards the panel, perpendicular to it."""
        normal = np.cross(*self.axes)
        outward: Array = normal if normal @ self.origin_mm > 0 else -normal
        return outward

    def pixel_positions_mm(self, *, subpixel: tuple[float, float] = (0.5, 0.5)) -> Array:
        """Return where each pixel is, (slow, fast, xyz), at `subpixel` (slow, fast) within it."""
        fast, slow = self.axes
        i = (np.arange(self.image_size[0]) + subpixel[0]) * self.pixel_size_mm
        j = (np.arange(self.image_size[1]) + subpixel[1]) * self.pixel_size_mm
        positions: Array = self.origin_mm + i[:, None, None] * slow + j[None, :, None] * fast
        return positions


@lru_cache(maxsize=8)
def sin_theta(detector: Detector) -> Array:
    """Return sin(theta) at each pixel's centre, (slow, fast), half the scattering angle's sine."""
    positions = detector.pixel_positions_mm()
    cos_2theta = positions[..., 0] / np.linalg.norm(positions, axis=-1)
    return _read_only(np.sqrt(np.maximum(0.0, (1 - cos_2theta) / 2)))


@lru_cache(maxsize=8)
def solid_angle_and_polarization(
    detector: Detector,
    polarization: float,
    polarization_axis: Vector,
    subpixel: tuple[float, float] = (0.5, 0.5),
) -> Array:
    """Return each pixel's solid angle in steradian times its polarization factor, (slow, fast).

    Both are taken at one point within the pixel, `subpixel` (slow, fast): its centre for smooth
    scattering, its first subpixel for Bragg spots, as nanoBragg does.
    """
    positions = detector.pixel_positions_mm(subpixel=subpixel)
    factors = solid_angle(
        positions,
        pixel_size_mm=detector.pixel_size_mm,
        close_distance_mm=float(detector.normal @ detector.origin_mm),
    )
    factors *= polarization_factor(
        positions,
        incident=np.array([1.0, 0.0, 0.0]),
        polarization=polarization,
        polarization_axis=np.array(polarization_axis),
    )
    return _read_only(factors)


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


def _read_only(array: Array) -> Array:
    array.setflags(write=False)
    return array
