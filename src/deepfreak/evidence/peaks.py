"""Peaks at native resolution: what rises over the noise around it, and is no hot pixel or crest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deepfreak.evidence.blocks import BLOCK, Blocks, Counts, Plane, Steps, Valid
from deepfreak.evidence.scale import Scale

LEAST_Z = 5.0  # of a peak
_CANDIDATE_SIGMA = 3.0  # of one pixel over its block
_CANDIDATE_PHOTONS = 1.5  # the same in photons: two where the level is below a half
_CANDIDATE_Z = 4.0  # of 3 x 3 pixels over the block; what is less is not judged
_MOST_CANDIDATES = 30_000  # the most significant ones are judged
_LEAST_PHOTONS = 4.5  # of a peak
_DARKEST = 1e-3  # photons a pixel that a frame of zeros may have

# A hot pixel: the eight around it have less than this significance, or this share of its light.
_FLANK_Z = 3.0
_FLANK_SHARE = 0.03

# The annulus: 13 x 13 pixels without the inner 7 x 7.
_OUTER, _INNER = 6, 3
_LEAST_ANNULUS = 30  # valid pixels
_ANNULUS_CLIPS = 4
_CLIP_SIGMA = 3.0
_PATCH_SHARE = 0.2  # of the annulus at half of the peak's height: more is no spot but a patch

# Parts of one spot: two peaks nearer than this, between which the 3 x 3 pixels do not fall below
# this share of the lower one's.
_NEAR_PX = 6.5
_VALLEY_SHARE = 0.7

# A crest: along one of eight directions at least 80 % of ten places, 2 to 6 pixels away on both
# sides and three pixels wide, have a quarter of the mean excess of the 3 x 3 pixels; half of the
# places will do beside a gap or an edge.
_CREST_PX = (2, 3, 4, 5, 6)
_CREST_HITS = 0.8
_CREST_SEEN = 5
_CREST_SHARE = 0.25

PEAK, WEAK, HOT, CREST, PATCH, PART = range(6)
_SLOW, _FAST, _Z, _PHOTONS, _EXTENT, _SHARPNESS, _LEVEL, _HEIGHT, _KIND = range(9)


def _crest_offsets() -> NDArray[np.int64]:
    """Return offsets (8 directions, 10 places, 3 pixels across, slow and fast) to look at."""
    turn = np.pi * np.arange(8)[:, None, None] / 8
    along = np.array([sign * px for px in _CREST_PX for sign in (1, -1)])[:, None]
    across = np.array([0, 1, -1])
    slow = np.sin(turn) * along + np.cos(turn) * across
    fast = np.cos(turn) * along - np.sin(turn) * across
    return np.asarray(np.rint(np.stack([slow, fast], axis=-1)).astype(np.int64))


_CRESTS = _crest_offsets()
_CRESTS.setflags(write=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peaks:
    """Peaks in the order of their significance, the highest first; arrays of one length.

    Attributes
    ----------
    slow, fast
        Centre of mass in pixels from the frame's corner, a pixel's centre at + 0.5.
    z
        Significance of the 3 x 3 or 5 x 5 pixels, whichever is larger, in standard deviations.
    photons
        Excess over the background of 5 x 5 pixels.
    extent_px
        How many of 7 x 7 pixels are at least half as high as the highest.
    sharpness
        Share of the highest pixel in the excess of 3 x 3 pixels.
    """

    slow: NDArray[np.float64]
    fast: NDArray[np.float64]
    z: NDArray[np.float64]
    photons: NDArray[np.float64]
    extent_px: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.slow)

    def take(self, which: NDArray[Any]) -> "Peaks":
        """Return some of the peaks, by their numbers or where `which` is true."""
        return Peaks(**{name: getattr(self, name)[which] for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """All that was judged.

    Attributes
    ----------
    peaks
        Those with z of `LEAST_Z` or more.
    significance
        Largest z of what is no hot pixel, crest or patch in each block (rows, columns); 0 where
        nothing reaches 4.
    hot
        How many candidates of `LEAST_Z` or more are single pixels.
    crests
        Places (n, slow and fast) of those that are lines or patches.
    """

    peaks: Peaks
    significance: Plane
    hot: int
    crests: NDArray[np.float64]


def find_peaks(
    counts: Counts,
    valid: Valid,
    steps: Steps,
    blocks: Blocks,
    scale: Scale,
    saturation: float | None,
) -> Found:
    """Return the peaks of a frame [slow, fast].

    A candidate is the highest of its 5 x 5 pixels, 3 sigma and 1.5 photons over its block, and its
    3 x 3 pixels have z of 4. Each is judged against the clipped mean and variance of the annulus of
    13 x 13 less 7 x 7 pixels around it. z is `poisson_z` of the aperture's excess; its expected
    photons are (noise / photon)^2 a pixel, so that any noise counts as light. A peak has z of 5 in
    3 x 3 or 5 x 5 pixels, 5 photons, and is none of:

    - a hot pixel: its eight neighbours have z < 3, or less than 3 % of its light. A spot of a
      single pixel cannot be told from it;
    - a crest: in one of eight directions it goes on to both sides;
    - a patch: over 20 % of the annulus are half as high;
    - a part of a spot: a more significant peak is less than 6.5 pixels away, and no valley between.
    """
    sigma = np.sqrt(blocks.variance)
    over = np.maximum(_CANDIDATE_SIGMA * sigma, _CANDIDATE_PHOTONS * scale.photon)
    if scale.photon < 1 or not steps.whole:
        over = _CANDIDATE_SIGMA * sigma
    threshold = steps.base + (blocks.level + over) * steps.step
    closed = blocks.share == 0
    if counts.dtype.kind in "iu":
        limits = np.iinfo(counts.dtype)
        threshold = np.ceil(threshold)
        closed = closed | (threshold > limits.max)
        threshold = np.where(closed, 0, np.clip(threshold, limits.min, limits.max))
    candidates = find_candidates(
        counts,
        valid,
        threshold.astype(counts.dtype),
        closed,
        blocks.level,
        _background_photons(blocks.variance, scale) * scale.spread_3,
        steps.base,
        1.0 / steps.step,
        scale.photon,
    )
    if len(candidates) > _MOST_CANDIDATES:
        order = np.argsort(-candidates[:, 2], kind="stable")[:_MOST_CANDIDATES]
        candidates = candidates[np.sort(order)]
    top = np.inf if saturation is None else (saturation - steps.base) / steps.step
    judged = judge_candidates(
        counts,
        valid,
        candidates[:, :2].astype(np.int64),
        blocks.level,
        blocks.variance,
        steps.base,
        1.0 / steps.step,
        top,
        scale.photon,
        scale.spread_3,
        scale.spread_5,
        1.0 if steps.whole else 0.0,
        _CRESTS,
    )
    _join_parts(counts, valid, judged, steps)
    return _found(judged, candidates, blocks.level.shape)


def _background_photons(variance: Plane, scale: Scale) -> Plane:
    return np.asarray(np.maximum(variance / scale.photon**2, _DARKEST))


def _join_parts(counts: Counts, valid: Valid, judged: Plane, steps: Steps) -> None:
    """Mark peaks that are parts of a more significant one beside them."""
    peaks = np.flatnonzero(judged[:, _KIND] == PEAK)
    peaks = peaks[np.argsort(-judged[peaks, _Z], kind="stable")]
    places = judged[peaks][:, [_SLOW, _FAST]]
    pairs = cKDTree(places).query_pairs(_NEAR_PX, output_type="ndarray")
    for stronger, weaker in sorted(map(tuple, np.sort(pairs, axis=1))):
        if judged[peaks[stronger], _KIND] != PEAK:
            continue
        i, j = ((places[stronger] + places[weaker]) / 2).astype(np.int64)
        row = judged[peaks[weaker]]
        level = steps.base + row[_LEVEL] * steps.step
        excess, pixels = _sum_3(counts, valid, int(i), int(j), level)
        if pixels > 0 and excess / pixels >= _VALLEY_SHARE * row[_HEIGHT] * steps.step:
            row[_KIND] = PART


def _found(judged: Plane, candidates: Plane, shape: tuple[int, ...]) -> Found:
    kind, z = judged[:, _KIND], judged[:, _Z]
    significance = np.zeros(shape)
    spots = (kind == PEAK) | (kind == WEAK)
    place = candidates[spots, :2].astype(np.int64) // BLOCK
    np.maximum.at(significance, (place[:, 0], place[:, 1]), z[spots])
    kept = judged[(kind == PEAK) & (z >= LEAST_Z)]
    kept = kept[np.lexsort((kept[:, _FAST], kept[:, _SLOW], -kept[:, _Z]))]
    return Found(
        peaks=Peaks(
            slow=kept[:, _SLOW],
            fast=kept[:, _FAST],
            z=kept[:, _Z],
            photons=kept[:, _PHOTONS],
            extent_px=kept[:, _EXTENT],
            sharpness=kept[:, _SHARPNESS],
        ),
        significance=np.where(significance >= _CANDIDATE_Z, significance, 0.0),
        hot=int(np.count_nonzero((kind == HOT) & (z >= LEAST_Z))),
        crests=judged[((kind == CREST) | (kind == PATCH)) & (z >= LEAST_Z)][:, [_SLOW, _FAST]],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def poisson_z(excess: float, expected: float) -> float:
    """Return how unlikely `excess` photons over `expected` are, in standard deviations, or 0.

    The signed root of the Poisson deviance with half a photon less for continuity,
    sqrt(2 (n ln(n / m) - n + m)), n = m + excess - 0.5: within 0.3 of the exact tail from 2 sigma
    on, and excess / sqrt(m) where m is large.
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
    counts: Counts,
    valid: Valid,
    threshold: Counts,
    closed: Valid,
    level: Plane,
    expected: Plane,
    base: float,
    scale: float,
    photon: float,
) -> Plane:
    """Return slow, fast and z over the block of pixels that may be peaks, in the order of memory.

    Slow equivalent: each pixel at or over its block's `threshold` that is larger than those of its
    5 x 5 that come before and not smaller than those that come after, and z of its 3 x 3.
    """
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
                excess, pixels = _sum_3(counts, valid, i, j, base + level[row, column] / scale)
                excess *= scale / photon
                light = pixels * expected[row, column]
                # z is never over the Gaussian one, which needs no logarithm
                if excess - 0.5 < _CANDIDATE_Z * np.sqrt(light):
                    continue
                z = poisson_z(excess, light)
                if z < _CANDIDATE_Z or not _is_summit(counts, valid, i, j):
                    continue
                if number == len(found):
                    longer = np.empty((2 * number, 3))
                    longer[:number] = found
                    found = longer
                found[number, 0], found[number, 1], found[number, 2] = i, j, z
                number += 1
    return found[:number]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_3(counts: Counts, valid: Valid, i: int, j: int, level: float) -> tuple[float, int]:
    """Return excess in counts and number of the valid pixels of 3 x 3."""
    total, pixels = 0.0, 0
    for k in range(max(i - 1, 0), min(i + 2, counts.shape[0])):
        for m in range(max(j - 1, 0), min(j + 2, counts.shape[1])):
            if valid[k, m]:
                total += np.float64(counts[k, m]) - level
                pixels += 1
    return total, pixels


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


