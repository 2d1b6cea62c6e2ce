"""What a counter's dead time leaves of the photons that reach a pixel.

Drawn exactly, photon after photon, or many photons at a time by the distribution of their sum. A
count has less spread than a Poisson deviate of its mean, so that lowering the mean would not do.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

Float = NDArray[np.float32]

# A sum of n exponential deviates exceeds n by this many sqrt(n) less than once in 1e14.
SIGMAS = 8.0


def count_with_dead_time(
    expected: Float, rng: np.random.Generator, *, dead_share: float, paralyzable: bool
) -> Float:
    """Return how many of the photons a pixel counts that is blind for a while after each.

    Photons arrive evenly over the exposure, as a Poisson process. For m of them and the
    `dead_share` d, mean and variance tend to m / (1 + m d) and m / (1 + m d)^3, or if `paralyzable`
    to M = m exp(-m d) and M (1 - 2 d M).

    Parameters
    ----------
    expected
        Mean numbers of photons, (slow, fast).
    dead_share
        Dead time over exposure.
    paralyzable
        Whether a photon in the dead time starts it anew.

    Returns
    -------
    Whole numbers, float32, (slow, fast).
    """
    counts = np.empty(expected.shape, dtype=np.float32)
    flat = np.ascontiguousarray(expected, dtype=np.float32).reshape(-1)
    _count_arrivals(counts.reshape(-1), flat, dead_share, paralyzable, rng)
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def _count_arrivals(
    counts: Float,
    expected: Float,
    dead_share: float,
    paralyzable: bool,
    rng: np.random.Generator,
) -> None:
    """Fill `counts` by following photon after photon, many at a time while the end is far."""
    for i in range(len(counts)):
        mean = np.float64(expected[i])
        # time is in units of the mean interval between photons
        if paralyzable:
            counts[i] = _paralyzable(mean, mean * dead_share, rng)
        else:
            counts[i] = _non_paralyzable(mean, mean * dead_share, rng)


@njit(cache=True, nogil=True, error_model="numpy")
def _non_paralyzable(exposure: float, dead: float, rng: np.random.Generator) -> float:
    """Return the counts in `exposure`: between two of them pass `dead` and an exponential."""
    time = 0.0
    count = 0.0
    # the first photon finds the pixel awake
    left = exposure + dead
    while True:
        # so many intervals end before the exposure, all but certainly: their sum is a gamma deviate
        many = math.floor((left - time - SIGMAS * math.sqrt(max(left - time, 0.0))) / (1 + dead))
        if many > 1:
            time += many * dead + rng.standard_gamma(float(many))
            count += many
        else:
            time += dead + rng.standard_exponential()
            if time > left:
                return count
            count += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _paralyzable(exposure: float, dead: float, rng: np.random.Generator) -> float:
    """Return how many photons in `exposure` come more than `dead` after the one before them."""
    time = rng.standard_exponential()
    if time > exposure:
        return 0.0
    count = 1.0
    long_share = math.exp(-dead)
    while True:
        left = exposure - time
        many = math.floor(left - SIGMAS * math.sqrt(max(left, 0.0)))
        if many > 1:
            long = rng.binomial(many, long_share)
            time += long * dead
            if long > 0:
                time += rng.standard_gamma(float(long))
            for _ in range(many - long):
                time -= math.log1p(-rng.random() * (1 - long_share))
            count += long
        else:
            interval = rng.standard_exponential()
            time += interval
            if time > exposure:
                return count
            count += interval > dead
