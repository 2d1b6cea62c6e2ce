"""Draws that the package's modules share."""

import math

import numpy as np


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is uniform; 0, without a draw, where `low` is 0."""
    if low <= 0:
        return 0.0
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))
