"""Level and noise of each block of a frame, from the frame itself.

Everything here is in *steps*: the step is the smallest difference between two counts of the frame,
so that neither gain nor pedestal of the file matter.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

BLOCK = 16  # pixels: the side of a block
TILE = 8  # blocks: the side of a tile, over which noise is bounded
_SAMPLE = 48_000  # pixels from which the step is found
_FEW = 32  # pixels, of those sampled, that differ from the others: fewer do not determine the step
_CLIP_SIGMA = 3.0
_CLEAN_SIGMA = 4.0  # a block whose pixels all lie within is not clipped
_CLIPS = 4
_MIN_SHARE = 0.25  # of a block's pixels that must be valid to measure it
_CAP = 16.0  # of the variance over the tile's median: denser spots do not hide themselves

# A photon that stands out of the noise; see `find_quantum`.
_SAMPLED_BLOCKS = 200
_STANDS_OUT = 5.0  # sigma
_LIT_BLOCKS = 0.2  # of the blocks have such pixels
_MANY = 60  # such pixels
_ALIKE, _ALIKE_SHARE = 0.25, 0.5

Counts = NDArray[Any]
Valid = NDArray[np.bool_]
Plane = NDArray[np.float64]


class Pixels(NamedTuple):
    """A frame [slow, fast] as compiled loops take it: a pixel has (count - base) * scale steps."""

    counts: Counts
    valid: Valid
    base: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How counts become steps: x = (counts - base) / step."""

    base: float  # one of the frame's counts
    # The greatest common divisor of all differences; 1 where counts are not whole numbers
    step: float
    whole: bool  # whether light comes in steps: counts are whole numbers, or a step is a photon
    # Whether the step is one photon that stands out of the noise; see `find_quantum`
    photon: bool = False
    sample: NDArray[np.float64]  # some of the valid pixels, in steps

    def of(self, counts: Counts, valid: Valid) -> Pixels:
        """Return a frame's pixels in these steps."""
        return Pixels(counts, valid, self.base, 1.0 / self.step)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Statistics of blocks of 16 x 16 pixels, (rows, columns); the last may be smaller."""

    level: Plane  # mean of the pixels without outliers, in steps
    variance: Plane  # the same for the variance, in steps squared, bounded by the tile's
    excess: Plane  # mean of all pixels less `level`, in steps
    share: Plane  # how much of the block is valid, 0 to 1
    measured: Plane  # the variance before it is bounded; NaN where too few pixels are valid


def find_steps(counts: Counts, valid: Valid) -> Steps:
    """Return base and step of the valid pixels of a frame [slow, fast]."""
    flat = np.ascontiguousarray(counts).reshape(-1)
    ok = np.ascontiguousarray(valid).reshape(-1)
    values = _sampled(flat, ok, max(1, flat.size // _SAMPLE) | 1)
    if not values.size:
        values = flat[ok][:1] if ok.any() else np.zeros(1, counts.dtype)
    # a common count: sums of squares about a gap's value would lose their digits
    base = np.sort(values)[values.size // 2]
    whole = counts.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    step = 1.0
    if whole:
        found, differ = _common_step(values, np.ones(len(values), np.bool_), base)
        if differ < _FEW:
            found, differ = _common_step(flat, ok, base)
        step = float(found) if found > 0 else 1.0
    sample = (values.astype(np.float64) - float(base)) / step
    return Steps(base=float(base), step=step, whole=whole, sample=sample)


@njit(cache=True, nogil=True, error_model="numpy")
def _sampled(flat: Counts, ok: Valid, stride: int) -> Counts:
    values = np.empty(flat.size // stride + 1, flat.dtype)
    number = 0
    for i in range(0, flat.size, stride):
        if ok[i]:
            values[number] = flat[i]
            number += 1
    return values[:number]


@njit(cache=True, nogil=True, error_model="numpy")
def _common_step(flat: Counts, ok: Valid, base: Any) -> tuple[int, int]:  # noqa: ANN401 -- of any type
    """Return the greatest common divisor of all differences from `base`, and how many are not 0."""
    found, differ = 0, 0
    for i in range(flat.size):
        if flat[i] == base or not ok[i]:
            continue
        differ += 1
        a, b = found, int(abs(np.float64(flat[i]) - np.float64(base)))
        while b:
            a, b = b, a % b
        found = a
        if found == 1 and differ >= _FEW:
            break
    return found, differ


def find_quantum(
    counts: Counts, valid: Valid, steps: Steps, blocks: "Blocks", gain: float | None
) -> Steps | None:
    """Return steps of one photon where single photons stand out of the noise, else None.

    So do those of an integrating detector with little light, which clipping would take for spots. A
    known gain is such a step when it is over 5 sigma. Else pixels over 5 sigma, sigma by the lower
    half of a block's pixels, must be in a fifth of the blocks, and half of them, less their
    block's median, alike to a quarter: spots are not.
    """
    known = np.isfinite(blocks.measured)
    if not known.any() or np.mean(blocks.excess[known] > 0) < _LIT_BLOCKS:
        return None
    if gain is None:
        quantum = _outstanding(steps.of(counts, valid), spread_over(known))
    else:
        noise = float(np.sqrt(np.quantile(blocks.measured[known], 0.25)))
        quantum = gain / steps.step if gain / steps.step > _STANDS_OUT * noise + 1.0 else 0.0
    if quantum <= 1.0:
        return None
    return replace(
        steps,
        step=steps.step * quantum,
        sample=steps.sample / quantum,
        whole=True,
        photon=True,
    )


def spread_over(where: Valid) -> NDArray[np.int64]:
    """Return the places (row, column) of at most about 200 of the true blocks."""
    places = np.argwhere(where)
    return places[:: max(1, len(places) // _SAMPLED_BLOCKS)]


def _outstanding(pixels: Pixels, places: NDArray[np.int64]) -> float:
    """Return the median of single pixels' light that stands out of the noise, 0 if not alike."""
    found, lit = _outstanding_pixels(pixels, places)
    if len(found) < _MANY or lit < _LIT_BLOCKS * len(places):
        return 0.0
    middle = float(np.median(found))
    alike = np.abs(found - middle) <= _ALIKE * middle
    return float(found[alike].mean()) if alike.mean() >= _ALIKE_SHARE else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _outstanding_pixels(
    frame: Pixels, places: NDArray[np.int64]
) -> tuple[NDArray[np.float64], int]:
    """Return the light of all pixels over 5 sigma in the blocks at `places`, and in how many."""
    counts, valid, base, scale = frame
    found = np.empty(len(places) * BLOCK * BLOCK)
    number = lit = 0
    values = np.empty(BLOCK * BLOCK)
    for place in range(len(places)):
        top, left = places[place, 0] * BLOCK, places[place, 1] * BLOCK
        pixels = 0
        for i in range(top, min(top + BLOCK, counts.shape[0])):
            for j in range(left, min(left + BLOCK, counts.shape[1])):
                if valid[i, j]:
                    values[pixels] = (np.float64(counts[i, j]) - base) * scale
                    pixels += 1
        ordered = np.sort(values[:pixels])
        middle = ordered[pixels // 2]
        least = middle + _STANDS_OUT * (middle - ordered[int(0.159 * pixels)]) + 1e-9
        before = number
        for k in range(pixels - 1, -1, -1):
            if ordered[k] < least:
                break
            found[number] = ordered[k] - middle
            number += 1
        lit += number > before
    return found[:number], lit


def measure_blocks(counts: Counts, valid: Valid, steps: Steps) -> Blocks:
    """Return level and noise of the blocks of a frame [slow, fast].

    From every second row: mean and variance of what remains when pixels over 3 sigma and one step
    from the mean have been left out up to four times. The variance of a block is not below the
    tile's lower quartile (so that a chance lull makes no peak) and not over 16 times its median.
    """
    level, measured, plain, share = block_statistics(steps.of(counts, valid))
    few = share < _MIN_SHARE
    level[few] = np.nan
    measured[few] = np.nan
    tile_level, low, middle = _tiles(level, measured)
    variance = np.clip(measured, low, np.maximum(_CAP * middle, low))
    level = np.where(few, tile_level, level)
    variance = np.where(few, np.maximum(middle, low), variance)
    return Blocks(
        level=level,
        variance=variance,
        excess=np.where(few, 0.0, np.maximum(plain - level, 0.0)),
        share=share,
        measured=measured,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def block_statistics(frame: Pixels) -> tuple[Plane, Plane, Plane, Plane]:
    """Return clipped mean, clipped variance, mean and valid share of each block.

    Slow equivalent: each block's valid pixels of every second row as an array, clipped by masks
    (`tests/unit/evidence/test_blocks.py`).
    """
    counts, valid, base, scale = frame
    height, width = counts.shape
    rows, columns = (height + BLOCK - 1) // BLOCK, (width + BLOCK - 1) // BLOCK
    level, variance = np.zeros((rows, columns)), np.zeros((rows, columns))
    plain, share = np.zeros((rows, columns)), np.zeros((rows, columns))
    first, second = np.zeros(columns * BLOCK), np.zeros(columns * BLOCK)
    highest, lowest = np.zeros(columns * BLOCK), np.zeros(columns * BLOCK)
    number = np.zeros(columns * BLOCK, np.int32)
    for row in range(rows):
        first[:], second[:], number[:] = 0.0, 0.0, 0
        highest[:], lowest[:] = -np.inf, np.inf
        top, bottom = row * BLOCK, min((row + 1) * BLOCK, height)
        for i in range(top, bottom, 2):
            line, ok = counts[i], valid[i]
            for j in range(width):
                x = (np.float64(line[j]) - base) if ok[j] else 0.0
                first[j] += x
                second[j] += x * x
                highest[j] = max(highest[j], x)
                lowest[j] = min(lowest[j], x)
                number[j] += np.int32(ok[j])
        for column in range(columns):
            left, right = column * BLOCK, min((column + 1) * BLOCK, width)
            total, square, pixels = 0.0, 0.0, 0
            high, low = -np.inf, np.inf
            for j in range(left, right):
                total += first[j]
                square += second[j]
                pixels += number[j]
                high, low = max(high, highest[j]), min(low, lowest[j])
            share[row, column] = pixels / (((bottom - top + 1) // 2) * (right - left))
            if pixels == 0:
                continue
            mean = total * scale / pixels
            spread = max(square * scale * scale / pixels - mean * mean, 0.0)
            plain[row, column] = mean
            reach = _CLEAN_SIGMA * np.sqrt(spread) + 1.0
            if high * scale > mean + reach or low * scale < mean - reach:
                mean, spread = _clipped(frame, (top, bottom, left, right), mean, spread)
            level[row, column], variance[row, column] = mean, spread
    return level, variance, plain, share


@njit(cache=True, nogil=True, error_model="numpy")
def _clipped(
    frame: Pixels, box: tuple[int, int, int, int], mean: float, spread: float
) -> tuple[float, float]:
    """Return mean and variance of a block without outliers, beginning from those with them."""
    counts, valid, base, scale = frame
    kept = -1
    for _ in range(_CLIPS):
        reach = _CLIP_SIGMA * np.sqrt(spread) + 1.0
        total, square, pixels = 0.0, 0.0, 0
        for i in range(box[0], box[1], 2):
            for j in range(box[2], box[3]):
                x = (np.float64(counts[i, j]) - base) * scale - mean
                if valid[i, j] and abs(x) <= reach:
                    total += x
                    square += x * x
                    pixels += 1
        if pixels in {0, kept}:
            break
        kept = pixels
        shift = total / pixels
        mean += shift
        spread = max(square / pixels - shift * shift, 0.0)
    return mean, spread


def _tiles(level: Plane, variance: Plane) -> tuple[Plane, Plane, Plane]:
    """Return of each block its tile's median level, lower bound and median of the variance.

    Where the median variance is below one step squared the lower bound is the mean of the lowest
    nine tenths, as quartiles of so few counts are steps themselves.
    """
    rows, columns = level.shape
    whole = (-(-rows // TILE), -(-columns // TILE))
    padded = np.full((2, whole[0] * TILE, whole[1] * TILE), np.nan)
    padded[0, :rows, :columns], padded[1, :rows, :columns] = level, variance
    tiles = padded.reshape(2, whole[0], TILE, whole[1], TILE).transpose(0, 1, 3, 2, 4)
    tiles = np.sort(tiles.reshape(2, whole[0], whole[1], TILE * TILE), axis=-1)  # NaN come last
    number = np.isfinite(tiles[0]).sum(axis=-1)
    known = number > 0
    place = np.maximum(number - 1, 0)

    def quantile(values: Plane, share: float) -> Plane:
        at = np.floor(share * place).astype(np.int64)[..., None]
        return np.asarray(np.take_along_axis(values, at, axis=-1)[..., 0])

    middle_level, middle = quantile(tiles[0], 0.5), quantile(tiles[1], 0.5)
    low = quantile(tiles[1], 0.25)
    lowest = np.arange(TILE * TILE) <= np.floor(0.9 * place)[..., None]
    mean = np.where(lowest, np.nan_to_num(tiles[1]), 0).sum(axis=-1) / lowest.sum(axis=-1)
    low = np.where(middle < 1.0, np.maximum(low, mean), low)
    found = []
    for values in (middle_level, low, middle):
        fallback = float(np.median(values[known])) if known.any() else 0.0
        filled = np.where(known, values, fallback)
        found.append(filled.repeat(TILE, axis=0).repeat(TILE, axis=1)[:rows, :columns])
    return found[0], found[1], found[2]
