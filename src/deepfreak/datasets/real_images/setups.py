"""Detectors as they stood: frames that share a beamstop's shadow, and so a crop."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfreak.datasets.real_images.crop import clear_window, find_shadow, photons_of, without
from deepfreak.encoding import SIZE
from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame, Valid
from deepfreak.preparation import Prepared, Window, middle_window, prepare

# The shape of the frames, the size of their pixels, where the beam is: a change is another setup.
SetupKey = tuple[tuple[int, ...], float | None, tuple[int, int] | str]


def setup_of(frame: Frame, series: str) -> SetupKey:
    """Return what identifies the frame's setup.

    Where the file does not give the beam, each series is a setup.
    """
    beam = frame.beam_center_px
    place = series if beam is None else (round(beam[0]), round(beam[1]))
    return frame.counts.shape, frame.pixel_size_mm, place


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """What is said about the crop instead of being found."""

    # a rectangle of the frame, (slow, fast, slow, fast) in pixels, the latter two excluded
    shadow: tuple[int, int, int, int] | None = None
    origin: tuple[int, int] | None = None  # the frame's pixel (slow, fast) at the image's corner
    factor: int | None = None  # pixels along the side of a bin; without it, the largest that fits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectorSetup:
    """Frames of one detector in one place, and how they are cropped."""

    frame: Frame  # the sum of its frames, in photons
    count: int  # how many they are
    shadow: Valid  # pixels of the frame behind the beamstop
    # where images are taken from; None where no window is free of the shadow, which is then missing
    # from the one that `classify` takes
    window: Window | None

    def prepare(self, frame: Frame) -> Prepared:
        """Return `frame`, one of this setup, as an image."""
        window = self.window or middle_window(self.frame)
        return prepare(without(frame, self.shadow), window=window)

    def said(self) -> dict[str, Any]:
        """Return the crop as the manifest has it."""
        window = self.window or middle_window(self.frame)
        return {
            "frame_shape": list(self.frame.counts.shape),
            "frames": self.count,
            "factor": window.factor,
            "origin": list(window.origin),
            "shadow_pixels": int(np.count_nonzero(self.shadow)),
            "clear_of_shadow": self.window is not None,
        }


class Sums:
    """The sum of a setup's frames, as they come."""

    def __init__(self, first: Frame) -> None:
        self._first = first
        self._photons = np.zeros(first.counts.shape, dtype=np.float32)
        self._valid = np.ones(first.counts.shape, dtype=np.bool_)
        self._count = 0

    def add(self, frame: Frame) -> None:
        """Add a frame; a pixel that any of them lacks is not valid in the sum."""
        self._photons += photons_of(frame)
        self._valid &= frame.valid
        self._count += 1

    def setup(self, by_hand: ByHand) -> DetectorSetup:
        """Return the setup with its shadow and window: those given by hand, else found.

        Raises `FrameError`: what was given by hand lies outside of the frames.
        """
        total = Frame(
            file=self._first.file,
            index=self._first.index,
            counts=self._photons,
            valid=self._valid,
            beam_center_px=self._first.beam_center_px,
            simulated=self._first.simulated,
        )
        if by_hand.shadow is not None:
            shaded = _rectangle(total, by_hand.shadow)
        elif total.simulated:
            shaded = np.zeros(self._valid.shape, dtype=np.bool_)
        else:
            shaded = find_shadow(total)
        if by_hand.origin is None:
            window = clear_window(total, shaded)
        else:
            window = _window(total, by_hand.origin, by_hand.factor)
        return DetectorSetup(frame=total, count=self._count, shadow=shaded, window=window)


def _rectangle(frame: Frame, corners: tuple[int, int, int, int]) -> Valid:
    top, left, bottom, right = corners
    shaded = np.zeros(frame.counts.shape, dtype=np.bool_)
    if 0 <= top < bottom and 0 <= left < right:
        shaded[top:bottom, left:right] = True
    if not shaded.any():
        raise FrameError(
            f"expected a beamstop x0,y0,x1,y1 with x0 < x1 and y0 < y1 on {_size(frame)}, "
            f"found {left},{top},{right},{bottom}"
        )
    return shaded


def _window(frame: Frame, origin: tuple[int, int], factor: int | None) -> Window:
    """Return the window at `origin`, with the largest bins that keep it on the frame."""
    room = [length - start for length, start in zip(frame.counts.shape, origin, strict=True)]
    if min(origin) < 0 or min(room) <= 0:
        raise FrameError(f"expected a crop on {_size(frame)}, found one at {origin}")
    return Window(factor=factor or max(1, min(room) // SIZE), origin=origin)


def _size(frame: Frame) -> str:
    slow, fast = frame.counts.shape
    return f"frames of {slow} x {fast} such as {frame.file}"
