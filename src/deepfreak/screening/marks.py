"""What is drawn over the picture of a frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marks:
    """Peaks and rings in pixels of the picture.

    Attributes
    ----------
    peaks
        (n, 2): slow and fast, the most significant first.
    rings
        (m, 3): slow and fast of the centre, radius.
    """

    peaks: NDArray[np.float64]
    rings: NDArray[np.float64]
