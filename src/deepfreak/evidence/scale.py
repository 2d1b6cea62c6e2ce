"""What one photon is, and how far neighbours share it: from the noise of the frame itself."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.evidence.blocks import BLOCK, Blocks, Counts, Pixels, Steps, Valid, spread_over

_SPARSE_SHARE = 0.35  # of pixels at the lowest count: less than about one photon a pixel
_CLUMPED = 3.0  # steps in which little light comes: more is no counting of photons
_LIT_SHARE = 0.1  # of the dark blocks that must have light to tell that
_LOWEST = 0.001  # quantile of the pixels that is taken for no light
_BINS = 10  # of blocks by their level, for the slope of variance over level
_MIN_BLOCKS = 4 * _BINS
_MIN_RISE = 1.5  # of the variance between dark and light blocks, for a slope to mean something
_ALONE = 0.2  # of a block's variance in one pixel: that block is not used
_ALONE_LIT = 0.6  # the same of squares of light, of which there may be three


class PhotonScale(NamedTuple):
    """From steps to photons."""

    photon: float  # steps of one photon
    known: bool  # whether the header says so; else it is an estimate
    # spread_3, spread_5: variance of sums of 3 x 3 and 5 x 5 pixels over that of independent
    # pixels: 1 without point spread
    spread_3: float
    spread_5: float


def find_scale(
    counts: Counts, valid: Valid, steps: Steps, blocks: Blocks, gain: float | None
) -> PhotonScale:
    """Return what one photon is.

    1. the header's gain, where it has one;
    2. the step, where single photons stand out of the noise (`find_quantum`), or at least 35 % of
       the pixels have the lowest count: less than about one photon a pixel;
    3. the slope of variance over level between blocks, where the light varies;
    4. variance over (level - lowest count). Without light that is about a third of the noise.

    The last two are multiplied by `spread_5`: point spread hides variance. They are at most the
    noise of a pixel without point spread, as larger photons would stand out, and at least one step.
    A frame that was cut off at its lowest count, as after a subtraction, has as many lowest counts
    as a sparse one, but its little light comes in clumps of three steps or more: a photon is not
    less than a clump.
    """
    spread_3 = spread_5 = 1.0
    sample = steps.sample
    lowest = float(np.sort(sample)[int(_LOWEST * sample.size)])  # partition is slow on few values
    dark = float(np.mean(sample == lowest)) >= _SPARSE_SHARE
    many_lowest = steps.whole and dark
    clump = _clumps(counts, valid, steps, blocks, lowest) if many_lowest else 0.0
    sparse = steps.photon or (many_lowest and clump < _CLUMPED)
    if not sparse:
        spread_3, spread_5 = _neighbours(counts, valid, steps, blocks)
    if gain is not None:
        photon = gain / steps.step
    elif sparse:
        photon = 1.0
    else:
        photon = (_slope(blocks) or _over_lowest(blocks, lowest)) * spread_5
        if not dark:
            photon = min(photon, _noise(blocks) * np.sqrt(spread_5))
        photon = max(photon, 1.0) if steps.whole else photon
    if many_lowest and not sparse:
        photon = max(photon, clump * spread_5)
    photon = photon if photon > 0 else 1.0
    return PhotonScale(photon=photon, known=gain is not None, spread_3=spread_3, spread_5=spread_5)


def point_sharpness(spread_3: float) -> float:
    """Return the share of the highest pixel in 3 x 3 of light on one point, by the noise.

    Of a Gaussian point spread, whose noise is alike in neighbours by q = exp(-1 / (4 sigma^2)):
    spread_3 = (1 + 4/3 q + 2/3 q^4)^2, and the share is 1 / (1 + 2 q^2)^2.
    """
    q = np.linspace(0.0, 1.0, 101)
    alike = np.interp(np.sqrt(spread_3), 1 + 4 / 3 * q + 2 / 3 * q**4, q)
    return float((1 + 2 * alike**2) ** -2)


def _clumps(counts: Counts, valid: Valid, steps: Steps, blocks: Blocks, lowest: float) -> float:
    """Return how many steps light comes in, where there is little: 1 if in photons of one step."""
    places = spread_over((blocks.share > 0) & (blocks.level - lowest < 1.0))
    pixels = steps.of(counts, valid)._replace(base=steps.base + lowest * steps.step)
    found = _square_over_mean(pixels, places)
    known = found[np.isfinite(found)]
    return float(np.median(known)) if len(known) > _LIT_SHARE * len(found) else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _square_over_mean(frame: Pixels, places: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean square over the mean of each block's light.

    NaN of less than three pixels, and where one of them makes most of it: a hot pixel.
    """
    counts, valid, lowest, scale = frame
    found = np.empty(len(places))
    for place in range(len(places)):
        top, left = places[place, 0] * BLOCK, places[place, 1] * BLOCK
        light, square, largest, lit = 0.0, 0.0, 0.0, 0
        for i in range(top, min(top + BLOCK, counts.shape[0])):
            for j in range(left, min(left + BLOCK, counts.shape[1])):
                if valid[i, j]:
                    x = (np.float64(counts[i, j]) - lowest) * scale
                    light += x
                    square += x * x
                    largest = max(largest, x * x)
                    lit += int(x > 0)
        alone = largest > _ALONE_LIT * square
        found[place] = square / light if lit >= 3 and not alone else np.nan
    return found


