"""From a measured frame to the image that models are trained on.

In the spirit of section 3 of the paper, which brings real frames down to 512 x 512: bin by a whole
number, crop, take the square root to 8 bits. Nothing is scaled by the frame's own brightness, so
a blank stays blank.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.compiled import njit
from deepfreak.encoding import MAX_COUNTS, PEDESTAL, SIZE
from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame, Valid

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
    """A frame as models see it."""

    # uint8 [slow, fast], `SIZE` x `SIZE`: floor(sqrt(photons + 10)); 0 where not valid
    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]  # same shape; false where nothing was measured
    factor: int  # pixels of the frame along each side of one of the image's
    # the frame's pixel (slow, fast) at the image's corner; negative where the frame was padded
    origin: tuple[int, int]


def prepare(frame: Frame, size: int = SIZE, *, window: Window | None = None) -> Prepared:
    """Return `frame` as an image of `size` x `size` pixels.

    1. photons = (min(counts, saturation) - pedestal) / gain;
    2. bins of f x f pixels, f = max(1, round(shorter side / size)): the mean over the valid pixels
       times f^2, so that a full bin holds the sum and counting statistics stay Poisson's; a bin
       with less than half of its pixels valid is missing;
    3. the window of size x size bins in the middle of the frame, or about the direct beam where it
       is known, moved so as to stay inside; a frame smaller than the window is padded as missing;
    4. the shadow of a beamstop is missing (`shadow`; no simulation has one);
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
        origin=(_origin(slow, size * factor, beam[0]), _origin(fast, size * factor, beam[1])),
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


T = TypeVar("T", bound=np.generic)

# On blocks of 1/64 of the prepared image
SHADOW_BLOCKS = 64
SHADOW_RATIO = 0.35  # of the photons around it, inside
SHADOW_THICKEST = 4.5  # blocks from its edge to its middle
SHADOW_SMALLEST = 4  # blocks
SHADOW_LARGEST = 0.08  # of the image's area
SHADOW_LEAST_PHOTONS = 4.0  # a pixel, around it
SHADOW_SHARP_BORDER = 0.8  # of the blocks behind its edge are bright


def shadow(photons: NDArray[np.float32], valid: Valid) -> Valid:
    """Return the pixels in the shadow of a beamstop, its arm, or another obstacle.

    On blocks of 1/64 of the image, a block is dark when it holds less than 0.35 of the photons of
    its surroundings (whose mean is taken over square roots, which lets no Bragg spot count for
    much). A connected group of dark blocks is a shadow when it is nowhere thicker than 1/7 of the
    image, takes 8 % of its area at most, and nearly all blocks behind its edge are much brighter
    than those at its rim: it is sharp all around. The slow fall of a background has no such edge,
    and the empty middle of a ring is either thicker or not so sharp.

    `photons`: prepared photons (slow, fast). `valid`: same shape.
    """
    none = np.zeros(photons.shape, dtype=np.bool_)
    block = max(1, min(photons.shape) // SHADOW_BLOCKS)
    weight = _block_sum(valid, block)
    level = _block_sum(np.where(valid, np.maximum(photons, 0), 0), block)
    seen = weight > block * block / 4
    level = np.where(seen, level / np.maximum(weight, 1), 0)
    around = _surroundings(np.sqrt(level), seen)
    dark = seen & (level < SHADOW_RATIO * around) & (around >= SHADOW_LEAST_PHOTONS)
    if not dark.any():
        return none
    # missing blocks (a gap through the shadow) must not cut it in two
    groups, count = ndimage.label(dark | ~seen, structure=np.ones((3, 3)))
    found = np.zeros_like(dark)
    for group in range(1, count + 1):
        inside = (groups == group) & dark
        fits = SHADOW_SMALLEST <= inside.sum() <= SHADOW_LARGEST * inside.size
        # the radius of the largest circle in it
        if not fits or ndimage.distance_transform_edt(np.pad(inside, 1)).max() > SHADOW_THICKEST:
            continue
        # the edge itself runs through the blocks next to the group: look behind them
        next_to_it = ndimage.binary_dilation(inside, structure=np.ones((3, 3)))
        behind = ndimage.binary_dilation(next_to_it, structure=np.ones((3, 3)))
        behind &= seen & ~next_to_it & ~dark
        rim = inside & ~ndimage.binary_erosion(inside, structure=np.ones((3, 3)), border_value=1)
        bright = level[behind] > np.median(level[rim]) / SHADOW_RATIO
        if bright.size and bright.mean() >= SHADOW_SHARP_BORDER:
            found |= inside
    if not found.any():
        return none
    edge = ndimage.binary_dilation(found, structure=np.ones((3, 3))) & ~found
    half = _unblock(around, photons.shape, block) * np.float32(SHADOW_RATIO)
    smooth = ndimage.uniform_filter(np.where(valid, photons, 0).astype(np.float32), 3)
    at_edge = _unblock(edge, photons.shape, block) & (smooth < half) & valid
    return np.asarray(at_edge | _unblock(found, photons.shape, block))


def _surroundings(root: NDArray[np.float32], seen: Valid) -> NDArray[np.float32]:
    """Return the squared mean of `root` over 21 x 21 blocks, of those that are `seen`."""
    size = 21
    total = ndimage.uniform_filter(np.where(seen, root, 0), size, mode="constant")
    share = ndimage.uniform_filter(seen.astype(np.float32), size, mode="constant")
    mean: NDArray[np.float32] = total / np.maximum(share, 1e-6)
    return mean**2


def _block_sum(values: NDArray[np.generic], block: int) -> NDArray[np.float32]:
    """Return the sums of blocks of `block` x `block` pixels; those at the far edges are partial."""
    slow, fast = values.shape
    sums: NDArray[np.float32] = np.zeros((-(-slow // block), -(-fast // block)), np.float32)
    _add_blocks(np.ascontiguousarray(values), block, sums)
    return sums


@njit(cache=True, nogil=True)
def _add_blocks(values: NDArray[np.generic], block: int, sums: NDArray[np.float32]) -> None:
    slow, fast = values.shape
    columns = np.empty(fast, np.float32)
    for row in range(sums.shape[0]):
        columns[:] = np.float32(0)
        for i in range(row * block, min((row + 1) * block, slow)):
            line = values[i]
            for j in range(len(line)):
                columns[j] += np.float32(line[j])
        for j in range(fast):
            sums[row, j // block] += columns[j]


def _unblock(blocks: NDArray[T], shape: tuple[int, ...], block: int) -> NDArray[T]:
    """Return the pixels' values from those of their blocks."""
    pixels = np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)
    return pixels[: shape[0], : shape[1]]
