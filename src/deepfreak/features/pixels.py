"""Checks of an extractor's input."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError


def check_pixels(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> None:
    """Check that `image` is uint8 [slow, fast], and `valid`, if any, bool of the same shape.

    Raises
    ------
    FrameError
        One of them is not.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise FrameError(
            f"expected a 2-D image of uint8, found {image.ndim}-D of {image.dtype}: prepare it"
        )
    if valid is not None and (valid.dtype != np.bool_ or valid.shape != image.shape):
        raise FrameError(
            f"expected valid pixels as bool {image.shape}, found {valid.dtype} {valid.shape}"
        )
