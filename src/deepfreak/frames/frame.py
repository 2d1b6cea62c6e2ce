"""What every format is turned into."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError

Counts = NDArray[Any]
Valid = NDArray[np.bool_]

MOST_PIXELS = 64 << 20  # of one frame; more is taken for a damaged header


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One image as the detector measured it.

    Attributes
    ----------
    file
        The file's name as the user gave it.
    index
        The frame's number in the file, from 0.
    counts
        [slow, fast], integers or floats; meaningless where `valid` is false. While a file of
        modules is being read it has more axes; a geometry takes it to two.
    valid
        Same shape; false where the pixel measured nothing (gap, mask, defect).
    pedestal
        Counts of a pixel without light.
    gain
        Counts for each photon; 1 where nothing is known.
    saturation
        The largest trusted count, None where nothing is known.
    beam_center_px
        Where the direct beam meets the image, (slow, fast), in pixels from its corner.
    simulated
        True where no beamstop can have cast a shadow.
    """

    file: str
    index: int
    counts: Counts = field(repr=False)
    valid: Valid = field(repr=False)
    pedestal: float = 0.0
    gain: float = 1.0
    saturation: float | None = None
    beam_center_px: tuple[float, float] | None = None
    pixel_size_mm: float | None = None
    distance_mm: float | None = None
    wavelength_A: float | None = None
    simulated: bool = False


class Facts(TypedDict, total=False):
    """What a header says of a frame: those fields of `Frame` that it knows."""

    pedestal: float
    gain: float
    saturation: float
    beam_center_px: tuple[float, float]
    pixel_size_mm: float
    distance_mm: float
    wavelength_A: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of a file that may still be growing is there.

    Attributes
    ----------
    ready
        So many frames from the first on can be read.
    written
        One more than the number of the last frame that is there, behind gaps as it may be.
    expected
        How many there will be, None where the file does not say.
    waiting
        The line that says why there may come more, None if all is there.
    missing_file
        Whether it waits for another file, to which it links.
    swmr
        Whether the last frames are written so that others may read them at once.
    """

    ready: int
    written: int
    expected: int | None = None
    waiting: str | None = None
    missing_file: bool = False
    swmr: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameFile:
    """An open file: how many frames it holds, and `read(index)`, which may raise `FrameError`.

    `look()` tells how much of a file is there that somebody may still be writing; it raises
    `FrameError` for one that is cut short. `read` then knows the frames that it has found.
    """

    count: int
    read: Callable[[int], Frame]
    look: Callable[[], Extent] | None = None


def require_shape(shape: tuple[int, ...]) -> None:
    """Raise `FrameError` unless `shape` can be that of one frame (or its stack of modules)."""
    pixels = 1
    for length in shape:
        pixels *= length
    if len(shape) < 2 or min(shape) < 1 or pixels > MOST_PIXELS:
        size = " x ".join(str(length) for length in shape)
        raise FrameError(
            f"expected a frame of 1 to {MOST_PIXELS} pixels, found {size or 'a single number'}: "
            "the header is damaged, or this is no detector image"
        )
