"""Whole photons: Poisson deviates, and what a counter's dead time leaves of them."""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

# Below this mean the counts are walked through one by one.
FEW = 10.0

Float = NDArray[np.float32]

# A sum of n exponential deviates exceeds n by this many sqrt(n) less than once in 1e14.
SIGMAS = 8.0


def poisson(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return Poisson deviates with means `expected`, whole numbers as float32, of its shape.

    Exact: the inverse of the distribution function at a normal deviate's quantile. A generator's
    own Poisson deviates use up its random numbers at a pace that depends on the means: one pixel's
    mean differing in the last bit would change all pixels after it. Here each pixel has one normal
    deviate and keeps it, so that images made on different machines differ in the few pixels only
    where a count hangs on that bit.
    """
    normal = rng.standard_normal(expected.shape)
    counts = np.empty(expected.shape, dtype=np.float32)
    _poisson_from_normal(
        np.ascontiguousarray(expected, dtype=np.float32).ravel(), normal.ravel(), counts.ravel()
    )
    return counts


@njit(cache=True, nogil=True, error_model="numpy")
def _poisson_from_normal(
    expected: NDArray[np.float32], normal: NDArray[np.float64], counts: NDArray[np.float32]
) -> None:
    # Without branches, so that the compiler makes vector instructions of it; the few pixels that
    # this does not settle are noted and settled one by one.
    unsettled = np.empty(len(expected), dtype=np.bool_)
    for pixel in range(len(expected)):
        mean, w = np.float64(expected[pixel]), normal[pixel]
        quantile, error = _quantile(max(mean, FEW), w)
        below = np.floor(quantile)
        counts[pixel] = np.float32(below)
        settled = (quantile - below >= error) & (below + 1 - quantile >= error) & (mean >= FEW)
        unsettled[pixel] = not settled
    for pixel in range(len(expected)):
        if unsettled[pixel]:
            counts[pixel] = poisson_deviate(np.float64(expected[pixel]), normal[pixel])


@njit(cache=True, nogil=True, error_model="numpy")
def poisson_deviate(mean: float, w: float) -> float:
    """Return the Poisson deviate of `mean` at the quantile of the normal deviate `w`."""
    if mean < FEW:
        few: float = _walk(mean, w)
        return few
    quantile, error = _quantile(mean, w)
    below: float = math.floor(quantile)
    if quantile - below < error or below + 1 - quantile < error:
        below = _decide(mean, w)
    return float(below)


@njit(cache=True, nogil=True, error_model="numpy")
def _quantile(mean: float, w: float) -> tuple[float, float]:
    """Return the quantile at Phi(w) as a real number, and its largest error.

    Giles 2016 (ACM Transactions on Mathematical Software 42, 7), the normal asymptotic expansion.
    """
    root = math.sqrt(mean)
    u = w * w
    quantile = (
        mean
        + root * w
        + (1 / 3 + u / 6)
        - (w / 36 + w * u / 72) / root
        + (-8 / 405 + u * (7 / 810 + u / 270)) / mean
    )
    return quantile, (1 / 40 + u * (1 / 80 + u / 160)) / mean


@njit(cache=True, nogil=True, error_model="numpy")
def _decide(mean: float, w: float) -> float:
    """Return the deviate where the quantile is so near to n that only the sum tells n from n - 1.

    It is n if Phi(w) > F(n - 1).
    """
    n = math.floor(_quantile(mean, w)[0] + 0.5)
    uniform = 0.5 * math.erfc(-w / math.sqrt(2.0))
    return float(max(n if uniform > _cumulative(n - 1, mean) else n - 1, 0))


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(mean: float, w: float) -> float:
    """Return the least n with F(n) >= Phi(w), from n = 0 upwards."""
    if mean <= 0:
        return 0.0
    uniform = 0.5 * math.erfc(-w / math.sqrt(2.0))
    probability = math.exp(-mean)
    cumulative = probability
    n = 0
    # a probability that no longer adds to the sum ends what doubles can tell
    while cumulative < uniform and probability > 1e-18:
        n += 1
        probability *= mean / n
        cumulative += probability
    return float(n)


@njit(cache=True, nogil=True, error_model="numpy")
def _cumulative(n: int, mean: float) -> float:
    """Return the Poisson distribution function F(n): terms from the n-th downwards."""
    if n < 0:
        return 0.0
    term = math.exp(n * math.log(mean) - mean - math.lgamma(n + 1.0))
    total = 0.0
    k = n
    while k >= 0 and term > 1e-17 * total:
        total += term
        term *= k / mean
        k -= 1
    return total


def count_with_dead_time(
    expected: Float, rng: np.random.Generator, *, dead_share: float, paralyzable: bool
) -> Float:
    """Return how many of the photons a pixel counts that is blind for a while after each.

    Photons arrive evenly over the exposure, as a Poisson process. For m of them and the
    `dead_share` d, mean and variance tend to m / (1 + m d) and m / (1 + m d)^3, or if `paralyzable`
    to M = m exp(-m d) and M (1 - 2 d M): less spread than a Poisson deviate of the mean has. Drawn
    exactly, photon after photon, or many at a time by the distribution of their sum. `expected` and
    the whole numbers returned are (slow, fast), float32; `dead_share` is dead time over exposure,
    and if `paralyzable` a photon in the dead time starts it again.
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
