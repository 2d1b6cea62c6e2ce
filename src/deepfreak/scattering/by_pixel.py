"""The definition of Bragg scattering: every subpixel, source, spindle step and domain in turn.

This is what `landings` must reproduce, written to be read. It is compiled, as the C program it
follows is, and takes seconds an image.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]

SQUARE, ROUND, GAUSS, TOPHAT = range(4)
SHAPES = {"square": SQUARE, "round": ROUND, "gauss": GAUSS, "tophat": TOPHAT}

# nanoBragg's constants: the same width at half maximum, or the same volume, as the square crystal.
TOPHAT_RADIUS_SQR = 0.63 * 0.63
GAUSS_WIDTH = 0.63
ROUND_FUDGE = 0.723601254558268


@njit(cache=True, nogil=True, error_model="numpy")
def grating(cells: float, h: float) -> float:
    """Return sin(pi N h) / sin(pi h), N where h is an integer."""
    if cells <= 1:
        return 1.0
    below = math.sin(math.pi * h)
    if below == 0.0:
        return cells
    return math.sin(math.pi * cells * h) / below


@njit(cache=True, nogil=True, error_model="numpy")
def lattice_factor(shape: int, cells: Array, hkl: Array, nearest: Array) -> float:
    """Return F_latt of one domain at fractional index `hkl`, whose nearest integers are given."""
    if shape == SQUARE:
        product = 1.0
        for axis in range(3):
            product *= grating(cells[axis], hkl[axis])
        return product
    hr_sqr = 0.0
    for axis in range(3):
        hr_sqr += ((hkl[axis] - nearest[axis]) * cells[axis]) ** 2
    volume: float = cells[0] * cells[1] * cells[2]
    if shape == ROUND:
        x = math.pi * math.sqrt(hr_sqr)
        # the limit of 3 (sin x / x - cos x) / x^2 at 0
        sphere = 1.0 if x < 1e-4 else 3.0 * (math.sin(x) / x - math.cos(x)) / (x * x)
        return volume * ROUND_FUDGE * sphere
    if shape == GAUSS:
        return volume * math.exp(-hr_sqr / GAUSS_WIDTH)
    return volume if hr_sqr < TOPHAT_RADIUS_SQR else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def by_pixel(
    image: Array,
    *,
    F: NDArray[np.float32],
    hkl_min: NDArray[np.int64],
    default_F: float,
    real_axes: Array,
    domains: Array,
    cells: Array,
    shape: int,
    sources: Array,
    origin: Array,
    fast: Array,
    slow: Array,
    pixel_size: float,
    oversample: int,
) -> None:
    """Add sum(F^2 F_latt^2) over subpixels, sources, spindle steps and domains to `image`.

    Parameters
    ----------
    image
        (slow, fast), float64.
    F, hkl_min, default_F
        Amplitudes, dense over a box of Miller indices that starts at `hkl_min`; the amplitude
        outside it.
    real_axes
        (steps, 3, 3): rows a, b, c in A for each spindle step, before a domain turns them.
    domains
        (n, 3, 3) rotations.
    cells
        (3,) unit cells of a domain along a, b, c.
    sources
        (n, 5): direction of travel, wavelength in A, weight.
    origin, fast, slow, pixel_size
        The panel: outer corner of its first pixel, unit axes; any unit of length.
    """
    sub = pixel_size / oversample
    hkl = np.empty(3)
    nearest = np.empty(3)
    for s in range(image.shape[0] * oversample):
        for f in range(image.shape[1] * oversample):
            total = 0.0
            position = origin + (f + 0.5) * sub * fast + (s + 0.5) * sub * slow
            diffracted = position / math.sqrt((position**2).sum())
            for source in range(sources.shape[0]):
                q = (diffracted - sources[source, :3]) / sources[source, 3]
                weight = sources[source, 4]
                for step in range(real_axes.shape[0]):
                    for domain in range(domains.shape[0]):
                        # h = (U a) . q = a . (U^T q)
                        turned = domains[domain].T @ q
                        inside = True
                        for axis in range(3):
                            hkl[axis] = (real_axes[step, axis] * turned).sum()
                            nearest[axis] = math.ceil(hkl[axis] - 0.5)
                            index = nearest[axis] - hkl_min[axis]
                            inside &= (index >= 0) & (index < F.shape[axis])
                        amplitude = default_F
                        if inside:
                            amplitude = F[
                                int(nearest[0]) - hkl_min[0],
                                int(nearest[1]) - hkl_min[1],
                                int(nearest[2]) - hkl_min[2],
                            ]
                        if amplitude != 0.0:
                            lattice = lattice_factor(shape, cells, hkl, nearest)
                            total += weight * (amplitude * lattice) ** 2
            image[s // oversample, f // oversample] += total
