"""Compiled loops of the recording: chance, point spread, read-out.

Each pixel has random numbers of its own, hashed from a seed and its place, so that no pixel's
chance depends on the light elsewhere. Loops are over rows and without branches where the compiler
is to make vector instructions of them; the few pixels that these do not settle come after.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

Float = NDArray[np.float32]

# From this mean on a count is the normal quantile's expansion, off by a count in about 1 % of the
# pixels at this mean and fewer beyond.
_MANY = 4.0
_FAINT = 0.2  # photons: rows without more are walked through
_TERMS = 12  # counts that are compared with at once below _MANY
_INVERSE = tuple(1 / max(k, 1) for k in range(_TERMS))
_CENTRAL = 0.47575  # of the quantile, from the median: where Acklam's two pieces meet
_TABLE_END, _TABLE_STEPS = 4, 64  # sigma, and steps of each, of the means of what is cut off
_TILE = 64  # pixels of a row that are skipped together where there is no light
_CELL = 4  # pixels: the grid on which tails of the point spread are summed


def _means_above() -> NDArray[np.float64]:
    """Return t Phi(t) + phi(t), the mean of max(x, 0) of a normal deviate x about t, at steps."""
    at = np.arange(2 * _TABLE_END * _TABLE_STEPS + 1) / _TABLE_STEPS - _TABLE_END
    below = np.array([0.5 * math.erfc(-t / math.sqrt(2)) for t in at])
    bell = np.exp(-0.5 * at * at) / math.sqrt(2 * math.pi)
    return np.asarray(at * below + bell)


_ABOVE = _means_above()
_ABOVE.setflags(write=False)


@njit(cache=True, nogil=True, error_model="numpy")
def _hash_row(row: int, seed: Any, hashed: NDArray[np.int32]) -> None:  # noqa: ANN401
    """Fill `hashed` with 32 random bits a pixel: lowbias32 (Wellons 2018), keyed by 64 bits."""
    low = np.uint32(seed & np.uint64(0xFFFFFFFF))
    high = np.uint32(seed >> np.uint64(32))
    first = np.uint32(row) * np.uint32(len(hashed))
    for j in range(len(hashed)):
        x = np.uint32(np.uint32(first + np.uint32(j)) * np.uint32(0x9E3779B9)) + low
        x = np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = np.uint32(x) ^ high
        x = np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        x = np.uint32(x)
        hashed[j] = np.int32(x ^ (x >> np.uint32(16)))


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_row(hashed: NDArray[np.int32], normal: Float) -> None:
    """Fill `normal` with the deviates of `hashed` bits: Acklam's rational functions (2003)."""
    for j in range(len(hashed)):
        q = np.float32(hashed[j]) * np.float32(2.0**-32)
        r = q * q
        top = np.float32(-3.969683028665376e01) * r + np.float32(2.209460984245205e02)
        top = top * r - np.float32(2.759285104469687e02)
        top = top * r + np.float32(1.383577518672690e02)
        top = top * r - np.float32(3.066479806614716e01)
        top = top * r + np.float32(2.506628277459239e00)
        low = np.float32(-5.447609879822406e01) * r + np.float32(1.615858368580409e02)
        low = low * r - np.float32(1.556989798598866e02)
        low = low * r + np.float32(6.680131188771972e01)
        low = low * r - np.float32(1.328068155288572e01)
        normal[j] = top * q / (low * r + np.float32(1.0))
    outer = np.empty(len(hashed) + 1, np.int32)
    number = 0
    for j in range(len(hashed)):  # a branch here would be guessed wrong too often
        outer[number] = j
        number += int(abs(np.float32(hashed[j])) > np.float32(_CENTRAL * 2.0**32))
    for n in range(number):
        normal[outer[n]] = _tail(hashed[outer[n]])


@njit(cache=True, nogil=True, error_model="numpy")
def _tail(hashed: Any) -> float:  # noqa: ANN401
    """Return the normal deviate of bits in the outer 4.85 %."""
    beyond = (2.0**31 - abs(np.float64(hashed) + 0.5)) * 2.0**-32
    r = math.sqrt(-2.0 * math.log(beyond))
    top = -7.784894002430293e-03 * r - 3.223964580411365e-01
    top = (top * r - 2.400758277161838e00) * r - 2.549732539343734e00
    top = (top * r + 4.374664141464968e00) * r + 2.938163982698783e00
    low = 7.784695709041462e-03 * r + 3.224671290700398e-01
    low = (low * r + 2.445134137142996e00) * r + 3.754408661907416e00
    low = low * r + 1.0
    return top / low if hashed < 0 else -top / low


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(hashed: Any) -> float:  # noqa: ANN401
    """Return a number between 0 and 1, never either."""
    return (np.float64(hashed) + 0.5) * 2.0**-32 + 0.5


