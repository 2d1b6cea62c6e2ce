"""Where to take an image from a measured frame so that no shadow of a beamstop is on it.

The paper's real images have a horizontal bar across their middle, and are cropped above or below it
(its section 3). A shadow is found on the sum of the frames of a detector as it stood, on which
single Bragg spots count for little and a dark frame's lack of light for nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.encoding import SIZE
from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame, Valid
from deepfreak.preparation import (
    Prepared,
    Window,
    beam_on_frame,
    binned,
    middle_window,
    prepare,
    shadow,
)

# How much of a window must lie on the frame: one taken with less binning would not hang over.
MIN_ON_FRAME = 0.95
MIN_ON_FRAME_UNBINNED = 0.75
_MARGIN = 1 / 32  # of the frame's shorter side: two of the blocks that a shadow is found on
_BAR_LENGTH = 0.5  # of the frame, from which on a shadow is taken to cross all of it
_BAR_WIDTH = 0.25
_BAR_GAP = 0.25  # of the frame, between parts of it that were found


def photons_of(frame: Frame) -> NDArray[np.float32]:
    """Return min(counts, saturation) - pedestal, over the gain; 0 where not valid."""
    counts = frame.counts.astype(np.float32)
    if frame.saturation is not None:
        np.minimum(counts, np.float32(frame.saturation), out=counts)
    photons = (counts - np.float32(frame.pedestal)) / np.float32(frame.counts_per_photon)
    return np.where(frame.valid, photons, np.float32(0))


def find_shadow(frame: Frame) -> Valid:
    """Return the pixels of `frame` (slow, fast) in the shadow of a beamstop or its holder.

    `preparation.shadow` on the whole frame, binned as `prepare` would; a simulated frame may be
    searched too. A thin one, or several in line, that reaches over half of the frame is a bar that
    crosses all of it, also where too little light falls beside it to see it.
    """
    slow, fast = frame.counts.shape
    factor = max(1, round(min(slow, fast) / SIZE))
    whole = -(-max(slow, fast) // factor)
    photons, valid = binned(frame, Window(factor=factor, origin=(0, 0)), whole)
    rows, columns = -(-slow // factor), -(-fast // factor)
    found = shadow(photons[:rows, :columns], valid[:rows, :columns])
    found = found | _bars(found) | _bars(found.T).T
    pixels = np.repeat(np.repeat(found, factor, axis=0), factor, axis=1)
    return np.asarray(pixels[:slow, :fast])


def _bars(found: Valid) -> Valid:
    """Return the rows that parts of `found`, in line with each other, make bars of."""
    rows, columns = found.shape
    bars = np.zeros_like(found)
    linked = ndimage.maximum_filter1d(found.astype(np.uint8), int(_BAR_GAP * columns), axis=1)
    groups, _ = ndimage.label(linked)
    for group, (span, _) in enumerate(ndimage.find_objects(groups), start=1):
        inside = found[span] & (groups[span] == group)
        seen = np.nonzero(inside.any(axis=0))[0]
        long = seen[-1] + 1 - seen[0] >= _BAR_LENGTH * columns
        if long and span.stop - span.start <= _BAR_WIDTH * rows:
            # not those of the stop in its middle
            bars[span] |= (inside.mean(axis=1) >= _BAR_LENGTH / 2)[:, None]
    return bars


def clear_window(frame: Frame, shaded: Valid, size: int = SIZE) -> Window | None:
    """Return the window of size x size bins that shows most of `frame` and no shadow.

    Of the windows without a shaded pixel, and a margin from any, those with the largest bins are
    taken, of these those that lie most on the frame, and of these the one nearest to the direct
    beam (or to the middle, where that is unknown). It may hang over the frame by 5 %, unbinned by
    a quarter, as the room beside a bar is often less than the image. None if there is no such
    window; without a shadow the one in the middle, as `prepare` has it.

    `shaded`: pixels to avoid, of the frame's shape.
    """
    if not shaded.any():
        return middle_window(frame, size)
    slow, fast = shaded.shape
    middle = beam_on_frame(frame) or (slow / 2, fast / 2)
    step = max(1, min(slow, fast) // 256)
    # a block that the shadow's edge runs through need not have been found dark
    margin = int(_MARGIN * min(slow, fast))
    near = ndimage.maximum_filter(shaded, 2 * margin + 1)
    total = np.pad(near, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    for factor in range(max(1, round(min(slow, fast) / size)), 0, -1):
        least = MIN_ON_FRAME if factor > 1 else MIN_ON_FRAME_UNBINNED
        origin = _best(total, middle, size * factor, least, step)
        if origin is not None:
            return Window(factor=factor, origin=origin)
    return None


def _best(
    total: NDArray[np.int32], middle: tuple[float, float], side: int, least: float, step: int
) -> tuple[int, int] | None:
    """Return the corner of the best window; `total` are sums over the pixels to avoid."""
    over = int((1 - least) * side)
    starts, lows, highs, shares, distances = [], [], [], [], []
    for length, center in zip((total.shape[0] - 1, total.shape[1] - 1), middle, strict=True):
        first, last = min(-over, length - side), max(length - side + over, 0)
        start = np.unique(np.append(np.arange(first, last + 1, step), [0, length - side]))
        low, high = np.clip(start, 0, length), np.clip(start + side, 0, length)
        starts.append(start)
        lows.append(low)
        highs.append(high)
        shares.append((high - low) / side)
        distances.append(start + side / 2 - center)
    shade = (
        total[np.ix_(highs[0], highs[1])]
        - total[np.ix_(lows[0], highs[1])]
        - total[np.ix_(highs[0], lows[1])]
        + total[np.ix_(lows[0], lows[1])]
    )
    share = np.round(np.outer(*shares), 2)
    fits = (shade == 0) & (share >= least)
    if not fits.any():
        return None
    distance = np.hypot(distances[0][:, None], distances[1])
    best = np.lexsort((distance[fits], -share[fits]))[0]
    i, j = np.argwhere(fits)[best]
    return int(starts[0][i]), int(starts[1][j])


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
        return prepare(replace(frame, valid=frame.valid & ~self.shadow), window=window)

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
