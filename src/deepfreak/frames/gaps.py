"""Gaps that no mask names: areas of one value among noisy pixels.

The rule asks for what noise cannot do by chance, in units of the noise itself, so that neither gain
nor pedestal matter. Zeros of a photon counter are measurements, and so are those of a shadow, whose
edges are soft.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.frames.frame import Counts, Valid

BLOCK = 4  # pixels: the side of a solid block
RUN = 16  # pixels of a solid row or column: as many as in a block
_SMALLEST = 64  # pixels of a gap
_MAX_VALUES = 16  # of gaps in one frame
_SHARE = 0.25  # of the pixels around a gap that may have its value: 0.25^16 is never chance
_ZERO_SHARE = 0.01  # the same for zero, which a faint frame is full of
_GROWN_SHARE = 0.02  # of the frame with a gap's value outside it: more may touch by chance
_SOFT_EDGE = 0.7  # of the light around, beside the edge: less is a shadow's
_EVERYWHERE = np.ones((3, 3))


def gaps(counts: Counts, valid: Valid, counting: bool | None, saturation: float | None) -> Valid:
    """Return the pixels [slow, fast] in areas of one value whose surroundings are noisy.

    An area is made of blocks of 4 x 4 equal pixels and of 16 equal pixels in a row or column, of
    at least 64 pixels, and of the pixels of the same value that touch it. In a ring of blocks of
    4 x 4 around it most must be noisy, with few pixels of that value. An area brighter than the
    ring is a gap only where its surroundings do not rise towards it: else it is an overload.

    Parameters
    ----------
    counting
        Whether the detector counts photons: then zeros are measurements. None: unknown.
    saturation
        From this value on an area is an overload.
    """
    missing = np.zeros(counts.shape, dtype=np.bool_)
    if min(counts.shape) < RUN:
        return missing
    seeds, values, pixels = _solid(
        np.ascontiguousarray(counts), np.ascontiguousarray(valid), bool(counting)
    )
    for value in values[pixels >= _SMALLEST]:
        if saturation is not None and value >= saturation:
            continue
        same = (counts == value) & valid
        found = _real(counts, valid, same, seeds & same, value)
        if found is None:
            continue
        missing |= found
        if np.count_nonzero(same & ~seeds) < _GROWN_SHARE * counts.size:
            missing |= ndimage.binary_dilation(found, _EVERYWHERE, iterations=BLOCK, mask=same)
    return missing


def _real(counts: Counts, valid: Valid, same: Valid, seeds: Valid, value: float) -> Valid | None:
    """Return those of the `seeds`, all of one value, that lie in a gap; None without any."""
    others = int(np.count_nonzero(valid & ~seeds))
    if others == 0 or np.count_nonzero(same & ~seeds) > _SHARE * others:
        return None  # the value that this frame is full of
    share = _block_mean(same)
    level, spread, number = _block_levels(
        np.ascontiguousarray(counts), np.ascontiguousarray(valid & ~same)
    )
    faint = value == 0 and not bool(((counts < 0) & valid).any())
    inside_any = _block_mean(seeds) > 0
    groups, count = ndimage.label(inside_any, structure=_EVERYWHERE)
    keep = np.zeros(count + 1, dtype=np.bool_)
    pixels = ndimage.sum_labels(_block_mean(seeds), groups, np.arange(count + 1)) * BLOCK**2
    for group, box in enumerate(ndimage.find_objects(groups, count), start=1):
        if pixels[group] < _SMALLEST:
            continue
        around = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in box)
        inside = groups[around] == group
        near = ndimage.binary_dilation(inside, _EVERYWHERE) & (number[around] > 0)
        ring = ndimage.binary_dilation(inside, _EVERYWHERE, iterations=3) & ~near
        ring &= ~inside_any[around] & (number[around] > 0)
        noisy = ring & (spread[around] > 0)
        if not ring.any() or 2 * np.count_nonzero(noisy) < np.count_nonzero(ring):
            continue
        if share[around][noisy].mean() > (_ZERO_SHARE if faint else _SHARE):
            continue
        outside = float(np.median(level[around][noisy]))
        scatter = float(np.median(spread[around][noisy]))
        beside = float(np.median(level[around][near])) if near.any() else outside
        if faint and beside < _SOFT_EDGE * outside:
            continue  # a shadow
        if value > outside and beside - outside > 3 * scatter + 0.05 * abs(outside):
            continue  # an overload
        keep[group] = True
    if not keep.any():
        return None
    kept = np.repeat(np.repeat(keep[groups], BLOCK, axis=0), BLOCK, axis=1)
    return np.asarray(seeds & kept[: counts.shape[0], : counts.shape[1]])


def _solid(
    counts: Counts, valid: Valid, skip_zero: bool
) -> tuple[Valid, NDArray[np.generic], NDArray[np.int64]]:
    """Return the pixels in solid blocks, rows and columns, their values, how many have each."""
    seeds = np.zeros(counts.shape, np.bool_)
    _mark_rows(counts, skip_zero, seeds)
    _mark_columns(counts, skip_zero, seeds)
    _mark_blocks(counts, skip_zero, seeds)
    seeds &= valid
    values, pixels = _values_of(counts, seeds)
    return seeds, values, pixels


@njit(cache=True, nogil=True)
def _mark_rows(counts: Counts, skip_zero: bool, seeds: Valid) -> None:
    for i in range(counts.shape[0]):
        start = 0
        for j in range(1, counts.shape[1] + 1):
            if j == counts.shape[1] or counts[i, j] != counts[i, j - 1]:
                if j - start >= RUN and not (skip_zero and counts[i, start] == 0):
                    seeds[i, start:j] = True
                start = j


@njit(cache=True, nogil=True)
def _mark_columns(counts: Counts, skip_zero: bool, seeds: Valid) -> None:
    since = np.zeros(counts.shape[1], np.int64)  # the first row of each column's run
    for i in range(1, counts.shape[0] + 1):
        for j in range(counts.shape[1]):
            if i == counts.shape[0] or counts[i, j] != counts[i - 1, j]:
                if i - since[j] >= RUN and not (skip_zero and counts[i - 1, j] == 0):
                    seeds[since[j] : i, j] = True
                since[j] = i


@njit(cache=True, nogil=True)
def _mark_blocks(counts: Counts, skip_zero: bool, seeds: Valid) -> None:
    for i in range(0, counts.shape[0] - BLOCK + 1, BLOCK):
        for j in range(0, counts.shape[1] - BLOCK + 1, BLOCK):
            first = counts[i, j]
            equal = 0
            # most blocks end at their second pixel
            while equal < BLOCK * BLOCK and counts[i + equal // BLOCK, j + equal % BLOCK] == first:
                equal += 1
            if equal == BLOCK * BLOCK and not (skip_zero and first == 0):
                seeds[i : i + BLOCK, j : j + BLOCK] = True


@njit(cache=True, nogil=True)
def _values_of(counts: Counts, seeds: Valid) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Return the first values of the `seeds`, and how many pixels have each."""
    values = np.zeros(_MAX_VALUES, counts.dtype)
    pixels = np.zeros(_MAX_VALUES, np.int64)
    known, place = 0, 0
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            if not seeds[i, j]:
                continue
            if known == 0 or values[place] != counts[i, j]:
                place = 0
                while place < known and values[place] != counts[i, j]:
                    place += 1
                if place == _MAX_VALUES:
                    place = 0
                    continue
                if place == known:
                    values[known] = counts[i, j]
                    known += 1
            pixels[place] += 1
    return values[:known], pixels[:known]