@njit(cache=True, nogil=True, error_model="numpy")
def _few(mean: float, u: float) -> float:
    """Return the Poisson deviate of a small `mean` at quantile `u`, counted up from 0."""
    if u <= 1.0 - mean:  # exp(-mean) is more: no exponential for most faint pixels
        return 0.0
    term = math.exp(-mean)
    total, n = term, 0
    while u > total and term > 1e-18:
        n += 1
        term *= mean / n
        total += term
    return float(n)


@njit(cache=True, nogil=True, error_model="numpy")
def _poisson_row(mean: Float, hashed: NDArray[np.int32], normal: Float, counts: Float) -> None:
    """Fill `counts` with Poisson deviates of `mean`.

    Giles 2016 (ACM Transactions on Mathematical Software 42, 7), as
    `deepfreak.physics.noise.counting`.
    """
    most, least = np.float32(0), np.float32(np.inf)
    for j in range(len(mean)):
        most, least = max(most, mean[j]), min(least, mean[j])
    if most < _FAINT:
        for j in range(len(mean)):
            counts[j] = _few(np.float64(mean[j]), _quantile(hashed[j]))
        return
    if most >= _MANY:
        _normal_row(hashed, normal)
        for j in range(len(mean)):
            m = max(mean[j], np.float32(_MANY))
            w = normal[j]
            root = np.sqrt(m)
            square = w * w
            quantile = m + root * w + (np.float32(1 / 3) + square * np.float32(1 / 6))
            quantile -= w * (np.float32(1 / 36) + square * np.float32(1 / 72)) / root
            counts[j] = np.floor(max(quantile, np.float32(0)))
    if least >= _MANY:
        return
    for j in range(len(mean)):
        m = min(np.float64(mean[j]), _MANY)
        y = m * (-1 / 16)
        term = 1 + y * (1 + y / 2 * (1 + y / 3 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6)))))
        term *= term
        term *= term
        term *= term
        term *= term
        u = np.float64(hashed[j]) * 2.0**-32 + (0.5 + 2.0**-33)
        total, n = term, np.float64(u > term)
        for k in range(1, _TERMS):
            term *= m * _INVERSE[k]
            total += term
            n += np.float64(u > total)
        counts[j] = np.float32(n) if mean[j] < _MANY else counts[j]
    for j in range(len(mean)):
        if counts[j] == _TERMS and mean[j] < _MANY:
            counts[j] = _few(np.float64(mean[j]), _quantile(hashed[j]))


@njit(cache=True, nogil=True, error_model="numpy")
def draw_photons(background: Float, spots: Float, seed: Any) -> Float:  # noqa: ANN401
    """Return Poisson deviates with means `background` + `spots`, of their shape."""
    photons = np.empty_like(background)
    columns = background.shape[1]
    hashed, normal = np.empty(columns, np.int32), np.empty(columns, np.float32)
    for i in range(background.shape[0]):
        _hash_row(i, seed, hashed)
        _poisson_row(background[i] + spots[i], hashed, normal, photons[i])
    return photons


@njit(cache=True, nogil=True, error_model="numpy")
def count_photons(
    light: Float,
    spots: Float,
    flat: Float,
    static: Float,
    seed: Any,  # noqa: ANN401
) -> Float:
    """Multiply `light` and `spots` by `flat` in place and add `static` light; return their counts.

    These are Poisson deviates of the sum.
    """
    counts = np.empty_like(light)
    columns = light.shape[1]
    hashed, normal = np.empty(columns, np.int32), np.empty(columns, np.float32)
    mean = np.empty(columns, np.float32)
    for i in range(light.shape[0]):
        for j in range(columns):
            light[i, j] = light[i, j] * flat[i, j] + static[i, j]
            spots[i, j] *= flat[i, j]
            mean[j] = light[i, j] + spots[i, j]
        _hash_row(i, seed, hashed)
        _poisson_row(mean, hashed, normal, counts[i])
    return counts


class Electronics(NamedTuple):
    """How a detector that integrates turns photons into counts; maps have the frame's shape."""

    flat: Float  # sensitivity of each pixel
    static: Float  # counts of each pixel without light
    # chip, steps: each pixel's chip, and each chip's counts without light in this frame
    chip: NDArray[np.uint16]
    steps: Float
    rows: Float  # counts (slow, 2) of each row in the left and right half
    # gain, noise: counts of a photon, and RMS of read-out in counts
    gain: float
    noise: float
    lowest: float  # counts below are cut off; minus infinity for none
    # switch_photons, switch_off, switch_noise: photons from which a pixel takes its low gain, the
    # counts by which that is off, and its noise over that of the high gain
    switch_photons: float
    switch_off: float
    switch_noise: float


