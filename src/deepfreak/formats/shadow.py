"""Which pixels lie in the shadow of a beamstop.

A dark pixel is a measurement, and hiding it would make a blank frame look lit: a shadow is found
only where it is the plain explanation.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepfreak.compiled import njit
from deepfreak.formats.frame import Valid

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
