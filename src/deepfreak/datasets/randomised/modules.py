"""Where the modules of a detector lie, and which pixel of a file sees which place of the image.

The *canvas* is the assembled image. The *frame* is what the file holds: the canvas, or the modules
one below the other, not assembled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLayout:
    """Modules on the canvas."""

    module: tuple[int, int]  # pixels (slow, fast) of one module
    # Middle of each module (slow, fast) in pixels, from any origin
    centers: tuple[tuple[float, float], ...]
    quarters: tuple[int, ...]  # quarter turns of each module
    chips: tuple[int, int] = (1, 1)  # how many chips or amplifiers a module has, (slow, fast)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedModules:
    """A layout on its canvas."""

    shape: tuple[int, int]  # of the canvas
    sensitive: Mask  # pixels of the canvas on which a module's pixel lies
    # For each pixel of the frame its place in the flattened canvas; None where the frame is the
    # canvas
    places: Int | None
    # The other way: for each pixel of the canvas its place in the flattened frame, -1 without
    frame_of: Int | None
    chip: NDArray[np.uint16]  # for each pixel of the frame its chip, from 1; 0 in gaps
    edge: Mask  # pixels of the frame in the first or last row or column of a chip


def grid(
    rows: int,
    columns: int,
    module: tuple[int, int],
    gap: tuple[int, int] = (0, 0),
    chips: tuple[int, int] = (1, 1),
) -> ModuleLayout:
    """Return rows and columns of modules with `gap` pixels (slow, fast) between them."""
    pitch = module[0] + gap[0], module[1] + gap[1]
    centers = tuple(
        (row * pitch[0], column * pitch[1]) for row in range(rows) for column in range(columns)
    )
    return ModuleLayout(module=module, centers=centers, quarters=(0,) * len(centers), chips=chips)


def pinwheel(
    rows: int,
    columns: int,
    module: tuple[int, int],
    gap: int,
    hole: int,
    chips: tuple[int, int] = (1, 1),
    *,
    turned: bool = True,
) -> ModuleLayout:
    """Return four quadrants of rows x columns modules around a square hole.

    Each quadrant is turned by a quarter against the one before it, or, if not `turned`, only moved.
    """
    height = rows * (module[0] + gap) - gap
    width = columns * (module[1] + gap) - gap
    centers, quarters = [], []
    for turn in range(4):
        for row in range(rows):
            for column in range(columns):
                slow = row * (module[0] + gap) + module[0] / 2 - height
                fast = column * (module[1] + gap) + module[1] / 2 - width
                if turned:
                    # the quadrant's inner corner lies at the hole, shifted along one side of it
                    place = np.array([slow - hole / 2, fast + hole / 2])
                    for _ in range(turn):
                        place = np.array([-place[1], place[0]])
                    quarters.append(turn)
                else:
                    signs = np.array([1 if turn < 2 else -1, 1 if turn % 2 else -1])
                    sideways = hole / 2 * (1 if turn % 3 else -1)
                    place = np.array([slow - gap / 2, fast - gap / 2]) * signs
                    place += np.array([0.0, sideways]) if turn < 2 else np.array([0.0, -sideways])
                    quarters.append(0)
                centers.append((float(place[0]), float(place[1])))
    return ModuleLayout(
        module=module, centers=tuple(centers), quarters=tuple(quarters), chips=chips
    )


def place(
    layout: ModuleLayout,
    *,
    assembled: bool,
    tilt_deg: float,
    shift_px: float,
    rng: np.random.Generator,
) -> PlacedModules:
    """Put each module on the canvas, tilted and shifted by normal deviates of these RMS.

    Each pixel goes to the nearest one of the canvas, as programs that assemble images do: between
    the pixels of a tilted module holes are left.
    """
    height, width = layout.module
    count = len(layout.centers)
    tilts = np.deg2rad(tilt_deg * rng.standard_normal(count))
    shifts = shift_px * rng.standard_normal((count, 2))
    slow = np.arange(height)[:, None] + 0.5 - height / 2
    fast = np.arange(width)[None, :] + 0.5 - width / 2
    at = np.empty((2, count, height, width), dtype=np.int32)
    for n, (center, quarter) in enumerate(zip(layout.centers, layout.quarters, strict=True)):
        turned = ((slow, fast), (-fast, slow), (-slow, -fast), (fast, -slow))[quarter]
        cosine, sine = np.cos(tilts[n]), np.sin(tilts[n])
        at[0, n] = np.floor(cosine * turned[0] - sine * turned[1] + center[0] + shifts[n, 0])
        at[1, n] = np.floor(sine * turned[0] + cosine * turned[1] + center[1] + shifts[n, 1])
    at -= at.min(axis=(1, 2, 3), keepdims=True)
    shape = (int(at[0].max()) + 1, int(at[1].max()) + 1)
    flat = at[0] * np.int32(shape[1]) + at[1]
    chip, edge = _chips(layout)
    labels = chip + (np.arange(count) * layout.chips[0] * layout.chips[1])[:, None, None]
    sensitive = np.zeros(shape, dtype=np.bool_)
    sensitive.reshape(-1)[flat] = True
    if not assembled:
        stack = (count * height, width)
        frame_of = np.full(shape, -1, dtype=np.int32)
        frame_of.reshape(-1)[flat.reshape(-1)] = np.arange(flat.size, dtype=np.int32)
        return PlacedModules(
            shape=shape,
            sensitive=sensitive,
            places=flat.reshape(stack),
            frame_of=frame_of,
            chip=labels.reshape(stack).astype(np.uint16),
            edge=np.tile(edge, (count, 1)),
        )
    chips_of = np.zeros(shape, dtype=np.uint16)
    chips_of.reshape(-1)[flat] = labels
    edges = np.zeros(shape, dtype=np.bool_)
    edges.reshape(-1)[flat[np.broadcast_to(edge, flat.shape)]] = True
    return PlacedModules(
        shape=shape,
        sensitive=sensitive,
        places=None,
        frame_of=None,
        chip=chips_of,
        edge=edges,
    )


def _chips(layout: ModuleLayout) -> tuple[Int, Mask]:
    """Return the chip, from 1, of each pixel of a module, and the pixels along chips' borders."""
    height, width = layout.module
    rows = np.arange(height) * layout.chips[0] // height
    columns = np.arange(width) * layout.chips[1] // width
    chip = 1 + rows[:, None] * layout.chips[1] + columns[None, :]
    at_row = _borders(rows)
    at_column = _borders(columns)
    return chip.astype(np.int32), at_row[:, None] | at_column[None, :]


def _borders(chip: NDArray[np.int64]) -> Mask:
    border = np.ones(len(chip), dtype=np.bool_)
    border[1:-1] = (chip[1:-1] != chip[:-2]) | (chip[1:-1] != chip[2:])
    return border
