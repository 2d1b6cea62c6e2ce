"""Bragg peaks of an image: compact, isolated and above the local noise.

From each pixel well above the background a path climbs to its highest neighbour, and so on; pixels
whose paths end at the same summit are a candidate. Candidates on rings, streaks and edges, and hot
pixels, are rejected by their surroundings.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.features.background import Residual, subtract_background

Float = NDArray[np.float32]
Labels = NDArray[np.int32]

# A candidate: the quantities of `Peaks`, and the highest pixel's share of the photons.
SUMMIT = np.dtype(
    [(name, np.float64) for name in ("slow", "fast", "height", "photons", "size", "sharpness")]
)

MIN_SIGMA = 5.0
MAX_PEAKS = 10_000
# Pixels of a peak are more than this above the background.
EDGE_SIGMA = 3.0

# A summit is on a ring, a streak or an edge if light continues to both sides along one of eight
# directions: of ten places at these distances, three pixels wide each, at most `RIDGE_MISSES` have
# less than `RIDGE_SHARE` of its excess, noise added, and at least `RIDGE_HITS` have more.
RIDGE_PX = (3, 4, 5, 6, 7)
RIDGE_HITS = 5
RIDGE_MISSES = 3
RIDGE_SHARE = 0.25
RIDGE_NOISE_SIGMA = 1.25
# A candidate with more pixels than this at half height or above is not a spot.
MAX_PX = 40
# A spot as bright as this also lights its neighbours; if the brightest of them has less than
# `MIN_FLANK` of its excess, it is a hot pixel.
FLANK_SIGMA = 75.0
MIN_FLANK = 0.04


def _ridge_offsets() -> NDArray[np.int64]:
    """Return pixel offsets (8 directions, 10 places, 3 pixels across, slow and fast)."""
    turn = np.pi * np.arange(8)[:, None, None] / 8
    along = np.array([sign * px for px in RIDGE_PX for sign in (1, -1)])[:, None]
    across = np.array([0, 1, -1])
    slow = np.sin(turn) * along + np.cos(turn) * across
    fast = np.cos(turn) * along - np.sin(turn) * across
    offsets: NDArray[np.int64] = np.rint(np.stack([slow, fast], axis=-1)).astype(np.int64)
    return offsets


RIDGES = _ridge_offsets()
RIDGES.setflags(write=False)
MARGIN = int(np.abs(RIDGES).max())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peaks:
    """Peaks in order of height, the highest first; arrays of equal length."""

    # centre of mass in pixels from the image's corner; a pixel's centre is at + 0.5
    slow: NDArray[np.float64]
    fast: NDArray[np.float64]
    height_sigma: NDArray[np.float64]  # of the highest pixel, in standard deviations of the noise
    photons: NDArray[np.float64]  # excess of all its pixels, which are those above `EDGE_SIGMA`
    size_px: NDArray[np.int64]  # number of its pixels at least half as high as the highest

    def __len__(self) -> int:
        return len(self.slow)


def find_peaks(
    image: NDArray[np.uint8],
    valid: NDArray[np.bool_] | None = None,
    *,
    least_sigma: float = MIN_SIGMA,
) -> Peaks:
    """Return the peaks at least `least_sigma` high, at most `MAX_PEAKS`.

    `FrameError` if the image cannot be used; see `subtract_background`.
    """
    spots = find_spots(subtract_background(image, valid))
    summits = spots.summits[spots.summits["height"] >= least_sigma]
    # equal heights stay in memory order
    summits = summits[np.argsort(-summits["height"], kind="stable")[:MAX_PEAKS]]
    return Peaks(
        slow=summits["slow"],
        fast=summits["fast"],
        height_sigma=summits["height"],
        photons=summits["photons"],
        size_px=summits["size"].astype(np.int64),
    )


class Spots(NamedTuple):
    """All candidates, also faint ones, that are isolated and compact."""

    # (n, 3): excess of each pixel in standard deviations of the noise, in photons; background
    pixels: NDArray[np.float64]
    summits: NDArray[np.void]  # (m,) of `SUMMIT`, one per candidate, in memory order


def find_spots(residual: Residual) -> Spots:
    """Return the candidates of an image without its background."""
    return _find_spots(residual, RIDGES)


@njit(cache=True, nogil=True, error_model="numpy")
def _find_spots(residual: Residual, ridges: NDArray[np.int64]) -> Spots:
    excess, noise = residual.excess, residual.noise
    bright = _bright_pixels(excess, noise)
    summit_of, summits = _climb(excess, bright)
    table = np.zeros(len(summits), SUMMIT)
    for k in range(len(bright)):
        i, j = bright[k]
        row = table[summit_of[k]]
        s, f = summits[summit_of[k]]
        value = excess[i, j]
        row.slow += value * (i - s)
        row.fast += value * (j - f)
        row.photons += value
        row.size += value >= 0.5 * excess[s, f]
    kept = np.empty(len(summits), np.bool_)
    padded = _padded(excess)
    width = padded.shape[1]
    around = padded.ravel()
    steps = ridges[..., 0] * width + ridges[..., 1]
    for k in range(len(summits)):
        s, f = summits[k]
        row = table[k]
        row.slow = s + 0.5 + row.slow / row.photons
        row.fast = f + 0.5 + row.fast / row.photons
        row.height = excess[s, f] / noise[s, f]
        row.sharpness = excess[s, f] / row.photons
        kept[k] = (
            row.size <= MAX_PX
            and not _is_lone(excess, s, f, row.height)
            and not _is_on_ridge(around, (s + MARGIN) * width + f + MARGIN, steps, noise[s, f])
        )
    pixels = np.empty((len(bright), 3))
    count = 0
    for k in range(len(bright)):
        if kept[summit_of[k]]:
            i, j = bright[k]
            pixels[count, 0] = excess[i, j] / noise[i, j]
            pixels[count, 1] = excess[i, j]
            pixels[count, 2] = residual.background[i, j]
            count += 1
    return Spots(pixels[:count].copy(), table[kept])


@njit(cache=True, nogil=True, error_model="numpy")
def _bright_pixels(excess: Float, noise: Float) -> NDArray[np.int64]:
    """Return the pixels (n, 2) above `EDGE_SIGMA`, in memory order."""
    slow, fast = excess.shape
    columns = np.empty(fast, np.int64)
    found = np.empty((1024, 2), np.int64)
    count = 0
    for i in range(slow):
        here = 0
        for j in range(fast):
            # no branch; false where nan
            columns[here] = j
            here += excess[i, j] > EDGE_SIGMA * noise[i, j]
        if count + here > len(found):
            larger = np.empty((2 * (count + here), 2), np.int64)
            larger[:count] = found[:count]
            found = larger
        for k in range(here):
            found[count + k, 0], found[count + k, 1] = i, columns[k]
        count += here
    return found[:count].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _climb(excess: Float, bright: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each bright pixel's summit (n,), and the summits (m, 2).

    Of equal pixels the first in memory counts as higher.
    """
    slow, fast = excess.shape
    # 1 + the summit's number of pixels that are done
    label = np.zeros((slow, fast), np.int32)
    path = np.empty((len(bright), 2), np.int64)
    summit_of = np.empty(len(bright), np.int64)
    summits = np.empty((len(bright), 2), np.int64)
    count = 0
    for k in range(len(bright)):
        i, j = bright[k]
        steps = 0
        while label[i, j] == 0:
            path[steps, 0], path[steps, 1] = i, j
            steps += 1
            up, right = i, j
            for s in range(max(i - 1, 0), min(i + 2, slow)):
                for f in range(max(j - 1, 0), min(j + 2, fast)):
                    value, best = excess[s, f], excess[up, right]
                    first = s < up or (s == up and f < right)
                    if value > best or (value == best and first):
                        up, right = s, f
            if up == i and right == j:
                summits[count, 0], summits[count, 1] = i, j
                count += 1
                label[i, j] = count
            i, j = up, right
        for step in range(steps):
            label[path[step, 0], path[step, 1]] = label[i, j]
        summit_of[k] = label[i, j] - 1
    return summit_of, summits[:count].copy()


