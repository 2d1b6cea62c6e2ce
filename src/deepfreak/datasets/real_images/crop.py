"""Where to take an image from a measured frame so that no shadow of a beamstop is on it.

The paper's real images have a horizontal bar across their middle, and are cropped above or below it
(its section 3). A shadow is found on the sum of a detector's frames, on which single Bragg spots
count for little and a dark frame's lack of light for nothing.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.encoding import SIZE
from deepfreak.formats.frame import Frame, Valid
from deepfreak.formats.shadow import shadow
from deepfreak.preparation import Window, beam_on_frame, binned, middle_window

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

    `formats.shadow.shadow` on the whole frame, binned as `prepare` would; a simulated frame may be
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


def without(frame: Frame, shaded: Valid) -> Frame:
    """Return `frame` with the shaded pixels missing."""
    return replace(frame, valid=frame.valid & ~shaded)
