"""Which pixels measured nothing, where the file itself does not say.

Three rules, all conservative: a pixel is called missing only where that is the plain explanation.
A dark pixel is a measurement, and hiding it would make a blank frame look lit.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.compiled import njit
from deepfreak.frames.frame import Counts, Valid

T = TypeVar("T", bound=np.generic)

LIT_COUNTS = 5  # a median at which no area stays at zero by chance
BRIGHT_COUNTS = 20  # a level at which no single pixel does: exp(-20)
BLOCK = 8

# A shadow, on blocks of 1/64 of the prepared image
SHADOW_BLOCKS = 64
SHADOW_RATIO = 0.35  # of the photons around it, inside
SHADOW_THICKEST = 4.5  # blocks from its edge to its middle
SHADOW_SMALLEST = 4  # blocks
SHADOW_LARGEST = 0.08  # of the image's area
SHADOW_LEAST_PHOTONS = 4.0  # a pixel, around it
SHADOW_SHARP_BORDER = 0.8  # of the blocks behind its edge are bright


def sentinels(counts: Counts, *, photon_counting: bool, top_is_missing: bool = False) -> Valid:
    """Return the valid pixels of `counts`, leaving out the values that stand for "no measurement".

    Floats: NaN and infinities. Signed integers: the smallest of the type, and all negative ones of
    a photon counter (PILATUS writes -1 in gaps and -2 in defects); without knowing the detector,
    an image that goes down to -1 or -2 but not further is one. Unsigned integers: the largest of
    the type, where the format uses it so (`top_is_missing`).
    """
    if counts.dtype.kind == "f":
        return np.asarray(np.isfinite(counts))
    limits = np.iinfo(counts.dtype)
    if counts.dtype.kind == "u":
        largest = np.asarray(counts == limits.max)
        return ~largest if top_is_missing else np.ones(counts.shape, dtype=np.bool_)
    lowest = int(counts.min(initial=0))
    if lowest >= 0:
        return np.ones(counts.shape, dtype=np.bool_)
    if photon_counting or lowest >= -2:
        return np.asarray(counts >= 0)
    return np.asarray(counts > limits.min)


def counts_photons(counts: Counts) -> bool:
    """Return whether the values alone say that this is a PILATUS or EIGER: -1 or -2 lowest."""
    return counts.dtype.kind == "i" and -2 <= int(counts.min(initial=0)) < 0


def unlit(counts: Counts, valid: Valid) -> Valid:
    """Return the pixels of an integrating detector [slow, fast] that are zero for want of a sensor.

    Such are the corners around a round taper and the seams between the modules of a mosaic. On a
    lit frame (median of at least 5 counts outside them) these are the zeros in or beside blocks
    of 8 x 8 pixels that are zero throughout, and those with a mean of at least 20 counts over the
    other pixels of the 3 x 3 blocks around them, a quarter of which must be others. On a dark
    frame, and where values go below zero so that zero is one of many, there are none.
    """
    zero: Valid = (counts == 0) & valid
    none = np.zeros_like(zero)
    if not zero.any() or float(counts[valid].min()) < 0:
        return none
    lit_pixels = _block_sum(valid & ~zero)
    empty = (lit_pixels == 0) & (_block_sum(zero) > 0)
    elsewhere = counts[valid & ~_unblock(empty, counts.shape)]
    if elsewhere.size == 0 or float(np.median(elsewhere)) < LIT_COUNTS:
        return none
    total = _block_sum(np.where(valid, counts, 0).astype(np.float32))
    lit_nearby = ndimage.uniform_filter(lit_pixels, 3, mode="constant")
    nearby = ndimage.uniform_filter(total, 3, mode="constant")
    bright = (nearby >= BRIGHT_COUNTS * lit_nearby) & (lit_nearby >= BLOCK * BLOCK / 4)
    beside: Valid = ndimage.binary_dilation(empty, structure=np.ones((3, 3)))
    return np.asarray(zero & _unblock(beside | bright, counts.shape))


def shadow(photons: NDArray[np.float32], valid: Valid) -> Valid:
    """Return the pixels in the shadow of a beamstop, its arm, or whatever else stands in the way.

    On blocks of 1/64 of the image, a block is dark when it holds less than 0.35 of the photons of
    its surroundings (whose mean is taken over square roots, which lets no Bragg spot count for
    much). A connected group of dark blocks is a shadow when it is nowhere thicker than 1/7 of the
    image, takes 8 % of its area at most, and nearly all blocks behind its edge are much brighter
    than those at its rim: it is sharp all around. The slow fall of a background has no such edge,
    and the empty middle of a ring is either thicker or not so sharp.

    Parameters
    ----------
    photons
        Prepared photons (slow, fast).
    valid
        Same shape.
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
        if not fits or _thickness(inside) > SHADOW_THICKEST:
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


def _thickness(group: Valid) -> float:
    """Return the radius in blocks of the largest circle in `group`."""
    return float(ndimage.distance_transform_edt(np.pad(group, 1)).max())


def _surroundings(root: NDArray[np.float32], seen: Valid) -> NDArray[np.float32]:
    """Return the squared mean of `root` over 21 x 21 blocks, of those that are `seen`."""
    size = 21
    total = ndimage.uniform_filter(np.where(seen, root, 0), size, mode="constant")
    share = ndimage.uniform_filter(seen.astype(np.float32), size, mode="constant")
    mean: NDArray[np.float32] = total / np.maximum(share, 1e-6)
    return mean**2


def _block_sum(values: NDArray[np.generic], block: int = BLOCK) -> NDArray[np.float32]:
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


def _unblock(blocks: NDArray[T], shape: tuple[int, ...], block: int = BLOCK) -> NDArray[T]:
    """Return the pixels' values from those of their blocks."""
    pixels = np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)
    return pixels[: shape[0], : shape[1]]
