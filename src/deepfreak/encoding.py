"""Counts to 8 bits: the square root, as the paper stores its images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 512
PEDESTAL = 10  # counts of the simulated detector without light, Appendix A
MAX_COUNTS = 65025  # 255 squared: where the simulated detector and the encoding clip


def to_8_bits(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """Return floor(sqrt(counts)), at most 255: counting noise becomes one half everywhere."""
    return np.minimum(np.sqrt(counts.astype(np.float32)), np.float32(255)).astype(np.uint8)
