"""The interface of every model."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError


class Classifier(Protocol):
    """A model that gives each image a probability for each class."""

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""

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


def check_images(
    images: NDArray[np.uint8], valid: NDArray[np.bool_] | None, *, side: int
) -> NDArray[np.uint8]:
    """Return `images` (n, side, side) as an array of numpy.

    Raises
    ------
    FrameError
        Images are of another type or size, or `valid` has another shape.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (side, side):
        raise FrameError(
            f"expected uint8 images of {side} x {side} for this network, found {images.dtype} "
            f"{images.shape[1:]}: prepare them"
        )
    if valid is not None and np.shape(valid) != images.shape:
        raise FrameError(
            f"expected valid pixels for images {images.shape}, found {np.shape(valid)}"
        )
    return images
