"""Frames: what all formats are read into."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError

Counts = NDArray[Any]
Valid = NDArray[np.bool_]

MAX_PIXELS = 64 << 20  # of one frame; more is taken for a damaged header


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
        Counts for each photon, None where unknown; 1 for a photon counter.
    saturation
        The largest trusted count, None where unknown.
    beam_center_px
        Where the direct beam meets the image, (slow, fast), in pixels from its corner.
    detector
        What the file calls its detector.
    simulated
        True where no beamstop can have cast a shadow.
    missing
        The pixels that measured nothing, by reason, each of the shape of `counts`; a pixel may have
        several reasons. Empty unless requested (`ReadOptions.reasons`).
    origins
        Where each known value was found, by the name of its field.
    notes
        What the user should know: a mask that could not be read, a wrong checksum.
    """

    file: str
    index: int
    counts: Counts = field(repr=False)
    valid: Valid = field(repr=False)
    pedestal: float = 0.0
    gain: float | None = None
    saturation: float | None = None
    beam_center_px: tuple[float, float] | None = None
    pixel_size_mm: float | None = None
    distance_mm: float | None = None
    wavelength_A: float | None = None
    detector: str | None = None
    simulated: bool = False
    missing: Mapping[str, Valid] = field(default_factory=dict, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def counts_per_photon(self) -> float:
        """The gain, 1 where it is unknown."""
        return 1.0 if self.gain is None else self.gain


class Metadata(TypedDict, total=False):
    """The metadata in a header: those fields of `Frame` that it gives."""

    detector: str
    origins: Mapping[str, str]
    notes: tuple[str, ...]
    pedestal: float
    gain: float
    saturation: float
    beam_center_px: tuple[float, float]
    pixel_size_mm: float
    distance_mm: float
    wavelength_A: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of a file that may still be growing is there."""

    ready: int  # how many frames from the first on can be read
    # one more than the number of the last frame that is there, behind gaps as it may be
    written: int
    expected: int | None = None  # how many there will be, None where the file does not say
    waiting: str | None = None  # the line that says why there may come more, None if all is there
    missing_file: bool = False  # whether it waits for another file, to which it links
    swmr: bool = False  # whether the last frames are written so that others may read them at once

    @classmethod
    def complete(cls, frames: int) -> "Extent":
        """Return the extent of a file that holds all of its frames."""
        return cls(ready=frames, written=frames, expected=frames)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameFile:
    """An open file of frames."""

    count: int  # how many frames it holds
    read: Callable[[int], Frame]  # return a frame by its number; may raise `FrameError`
    # return how much is there of a file that may still be written; raises `FrameError` for one that
    # is cut short. `read` then knows the frames that were found. None: as the last frame can be
    # read
    extent: Callable[[], Extent] | None = None
    # the frames for which there is room but no counts: HDF5 would read zeros
    holes: tuple[range, ...] = ()

    def look(self) -> Extent:
        """Return how much there is now."""
        if self.extent is not None:
            return self.extent()
        self.read(self.count - 1)  # raises if the file is cut short
        return Extent.complete(self.count)

    def runs(self) -> Iterator[tuple[range, bool]]:
        """Yield all frames in order, as runs of those that are there and those that are not."""
        start = 0
        for hole in self.holes:
            if start < hole.start:
                yield range(start, hole.start), True
            yield hole, False
            start = hole.stop
        if start < self.count:
            yield range(start, self.count), True


def combined(first: Metadata, then: Metadata) -> Metadata:
    """Return all that two sources say; where both know a value, `then` counts."""
    both = first | then
    both["origins"] = {**first.get("origins", {}), **then.get("origins", {})}
    both["notes"] = (*first.get("notes", ()), *then.get("notes", ()))
    return both


def dimensions(shape: tuple[int, ...]) -> str:
    """Return a shape as messages have it, such as 512 x 1024."""
    return " x ".join(map(str, shape))


def require_shape(shape: tuple[int, ...]) -> None:
    """Raise `FrameError` unless `shape` can be that of one frame (or its stack of modules)."""
    pixels = 1
    for length in shape:
        pixels *= length
    if len(shape) < 2 or min(shape) < 1 or pixels > MAX_PIXELS:
        raise FrameError(
            f"expected a frame of 1 to {MAX_PIXELS} pixels, found "
            f"{dimensions(shape) or 'a single number'}: "
            "the header is damaged, or this is no detector image"
        )


# What opens a file of frames: `open_frames`, or `open_guarded` in a process with limits.
OpenFile = Callable[..., AbstractContextManager[FrameFile]]


UNKNOWN_GAIN = "the gain is unknown: prepared as 1 count for each photon (--gain says it)"
_MAX_REMEMBERED = 10_000


class Notices:
    """Keeps the notes of the frames of a run, so that each is said once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def new(self, frame: Frame) -> tuple[str, ...]:
        """Return those notes of `frame` that are new, and once that its gain is unknown."""
        notes = frame.notes if frame.gain is not None else (*frame.notes, UNKNOWN_GAIN)
        if not notes or len(self._said) >= _MAX_REMEMBERED:
            return ()
        found = tuple(note for note in dict.fromkeys(notes) if note not in self._said)
        self._said.update(found)
        return found
