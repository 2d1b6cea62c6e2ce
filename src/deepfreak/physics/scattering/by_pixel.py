"""The definition of Bragg scattering: every subpixel, source, spindle step and domain in turn.

This is what `by_reflection` must reproduce, written to be read. It is compiled, as the C program it
follows is, and takes seconds an image.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.detector import Panel

Array = NDArray[np.float64]

SQUARE, ROUND, GAUSS, TOPHAT = range(4)
SHAPES = {"square": SQUARE, "round": ROUND, "gauss": GAUSS, "tophat": TOPHAT}

# nanoBragg's constants: the same width at half maximum, or the same volume, as the square crystal.
TOPHAT_RADIUS_SQR = 0.63 * 0.63
GAUSS_WIDTH = 0.63
ROUND_FUDGE = 0.723601254558268


class RenderedCrystal(NamedTuple):
    """A mosaic crystal as it is rendered."""

    # F, hkl_min: amplitudes in electrons, dense over a box of Miller indices that starts at
    # `hkl_min`
    F: NDArray[np.float32]
    hkl_min: NDArray[np.int64]
    # (steps, 3, 3): rows a, b, c in A for each spindle step, before a domain turns them
    real_axes: Array
    domains: Array  # (n, 3, 3) rotations
    cells: Array  # (3,) unit cells of a domain along a, b, c
    shape: int  # SQUARE, ROUND, GAUSS or TOPHAT
    default_F: float = 0.0  # amplitude outside the box


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
def lattice_factor(
    shape: int, cells: Array, hkl: tuple[float, float, float], nearest: tuple[float, float, float]
) -> float:
    """Return F_latt of one domain at fractional index `hkl`, whose nearest integers are given."""
    if shape == SQUARE:
        product: float = (
            grating(cells[0], hkl[0]) * grating(cells[1], hkl[1]) * grating(cells[2], hkl[2])
        )
        return product
    hr_sqr = (
        ((hkl[0] - nearest[0]) * cells[0]) ** 2
        + ((hkl[1] - nearest[1]) * cells[1]) ** 2
        + ((hkl[2] - nearest[2]) * cells[2]) ** 2
    )
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
    image: Array, crystal: RenderedCrystal, panel: Panel, sources: Array, oversample: int
) -> None:
    """Add sum(F^2 F_latt^2) over subpixels, sources, spindle steps and domains to `image`.

    `sources` are (n, 5): direction of travel, wavelength in A, weight.
    """
    F, hkl_min, cells = crystal.F, crystal.hkl_min, crystal.cells
    real_axes, domains = crystal.real_axes, crystal.domains
    origin, fast, slow = panel.origin_mm, panel.fast_axis, panel.slow_axis
    sub = panel.pixel_size_mm / oversample
    turned = np.empty((real_axes.shape[0] * domains.shape[0], 3, 3))
    for step in range(real_axes.shape[0]):
        for domain in range(domains.shape[0]):
            turned[step * domains.shape[0] + domain] = real_axes[step] @ domains[domain].T
    for s in range(image.shape[0] * oversample):
        for f in range(image.shape[1] * oversample):
            position = origin + (f + 0.5) * sub * fast + (s + 0.5) * sub * slow
            diffracted = position / math.sqrt((position**2).sum())
            total = 0.0
            for source in range(sources.shape[0]):
                x, y, z = (diffracted - sources[source, :3]) / sources[source, 3]
                for which in range(turned.shape[0]):
                    axes = turned[which]
                    h = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z
                    k = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z
                    l = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
                    h0, k0, l0 = math.ceil(h - 0.5), math.ceil(k - 0.5), math.ceil(l - 0.5)
                    ih, ik, il = h0 - hkl_min[0], k0 - hkl_min[1], l0 - hkl_min[2]
                    amplitude = crystal.default_F
                    if 0 <= ih < F.shape[0] and 0 <= ik < F.shape[1] and 0 <= il < F.shape[2]:
                        amplitude = F[ih, ik, il]
                    if amplitude != 0.0:
                        lattice = lattice_factor(crystal.shape, cells, (h, k, l), (h0, k0, l0))
                        total += sources[source, 4] * (amplitude * lattice) ** 2
            image[s // oversample, f // oversample] += total
