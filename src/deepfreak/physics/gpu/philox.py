"""Random numbers that are a function of a key and a counter: Philox 4x32-10.

Salmon et al. 2011 (Parallel random numbers: as easy as 1, 2, 3). Each pixel of each shot has its
own, whatever thread computes it and when.
"""

import math

import numpy as np

from deepfreak.compiled import njit

LOW = np.uint64(0xFFFFFFFF)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
HALF = np.uint64(32)


@njit(cache=True, nogil=True, error_model="numpy")
def philox(key: np.uint64, counter: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return 128 random bits as two unsigned integers."""
    k0, k1 = key & LOW, key >> HALF
    c0, c1, c2, c3 = counter & LOW, counter >> HALF, np.uint64(0), np.uint64(0)
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0 | (c1 << HALF), c2 | (c3 << HALF)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_pair(key: np.uint64, counter: np.uint64) -> tuple[float, float]:
    """Return two independent standard normal deviates (Box and Muller 1958)."""
    first, second = philox(key, counter)
    # 53 bits each; the first in (0, 1], so that its logarithm exists
    u = (np.float64(first >> np.uint64(11)) + 1.0) * 2.0**-53
    v = np.float64(second >> np.uint64(11)) * 2.0**-53
    radius = math.sqrt(-2.0 * math.log(u))
    return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)
