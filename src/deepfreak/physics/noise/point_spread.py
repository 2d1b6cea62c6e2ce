"""The point spread of a fibre-coupled CCD: a sharp core and very long tails."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from deepfreak.compiled import njit

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

# Half width of the point spread's shape parameter, g = 0.652... x FWHM (Holton et al. 2012).
G_PER_FWHM = 0.652383013252053

# The kernel fades from the pixels' grid to a coarse one between these distances in pixels. Beyond,
# it holds g / r of the light, and changes little from one cell of the coarse grid to the next.
FADE_FROM, FADE_TO = 64, 128
CELL = 8
# A wider core has too much light in its tails for the coarse grid.
MAX_G_PX = 0.5


def point_spread(photons: Float, *, fwhm_mm: float, pixel_size_mm: float) -> Float:
    """Spread each pixel's light as a fibre-optic taper does.

    The kernel is g / (2 pi) (g^2 + r^2)^(-3/2), integrated over the receiving pixel (Holton et al.
    2012); light that leaves the detector is lost. Slow equivalent: `scipy.signal.convolve2d` of
    `photons` with `point_spread_kernel`, which is met to 1e-4: the tails that reach far are summed
    on a grid of cells.

    `photons` are (slow, fast); a full width at half maximum `fwhm_mm` of 0 leaves them as they are.
    """
    if fwhm_mm == 0:
        return photons
    g_px = G_PER_FWHM * fwhm_mm / pixel_size_mm
    slow, fast = photons.shape
    if g_px > MAX_G_PX or max(slow, fast) <= 2 * FADE_TO or min(slow, fast) <= CELL:
        return _convolve(photons, _whole_transform((slow, fast), g_px))
    spread = _convolve(photons, _core_transform((slow, fast), g_px))
    cells = _sum_cells(photons)
    far = _convolve(cells, _far_transform(cells.shape, g_px))
    _add_interpolated(spread, far)
    return spread


def point_spread_kernel(
    half_size: tuple[int, int], *, fwhm_mm: float, pixel_size_mm: float
) -> Float:
    """Return the share of light at offsets up to `half_size` pixels, (2 n + 1, 2 m + 1)."""
    return _kernel(half_size, G_PER_FWHM * fwhm_mm / pixel_size_mm)


def _kernel(half_size: tuple[int, int], g: float) -> Float:
    y = (np.arange(-half_size[0], half_size[0] + 2) - 0.5)[:, None]
    x = (np.arange(-half_size[1], half_size[1] + 2) - 0.5)[None, :]
    # antiderivative of the kernel in x and y; four corners make a pixel's integral
    corner = np.arctan2(x * y, g * np.sqrt(g * g + x * x + y * y)) / (2 * np.pi)
    return np.diff(np.diff(corner, axis=0), axis=1).astype(np.float32)


def _near_share(distance_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of the kernel at a distance is left to the pixels' grid, 1 to 0, smoothly."""
    t = np.clip((distance_px - FADE_FROM) / (FADE_TO - FADE_FROM), 0, 1)
    return 1 - t * t * t * (10 - 15 * t + 6 * t * t)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transform:
    """A kernel's real Fourier transform, and the size it was padded to."""

    padded: tuple[int, int]
    values: Complex


@lru_cache(maxsize=4)
def _whole_transform(image_size: tuple[int, int], g: float) -> Transform:
    return _transform(_kernel((image_size[0] - 1, image_size[1] - 1), g), image_size)


@lru_cache(maxsize=4)
def _core_transform(image_size: tuple[int, int], g: float) -> Transform:
    offsets = np.arange(-FADE_TO, FADE_TO + 1)
    near = _near_share(np.hypot(offsets[:, None], offsets[None, :]))
    return _transform((_kernel((FADE_TO, FADE_TO), g) * near).astype(np.float32), image_size)


@lru_cache(maxsize=4)
def _far_transform(cells: tuple[int, int], g: float) -> Transform:
    """Return the transform of the kernel's far part between the middles of cells."""
    y = CELL * np.arange(1 - cells[0], cells[0])[:, None]
    x = CELL * np.arange(1 - cells[1], cells[1])[None, :]
    distance = np.hypot(y, x)
    kernel = g / (2 * np.pi) * (g * g + distance * distance) ** -1.5
    return _transform((kernel * (1 - _near_share(distance))).astype(np.float32), cells)


def _transform(kernel: Float, image_size: tuple[int, int]) -> Transform:
    """Return the transform of `kernel`, centred on [0, 0] by wrapping, padded for `image_size`."""
    slow, fast = (size // 2 for size in kernel.shape)
    # what wraps around the end falls into the padding
    padded = (
        scipy.fft.next_fast_len(image_size[0] + slow, real=True),
        scipy.fft.next_fast_len(image_size[1] + fast, real=True),
    )
    wrapped = np.zeros(padded, dtype=np.float32)
    wrapped[: slow + 1, : fast + 1] = kernel[slow:, fast:]
    wrapped[: slow + 1, padded[1] - fast :] = kernel[slow:, :fast]
    wrapped[padded[0] - slow :, : fast + 1] = kernel[:slow, fast:]
    wrapped[padded[0] - slow :, padded[1] - fast :] = kernel[:slow, :fast]
    values: Complex = scipy.fft.rfft2(wrapped)
    values.setflags(write=False)
    return Transform(padded=padded, values=values)


def _convolve(image: Float, transform: Transform) -> Float:
    """Return the convolution where `image` is; rows of padding are never transformed along fast."""
    rows, columns = image.shape
    spectrum = scipy.fft.rfft(image, n=transform.padded[1], axis=1)
    spectrum = scipy.fft.fft(spectrum, n=transform.padded[0], axis=0, overwrite_x=True)
    spectrum *= transform.values
    spectrum = scipy.fft.ifft(spectrum, axis=0, overwrite_x=True)[:rows]
    result: Float = scipy.fft.irfft(spectrum, n=transform.padded[1], axis=1)[:, :columns]
    return result


def _sum_cells(photons: Float) -> Float:
    """Return the light in each cell, the last ones filled up with darkness."""
    rows, columns = (-(-size // CELL) for size in photons.shape)
    padded = np.zeros((rows * CELL, columns * CELL), dtype=np.float32)
    padded[: photons.shape[0], : photons.shape[1]] = photons
    by_row = padded.reshape(rows, CELL, columns * CELL).sum(axis=1)
    cells: Float = by_row.reshape(rows, columns, CELL).sum(axis=2)
    return cells


@njit(cache=True, nogil=True, error_model="numpy")
def _add_interpolated(image: Float, cells: Float) -> None:
    """Add to each pixel the value between the four nearest cells' middles, linearly.

    Pixels outside the outermost middles continue the slope within them.
    """
    rows, columns = cells.shape
    left = np.empty(image.shape[1], dtype=np.int64)
    share = np.empty(image.shape[1], dtype=np.float32)
    for f in range(image.shape[1]):
        at = (f + 0.5) / CELL - 0.5
        left[f] = min(max(math.floor(at), 0), columns - 2)
        share[f] = at - left[f]
    line = np.empty(columns, dtype=np.float32)
    for s in range(image.shape[0]):
        at = (s + 0.5) / CELL - 0.5
        above = min(max(math.floor(at), 0), rows - 2)
        below = np.float32(at - above)
        for c in range(columns):
            line[c] = cells[above, c] + below * (cells[above + 1, c] - cells[above, c])
        for f in range(image.shape[1]):
            start = line[left[f]]
            image[s, f] += start + share[f] * (line[left[f] + 1] - start)
