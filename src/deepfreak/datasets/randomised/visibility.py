"""Which true spots can be seen in a frame: each is measured at its true place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.recording import Recorded, frame_places
from deepfreak.evidence.candidates import poisson_z

Float = NDArray[np.float32]

MIN_Z = 5.0
MIN_PHOTONS = 4.5
_SHARE = 0.2  # of a spot's highest pixel: what has more is its aperture
_HALF = 4  # pixels: half width of the square in which it lies
_APART = 2  # pixels: summits as near as this are one spot
_MIN_USABLE = 0.5  # of the aperture's expected light
MIN_BACKGROUND = 1e-3  # photons a pixel that a frame of zeros may have
_FLANK_Z = 2.5  # of the eight pixels around a summit
_CLIMBS = 3  # pixels from a true place to the summit of its light


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """What of each true spot is in the frame, one value a spot."""

    # z of 5 or more, 4.5 photons, and no brighter spot in the same place
    visible: NDArray[np.bool_]
    # Those of them that no hot pixel can be: the eight pixels around the summit have a z of 2.5
    distinguishable: NDArray[np.bool_]
    z: NDArray[np.float64]  # how unlikely its light is by chance, in standard deviations
    photons: NDArray[np.float64]  # its light in the aperture


def visible_spots(
    recorded: Recorded, slow: NDArray[np.float64], fast: NDArray[np.float64]
) -> Visibility:
    """Return which of the true spots at places of the canvas, in pixels, can be seen.

    Expected are the background of the recording and its noise; see `visible_in`.
    """
    detector = recorded.detector
    at_slow, at_fast = frame_places(detector, slow, fast)
    return visible_in(
        recorded.frame.counts,
        recorded.usable,
        at_slow,
        at_fast,
        level=recorded.level,
        light=recorded.light,
        spots=recorded.spots,
        gain=detector.gain,
        noise_photons=detector.noise_photons,
        correlation=_correlation(detector.taps, detector.tail_share, counting=detector.counting),
    )


def visible_in(
    counts: NDArray[np.generic],
    usable: NDArray[np.bool_],
    slow: NDArray[np.float64],
    fast: NDArray[np.float64],
    *,
    level: Float,
    light: Float,
    spots: Float,
    gain: float,
    noise_photons: float,
    correlation: NDArray[np.float64],
) -> Visibility:
    """Return which of the true spots at places of a frame, in pixels, can be seen.

    A spot is measured in the pixels of 9 x 9 about the summit of its expected light that hang
    together and expect at least a fifth of the summit. Its light is what the counts have over the
    expected background; its noise is that of background and read-out, with what point spread makes
    of neighbours, and the unevenness of the background around. z is the Poisson tail, as of the
    evidence, and Gaussian where there is much light. Spots whose summits are less than three pixels
    apart count once, for the brightest.

    The frame, where it measured light, and what is expected are (slow, fast), as `Recorded` has
    them; `slow` and `fast` (n,), NaN where a place lies on no pixel. `correlation` is how much
    pixels' photons vary together, by their distance of 0 to 8 along one axis.
    """
    z, photons, flank, row, column = _measure(
        counts, usable, level, light, spots, slow, fast, gain, noise_photons**2, correlation
    )
    seen = (z >= MIN_Z) & (photons >= MIN_PHOTONS)
    order = np.argsort(-photons, kind="stable")
    visible = _brightest(order[seen[order]], row, column, spots.shape)
    distinguishable = visible & (flank >= _FLANK_Z)
    return Visibility(visible=visible, distinguishable=distinguishable, z=z, photons=photons)


def _correlation(taps: Float, tail_share: float, *, counting: bool) -> NDArray[np.float64]:
    """Return how much pixels' photons vary together, by their distance along one axis.

    1 and nothing else for counters, which draw photons after the spread.
    """
    apart = np.zeros(2 * _HALF + 1)
    apart[0] = 1.0
    if not counting:
        share = taps.astype(np.float64) * (1 - tail_share)
        for k in range(min(len(share), len(apart))):
            apart[k] = float(np.dot(share[k:], share[: len(share) - k]))
    return apart


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(
    counts: NDArray[np.generic],
    usable: NDArray[np.bool_],
    level: Float,
    light: Float,
    spots: Float,
    slow: NDArray[np.float64],
    fast: NDArray[np.float64],
    gain: float,
    noise_square: float,
    correlation: NDArray[np.float64],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.int64],
]:
    """Return z, photons, z beside the summit and summit (row, column) of each spot.

    z is 0 where it has none.
    """
    height, width = spots.shape
    number = len(slow)
    z, photons, flank = np.zeros(number), np.zeros(number), np.zeros(number)
    row, column = np.zeros(number, np.int64), np.zeros(number, np.int64)
    size = 2 * _HALF + 1
    for spot in range(number):
        if np.isnan(slow[spot]):
            continue
        i, j = int(slow[spot]), int(fast[spot])
        for _ in range(_CLIMBS):
            best_i, best_j = i, j
            for k in range(max(i - 1, 0), min(i + 2, height)):
                for m in range(max(j - 1, 0), min(j + 2, width)):
                    if spots[k, m] > spots[best_i, best_j]:
                        best_i, best_j = k, m
            if best_i == i and best_j == j:
                break
            i, j = best_i, best_j
        row[spot], column[spot] = i, j
        summit = spots[i, j]
        if not summit > 0:
            continue
        # grow from the summit over what has at least a fifth of it and is not a higher neighbour's
        chosen = np.zeros((size, size), np.bool_)
        queue = np.empty((size * size, 2), np.int64)
        queue[0] = i, j
        chosen[_HALF, _HALF] = True
        there, first = 1, 0
        while first < there:
            at_i, at_j = queue[first]
            first += 1
            for k in range(max(at_i - 1, i - _HALF, 0), min(at_i + 2, i + _HALF + 1, height)):
                for m in range(max(at_j - 1, j - _HALF, 0), min(at_j + 2, j + _HALF + 1, width)):
                    if (
                        not chosen[k - i + _HALF, m - j + _HALF]
                        and _SHARE * summit <= spots[k, m] <= summit
                    ):
                        chosen[k - i + _HALF, m - j + _HALF] = True
                        queue[there] = k, m
                        there += 1
        # with only this frame, unevenness of its background counts as noise
        uneven = _unevenness(level, usable, i, j) / gain**2
        total = expected = inside = excess = variance = 0.0
        for n in range(there):
            k, m = queue[n]
            total += spots[k, m]
            if not usable[k, m]:
                continue
            inside += spots[k, m]
            excess += np.float64(counts[k, m]) - level[k, m]
            expected = max(np.float64(light[k, m]), 0.0)
            variance += max(expected * correlation[0] ** 2 + noise_square + uneven, MIN_BACKGROUND)
            for other in range(n):
                away_i, away_j = abs(queue[other, 0] - k), abs(queue[other, 1] - m)
                if usable[queue[other, 0], queue[other, 1]]:
                    variance += 2 * expected * correlation[away_i] * correlation[away_j]
        photons[spot] = excess / gain
        if inside < _MIN_USABLE * total:
            continue
        z[spot] = poisson_z(photons[spot], variance)
        excess = variance = 0.0
        for k in range(max(i - 1, 0), min(i + 2, height)):
            for m in range(max(j - 1, 0), min(j + 2, width)):
                if usable[k, m] and (k != i or m != j):
                    excess += np.float64(counts[k, m]) - level[k, m]
                    variance += max(np.float64(light[k, m]) + noise_square + uneven, MIN_BACKGROUND)
        flank[spot] = poisson_z(excess / gain, variance)
    return z, photons, flank, row, column


@njit(cache=True, nogil=True, error_model="numpy")
def _unevenness(level: Float, usable: NDArray[np.bool_], i: int, j: int) -> float:
    """Return the variance of the expected background in 9 x 9 pixels."""
    first, second, pixels = 0.0, 0.0, 0
    for k in range(max(i - _HALF, 0), min(i + _HALF + 1, level.shape[0])):
        for m in range(max(j - _HALF, 0), min(j + _HALF + 1, level.shape[1])):
            if usable[k, m]:
                x = np.float64(level[k, m]) - np.float64(level[i, j])
                first += x
                second += x * x
                pixels += 1
    return max(second / pixels - (first / pixels) ** 2, 0.0) if pixels else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _brightest(
    order: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Return which spots, taken in order, are not near one that was taken before."""
    taken = np.zeros(shape, np.bool_)
    visible = np.zeros(len(row), np.bool_)
    for spot in order:
        i, j = row[spot], column[spot]
        if taken[i, j]:
            continue
        visible[spot] = True
        taken[
            max(i - _APART, 0) : i + _APART + 1,
            max(j - _APART, 0) : j + _APART + 1,
        ] = True
    return visible
