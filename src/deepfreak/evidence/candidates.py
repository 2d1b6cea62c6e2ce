"""Pixels that may be peaks, and how unlikely their light is by chance."""

import numpy as np

from deepfreak.compiled import njit
from deepfreak.evidence.blocks import BLOCK, Counts, Pixels, Plane, Valid

MIN_CANDIDATE_Z = 4.0  # of 3 x 3 pixels over the block; what is less is not judged
SHARP_LESS_Z = 0.5  # taken from z of 2 x 2 pixels: the brightest of four


@njit(cache=True, nogil=True, error_model="numpy")
def poisson_z(excess: float, expected: float) -> float:
    """Return how unlikely `excess` photons over `expected` are, in standard deviations, or 0.

    The signed root of the Poisson deviance with half a photon less for continuity,
    sqrt(2 (n ln(n / m) - n + m)), n = m + excess - 0.5: at most 0.55 below the exact tail from
    2 sigma on (0.3 where m is 0.1 or more, 0.1 from 2), and excess / sqrt(m) where m is large.
    """
    n = expected + excess - 0.5
    if n <= expected:
        return 0.0
    ratio = (n - expected) / expected
    if ratio < 1e-4:  # the difference below would lose its digits
        return float((n - expected) / np.sqrt(expected))
    return float(np.sqrt(2 * (n * np.log(n / expected) - (n - expected))))


@njit(cache=True, nogil=True, error_model="numpy")
def find_candidates(
    frame: Pixels, threshold: Counts, closed: Valid, level: Plane, expected: Plane, photon: float
) -> Plane:
    """Return slow, fast and z over the block of pixels that may be peaks, in the order of memory.

    Slow equivalent: each pixel at or over its block's `threshold` that is larger than those of its
    5 x 5 that come before and not smaller than those that come after, and z of its 3 x 3, or of its
    brightest 2 x 2 less `SHARP_LESS_Z`.
    """
    counts, valid, base, scale = frame
    height, width = counts.shape
    found = np.empty((1024, 3))
    number = 0
    for i in range(height):
        line = counts[i]
        row = i // BLOCK
        for column in range(threshold.shape[1]):
            if closed[row, column]:
                continue
            least = threshold[row, column]
            left = column * BLOCK
            right = min(left + BLOCK, width)
            any_over = False
            if right - left == BLOCK:
                part = line[left : left + BLOCK]
                for k in range(BLOCK):
                    any_over |= part[k] >= least
            else:
                any_over = True
            if not any_over:
                continue
            for j in range(left, right):
                if line[j] < least or not valid[i, j]:
                    continue
                z = _significance(
                    counts,
                    valid,
                    i,
                    j,
                    base + level[row, column] / scale,
                    scale / photon,
                    expected[row, column],
                )
                if z < MIN_CANDIDATE_Z or not _is_summit(counts, valid, i, j):
                    continue
                if number == len(found):
                    longer = np.empty((2 * number, 3))
                    longer[:number] = found
                    found = longer
                found[number, 0], found[number, 1], found[number, 2] = i, j, z
                number += 1
    return found[:number]


@njit(cache=True, nogil=True, error_model="numpy")
def _significance(
    counts: Counts,
    valid: Valid,
    i: int,
    j: int,
    level: float,
    photons: float,
    expected: float,
) -> float:
    """Return z of 3 x 3 pixels or, where that is too little, of the brightest 2 x 2."""
    excess, pixels = sum_3(counts, valid, i, j, level)
    excess, light = excess * photons, pixels * expected
    # z is never over the Gaussian one, which needs no logarithm
    if excess - 0.5 >= MIN_CANDIDATE_Z * np.sqrt(light):
        z = poisson_z(excess, light)
        if z >= MIN_CANDIDATE_Z:
            return z
    # what is sharp may stand out of fewer pixels
    excess, pixels = sum_2(counts, valid, i, j, level)
    return poisson_z(excess * photons, pixels * expected) - SHARP_LESS_Z


@njit(cache=True, nogil=True, error_model="numpy")
def sum_3(counts: Counts, valid: Valid, i: int, j: int, level: float) -> tuple[float, int]:
    """Return excess in counts and number of the valid pixels of 3 x 3."""
    total, pixels = 0.0, 0
    for k in range(max(i - 1, 0), min(i + 2, counts.shape[0])):
        for m in range(max(j - 1, 0), min(j + 2, counts.shape[1])):
            if valid[k, m]:
                total += np.float64(counts[k, m]) - level
                pixels += 1
    return total, pixels


@njit(cache=True, nogil=True, error_model="numpy")
def sum_2(counts: Counts, valid: Valid, i: int, j: int, level: float) -> tuple[float, int]:
    """Return excess in counts and number of valid pixels of the brightest 2 x 2 about a pixel."""
    best, best_pixels = -np.inf, 1
    for top in range(i - 1, i + 1):
        for left in range(j - 1, j + 1):
            total, pixels = 0.0, 0
            for k in range(max(top, 0), min(top + 2, counts.shape[0])):
                for m in range(max(left, 0), min(left + 2, counts.shape[1])):
                    if valid[k, m]:
                        total += np.float64(counts[k, m]) - level
                        pixels += 1
            if total > best:
                best, best_pixels = total, pixels
    return best, best_pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _is_summit(counts: Counts, valid: Valid, i: int, j: int) -> bool:
    """Return whether no pixel of 5 x 5 is higher, and none before it as high."""
    here = counts[i, j]
    for k in range(max(i - 2, 0), min(i + 3, counts.shape[0])):
        for m in range(max(j - 2, 0), min(j + 3, counts.shape[1])):
            earlier = k < i or (k == i and m < j)
            if valid[k, m] and (counts[k, m] > here or (earlier and counts[k, m] == here)):
                return False
    return True
