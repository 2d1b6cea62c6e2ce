"""Compiled loops of the recording: chance, point spread, read-out.

Each pixel has random numbers of its own, hashed from a seed and its place (splitmix64, Steele, Lea
and Flood 2014), so that no pixel's chance depends on the light elsewhere.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

Float = NDArray[np.float32]

# From this mean on a count is the normal quantile's expansion, off by a count in about 1 % of the
# pixels at this mean and fewer beyond.
_MANY = 4.0
_TILE = 64  # pixels of a row that are skipped together where there is no light
_CELL = 4  # pixels: the grid on which tails of the point spread are summed


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _uniform(seed: Any, place: int) -> float:  # noqa: ANN401 -- uint64 under numba
    """Return a number between 0 and 1, never either."""
    z = seed + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (np.float64(np.int64(z >> np.uint64(12))) + 0.5) * 2.0**-52


@njit(cache=True, nogil=True, error_model="numpy")
def _normal(u: float) -> float:
    """Return the normal deviate at quantile `u` to 1e-7: Acklam's rational functions (2003)."""
    q = u - 0.5
    if abs(q) <= 0.47575:
        r = q * q
        top = -3.969683028665376e01 * r + 2.209460984245205e02
        top = (top * r - 2.759285104469687e02) * r + 1.383577518672690e02
        top = (top * r - 3.066479806614716e01) * r + 2.506628277459239e00
        low = -5.447609879822406e01 * r + 1.615858368580409e02
        low = (low * r - 1.556989798598866e02) * r + 6.680131188771972e01
        low = (low * r - 1.328068155288572e01) * r + 1.0
        return top * q / low
    r = math.sqrt(-2.0 * math.log(min(u, 1.0 - u)))
    top = -7.784894002430293e-03 * r - 3.223964580411365e-01
    top = (top * r - 2.400758277161838e00) * r - 2.549732539343734e00
    top = (top * r + 4.374664141464968e00) * r + 2.938163982698783e00
    low = 7.784695709041462e-03 * r + 3.224671290700398e-01
    low = (low * r + 2.445134137142996e00) * r + 3.754408661907416e00
    low = low * r + 1.0
    return top / low if q < 0 else -top / low