@njit(cache=True, nogil=True, error_model="numpy")
def _padded(excess: Float) -> Float:
    """Return the excess with a margin of nan, as wide as the offsets of ridges."""
    slow, fast = excess.shape
    padded = np.full((slow + 2 * MARGIN, fast + 2 * MARGIN), np.nan, np.float32)
    for i in range(slow):
        for j in range(fast):
            padded[i + MARGIN, j + MARGIN] = excess[i, j]
    return padded


@njit(cache=True, nogil=True, error_model="numpy")
def _is_on_ridge(around: Float, middle: int, steps: NDArray[np.int64], noise: float) -> bool:
    """Return whether a summit is on a ridge, see `RIDGE_PX`.

    `middle` is its index in `around`, which is `_padded` as one row, `steps` are differences of it.
    """
    least = RIDGE_SHARE * around[middle] + RIDGE_NOISE_SIGMA * noise
    directions, places, pixels = steps.shape
    for direction in range(directions):
        hits = 0
        misses = 0
        for place in range(places):
            bright = False
            measured = False
            for pixel in range(pixels):
                value = around[middle + steps[direction, place, pixel]]
                # both false where nan
                bright |= value >= least
                measured |= value < least
            hits += bright
            misses += measured & (not bright)
            # tested once only: a mispredicted branch costs more than a few pixels
            if place == RIDGE_MISSES and misses > RIDGE_MISSES:
                break
        if hits >= RIDGE_HITS and misses <= RIDGE_MISSES:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _is_lone(excess: Float, i: int, j: int, height_sigma: float) -> bool:
    """Return whether a summit is a hot pixel: bright, with dark neighbours."""
    if height_sigma < FLANK_SIGMA:
        return False
    slow, fast = excess.shape
    for s in range(max(i - 1, 0), min(i + 2, slow)):
        for f in range(max(j - 1, 0), min(j + 2, fast)):
            if (s != i or f != j) and excess[s, f] >= MIN_FLANK * excess[i, j]:
                return False
    return True
