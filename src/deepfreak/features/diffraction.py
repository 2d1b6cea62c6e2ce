"""Statistics of Bragg peaks and background: number, brightness, size and distribution of peaks.

All but the background's level are ratios: to the background, to its noise, or to the number of
valid pixels. The pulse energy scales crystal and background alike, so the ratio of their photons
measures the crystal in the beam, whatever the pulse (`docs/diffraction.md`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.errors import ModelError
from deepfreak.features.background import subtract_background
from deepfreak.features.extraction import SettingsOnly
from deepfreak.features.peaks import Spots, find_spots

Vector = NDArray[np.float64]
Grid = NDArray[np.float64]

# Version of the statistics; a model made with another one is refused.
DEFINITION = 1

EXCESS_OVER_SIGMA = (3, 4, 5, 6, 8, 12, 16, 24)
PIXELS_OVER_SIGMA = (3, 4, 6, 8, 12, 24)
PIXELS_OVER_BACKGROUND = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
PEAKS_OVER_SIGMA = (5, 8, 12, 20, 40, 80)
HEIGHT_QUANTILES = (0.5, 0.9, 1.0)
CELL_QUANTILES = (0.25, 0.5, 0.75)
# Sharpness and size are measured on peaks at least this high.
CLEAR_SIGMA = 5.0
# The image is divided into this many cells per side to measure how photons are distributed.
CELLS = 8
# Numbers of pixels and peaks are scaled to an image of this many valid pixels.
STANDARD_PIXELS = 512 * 512
# Minima of background and ratios: without photons a ratio would measure only noise.
MIN_BACKGROUND = 1.0
MIN_LEVEL = 0.1
MIN_RATIO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffraction(SettingsOnly):
    """Statistics of Bragg peaks and background; it has no settings."""

    name: ClassVar[str] = "diffraction"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the extractor; `ModelError` if `settings` are of another version of it."""
        if {"extractor": cls.name, **settings} != cls().settings() or arrays:
            raise ModelError(
                f"expected definition {DEFINITION} of the extractor diffraction and nothing else, "
                f"found {dict(settings)}: train the model again"
            )
        return cls()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers; `docs/diffraction.md` explains them."""
        return (
            "background_photons_log10",
            *(f"excess_over_{sigma}_sigma_log10" for sigma in EXCESS_OVER_SIGMA),
            *(f"pixels_over_{sigma}_sigma_log10" for sigma in PIXELS_OVER_SIGMA),
            *(f"pixels_over_{ratio:g}_background_log10" for ratio in PIXELS_OVER_BACKGROUND),
            "excess_ratio_mean_log10",
            "excess_ratio_root_mean_log10",
            "excess_ratio_log_mean_log10",
            *(f"peaks_over_{sigma}_sigma_log10" for sigma in PEAKS_OVER_SIGMA),
            *(f"peak_height_q{100 * q:.0f}_sigma_log10" for q in HEIGHT_QUANTILES),
            "peak_sharpness_median",
            "peak_size_mean_px",
            *(f"cell_excess_q{100 * q:.0f}_log10" for q in CELL_QUANTILES),
            "cell_excess_root_mean_log10",
            "cell_excess_largest_share",
        )

    def settings(self) -> dict[str, Any]:
        """Return the version of the statistics, as a JSON value."""
        return {"extractor": self.name, "definition": DEFINITION}

    def __call__(self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> Vector:
        """Return the statistics of one image, as an `Extractor`."""
        residual = subtract_background(image, valid)
        spots = find_spots(residual)
        count, light = _sum_cells(residual.excess, residual.background)
        pixels, photons = count.sum(), light.sum()
        sums = _sum_pixels(spots.pixels, _LIMITS)
        return np.concatenate(
            (
                [np.log10(max(photons / pixels, MIN_LEVEL))],
                _log_ratio(sums.excess / max(photons, MIN_BACKGROUND * pixels)),
                _log_count(sums.over_sigma, pixels),
                _log_count(sums.over_background, pixels),
                _log_ratio(sums.means / pixels),
                _peak_statistics(spots, pixels),
                _cell_statistics(spots, count, light, image.shape),
            )
        )


def _log_count(count: Vector | NDArray[np.intp], pixels: float) -> Vector:
    """Return log10(1 + count), scaled to an image of the standard size."""
    logarithm: Vector = np.log10(1 + count * (STANDARD_PIXELS / pixels))
    return logarithm


def _log_ratio(ratio: Vector) -> Vector:
    logarithm: Vector = np.log10(np.maximum(ratio, 0) + MIN_RATIO)
    return logarithm


def _peak_statistics(spots: Spots, pixels: float) -> Vector:
    """Return number, heights, sharpness and size of the peaks; 0 without any."""
    heights = np.sort(spots.summits["height"])
    counts = len(heights) - np.searchsorted(heights, PEAKS_OVER_SIGMA)
    clear = spots.summits[spots.summits["height"] >= CLEAR_SIGMA]
    shapes = np.zeros(len(HEIGHT_QUANTILES) + 2)
    if len(clear):
        heights = heights[-len(clear) :]
        places = [int(q * (len(clear) - 1)) for q in HEIGHT_QUANTILES]
        shapes[:-2] = np.log10(heights[places])
        shapes[-2] = np.median(clear["sharpness"])
        shapes[-1] = np.mean(clear["size"])
    return np.concatenate((_log_count(counts, pixels), shapes))


def _cell_statistics(spots: Spots, count: Grid, light: Grid, shape: tuple[int, ...]) -> Vector:
    """Return how evenly the peaks' photons are distributed: a streak's are in few cells."""
    excess = _sum_summits(spots.summits, shape[0], shape[1])
    # leave out cells that are mostly masked
    measured = count >= 0.25 * count.max()
    ratio = excess[measured] / np.maximum(light, MIN_BACKGROUND * count)[measured]
    total = ratio.sum()
    places = [int(q * (ratio.size - 1)) for q in CELL_QUANTILES]
    return np.concatenate(
        (
            _log_ratio(np.sort(ratio)[places]),
            _log_ratio(np.array([np.mean(np.sqrt(ratio)) ** 2])),
            [ratio.max() / total if total > 0 else 0.0],
        )
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_cells(excess: NDArray[np.float32], background: NDArray[np.float32]) -> tuple[Grid, Grid]:
    """Return the number of valid pixels and the sum of their background for each cell."""
    slow, fast = excess.shape
    count = np.zeros((CELLS, CELLS))
    light = np.zeros((CELLS, CELLS))
    for i in range(slow):
        row = i * CELLS // slow
        for column in range(CELLS):
            total = 0.0
            pixels = 0
            # the pixels j for which j * CELLS // fast is the column
            for j in range(-(-column * fast // CELLS), -(-(column + 1) * fast // CELLS)):
                if not np.isnan(excess[i, j]):
                    total += background[i, j]
                    pixels += 1
            count[row, column] += pixels
            light[row, column] += total
    return count, light


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_summits(summits: NDArray[np.void], slow: int, fast: int) -> Grid:
    """Return the photons of the peaks in each cell."""
    excess = np.zeros((CELLS, CELLS))
    for k in range(len(summits)):
        row = min(int(summits[k].slow * CELLS / slow), CELLS - 1)
        column = min(int(summits[k].fast * CELLS / fast), CELLS - 1)
        excess[row, column] += summits[k].photons
    return excess


class Limits(NamedTuple):
    """Ascending limits of `PixelSums`: two in units of the noise, one of the background."""

    excess: Vector
    over_sigma: Vector
    over_background: Vector


class PixelSums(NamedTuple):
    """Sums over the pixels of all candidates."""

    excess: Vector  # photons of the pixels above each limit
    over_sigma: Vector  # number of pixels above each limit
    over_background: Vector
    means: Vector  # sums of the ratio r of excess to background, of sqrt(r), and of log10(1 + r)


_LIMITS = Limits(
    excess=np.array(EXCESS_OVER_SIGMA, np.float64),
    over_sigma=np.array(PIXELS_OVER_SIGMA, np.float64),
    over_background=np.array(PIXELS_OVER_BACKGROUND, np.float64),
)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_pixels(pixels: NDArray[np.float64], limits: Limits) -> PixelSums:
    """Return the sums over pixels, (n, 3) as `Spots.pixels`."""
    excess = np.zeros(limits.excess.size)
    over_sigma = np.zeros(limits.over_sigma.size)
    over_background = np.zeros(limits.over_background.size)
    means = np.zeros(3)
    for k in range(len(pixels)):
        sigma, photons, background = pixels[k]
        ratio = photons / max(background, MIN_BACKGROUND)
        for limit in range(excess.size):
            if sigma < limits.excess[limit]:
                break
            excess[limit] += photons
        for limit in range(over_sigma.size):
            if sigma < limits.over_sigma[limit]:
                break
            over_sigma[limit] += 1
        for limit in range(over_background.size):
            if ratio < limits.over_background[limit]:
                break
            over_background[limit] += 1
        means[0] += ratio
        means[1] += np.sqrt(ratio)
        means[2] += np.log10(1 + ratio)
    return PixelSums(excess, over_sigma, over_background, means)
