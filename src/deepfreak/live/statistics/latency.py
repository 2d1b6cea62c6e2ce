"""Times from frame to verdict, counted in buckets of a logarithmic scale."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# 16 buckets a decade from 0.1 ms to 100 s: within a bucket, 15 % wide, times are interpolated.
_BY_DECADE = 16
_MIN_MS = 0.1
BUCKETS = 6 * _BY_DECADE + 1


def bucket(ms: float) -> int:
    """Return the number of the bucket of a time; the first takes all that are shorter."""
    if not ms > _MIN_MS:  # also of clocks that disagree, and nan
        return 0
    return min(BUCKETS - 1, 1 + int(_BY_DECADE * math.log10(min(ms, 1e9) / _MIN_MS)))


def quantile_ms(counts: NDArray[np.integer[Any]], share: float) -> float | None:
    """Return the time in ms that `share` of those counted, (buckets,), do not exceed; None: none.

    At most the width of a bucket, 15 %, from what sorting all of them would give.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    below = np.cumsum(counts)
    wanted = share * total
    number = int(np.searchsorted(below, wanted))
    inside = 1.0 - (below[number] - wanted) / counts[number]
    if number == 0:
        return _MIN_MS
    return float(_MIN_MS * 10 ** ((number - 1 + inside) / _BY_DECADE))
