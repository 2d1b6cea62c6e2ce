"""Smooth background of an image, and the noise about it.

The image is divided into tiles. In each, the mean of the gray levels without outliers is the
background, and the spread below it, which spots do not affect, is the noise. Both are interpolated
between the centres of the tiles. Beam centre, gain and readout noise need not be known.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.encoding import PEDESTAL
from deepfreak.features.extraction import check_some_valid

Float = NDArray[np.float32]
Grid = NDArray[np.float64]
Photons = NDArray[np.float64]

TILE_PX = 32
LEVELS = 256
# A tile with fewer valid pixels gets its background from its neighbours.
MIN_PIXELS = 64
# Gray levels within this many spreads of the median are a tile's background.
CLIP = 2.0
# Minimum spread in gray levels, which are whole numbers even without noise.
MIN_SPREAD = 0.5
# Fractions of a normal distribution more than one, and two, standard deviations below its mean.
BELOW_ONE_SIGMA = 0.15865525393145707
BELOW_TWO_SIGMA = 0.02275013194817921


# The mean photons of each gray level v = floor(sqrt(photons + 10)). The square root has uniform
# counting noise, so it is uniform between v and v + 1, and the mean of its square is v^2 + v + 1/3.
_LEVEL = np.arange(LEVELS, dtype=np.float64)
PHOTONS_OF_LEVEL = _LEVEL * _LEVEL + _LEVEL + 1 / 3 - PEDESTAL
PHOTONS_OF_LEVEL.setflags(write=False)


class Residual(NamedTuple):
    """An image without its background: photons, float32 [slow, fast]."""

    excess: Float  # above the background; nan where not valid
    background: Float
    noise: Float  # its standard deviation


def subtract_background(
    image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
) -> Residual:
    """Subtract the smooth background of `image`.

    Powder rings and streaks, which are narrower than a tile, remain; `peaks` rejects them. Image
    and valid pixels are those of an `Extractor`; `FrameError` if there is no valid pixel.
    """
    check_some_valid(image, valid)
    if valid is None:
        valid = np.ones(image.shape, np.bool_)
    # one memory layout, so that one function is compiled
    image, valid = np.ascontiguousarray(image), np.ascontiguousarray(valid)
    slow, fast = (max(1, round(size / TILE_PX)) for size in image.shape)
    tiles = _measure_tiles(image, valid, slow, fast, MIN_PIXELS, PHOTONS_OF_LEVEL)
    if np.isnan(tiles.level).all():
        tiles = _measure_tiles(image, valid, 1, 1, 1, PHOTONS_OF_LEVEL)
    _fill_empty(tiles)
    return _interpolate(image, valid, tiles, PHOTONS_OF_LEVEL)


class Tiles(NamedTuple):
    """Level and noise of the background in photons, [row, column]; nan where not known."""

    level: Grid
    noise: Grid


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_tiles(
    image: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    rows: int,
    columns: int,
    least: int,
    photons: Photons,
) -> Tiles:
    """Return level and noise of rows x columns tiles; nan where fewer than `least` are valid."""
    slow, fast = image.shape
    level = np.full((rows, columns), np.nan)
    noise = np.full((rows, columns), np.nan)
    counts = np.empty(LEVELS, np.int64)
    for row in range(rows):
        for column in range(columns):
            counts[:] = 0
            for i in range(row * slow // rows, (row + 1) * slow // rows):
                for j in range(column * fast // columns, (column + 1) * fast // columns):
                    if valid[i, j]:
                        counts[image[i, j]] += 1
            if counts.sum() >= least:
                level[row, column], noise[row, column] = _middle(counts, photons)
    return Tiles(level, noise)


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(counts: NDArray[np.int64], photons: Photons) -> tuple[float, float]:
    """Return mean and deviation in photons without outliers; level v is uniform from v to v + 1."""
    total = counts.sum()
    median = _quantile(counts, 0.5 * total)
    spread = median - _quantile(counts, BELOW_ONE_SIGMA * total)
    if median < 1:
        # Negative photons were clipped; use the upper side, where few pixels are spots.
        spread = max(spread, (_quantile(counts, (1 - BELOW_TWO_SIGMA) * total) - median) / 2)
    reach = CLIP * max(spread, MIN_SPREAD)
    weight = 0.0
    weighted = 0.0
    for level in range(LEVELS):
        inside = min(level + 1.0, median + reach) - max(float(level), median - reach)
        if inside > 0:
            weight += inside * counts[level]
            weighted += inside * counts[level] * photons[level]
    mean = weighted / weight
    # The standard deviation of sqrt(photons) is 1/2 for many photons and less for few; rounding
    # down adds 1/sqrt(12).
    light = max(mean, 0.0)
    counting = 0.25 * light / (light + PEDESTAL) + 1 / 12
    return mean, max(spread, math.sqrt(counting)) * 2 * math.sqrt(light + PEDESTAL)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(counts: NDArray[np.int64], rank: float) -> float:
    """Return the gray level, interpolated, below which there are `rank` pixels."""
    below = 0
    for level in range(LEVELS):
        if counts[level] > 0 and below + counts[level] >= rank:
            return float(level + (rank - below) / counts[level])
        below += counts[level]
    return float(LEVELS)


def _fill_empty(tiles: Tiles) -> None:
    """Fill tiles without a value with the mean of neighbours that have one, round by round.

    Each round uses only values from the rounds before, so that no direction is preferred.
    """
    while np.isnan(tiles.level).any():
        known = ~np.isnan(tiles.level)
        around = _sum_around(known.astype(np.float64))
        filled = ~known & (around > 0)
        for grid in tiles:
            grid[filled] = _sum_around(np.where(known, grid, 0.0))[filled] / around[filled]


def _sum_around(grid: Grid) -> Grid:
    """Return the sum over each tile and its eight neighbours."""
    padded = np.pad(grid, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    around: Grid = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return around


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(
    image: NDArray[np.uint8], valid: NDArray[np.bool_], tiles: Tiles, photons: Photons
) -> Residual:
    """Return excess, background and noise of each pixel.

    Linear between the tiles' centres. Beyond the outermost centres the level is extrapolated and
    the noise is constant.
    """
    slow, fast = image.shape
    level, noise = tiles
    rows, columns = level.shape
    excess = np.empty((slow, fast), np.float32)
    background = np.empty((slow, fast), np.float32)
    deviation = np.empty((slow, fast), np.float32)
    left = np.empty(fast, np.int64)
    share = np.empty(fast, np.float32)
    for j in range(fast):
        at = (j + 0.5) * columns / fast - 0.5
        left[j] = min(max(math.floor(at), 0), max(columns - 2, 0))
        share[j] = at - left[j] if columns > 1 else 0.0
    levels = np.empty(columns + 1, np.float32)
    noises = np.empty(columns + 1, np.float32)
    for i in range(slow):
        at = (i + 0.5) * rows / slow - 0.5
        above = min(max(math.floor(at), 0), max(rows - 2, 0))
        below = min(above + 1, rows - 1)
        part = at - above if rows > 1 else 0.0
        for column in range(columns):
            levels[column] = level[above, column] + part * (
                level[below, column] - level[above, column]
            )
            noises[column] = noise[above, column] + min(max(part, 0.0), 1.0) * (
                noise[below, column] - noise[above, column]
            )
        # a right neighbour where there is only one column
        levels[columns], noises[columns] = levels[columns - 1], noises[columns - 1]
        for j in range(fast):
            k = left[j]
            smooth = levels[k] + share[j] * (levels[k + 1] - levels[k])
            quiet = noises[k] + min(max(share[j], 0.0), 1.0) * (noises[k + 1] - noises[k])
            background[i, j] = smooth
            deviation[i, j] = quiet
            excess[i, j] = np.float32(photons[image[i, j]]) - smooth if valid[i, j] else np.nan
    return Residual(excess, background, deviation)