def _block_mean(pixels: Valid) -> NDArray[np.float64]:
    """Return the share of true pixels in each block of 4 x 4; the last ones may be partial."""
    rows, columns = (-(-length // BLOCK) for length in pixels.shape)
    whole = np.zeros((rows * BLOCK, columns * BLOCK), dtype=np.bool_)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    share: NDArray[np.float64] = whole.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))
    return share


@njit(cache=True, nogil=True)
def _block_levels(
    counts: Counts, lit: Valid
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return mean and standard deviation of the lit pixels of each block, and their number."""
    slow, fast = -(-counts.shape[0] // BLOCK), -(-counts.shape[1] // BLOCK)
    mean, spread = np.zeros((slow, fast)), np.zeros((slow, fast))
    number = np.zeros((slow, fast), np.int64)
    for row in range(slow):
        for column in range(fast):
            total, square, pixels = 0.0, 0.0, 0
            for i in range(row * BLOCK, min((row + 1) * BLOCK, counts.shape[0])):
                for j in range(column * BLOCK, min((column + 1) * BLOCK, counts.shape[1])):
                    if lit[i, j]:
                        value = float(counts[i, j])
                        total += value
                        square += value * value
                        pixels += 1
            if pixels > 0:
                mean[row, column] = total / pixels
                variance = square / pixels - mean[row, column] ** 2
                spread[row, column] = np.sqrt(max(variance, 0.0))
            number[row, column] = pixels
    return mean, spread, number
