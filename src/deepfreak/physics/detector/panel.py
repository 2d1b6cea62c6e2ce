"""A panel: a rectangle of square pixels in one plane, and where it is."""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.settings import Count, Vector, settings

Array = NDArray[np.float64]
Region = tuple[slice, slice]
NonNegativeCount = Annotated[int, Field(ge=0)]


class Panel(NamedTuple):
    """Where a panel's pixels are, in numbers that compiled loops take."""

    image_size: tuple[int, int]  # pixels along (slow, fast)
    origin_mm: Array  # outer corner of the first pixel, from the crystal, (3,)
    # fast_axis, slow_axis: unit vectors in which the indices grow, (3,)
    fast_axis: Array
    slow_axis: Array
    pixel_size_mm: float  # side of a pixel
    # The panel's first pixel on the detector's canvas, (slow, fast)
    first: tuple[int, int] = (0, 0)

    @property
    def region(self) -> Region:
        """Slices of the canvas that the panel's pixels fill."""
        return rectangle(self.first, self.image_size)

    @property
    def normal(self) -> Array:
        """Unit vector from the crystal towards the panel, perpendicular to it."""
        normal = np.cross(self.fast_axis, self.slow_axis)
        return normal if normal @ self.origin_mm > 0 else -normal

    @property
    def close_distance_mm(self) -> float:
        """Distance of the panel's plane from the crystal."""
        return float(self.normal @ self.origin_mm)

    @property
    def corners_mm(self) -> Array:
        """The panel's four outer corners, (4, xyz)."""
        rows, columns = self.image_size
        return self.origin_mm + self.pixel_size_mm * np.array(
            [s * self.slow_axis + f * self.fast_axis for s in (0, rows) for f in (0, columns)]
        )

    def pixel_positions_mm(
        self, *, subpixel: tuple[float, float] = (0.5, 0.5), rows: slice = slice(None)
    ) -> Array:
        """Return where each pixel is, (slow, fast, xyz), at `subpixel` (slow, fast) within it.

        `rows` limits the answer to part of the panel: three numbers a pixel are many.
        """
        i = (np.arange(self.image_size[0])[rows] + subpixel[0]) * self.pixel_size_mm
        j = (np.arange(self.image_size[1]) + subpixel[1]) * self.pixel_size_mm
        return (
            self.origin_mm + i[:, None, None] * self.slow_axis + j[None, :, None] * self.fast_axis
        )


@settings
class PlacedPanel:
    """A rectangle of the detector's canvas, and where it stands in the laboratory."""

    # first, image_size: its first pixel on the canvas, and how many there are, (slow, fast)
    first: tuple[NonNegativeCount, NonNegativeCount] = (0, 0)
    image_size: tuple[Count, Count]
    origin_mm: Vector  # outer corner of its first pixel, from the crystal
    # fast_axis, slow_axis: directions in which the indices grow; they need not have unit length
    fast_axis: Vector = (0.0, 0.0, 1.0)
    slow_axis: Vector = (0.0, -1.0, 0.0)

    def __post_init__(self) -> None:
        fast, slow = unit_axes(self.fast_axis, self.slow_axis)
        origin = np.array(self.origin_mm)
        if abs(np.cross(fast, slow) @ origin) < 1e-6 * max(1.0, float(np.linalg.norm(origin))):
            raise ValueError(
                f"a panel's plane must not pass through the crystal, found origin_mm "
                f"{self.origin_mm} in the plane of fast_axis and slow_axis"
            )

    def panel(self, pixel_size_mm: float) -> Panel:
        """Return it in numbers."""
        fast, slow = unit_axes(self.fast_axis, self.slow_axis)
        return Panel(
            image_size=self.image_size,
            origin_mm=np.array(self.origin_mm),
            fast_axis=fast,
            slow_axis=slow,
            pixel_size_mm=pixel_size_mm,
            first=self.first,
        )


@settings
class Modules:
    """Equal modules side by side in one plane, with gaps that measure nothing between them."""

    # rows, columns: how many stand along slow, and along fast
    rows: Count = 1
    columns: Count = 1
    # module_size, gap: pixels of a module and between two of them, (slow, fast). A PILATUS 1M has 5
    # rows and 2 columns of (195, 487) with a gap of (17, 7).
    module_size: tuple[Count, Count]
    gap: tuple[NonNegativeCount, NonNegativeCount] = (0, 0)

    @property
    def image_size(self) -> tuple[int, int]:
        """Pixels that they and their gaps cover, (slow, fast)."""
        slow, fast = (
            count * size + (count - 1) * gap
            for count, size, gap in zip(
                (self.rows, self.columns), self.module_size, self.gap, strict=True
            )
        )
        return slow, fast

    @property
    def regions(self) -> tuple[Region, ...]:
        """Slices of the canvas that each module fills, row by row."""
        step = (self.module_size[0] + self.gap[0], self.module_size[1] + self.gap[1])
        return tuple(
            rectangle((row * step[0], column * step[1]), self.module_size)
            for row in range(self.rows)
            for column in range(self.columns)
        )


def rectangle(first: tuple[int, int], size: tuple[int, int]) -> Region:
    """Return the slices of `size` pixels from `first`, both (slow, fast)."""
    return slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])


def unit_axes(fast_axis: Vector, slow_axis: Vector) -> tuple[Array, Array]:
    """Return unit vectors along fast and slow; a ValueError if they are not perpendicular."""
    fast, slow = np.array(fast_axis), np.array(slow_axis)
    lengths = np.linalg.norm(fast) * np.linalg.norm(slow)
    if lengths == 0 or abs(fast @ slow) > 1e-6 * lengths:
        raise ValueError(
            f"fast_axis and slow_axis must be perpendicular, found {fast_axis} and {slow_axis}"
        )
    return fast / np.linalg.norm(fast), slow / np.linalg.norm(slow)