@njit(cache=True, nogil=True, error_model="numpy")
def judge_candidates(
    counts: Counts,
    valid: Valid,
    places: NDArray[Any],
    level: Plane,
    variance: Plane,
    base: float,
    scale: float,
    top: float,
    photon: float,
    spread_3: float,
    spread_5: float,
    slack: float,
    crests: NDArray[Any],
) -> Plane:
    """Return a row a candidate: what `Peaks` holds, level and mean excess of 3 x 3, the kind.

    `slack` is added to the clip, in steps. Pixels are read once into a window of 13 x 13.
    """
    size = 2 * _OUTER + 1
    judged = np.zeros((len(places), 9))
    window = np.empty((size, size))
    for which in range(len(places)):
        i, j = places[which, 0], places[which, 1]
        block_level = level[i // BLOCK, j // BLOCK]
        block_variance = variance[i // BLOCK, j // BLOCK]
        for k in range(size):
            for m in range(size):
                slow, fast = i + k - _OUTER, j + m - _OUTER
                inside = 0 <= slow < counts.shape[0] and 0 <= fast < counts.shape[1]
                if inside and valid[slow, fast]:
                    value = (np.float64(counts[slow, fast]) - base) * scale
                    window[k, m] = min(value, top)
                else:
                    window[k, m] = np.nan
        mean, spread, pixels = _annulus(window, block_level, block_variance, slack)
        judged[which, _SLOW], judged[which, _FAST] = i + 0.5, j + 0.5
        judged[which, _KIND] = WEAK
        if pixels < _LEAST_ANNULUS:
            continue
        expected = max(spread / photon**2, _DARKEST)
        window -= mean
        judged[which, _LEVEL] = mean
        _judge(window, expected, photon, spread_3, spread_5, crests, judged[which])
    return judged


@njit(cache=True, nogil=True, error_model="numpy")
def _annulus(
    window: Plane, block_level: float, block_variance: float, slack: float
) -> tuple[float, float, int]:
    """Return clipped mean, variance (not below a quarter of the block's) and number of pixels.

    The first clip is about the block's level, unless less than a third of the pixels are near it.
    """
    size = 2 * _OUTER + 1
    mean, spread = block_level, block_variance
    there = near = 0
    total, square = 0.0, 0.0
    reach = _CLIP_SIGMA * np.sqrt(spread) + slack
    for k in range(size):
        for m in range(size):
            if abs(k - _OUTER) <= _INNER and abs(m - _OUTER) <= _INNER:
                continue
            x = window[k, m] - block_level
            if np.isnan(x):
                continue
            there += 1
            total += x
            square += x * x
            near += abs(x) <= reach
    if there < _LEAST_ANNULUS:
        return mean, spread, 0
    if 3 * near < there:
        mean += total / there
        spread = max(square / there - (total / there) ** 2, 0.0)
    kept, pixels = -1, 0
    for _ in range(_ANNULUS_CLIPS):
        reach = _CLIP_SIGMA * np.sqrt(spread) + slack
        total, square, pixels = 0.0, 0.0, 0
        for k in range(size):
            for m in range(size):
                if abs(k - _OUTER) <= _INNER and abs(m - _OUTER) <= _INNER:
                    continue
                x = window[k, m] - mean
                if abs(x) <= reach:  # not NaN
                    total += x
                    square += x * x
                    pixels += 1
        if pixels in {0, kept}:
            break
        kept = pixels
        mean += total / pixels
        spread = max(square / pixels - (total / pixels) ** 2, 0.25 * block_variance)
    return mean, spread, pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _judge(
    excess: Plane,
    expected: float,
    photon: float,
    spread_3: float,
    spread_5: float,
    crests: NDArray[Any],
    row: NDArray[np.float64],
) -> None:
    """Fill the `row` of one candidate in the middle of `excess` (13 x 13, NaN where not valid)."""
    middle = _OUTER
    peak = excess[middle, middle]
    three, five, slow, fast, light = 0.0, 0.0, 0.0, 0.0, 0.0
    pixels_3 = pixels_5 = extent = high = around = 0
    for k in range(2 * _OUTER + 1):
        for m in range(2 * _OUTER + 1):
            x = excess[k, m]
            if np.isnan(x):
                continue
            away = max(abs(k - middle), abs(m - middle))
            if away > _INNER:
                around += 1
                high += x >= 0.5 * peak
                continue
            extent += x >= 0.5 * peak
            if away <= 2:
                five += x
                pixels_5 += 1
                weight = max(x, 0.0)
                light += weight
                slow += weight * (k - middle)
                fast += weight * (m - middle)
            if away <= 1:
                three += x
                pixels_3 += 1
    z_3 = poisson_z(three / photon, pixels_3 * expected * spread_3)
    z_5 = poisson_z(five / photon, pixels_5 * expected * spread_5)
    row[_Z] = max(z_3, z_5)
    row[_PHOTONS] = five / photon
    row[_EXTENT] = extent
    row[_HEIGHT] = three / pixels_3
    row[_SHARPNESS] = peak / three if three > 0 else 1.0
    if light > 0:
        row[_SLOW] += slow / light
        row[_FAST] += fast / light
    flank = poisson_z((three - peak) / photon, (pixels_3 - 1) * expected * spread_3)
    if max(three, five) < _LEAST_PHOTONS * photon:
        row[_KIND] = WEAK
    elif flank < _FLANK_Z or three - peak < _FLANK_SHARE * peak:
        row[_KIND] = HOT
    elif high > _PATCH_SHARE * around:
        row[_KIND] = PATCH
    elif _is_crest(excess, _CREST_SHARE * three / pixels_3, crests):
        row[_KIND] = CREST
    else:
        row[_KIND] = PEAK


@njit(cache=True, nogil=True, error_model="numpy")
def _is_crest(excess: Plane, least: float, crests: NDArray[Any]) -> bool:
    for direction in range(crests.shape[0]):
        hits = seen = 0
        for place in range(crests.shape[1]):
            total, pixels = 0.0, 0
            for across in range(crests.shape[2]):
                k = _OUTER + crests[direction, place, across, 0]
                m = _OUTER + crests[direction, place, across, 1]
                if 0 <= k < excess.shape[0] and 0 <= m < excess.shape[1]:
                    x = excess[k, m]
                    if not np.isnan(x):
                        total += x
                        pixels += 1
            if pixels > 0:
                seen += 1
                hits += total >= least * pixels
        if seen >= _CREST_SEEN and hits >= _CREST_HITS * seen:
            return True
    return False
