"""What a user says about frames before they are read."""

from typing import TypedDict

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
    """

    mask: Valid | None
    geometry: Geometry | None
