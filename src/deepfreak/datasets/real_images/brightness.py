"""The constant that brings raw images to the mean gray level of another data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError

Begin = Callable[[str, int], Callable[[int], None]]


def brightening(levels: NDArray[np.int64], target: float) -> tuple[float, float]:
    """Return the constant that brings pixels to the mean `target`, and the mean that it reaches.

    Products are rounded and end at 255, which is why the constant is searched for and not the
    quotient of the means, and why the mean is reached only as near as whole gray levels allow.

    `levels`: how many pixels have each of the 256 gray levels.
    """
    if not levels[1:].any():
        raise DatasetError("expected frames with light on them, found images that are all black")

    def mean(constant: float) -> float:
        values = brightened(np.arange(256, dtype=np.uint8), constant)
        return float(np.dot(levels, values.astype(np.float64)) / levels.sum())

    low, high = 0.0, 1.0
    while mean(high) < target and high < 510:  # every lit pixel is white at the latest there
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < target else (low, middle)
    best = min((low, high), key=lambda constant: abs(mean(constant) - target))
    return best, mean(best)


def brightened(image: NDArray[np.uint8], constant: float) -> NDArray[np.uint8]:
    """Return `image` times `constant`, rounded, 255 at most."""
    product = np.rint(image.astype(np.float64) * constant)
    return np.minimum(product, 255).astype(np.uint8)


def mean_of(path: Path, *, start: Begin | None = None) -> float:
    """Return the mean gray level of all images of a data set; `DatasetError` if it has none."""
    from deepfreak.datasets import Dataset

    with Dataset.open(path) as data:
        if not len(data):
            raise DatasetError(f"{path}: expected images to take the mean of, found none")
        advance = start("taking the mean", len(data)) if start else lambda _: None
        total = 0.0
        for index in range(len(data)):
            total += float(data.images[index].mean())
            advance(1)
        return total / len(data)