def _noise(blocks: Blocks) -> float:
    known = blocks.measured[np.isfinite(blocks.measured)]
    return float(np.sqrt(np.median(known))) if known.size else np.inf


def _slope(blocks: Blocks) -> float | None:
    """Return the slope of variance over level, None where the light varies too little."""
    known = np.isfinite(blocks.measured)
    level, variance = blocks.level[known], blocks.measured[known]
    if level.size < _MIN_BLOCKS:
        return None
    order = np.argsort(level, kind="stable")
    parts = np.array_split(order, _BINS)
    x = np.array([np.median(level[part]) for part in parts])
    y = np.array([np.median(variance[part]) for part in parts])
    if y[0] < 0 or y[-1] < _MIN_RISE * y[0] or x[-1] <= x[0]:
        return None
    i, j = np.triu_indices(_BINS, 1)
    apart = x[j] - x[i] > 0.1 * (x[-1] - x[0])
    slope = float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))
    return slope if slope > 0 else None


def _over_lowest(blocks: Blocks, lowest: float) -> float:
    known = np.isfinite(blocks.measured)
    if not known.any():
        return 1.0
    level, variance = blocks.level[known], blocks.measured[known]
    over = float(np.median(level)) - lowest
    return float(np.median(variance)) / over if over > 0 else 1.0


def _neighbours(counts: Counts, valid: Valid, steps: Steps, blocks: Blocks) -> tuple[float, float]:
    """Return how far sums of 3 x 3 and 5 x 5 pixels vary more than independent pixels would."""
    rows, columns = counts.shape[0] // BLOCK, counts.shape[1] // BLOCK
    chosen = spread_over((blocks.share == 1.0)[:rows, :columns])
    found = _variance_of_sums(steps.of(counts, valid), chosen)
    found = found[np.isfinite(found).all(axis=1)]
    if not len(found):
        return 1.0, 1.0
    three, five = np.median(found, axis=0)
    return float(np.clip(three, 1.0, 9.0)), float(np.clip(five, 1.0, 25.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _variance_of_sums(frame: Pixels, places: NDArray[Any]) -> NDArray[np.float64]:
    """Return for blocks at `places` the variance of sums over k^2 times that of pixels, k = 3, 5.

    Rows' and columns' means are taken away first, for gradients and row noise; what that does to
    independent pixels, ((16 - k) / 15)^2, is divided out. NaN where a pixel is missing, or one
    makes a fifth of the block's variance: a hot pixel, or a spot.
    """
    counts, valid, base, scale = frame
    found = np.empty((len(places), 2))
    rest, across = np.empty((BLOCK, BLOCK)), np.empty((BLOCK, BLOCK))
    for place in range(len(places)):
        top, left = places[place, 0] * BLOCK, places[place, 1] * BLOCK
        whole = True
        for i in range(BLOCK):
            for j in range(BLOCK):
                whole &= valid[top + i, left + j]
                rest[i, j] = (np.float64(counts[top + i, left + j]) - base) * scale
        for i in range(BLOCK):
            rest[i] -= rest[i].mean()
        for j in range(BLOCK):
            rest[:, j] -= rest[:, j].mean()
        pixels = (rest * rest).mean()
        whole &= np.abs(rest).max() ** 2 <= _ALONE * BLOCK * BLOCK * pixels
        for which in range(2):
            k = 3 + 2 * which
            for i in range(BLOCK):
                for j in range(BLOCK - k + 1):
                    across[i, j] = 0.0
                    for m in range(k):
                        across[i, j] += rest[i, j + m]
            total = 0.0
            for i in range(BLOCK - k + 1):
                for j in range(BLOCK - k + 1):
                    one = 0.0
                    for m in range(k):
                        one += across[i + m, j]
                    total += one * one
            independent = (k * (BLOCK - k) / (BLOCK - 1.0)) ** 2 * pixels
            found[place, which] = total / (BLOCK - k + 1) ** 2 / independent if whole else np.nan
    return found
