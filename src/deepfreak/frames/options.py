"""What a user says about frames before they are read."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from deepfreak.frames.frame import Valid
from deepfreak.frames.geometry import Geometry


class ReadOptions(TypedDict, total=False):
    """The keyword arguments of `read_frames` and `open_frames`; all may be left out.

    They can be pickled, so that another process reads with the same ones.

    Attributes
    ----------
    mask
        True where a pixel is to be left out; of the frame's shape or of that of its raw data.
    geometry
        Where the detector's panels are, or the beam.
    channel
        Which of several images of a frame (energy thresholds) to take: its name, or its number
        from 1; the first without it.
    gain
        Counts for each photon, in place of the header's.
    pedestal
        Counts of a pixel without light, in place of the header's.
    dark
        The same for each pixel; of the frame's shape or of that of its raw data.
    reasons
        Whether `Frame.missing` is filled.
    """

    mask: Valid | None
    geometry: Geometry | None
    channel: str | None
    gain: float | None
    pedestal: float | None
    dark: NDArray[np.float32] | None
    reasons: bool