@njit(cache=True, nogil=True, error_model="numpy")
def read_out(
    photons: Float,
    light: Float,
    spots: Float,
    electronics: Electronics,
    seed: Any,  # noqa: ANN401
) -> Float:
    """Turn `photons` and `spots` into counts in place; return the expected background's counts.

    `light` has the photons of the background, and is multiplied by `flat` in place.
    """
    flat, static, chip = electronics.flat, electronics.static, electronics.chip
    steps, rows = electronics.steps, electronics.rows
    gain, noise, lowest = electronics.gain, electronics.noise, electronics.lowest
    switch_photons = electronics.switch_photons
    level = np.empty_like(photons)
    height, width = photons.shape
    hashed, normal = np.empty(width, np.int32), np.empty(width, np.float32)
    near = np.empty(width + 1, np.int32)
    factor, rms = np.float32(gain), np.float32(noise)
    for i in range(height):
        _hash_row(i, seed, hashed)
        _normal_row(hashed, normal)
        for j in range(width):
            level[i, j] = steps[chip[i, j]]
        for j in range(width):
            level[i, j] += static[i, j] + (rows[i, 0] if 2 * j < width else rows[i, 1])
        if switch_photons < np.inf:
            for j in range(width):
                if photons[i, j] > switch_photons:
                    of_photon = factor * max(flat[i, j], np.float32(0.1))
                    photons[i, j] += np.float32(electronics.switch_off) / of_photon
                    normal[j] *= np.float32(electronics.switch_noise)
        for j in range(width):
            of_photon = factor * flat[i, j]
            photons[i, j] = photons[i, j] * of_photon + (level[i, j] + rms * normal[j])
            light[i, j] *= flat[i, j]
            spots[i, j] *= of_photon
            level[i, j] += light[i, j] * factor
        if lowest > -1e5:  # the types with more below never come there
            number = 0
            for j in range(width):
                photons[i, j] = max(photons[i, j], np.float32(lowest))
                over = level[i, j] - np.float32(lowest)
                square = rms * rms + light[i, j] * factor * factor
                near[number] = j
                number += int(over * abs(over) < np.float32(9) * square)
            for n in range(number):
                j = near[n]
                sigma = math.sqrt(noise * noise + max(light[i, j], 0.0) * gain * gain)
                level[i, j] = lowest + _mean_above(level[i, j] - lowest, sigma)
    return level


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_above(mean: float, sigma: float) -> float:
    """Return the mean of a normal deviate of which what is below 0 is 0, to 2e-5 sigma."""
    at = min(max(mean / sigma + _TABLE_END, 0.0) * _TABLE_STEPS, 2.0 * _TABLE_END * _TABLE_STEPS)
    left = min(int(at), len(_ABOVE) - 2)
    part = at - left
    cut: float = sigma * ((1 - part) * _ABOVE[left] + part * _ABOVE[left + 1])
    return cut


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
    """Return the convolution with taps of any sum s along rows, taps / s along columns.

    Rows that are still needed are kept in a ring; what is dark is skipped in tiles.
    """
    rows, columns = image.shape
    count = len(scaled)
    reach = count // 2
    plain = scaled / scaled.sum()
    tiles = -(-columns // _TILE)
    ring = np.zeros((count, columns), dtype=np.float32)
    lit = np.zeros((count, tiles), dtype=np.bool_)
    result = np.empty_like(image)
    for s in range(rows + reach):
        along, of_row = ring[s % count], lit[s % count]
        for tile in range(tiles):
            of_row[tile] = False
            if s >= rows:
                continue
            left, right = tile * _TILE, min((tile + 1) * _TILE, columns)
            for j in range(max(left - reach, 0), min(right + reach, columns)):
                if image[s, j] != 0:
                    of_row[tile] = True
                    break
            if not of_row[tile]:
                continue
            along[left:right] = 0
            for k in range(-reach, reach + 1):
                share = scaled[k + reach]
                for j in range(max(left, -k), min(right, columns - k)):
                    along[j] += share * image[s, j + k]
        i = s - reach
        if i < 0:
            continue
        for tile in range(tiles):
            left, right = tile * _TILE, min((tile + 1) * _TILE, columns)
            result[i, left:right] = 0
            for k in range(max(-reach, -i), min(reach, rows - 1 - i) + 1):
                if not lit[(i + k) % count, tile]:
                    continue
                share = plain[k + reach]
                line = ring[(i + k) % count]
                for j in range(left, right):
                    result[i, j] += share * line[j]
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
    left = np.empty(image.shape[1], dtype=np.int32)
    part = np.empty(image.shape[1], dtype=np.float32)
    for j in range(image.shape[1]):
        across = (j + 0.5) / _CELL - 0.5
        left[j] = max(math.floor(across), 0)
        part[j] = max(across - left[j], 0.0)
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
            start = line[left[j]]
            image[i, j] += start + part[j] * (line[left[j] + 1] - start)
