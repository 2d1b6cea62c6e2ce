"""Lattices: differences between peaks that recur more often than by chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

Places = NDArray[np.float64]

MIN_PEAKS = 8
_MAX_PEAKS = 500  # the most significant ones
_MAX_LENGTH_PX = 80.0  # of a difference vector
_MIN_LENGTH_PX = 5.0
_BIN_PX = 1.5
_JITTER_PX = 5.0  # how far positions are moved to see what chance gives, at most
_JITTERED = 20  # times
TELLING_SCORE = 20.0  # for lattices to be counted, and for a crystal to be certain
_VECTORS = 40  # the most frequent ones are compared
_FREQUENT_SIGMA = 5.0  # over the mean
_MIN_PAIRS = 5  # of a vector
_OWN_SHARE = 0.7  # of a vector's peaks outside all lattices so far, for it to be another's
_MIN_SHARE = 0.15  # of the peaks in a lattice


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattices:
    """How far peaks repeat."""

    # How much more the differences gather than those of jittered positions, in standard deviations
    # of the latter; near 0 without a lattice
    score: float
    # How many lattices, None where it cannot be determined. One is distinguished from several;
    # several are counted to within one.
    number: int | None


def find_lattices(places: Places) -> Lattices:
    """Return what the differences of `places` (n, slow and fast) say, most significant first.

    The histogram of differences up to 80 pixels, in bins of 1.5, is compared by its sum of squares
    with those of 20 sets of positions moved by up to 5 pixels at random. Where the score is 20 or
    more, frequent differences are grouped by the peaks that they join: peaks that two groups share
    are of one lattice.
    """
    if len(places) < MIN_PEAKS:
        return Lattices(score=0.0, number=None)
    chosen = np.ascontiguousarray(places[:_MAX_PEAKS])
    measured = _gathering(chosen)
    rng = np.random.default_rng(0)
    moved = np.array(
        [
            _gathering(chosen + rng.uniform(-_JITTER_PX, _JITTER_PX, chosen.shape))
            for _ in range(_JITTERED)
        ]
    )
    spread = max(float(moved.std(ddof=1)), np.sqrt(float(moved.mean()) + 1.0))
    score = (measured - float(moved.mean())) / spread
    return Lattices(score=float(score), number=_number(chosen) if score >= TELLING_SCORE else None)


def _gathering(places: Places) -> float:
    """Return the sum of squares of the smoothed histogram of differences."""
    sums = _histogram(places)
    return float((sums * (sums - 1)).sum())


def _histogram(places: Places) -> NDArray[np.float64]:
    """Return sums of 2 x 2 bins of the histogram of differences: a vector may lie across bins."""
    counts = differences(places, _MAX_LENGTH_PX, _MIN_LENGTH_PX, _BIN_PX)
    return np.asarray(counts[1:, 1:] + counts[:-1, 1:] + counts[1:, :-1] + counts[:-1, :-1])


@njit(cache=True, nogil=True, error_model="numpy")
def differences(
    places: Places, longest: float, shortest: float, width: float
) -> NDArray[np.float64]:
    """Return how many differences fall in each bin; of each pair that with slow >= 0.

    Slow equivalent: np.histogram2d of all pairs' differences with slow > 0, or 0 and fast > 0.
    """
    half = int(np.ceil(longest / width))
    counts = np.zeros((half + 2, 2 * half + 2))
    for a in range(len(places)):
        for b in range(a + 1, len(places)):
            slow, fast = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
            if slow < 0 or (slow == 0 and fast < 0):
                slow, fast = -slow, -fast
            length = slow * slow + fast * fast
            if shortest * shortest <= length < longest * longest:
                counts[int(slow / width), int(np.floor(fast / width)) + half] += 1
    return counts


def _number(places: Places) -> int | None:
    """Return the number of groups of peaks that frequent differences join."""
    sums = _histogram(places)
    half = int(np.ceil(_MAX_LENGTH_PX / _BIN_PX))
    by_chance = float(sums.mean())
    least = max(_MIN_PAIRS, by_chance + _FREQUENT_SIGMA * np.sqrt(by_chance + 1))
    lattices: list[NDArray[np.bool_]] = []
    for _ in range(_VECTORS):
        row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
        if sums[row, column] < least:
            break
        vector = np.array([(row + 1) * _BIN_PX, (column + 1 - half) * _BIN_PX])
        sums[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = 0
        joined = _joined(places, vector, _BIN_PX)
        shares = [float((joined & one).sum()) / max(joined.sum(), 1) for one in lattices]
        if sum(shares) <= 1 - _OWN_SHARE:
            lattices.append(joined)
        else:
            lattices[int(np.argmax(shares))] |= joined
    large = sum(one.sum() >= _MIN_SHARE * len(places) for one in lattices)
    return int(large) or None


@njit(cache=True, nogil=True, error_model="numpy")
def _joined(places: Places, vector: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """Return the peaks that have another at `vector` from them, on either side."""
    joined = np.zeros(len(places), np.bool_)
    for a in range(len(places)):
        for b in range(len(places)):
            slow, fast = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
            if abs(slow - vector[0]) <= reach and abs(fast - vector[1]) <= reach:
                joined[a] = joined[b] = True
    return joined
