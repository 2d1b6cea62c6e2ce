"""Local binary patterns: which points on a circle around a pixel are at least as bright as it.

The paper's second-best extractor (section 4.1, Table 4). The definition is scikit-image's
(`local_binary_pattern` with method "uniform", versions 0.24 to 0.26) to the last bit, except that
patterns with missing pixels do not count.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.errors import FrameError, RecipeError
from deepfreak.features.extraction import SettingsOnly, check_pixels

MAX_POINTS = 32  # the bits of a pattern
MAX_RADIUS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LBP(SettingsOnly):
    """Histogram of uniform patterns: points + 2 bins, with the sum 1.

    A pattern has one bit for each of `points` points evenly spaced on a circle. The bit is set
    where the image, interpolated there, is at least as bright as at the circle's centre. A pattern
    is uniform if its set bits are contiguous around the circle; its bin is their number. All other
    patterns share the last bin. Bright spots count in the bins of few bits, smooth slopes in the
    middle, flat areas and holes in the bin of all bits, noise in the last one.

    Pixels outside the image are zero, with and without a mask. `RecipeError` if a setting is out of
    range.

    Parameters
    ----------
    points
        Points on the circle.
    radius
        Radius of the circle in pixels. With 0, which scikit-image and so the paper's code allow,
        every point is the pixel itself and every pattern has all bits.
    """

    name: ClassVar[str] = "lbp"

    points: int = 24
    radius: float = 3

    def __post_init__(self) -> None:
        if not (isinstance(self.points, int) and 1 <= self.points <= MAX_POINTS):
            raise RecipeError(f"expected 1 to {MAX_POINTS} LBP points, found {self.points!r}")
        if not (isinstance(self.radius, int | float) and 0 <= self.radius <= MAX_RADIUS):
            raise RecipeError(
                f"expected an LBP radius of 0 to {MAX_RADIUS} pixels, found {self.radius!r}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bins, by number of bits set; the last is for patterns not uniform."""
        prefix = f"lbp_p{self.points}_r{self.radius:g}"
        ones = (f"{prefix}_ones_{bits}" for bits in range(self.points + 1))
        return (*ones, f"{prefix}_not_uniform")

    @property
    def offsets(self) -> NDArray[np.float64]:
        """Offsets of the points from the centre in pixels, (points, 2): slow, fast.

        The first is along fast, the next ones towards decreasing slow; rounded to 5 decimals.
        """
        turn = 2 * math.pi * np.arange(self.points, dtype=np.float64) / self.points
        offsets = np.stack([-self.radius * np.sin(turn), self.radius * np.cos(turn)], axis=1)
        return np.round(offsets, 5)

    def __call__(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the histogram, float64 (points + 2,), as an `Extractor`.

        A pattern counts if its centre and all pixels that its points are interpolated from are
        valid; `FrameError` if none counts.
        """
        patterns = self.patterns(image)
        counted = patterns.ravel() if valid is None else patterns[self.usable(image, valid)]
        if counted.size == 0:
            raise FrameError(
                f"expected a pixel whose surroundings of {self.radius:g} pixels are valid, found "
                f"none in {image.shape[0]} x {image.shape[1]} pixels: check the mask"
            )
        return np.bincount(counted, minlength=self.points + 2) / counted.size

    def patterns(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return each pixel's bin, uint8 [slow, fast]: bits set, or points + 1 if not uniform.

        `scikit-image`'s `local_binary_pattern(image, points, radius, "uniform")`.
        """
        check_pixels(image, None)
        # room for both neighbours of the furthest point
        margin = math.ceil(self.radius) + 1
        padded = np.zeros([size + 2 * margin for size in image.shape])
        padded[margin : margin + image.shape[0], margin : margin + image.shape[1]] = image
        patterns: NDArray[np.uint8] = find_patterns(padded, margin, self.offsets)
        return patterns

    def usable(self, image: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the pixels, bool [slow, fast], whose pattern uses valid pixels only."""
        check_pixels(image, valid)
        margin = math.ceil(self.radius) + 1
        padded = np.pad(valid, margin, constant_values=True)
        low, high = np.floor(self.offsets).astype(int), np.ceil(self.offsets).astype(int)
        made_of = {
            (slow, fast)
            for (low_slow, low_fast), (high_slow, high_fast) in zip(low, high, strict=True)
            for slow in (low_slow, high_slow)
            for fast in (low_fast, high_fast)
        }
        usable = valid.copy()
        rows, columns = valid.shape
        for slow, fast in made_of:
            top, left = margin + slow, margin + fast
            usable &= padded[top : top + rows, left : left + columns]
        return usable


class Point(NamedTuple):
    """One point of the pattern, for all pixels of a row.

    It is between the rows `above` and `below`, which start at the column left of it; `weight` is
    that of `below`. Along fast it is `offset` pixels from the centre, `left` when rounded down.
    """

    bit: np.uint32
    above: NDArray[np.float64]
    below: NDArray[np.float64]
    weight: float
    offset: float
    left: float


@njit(cache=True, nogil=True, error_model="numpy")
def find_patterns(
    padded: NDArray[np.float64], margin: int, offsets: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return each pixel's bin; `padded` is the image with a margin of zeros.

    Row by row and point by point: the innermost loop runs along a row with one point, so that the
    compiler can vectorise it.
    """
    rows, columns = padded.shape[0] - 2 * margin, padded.shape[1] - 2 * margin
    points = len(offsets)
    fast = np.arange(columns).astype(np.float64)
    codes = np.empty(columns, np.uint32)
    patterns = np.empty((rows, columns), np.uint8)
    for row in range(rows):
        codes[:] = 0
        centres = padded[margin + row, margin : margin + columns]
        for point in range(points):
            up, left = np.floor(offsets[point, 0]), np.floor(offsets[point, 1])
            # the sum is rounded before the integer part is subtracted, as in `set_bits`
            weight = (row + offsets[point, 0]) - (row + up)
            top, start = margin + row + int(up), margin + int(left)
            above = padded[top, start : start + columns + 1]
            below = padded[top + 1, start : start + columns + 1]
            bit = np.uint32(np.uint64(1) << np.uint64(point))
            set_bits(
                codes, centres, fast, Point(bit, above, below, weight, offsets[point, 1], left)
            )
        name_patterns(codes, points, patterns[row])
    return patterns


@njit(cache=True, nogil=True, error_model="numpy")
def set_bits(
    codes: NDArray[np.uint32], centres: NDArray[np.float64], fast: NDArray[np.float64], point: Point
) -> None:
    """Set the point's bit in the codes of a row where it is at least as bright as the centre.

    `fast` has the columns' numbers.

    On flat and faint images a point is often exactly as bright as its centre, and rounding decides,
    which depends on the column because the weights are differences of coordinates. So everything is
    computed as in scikit-image, in double precision and in this order; with one weight for all
    columns, one pixel in several hundred would differ.
    """
    rest = 1.0 - point.weight
    for i in range(codes.size):
        right = (fast[i] + point.offset) - (fast[i] + point.left)
        upper = (1.0 - right) * point.above[i] + right * point.above[i + 1]
        lower = (1.0 - right) * point.below[i] + right * point.below[i + 1]
        is_bright = rest * upper + point.weight * lower >= centres[i]
        codes[i] |= point.bit if is_bright else np.uint32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def name_patterns(codes: NDArray[np.uint32], points: int, names: NDArray[np.uint8]) -> None:
    """Write the number of bits set in each code, or points + 1 if it is not uniform.

    The last bit is not compared with the first: the number of changes around the circle is even, so
    that this cannot decide between two and more than two.
    """
    pairs = np.uint32((np.uint64(1) << np.uint64(points - 1)) - np.uint64(1))
    other = np.uint8(points + 1)
    for i in range(codes.size):
        changes = count_bits((codes[i] ^ (codes[i] >> np.uint32(1))) & pairs)
        names[i] = count_bits(codes[i]) if changes <= 2 else other


@njit(cache=True, nogil=True, error_model="numpy")
def count_bits(code: np.uint32) -> np.uint32:
    """Return how many bits are set, in a form that the compiler makes one instruction."""
    code = code - ((code >> np.uint32(1)) & np.uint32(0x55555555))
    code = (code & np.uint32(0x33333333)) + ((code >> np.uint32(2)) & np.uint32(0x33333333))
    code = (code + (code >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
    return np.uint32(code * np.uint32(0x01010101)) >> np.uint32(24)
