"""From expected photons to what the detector reports: Appendix A's chain, stage by stage.

1. calibration error of each pixel, fixed for a detector;
2. Poisson deviates;
3. point spread of the fibre-coupled CCD;
4. read-out noise, pedestal, saturation, whole counts;
5. the square root that makes 8 bits, so that counting noise is one half everywhere.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from deepfreak.detector import CCD, Detector

Float = NDArray[np.float32]

# Half width of the point spread's shape parameter, g = 0.652... x FWHM (Holton et al. 2012).
G_PER_FWHM = 0.652383013252053


def detect(expected: Float, detector: Detector, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the counts that `detector` reports for the `expected` photons, (slow, fast)."""
    response = detector.response
    calibrated = expected * calibration_map(response, detector.image_size)
    observed = rng.poisson(calibrated).astype(np.float32)
    spread = point_spread(
        observed, fwhm_mm=response.psf_fwhm_mm, pixel_size_mm=detector.pixel_size_mm
    )
    return read_out(spread, response, rng)


@lru_cache(maxsize=8)
def calibration_map(response: CCD, image_size: tuple[int, int]) -> Float:
    """Return each pixel's gain, (slow, fast), the same for every shot of this detector."""
    rng = np.random.default_rng(response.calibration_seed)
    errors = rng.standard_normal(image_size, dtype=np.float32)
    gains: Float = np.maximum(1 + np.float32(response.calibration_rms) * errors, np.float32(0))
    gains.setflags(write=False)
    return gains


def point_spread(photons: Float, *, fwhm_mm: float, pixel_size_mm: float) -> Float:
    """Spread each pixel's light as a fibre-optic taper does.

    The kernel is g / (2 pi) (g^2 + r^2)^(-3/2), integrated over the receiving pixel (Holton et al.
    2012); light that leaves the detector is lost. Slow equivalent: `scipy.signal.convolve2d` of
    `photons` with `point_spread_kernel`.

    Parameters
    ----------
    photons
        (slow, fast).
    fwhm_mm
        Full width at half maximum; 0 leaves the image as it is.
    """
    if fwhm_mm == 0:
        return photons
    padded, transform = _kernel_transform(photons.shape, fwhm_mm, pixel_size_mm)
    spectrum = scipy.fft.rfft2(photons, s=padded)
    spectrum *= transform
    full: Float = scipy.fft.irfft2(spectrum, s=padded)
    return full[: photons.shape[0], : photons.shape[1]]


def point_spread_kernel(
    half_size: tuple[int, int], *, fwhm_mm: float, pixel_size_mm: float
) -> Float:
    """Return the share of light at offsets up to `half_size` pixels, (2 n + 1, 2 m + 1)."""
    g = G_PER_FWHM * fwhm_mm / pixel_size_mm
    y = (np.arange(-half_size[0], half_size[0] + 2) - 0.5)[:, None]
    x = (np.arange(-half_size[1], half_size[1] + 2) - 0.5)[None, :]
    # antiderivative of the kernel in x and y; four corners make a pixel's integral
    corner = np.arctan2(x * y, g * np.sqrt(g * g + x * x + y * y)) / (2 * np.pi)
    kernel: Float = np.diff(np.diff(corner, axis=0), axis=1).astype(np.float32)
    return kernel


@lru_cache(maxsize=4)
def _kernel_transform(
    image_size: tuple[int, int], fwhm_mm: float, pixel_size_mm: float
) -> tuple[tuple[int, int], NDArray[np.complex64]]:
    """Return the padded size and the transform of the kernel, centred on [0, 0] by wrapping."""
    slow, fast = image_size
    kernel = point_spread_kernel((slow - 1, fast - 1), fwhm_mm=fwhm_mm, pixel_size_mm=pixel_size_mm)
    padded = (
        scipy.fft.next_fast_len(2 * slow - 1, real=True),
        scipy.fft.next_fast_len(2 * fast - 1, real=True),
    )
    wrapped = np.zeros(padded, dtype=np.float32)
    wrapped[: 2 * slow - 1, : 2 * fast - 1] = kernel
    wrapped = np.roll(wrapped, (1 - slow, 1 - fast), axis=(0, 1))
    transform: NDArray[np.complex64] = scipy.fft.rfft2(wrapped)
    transform.setflags(write=False)
    return padded, transform


def read_out(photons: Float, response: CCD, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Add read-out noise and pedestal, clip to the range and drop fractions."""
    values = rng.standard_normal(photons.shape, dtype=np.float32)
    values *= np.float32(response.readout_noise_adu)
    values += photons
    values += np.float32(response.adc_offset_adu)
    np.clip(values, 0, response.saturation_value, out=values)
    return values.astype(np.uint16)


def to_8_bits(counts: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return floor(sqrt(counts)), at most 255."""
    return np.minimum(np.sqrt(counts.astype(np.float32)), np.float32(255)).astype(np.uint8)