@njit(cache=True, nogil=True, error_model="numpy")
def _poisson(mean: float, u: float) -> float:
    """Return the Poisson deviate of `mean` at quantile `u`."""
    if mean < _MANY:
        if u <= 1.0 - mean:  # exp(-mean) is more: no exponential for most faint pixels
            return 0.0
        term = math.exp(-mean)
        total, n = term, 0
        while u > total and term > 1e-18:
            n += 1
            term *= mean / n
            total += term
        return float(n)
    w = _normal(u)
    root = math.sqrt(mean)
    square = w * w
    # Giles 2016 (ACM Transactions on Mathematical Software 42, 7), as `deepfreak.deviates`
    quantile = mean + root * w + (1 / 3 + square / 6) - (w / 36 + w * square / 72) / root
    return max(math.floor(quantile), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def draw_photons(background: Float, spots: Float, seed: Any) -> Float:  # noqa: ANN401
    """Return Poisson deviates with means `background` + `spots`, of their shape."""
    photons = np.empty_like(background)
    rows, columns = background.shape
    for i in range(rows):
        for j in range(columns):
            mean = np.float64(background[i, j]) + np.float64(spots[i, j])
            photons[i, j] = _poisson(mean, _uniform(seed, i * columns + j))
    return photons


@njit(cache=True, nogil=True, error_model="numpy")
def count_photons(light: Float, spots: Float, flat: Float, static: Float, seed: Any) -> Float:  # noqa: ANN401
    """Multiply `light` and `spots` by `flat` in place and add `static` light; return their counts.

    These are Poisson deviates of the sum.
    """
    counts = np.empty_like(light)
    rows, columns = light.shape
    for i in range(rows):
        for j in range(columns):
            light[i, j] = light[i, j] * flat[i, j] + static[i, j]
            spots[i, j] *= flat[i, j]
            mean = np.float64(light[i, j]) + np.float64(spots[i, j])
            counts[i, j] = _poisson(mean, _uniform(seed, i * columns + j))
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def read_out(
    photons: Float,
    light: Float,
    spots: Float,
    flat: Float,
    static: Float,
    chip: NDArray[np.uint16],
    steps: Float,
    rows: Float,
    gain: float,
    noise: float,
    lowest: float,
    switch: NDArray[np.float64],
    seed: Any,  # noqa: ANN401
) -> Float:
    """Turn `photons` into counts in place, `light` and `spots` too; return the expected background.

    Parameters
    ----------
    static
        Counts of each pixel without light.
    chip, steps
        Each pixel's chip, and each chip's counts without light in this frame.
    rows
        Counts (slow, 2) of each row in the left and right half.
    noise
        RMS of read-out in counts.
    lowest
        Counts below are cut off; minus infinity for none.
    switch
        Photons from which a pixel takes its low gain, the counts by which that is off, and its
        noise over that of the high gain.

    `light` stays in photons.
    """
    level = np.empty_like(photons)
    height, width = photons.shape
    for i in range(height):
        for j in range(width):
            dark = static[i, j] + steps[chip[i, j]] + rows[i, 2 * j // width]
            factor = gain * flat[i, j]
            w = _normal(_uniform(seed, i * width + j))
            value = photons[i, j] * factor + dark
            if photons[i, j] > switch[0]:
                value += switch[1] + noise * switch[2] * w
            else:
                value += noise * w
            photons[i, j] = max(value, lowest)
            light[i, j] *= flat[i, j]
            spots[i, j] *= factor
            mean = light[i, j] * gain + dark
            if mean - lowest < 1e6:
                # the mean of what is cut off at `lowest`
                sigma = math.sqrt(noise * noise + max(light[i, j], 0.0) * gain * gain)
                over = mean - lowest
                if over < 3 * sigma:
                    t = over / sigma
                    share = 0.5 * math.erfc(-t / math.sqrt(2.0))
                    bell = math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)
                    mean = lowest + over * share + sigma * bell
            level[i, j] = mean
    return level


def gaussian_taps(fwhm_px: float) -> Float:
    """Return shares of light of a Gaussian in pixels -n to n; [1] without spread."""
    sigma = fwhm_px / math.sqrt(8 * math.log(2))
    reach = math.ceil(2.8 * sigma - 0.5) if fwhm_px > 0.2 else 0
    borders = np.arange(-reach, reach + 2) - 0.5
    below = [0.5 * math.erfc(-x / (max(sigma, 1e-6) * math.sqrt(2))) for x in borders]
    taps = np.diff(below)
    return np.asarray(taps / taps.sum(), dtype=np.float32)


def spread(image: Float, taps: Float, tail_share: float, tail_px: float) -> Float:
    """Return `image` (slow, fast) after point spread: a new array.

    A Gaussian core of `taps` has 1 - `tail_share` of the light; the rest falls into a Gaussian of
    FWHM `tail_px`, summed on a grid of 4 x 4 pixels. Light that leaves the image is lost.
    """
    if len(taps) == 1 and tail_share == 0:
        return image.copy()
    wide = _spread_core(image, taps * np.float32(1 - tail_share))
    if tail_share > 0:
        cells = _cells(image)
        tail = gaussian_taps(tail_px / _CELL)
        cells = _spread_core(cells, tail * np.float32(tail_share / _CELL**2))
        _add_cells(wide, cells)
    return wide


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_core(image: Float, scaled: Float) -> Float:
    """Return the convolution with taps of any sum s along rows, taps / s along columns."""
    rows, columns = image.shape
    reach = len(scaled) // 2
    plain = scaled / scaled.sum()
    tiles = -(-columns // _TILE)
    lit = np.zeros((rows, tiles), dtype=np.bool_)
    along = np.zeros_like(image)
    for i in range(rows):
        for tile in range(tiles):
            left, right = tile * _TILE, min((tile + 1) * _TILE, columns)
            for j in range(max(left - reach, 0), min(right + reach, columns)):
                if image[i, j] != 0:
                    lit[i, tile] = True
                    break
            if not lit[i, tile]:
                continue
            for k in range(-reach, reach + 1):
                share = scaled[k + reach]
                for j in range(max(left, -k), min(right, columns - k)):
                    along[i, j] += share * image[i, j + k]
    result = np.zeros_like(image)
    for i in range(rows):
        for k in range(max(-reach, -i), min(reach, rows - 1 - i) + 1):
            share = plain[k + reach]
            for tile in range(tiles):
                if not lit[i + k, tile]:
                    continue
                for j in range(tile * _TILE, min((tile + 1) * _TILE, columns)):
                    result[i, j] += share * along[i + k, j]
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def _cells(image: Float) -> Float:
    rows, columns = image.shape
    cells = np.zeros((-(-rows // _CELL), -(-columns // _CELL)), dtype=np.float32)
    for i in range(rows):
        for j in range(columns):
            cells[i // _CELL, j // _CELL] += image[i, j]
    return cells


@njit(cache=True, nogil=True, error_model="numpy")
def _add_cells(image: Float, cells: Float) -> None:
    """Add to each pixel what lies between the middles of the nearest four cells, linearly."""
    rows, columns = cells.shape
    line = np.empty(columns + 1, dtype=np.float32)
    for i in range(image.shape[0]):
        at = (i + 0.5) / _CELL - 0.5
        above = min(max(math.floor(at), 0), rows - 1)
        below = min(above + 1, rows - 1)
        share = np.float32(min(max(at - above, 0.0), 1.0))
        any_light = False
        for c in range(columns):
            line[c] = cells[above, c] + share * (cells[below, c] - cells[above, c])
            any_light |= line[c] != 0
        if not any_light:
            continue
        line[columns] = line[columns - 1]
        for j in range(image.shape[1]):
            across = (j + 0.5) / _CELL - 0.5
            left = max(math.floor(across), 0)
            part = np.float32(max(across - left, 0.0))
            image[i, j] += line[left] + part * (line[left + 1] - line[left])
