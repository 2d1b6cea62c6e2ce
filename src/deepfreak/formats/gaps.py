"""Gaps that no mask names: areas of one value among noisy pixels.

The rule asks for what noise cannot do by chance, in units of the noise itself, so that neither gain
nor pedestal matter. Zeros of a photon counter are measurements, and so are those of a shadow, whose
edges are soft or which is an island in the frame.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.compiled import njit
from deepfreak.formats.frame import Counts, Valid

BLOCK = 4  # pixels: the side of a solid block
RUN = 16  # pixels of a solid row or column: as many as in a block
_HALF = RUN // 2
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

    `counting`: whether the detector counts photons: then zeros are measurements. None: unknown.
    `saturation`: from this value on an area is an overload.
    """
    missing = np.zeros(counts.shape, dtype=np.bool_)
    if min(counts.shape) < RUN:
        return missing
    seeds, values, pixels = _solid(
        np.ascontiguousarray(counts), np.ascontiguousarray(valid), bool(counting)
    )
    limit = np.inf if saturation is None else saturation
    if counting is False and counts.dtype.kind == "u":
        limit = min(limit, float(counts.max()))  # a CCD's own, also in columns that bloom
    for value in values[pixels >= _SMALLEST]:
        if value >= limit:
            continue
        same = (counts == value) & valid
        found = _real(counts, valid, same, seeds & same, value)
        if found is None:
            continue
        missing |= found
        if np.count_nonzero(same & ~seeds) < _GROWN_SHARE * counts.size:
            _grow(missing, found, np.argwhere(same & ~found))
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
    solid = _block_mean(seeds)
    inside_any = solid > 0
    groups, count = ndimage.label(inside_any, structure=_EVERYWHERE)
    keep = np.zeros(count + 1, dtype=np.bool_)
    pixels = ndimage.sum_labels(solid, groups, np.arange(count + 1)) * BLOCK**2
    for group, box in enumerate(ndimage.find_objects(groups, count), start=1):
        if pixels[group] < _SMALLEST or (faint and not _at_border(box, groups.shape)):
            continue  # an island of zeros is a shadow: what lies between modules leads outside
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


def _at_border(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Return whether an area of blocks reaches the border of the frame."""
    return any(
        side.start == 0 or side.stop == length for side, length in zip(box, shape, strict=True)
    )


def _solid(
    counts: Counts, valid: Valid, skip_zero: bool
) -> tuple[Valid, NDArray[np.generic], NDArray[np.int64]]:
    """Return the pixels in solid blocks, rows and columns, their values, how many have each."""
    seeds = np.zeros(counts.shape, np.bool_)
    _mark_rows(counts, skip_zero, seeds)
    _mark_columns(counts, skip_zero, seeds)
    _mark_blocks(counts, skip_zero, seeds)
    seeds &= valid
    if not seeds.any():
        return seeds, np.empty(0, counts.dtype), np.empty(0, np.int64)
    values, pixels = _values_of(counts, seeds)
    return seeds, values, pixels


@njit(cache=True, nogil=True)
def _mark_rows(counts: Counts, skip_zero: bool, seeds: Valid) -> None:
    slow, fast = counts.shape
    for i in range(slow):
        end = 0  # of the last run
        # half a run, from a multiple of its length on, lies in each whole one
        for j in range(0, fast - _HALF + 1, _HALF):
            value = counts[i, j]
            if j < end or counts[i, j + 1] != value or (skip_zero and value == 0):
                continue
            start, end = j, j + 1
            while end < fast and counts[i, end] == value:
                end += 1
            while start > 0 and counts[i, start - 1] == value:
                start -= 1
            if end - start >= RUN:
                seeds[i, start:end] = True


@njit(cache=True, nogil=True)
def _mark_columns(counts: Counts, skip_zero: bool, seeds: Valid) -> None:
    slow, fast = counts.shape
    end = np.zeros(fast, np.int64)  # of the last run in each column
    for i in range(0, slow - _HALF + 1, _HALF):
        for j in range(fast):
            value = counts[i, j]
            if counts[i + 1, j] != value or i < end[j] or (skip_zero and value == 0):
                continue
            start, stop = i, i + 1
            while stop < slow and counts[stop, j] == value:
                stop += 1
            while start > 0 and counts[start - 1, j] == value:
                start -= 1
            end[j] = stop
            if stop - start >= RUN:
                seeds[start:stop, j] = True


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


@njit(cache=True, nogil=True)
def _grow(missing: Valid, found: Valid, near: NDArray[np.int64]) -> None:
    """Add those pixels of `near` that touch `found`, then those that touch these, four times.

    As `scipy.ndimage.binary_dilation(found, iterations=4, mask=...)`, for few pixels of many.
    """
    slow, fast = found.shape
    reached = np.zeros(len(near), np.int64)  # in which of the steps, 0 in none
    grown = found.copy()
    for step in range(1, BLOCK + 1):
        for n in range(len(near)):
            i, j = near[n]
            if reached[n] == 0:
                rows, columns = (max(i - 1, 0), min(i + 2, slow)), (max(j - 1, 0), min(j + 2, fast))
                if grown[rows[0] : rows[1], columns[0] : columns[1]].any():
                    reached[n] = step
        for n in range(len(near)):
            if reached[n] == step:
                grown[near[n, 0], near[n, 1]] = True
                missing[near[n, 0], near[n, 1]] = True


def _block_mean(pixels: Valid) -> NDArray[np.float64]:
    """Return the share of true pixels in each block of 4 x 4; the last ones may be partial."""
    rows, columns = (-(-length // BLOCK) for length in pixels.shape)
    whole = np.zeros((rows * BLOCK, columns * BLOCK), dtype=np.bool_)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    pixels_of = whole.view(np.uint8)
    lines = pixels_of[::BLOCK] + sum(pixels_of[n::BLOCK] for n in range(1, BLOCK))
    blocks = lines[:, ::BLOCK] + sum(lines[:, n::BLOCK] for n in range(1, BLOCK))
    return np.asarray(blocks / BLOCK**2)


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
