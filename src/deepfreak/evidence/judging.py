"""Candidates judged against what is around them: peak, hot pixel, crest or patch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.evidence.blocks import BLOCK, Pixels, Plane
from deepfreak.evidence.candidates import SHARP_LESS_Z, poisson_z
from deepfreak.evidence.scale import PhotonScale

_MIN_PHOTONS = 4.5  # of a peak
MIN_BACKGROUND = 1e-3  # photons per pixel that a frame of zeros may have

# A hot pixel: those around it have less than this significance, or this share of its light.
_FLANK_Z = 3.0
_SHARP_FLANK_Z = 3.3  # of the three beside it in the brightest 2 x 2
_FLANK_SHARE = 0.03
_SURE_SIGMA, _SURE_PHOTONS = 2.0, 3.0  # added to the light beside a pair, to be sure it is less

# The annulus: 13 x 13 pixels without the inner 7 x 7.
_OUTER, _INNER = 6, 3
_MIN_ANNULUS = 30  # valid pixels
_ANNULUS_CLIPS = 4
_CLIP_SIGMA = 3.0
_PATCH_SHARE = 0.2  # of the annulus at half of the peak's height: more is no spot but a patch

# A line: on both sides of the peak, 4 to 6 pixels away, its three rows or columns are brighter.
_LINE_Z, _LINE_SIDE_Z = 2.5, 1.0  # both sides together, and each

# A crest: along one of eight directions at least 80 % of ten places, 2 to 6 pixels away on both
# sides and three pixels wide, have a quarter of the mean excess of the 3 x 3 pixels; half of the
# places will do beside a gap or an edge.
_CREST_PX = (2, 3, 4, 5, 6)
_CREST_HITS = 0.8
_CREST_SEEN = 5
_CREST_SHARE = 0.25

# What a candidate is, and what is found of it: what `Peaks` holds, the level around it and the mean
# excess of 3 x 3 pixels in steps.
PEAK, WEAK, HOT, CREST, PATCH, PART = range(6)
NUMBERS = ("slow", "fast", "z", "photons", "extent_px", "sharpness", "elongation", "missing")
JUDGED = np.dtype([(name, "f8") for name in (*NUMBERS, "level", "height")] + [("kind", "i8")])


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


@njit(cache=True, nogil=True, error_model="numpy")
def judge_candidates(
    judged: NDArray[Any],
    frame: Pixels,
    places: NDArray[Any],
    level: Plane,
    variance: Plane,
    scale: PhotonScale,
    top: float,
    slack: float,
) -> None:
    """Fill in a `JUDGED` for each candidate, at `places` (n, slow and fast).

    `slack` is added to the clip, in steps. Pixels are read once into a window of 13 x 13.
    """
    counts, valid, base, to_steps = frame
    size = 2 * _OUTER + 1
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
                    value = (np.float64(counts[slow, fast]) - base) * to_steps
                    window[k, m] = min(value, top)
                else:
                    window[k, m] = np.nan
        mean, spread, pixels = _annulus(window, block_level, block_variance, slack)
        row = judged[which]
        row.slow, row.fast, row.kind = i + 0.5, j + 0.5, WEAK
        if pixels < _MIN_ANNULUS:
            continue
        expected = max(spread / scale.photon**2, MIN_BACKGROUND)
        window -= mean
        row.level = mean
        _judge(window, expected, scale, row)


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
    if there < _MIN_ANNULUS:
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
def _judge(excess: Plane, expected: float, scale: PhotonScale, row: Any) -> None:  # noqa: ANN401
    """Fill the `JUDGED` of one candidate in the middle of `excess` (13 x 13, NaN if not valid)."""
    photon, spread_3, spread_5 = scale.photon, scale.spread_3, scale.spread_5
    middle = _OUTER
    peak = excess[middle, middle]
    three, five = 0.0, 0.0
    pixels_3 = pixels_5 = extent = high = around = missing = 0
    for k in range(2 * _OUTER + 1):
        for m in range(2 * _OUTER + 1):
            x = excess[k, m]
            if np.isnan(x):
                missing += 1
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
            if away <= 1:
                three += x
                pixels_3 += 1
    line = _line(excess, photon, expected * spread_3)
    line += _line(excess.T, photon, expected * spread_3)
    lit = max(expected, expected + line / photon)
    z_3 = poisson_z((three - pixels_3 * line) / photon, pixels_3 * lit * spread_3)
    z_5 = poisson_z((five - 0.6 * pixels_5 * line) / photon, pixels_5 * lit * spread_5)
    two, pixels_2 = _brightest_2(excess)
    z_2 = poisson_z((two - pixels_2 * line) / photon, pixels_2 * lit * spread_3)
    row.z = max(z_3, z_5, z_2 - SHARP_LESS_Z)
    row.photons = five / photon
    row.extent_px = extent
    row.height = three / pixels_3
    row.sharpness = peak / three if three > 0 else 1.0
    row.missing = missing / (2 * _OUTER + 1) ** 2
    slow, fast, row.elongation = _shape(excess)
    row.slow += slow
    row.fast += fast
    flank = poisson_z((three - peak) / photon, (pixels_3 - 1) * expected * spread_3)
    sharp_flank = poisson_z((two - peak) / photon, max(pixels_2 - 1, 1) * expected * spread_3)
    if max(two, three, five) < _MIN_PHOTONS * photon:
        row.kind = WEAK
    elif (
        (flank < _FLANK_Z and sharp_flank < _SHARP_FLANK_Z)
        or three - peak < _FLANK_SHARE * peak
        or _is_pair(excess, three, photon, expected * spread_3)
    ):
        row.kind = HOT
    elif high > _PATCH_SHARE * around:
        row.kind = PATCH
    elif _is_crest(excess, _CREST_SHARE * three / pixels_3):
        row.kind = CREST
    else:
        row.kind = PEAK


@njit(cache=True, nogil=True, error_model="numpy")
def _brightest_2(excess: Plane) -> tuple[float, int]:
    """Return light and valid pixels of the brightest 2 x 2 that holds the middle."""
    best, best_pixels = -np.inf, 1
    for top in range(_OUTER - 1, _OUTER + 1):
        for left in range(_OUTER - 1, _OUTER + 1):
            total, pixels = 0.0, 0
            for k in range(top, top + 2):
                for m in range(left, left + 2):
                    if not np.isnan(excess[k, m]):
                        total += excess[k, m]
                        pixels += 1
            if total > best:
                best, best_pixels = total, pixels
    return best, best_pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _shape(excess: Plane) -> tuple[float, float, float]:
    """Return how far the light of 5 x 5 lies from the middle, slow and fast, and its elongation."""
    light, slow, fast = 0.0, 0.0, 0.0
    slow_2, fast_2, mixed = 0.0, 0.0, 0.0
    for k in range(-2, 3):
        for m in range(-2, 3):
            x = excess[_OUTER + k, _OUTER + m]
            if x > 0:
                light += x
                slow += x * k
                fast += x * m
                slow_2 += x * k * k
                fast_2 += x * m * m
                mixed += x * k * m
    if light <= 0:
        return 0.0, 0.0, 0.0
    slow, fast = slow / light, fast / light
    slow_2, fast_2 = slow_2 / light - slow**2, fast_2 / light - fast**2
    apart = np.hypot(slow_2 - fast_2, 2 * (mixed / light - slow * fast))
    return slow, fast, apart / max(slow_2 + fast_2, 1e-9)


@njit(cache=True, nogil=True, error_model="numpy")
def _line(excess: Plane, photon: float, expected: float) -> float:
    """Return the light a pixel of the three rows through the middle, by its darker side; or 0."""
    least, light, there = np.inf, 0.0, 0
    for side in range(2):
        total, pixels = 0.0, 0
        for k in range(_OUTER - 1, _OUTER + 2):
            for m in range(_INNER + 1, _OUTER + 1):
                x = excess[k, _OUTER - m if side == 0 else _OUTER + m]
                if not np.isnan(x):
                    total += x
                    pixels += 1
        if pixels == 0 or poisson_z(total / photon, pixels * expected) < _LINE_SIDE_Z:
            return 0.0
        least = min(least, total / pixels)
        light += total
        there += pixels
    if poisson_z(light / photon, there * expected) < _LINE_Z:
        return 0.0
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def _is_pair(excess: Plane, three: float, photon: float, expected: float) -> bool:
    """Return whether the highest pixel and one beside it surely hold nearly all light of 3 x 3."""
    peak, second = excess[_OUTER, _OUTER], 0.0
    for k in range(_OUTER - 1, _OUTER + 2):
        for m in range(_OUTER - 1, _OUTER + 2):
            if (k != _OUTER or m != _OUTER) and excess[k, m] > second:
                second = excess[k, m]
    pair = peak + second
    doubt = _SURE_SIGMA * np.sqrt(7 * expected) + _SURE_PHOTONS
    return bool(three - pair + doubt * photon < _FLANK_SHARE * pair)


@njit(cache=True, nogil=True, error_model="numpy")
def _is_crest(excess: Plane, least: float) -> bool:
    for direction in range(_CRESTS.shape[0]):
        hits = seen = 0
        for place in range(_CRESTS.shape[1]):
            total, pixels = 0.0, 0
            for across in range(_CRESTS.shape[2]):
                k = _OUTER + _CRESTS[direction, place, across, 0]
                m = _OUTER + _CRESTS[direction, place, across, 1]
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
