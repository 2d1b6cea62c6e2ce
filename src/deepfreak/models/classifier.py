"""What screening, evaluation and search ask of any model."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Classifier(Protocol):
    """A model that gives each image a probability for each class."""

    @property
    def name(self) -> str:
        """What to call this model in a log: its kind and its fingerprint."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `probabilities`."""

    def probabilities(
        self,
        images: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
        *,
        workers: int = 1,
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of images (n, slow, fast)."""
