"""Poisson deviates made from normal ones, pixel by pixel.

A generator that draws Poisson deviates itself uses up its random numbers at a pace that depends on
the means: one pixel's mean differing in the last bit would change all pixels after it. Here each
pixel has one normal deviate and keeps it, so that images made on different machines differ in the
few pixels only where a count hangs on that bit.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

# Below this mean the counts are walked through one by one.
FEW = 10.0


def poisson(expected: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return Poisson deviates with means `expected`, whole numbers as float32, of its shape.

    Exact: the inverse of the distribution function at the normal deviate's quantile.
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
