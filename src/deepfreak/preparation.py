"""From a measured frame to the image that models are trained on.

In the spirit of section 3 of the paper, which brings real frames down to 512 x 512: bin by a whole
number, crop, take the square root to 8 bits. Nothing is scaled by the frame's own brightness, so
a blank stays blank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.encoding import MAX_COUNTS, PEDESTAL, SIZE
from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame
from deepfreak.formats.shadow import shadow

_MIN_SHARE = 0.01
_MIN_SIDE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where in a frame an image is taken from."""

    factor: int  # pixels of the frame along each side of one of the image's
    # the frame's pixel (slow, fast) at the image's corner; negative where it hangs over
    origin: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A frame as models see it.

    Attributes
    ----------
    image
        uint8 [slow, fast], `SIZE` x `SIZE`: floor(sqrt(photons + 10)); 0 where not valid.
    valid
        Same shape; false where nothing was measured.
    factor
        Pixels of the frame along each side of one of the image's.
    origin
        The frame's pixel (slow, fast) at the image's corner; negative where the frame was padded.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    factor: int
    origin: tuple[int, int]


def prepare(frame: Frame, size: int = SIZE, *, window: Window | None = None) -> Prepared:
    """Return `frame` as an image of `size` x `size` pixels.

    1. photons = (min(counts, saturation) - pedestal) / gain;
    2. bins of f x f pixels, f = max(1, round(shorter side / size)): the mean over the valid pixels
       times f^2, so that a full bin holds the sum and counting statistics stay Poisson's; a bin
       with less than half of its pixels valid is missing;
    3. the window of size x size bins in the middle of the frame, or about the direct beam where it
       is known, moved so as to stay inside; a frame smaller than the window is padded as missing;
    4. the shadow of a beamstop is missing (`formats.shadow.shadow`; no simulation has one);
    5. floor(sqrt(clip(photons + 10, 0, 65025))).

    With a `window` its factor and origin stand in place of those of steps 2 and 3, and step 4 is
    left out: `crop` has chosen it clear of the shadow.

    Raises
    ------
    FrameError
        Fewer than 1 % of the image's pixels, or than 64 x 64 of the frame's, measured something.
    """
    require_measured(frame)
    chosen = middle_window(frame, size) if window is None else window
    photons, valid = binned(frame, chosen, size)
    if window is None and not frame.simulated:
        valid &= ~shadow(photons, valid)
    share = np.count_nonzero(valid) / valid.size
    if share < _MIN_SHARE:
        raise FrameError(
            f"expected at least {_MIN_SHARE:.0%} of the prepared image to be measured, "
            f"found {share:.2%}: is the mask inverted?"
        )
    value = np.clip(photons + np.float32(PEDESTAL), 0, MAX_COUNTS)
    image = np.sqrt(value).astype(np.uint8)
    image[~valid] = 0
    return Prepared(image=image, valid=valid, factor=chosen.factor, origin=chosen.origin)


def require_measured(frame: Frame) -> None:
    """Raise `FrameError` if fewer than 64 x 64 pixels of `frame` measured something."""
    slow, fast = frame.counts.shape
    measured = int(np.count_nonzero(frame.valid))
    if measured < _MIN_SIDE**2:
        raise FrameError(
            f"expected at least {_MIN_SIDE} x {_MIN_SIDE} measured pixels, found {measured} "
            f"in a frame of {slow} x {fast}"
        )


def middle_window(frame: Frame, size: int = SIZE) -> Window:
    """Return the window of steps 2 and 3 of `prepare`."""
    slow, fast = frame.counts.shape
    factor = max(1, round(min(slow, fast) / size))
    beam = beam_on_frame(frame) or (slow / 2, fast / 2)
    return Window(
        factor=factor,
        origin=(
            _origin(slow, size * factor, beam[0]),
            _origin(fast, size * factor, beam[1]),
        ),
    )


def beam_on_frame(frame: Frame) -> tuple[float, float] | None:
    """Return the direct beam's place, None where it is unknown or, off the frame, no help."""
    if frame.beam_center_px is None:
        return None
    slow, fast = frame.beam_center_px
    inside = 0 < slow < frame.counts.shape[0] and 0 < fast < frame.counts.shape[1]
    return (slow, fast) if inside else None


def _origin(length: int, window: int, center: float) -> int:
    """Return where a window along an axis of `length` pixels starts."""
    if length <= window:
        return -((window - length) // 2)
    return min(max(round(center - window / 2), 0), length - window)


def binned(
    frame: Frame, window: Window, size: int = SIZE
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return photons and valid pixels, (size, size), of `window`: steps 1 and 2 of `prepare`."""
    (slow, fast), factor = window.origin, window.factor
    top = np.float32(np.inf if frame.saturation is None else frame.saturation)
    found: tuple[NDArray[np.float32], NDArray[np.bool_]] = _bins(
        np.ascontiguousarray(frame.counts),
        np.ascontiguousarray(frame.valid),
        top,
        np.float32(frame.pedestal),
        np.float32(frame.counts_per_photon),
        slow,
        fast,
        factor,
        size,
    )
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _bins(
    counts: NDArray[np.generic],
    valid: NDArray[np.bool_],
    top: np.float32,
    pedestal: np.float32,
    gain: np.float32,
    slow: int,
    fast: int,
    factor: int,
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what `binned` does, reading each pixel once.

    Slow equivalent, for a window inside the frame, with photons 0 where not valid:
    photons.reshape(size, factor, size, factor).sum((1, 3)) * factor**2 / measured.
    """
    rows, columns = counts.shape
    zero, one = np.float32(0), np.float32(1)
    photons = np.zeros((size, size), np.float32)
    enough = np.zeros((size, size), np.bool_)
    first = max(0, fast)
    last = min(fast + size * factor, columns)
    # sums over the rows of a bin, which stay in the processor's cache
    total = np.empty(size * factor, np.float32)
    measured = np.empty(size * factor, np.float32)
    inside_total, inside_measured = total[first - fast :], measured[first - fast :]
    pixels = np.float32(factor * factor)
    if factor == 1:  # nothing to sum
        for i in range(max(0, -slow), min(size, rows - slow)):
            here, there = counts[slow + i, first:last], valid[slow + i, first:last]
            light_of_row = photons[i, first - fast :]
            enough_of_row = enough[i, first - fast :]
            for j in range(len(here)):
                value = (min(np.float32(here[j]), top) - pedestal) / gain
                light_of_row[j] = value if there[j] else zero
                enough_of_row[j] = there[j]
        return photons, enough
    for bin_row in range(size):
        total[:] = zero
        measured[:] = zero
        begin = slow + bin_row * factor
        for i in range(max(begin, 0), min(begin + factor, rows)):
            # views and no branch, so that several pixels are taken at once
            here, there = counts[i, first:last], valid[i, first:last]
            for j in range(len(here)):
                value = min(np.float32(here[j]), top)
                inside_total[j] += value if there[j] else zero
                inside_measured[j] += one if there[j] else zero
        for place in range(size):
            light, share = zero, zero
            for j in range(place * factor, (place + 1) * factor):
                light += total[j]
                share += measured[j]
            if share + share >= pixels:
                enough[bin_row, place] = True
                photons[bin_row, place] = (light - share * pedestal) / gain * (pixels / share)
    return photons, enough
