"""Where the panels of a detector are, and one flat image made of them.

A geometry comes from CrystFEL (`crystfel`), DIALS (`dials`) or pyFAI (`poni`). Panels are laid
into one image by moving whole pixels: for each pixel of the image the map says which value of the
raw data it shows, -1 where no panel is. No value is interpolated, so counts stay counts.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import GeometryError
from deepfreak.frames.frame import MOST_PIXELS, Counts, Facts, Frame, Valid

_STRAIGHT = 0.09  # largest slope (5 degrees) at which a panel is taken for one along the axes
MOST_PANELS = 4096
_MOST_FILE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A rectangle of the raw data and its place in the plane of the detector.

    Attributes
    ----------
    module
        Indices of the raw data's axes before the last two.
    first, size
        First pixel and number of pixels of the panel in the last two axes, (slow, fast).
    corner
        Position (x, y) of the first pixel's outer corner, in pixels.
    fast, slow
        Step (x, y) to the next pixel along each axis, in pixels.
    """

    name: str
    module: tuple[int, ...] = ()
    first: tuple[int, int]
    size: tuple[int, int]
    corner: tuple[float, float]
    fast: tuple[float, float]
    slow: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A region to leave out: of a panel's raw pixels (`panel` may be None: all), or of the plane.

    `low` and `high` are (fast, slow), the end included, or (x, y) when `in_plane`.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    panel: str | None = None
    in_plane: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """What a geometry file says.

    Attributes
    ----------
    source
        The file's name, for messages.
    panels
        In the order of the file; none where it speaks only of the beam.
    beam
        Where the direct beam meets the plane, (x, y) in pixels.
    beam_from_end
        Without panels: whether `beam` counts from the image's far end, along (x, y).
    data_path, mask_path, mask_good, mask_bad
        Where the images and the mask stand in an HDF5 file, and the mask's bits that must and must
        not be set in a good pixel; without either every value but zero is bad.
    facts
        What else it says of each frame.
    """

    source: str
    panels: tuple[Panel, ...] = ()
    bad: tuple[Bad, ...] = ()
    beam: tuple[float, float] | None = (0.0, 0.0)
    beam_from_end: tuple[bool, bool] = (False, False)
    data_path: str | None = None
    mask_path: str | None = None
    mask_good: int | None = None
    mask_bad: int | None = None
    modules_by_order: bool = False
    facts: Facts = field(default_factory=Facts)

    def raw_axes(self, shape: tuple[int, ...]) -> int:
        """Return how many of the last axes of data of `shape` make one frame."""
        if self.modules_by_order and len(shape) > 2:
            size = self.panels[0].size
            return 3 if shape[-2:] == size and shape[-3] == len(self.panels) else 2
        return 2 + len(self.panels[0].module) if self.panels else 2

    def masked(self, values: Counts) -> Valid:
        """Return which pixels a mask's `values` leave out."""
        if self.mask_good is None and self.mask_bad is None:
            return np.asarray(values != 0)
        good, bad = self.mask_good or 0, self.mask_bad or 0
        wide = np.asarray(values).astype(np.int64)
        return np.asarray(((wide & bad) != 0) | ((wide & good) != good))


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """`source` [slow, fast] numbers each pixel's raw value, -1 for none; the beam there."""

    source: NDArray[np.int32]
    beam: tuple[float, float] | None


def read_geometry(path: Path) -> Geometry:
    """Return the geometry in a CrystFEL .geom, DIALS .expt or pyFAI .poni file.

    Raises
    ------
    GeometryError
        The file cannot be read or does not make sense; the message is one line.
    """
    from deepfreak.frames import crystfel, dials, poni

    readers = {".geom": crystfel.parse, ".expt": dials.parse, ".json": dials.parse}
    readers[".poni"] = poni.parse
    parse = readers.get(path.suffix.lower())
    if parse is None:
        raise GeometryError(
            f"expected a CrystFEL .geom, DIALS .expt or pyFAI .poni file, found {path}"
        )
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise GeometryError(f"expected a geometry of less than 256 MB, found more in {path}")
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise GeometryError(f"cannot read {path}: {error.strerror or error}") from error
    return parse(text, str(path))


def assemble(frame: Frame, geometry: Geometry | None) -> Frame:
    """Return `frame` as one image [slow, fast], with what `geometry` says.

    Raises
    ------
    GeometryError
        Panels lie outside the raw data, or the image would be too large.
    """
    if geometry is None:
        return frame
    frame = replace(frame, **geometry.facts)
    if not geometry.panels:
        beam = _beam_on_image(geometry, frame.counts.shape)
        return replace(frame, beam_center_px=beam or frame.beam_center_px)
    layout = _layout(geometry, frame.counts.shape)
    shown = layout.source >= 0
    counts = frame.counts.reshape(-1)[layout.source]
    valid = frame.valid.reshape(-1)[layout.source] & shown
    return replace(frame, counts=counts, valid=valid, beam_center_px=layout.beam)


def _beam_on_image(geometry: Geometry, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Return where the beam meets an image of `shape`, (slow, fast), for a file without panels."""
    if geometry.beam is None:
        return None
    (fast, slow), (fast_from_end, slow_from_end) = geometry.beam, geometry.beam_from_end
    return (
        shape[0] - slow if slow_from_end else slow,
        shape[1] - fast if fast_from_end else fast,
    )


@lru_cache(maxsize=4)
def _layout(geometry: Geometry, shape: tuple[int, ...]) -> _Layout:
    """Return the map from raw data of `shape` to the image."""
    panels = [_straightened(panel) for panel in _numbered(geometry, shape)]
    for panel in panels:
        _require_inside(panel, shape, geometry.source)
    corners = np.concatenate([_corners(panel) for panel in panels])
    low, high = np.floor(corners.min(axis=0) + 1e-6), np.ceil(corners.max(axis=0) - 1e-6)
    fast, slow = (int(n) for n in np.clip(high - low, 1, 1 << 40))
    if slow * fast > MOST_PIXELS:
        raise GeometryError(
            f"expected panels that fit on {MOST_PIXELS} pixels, found {slow} x {fast} "
            f"in {geometry.source}: are its positions in pixels?"
        )
    bad = _bad_values(geometry, panels, shape)
    source = np.full((slow, fast), -1, dtype=np.int32)
    for panel in panels:
        _place(panel, shape, low, source)
    if bad is not None:
        source[(source >= 0) & bad[source]] = -1
    for region in geometry.bad:
        if region.in_plane:
            start = np.clip(np.floor(region.low - low), 0, (fast, slow)).astype(int)
            stop = np.clip(np.ceil(region.high - low), 0, (fast, slow)).astype(int)
            source[start[1] : stop[1], start[0] : stop[0]] = -1
    beam = geometry.beam
    return _Layout(source, (beam[1] - low[1], beam[0] - low[0]) if beam else None)


def _numbered(geometry: Geometry, shape: tuple[int, ...]) -> list[Panel]:
    """Return the panels with their place in raw data of `shape`."""
    if not geometry.modules_by_order:
        return list(geometry.panels)
    if len(shape) == 3:
        return [replace(panel, module=(i,)) for i, panel in enumerate(geometry.panels)]
    if len(geometry.panels) == 1 or any(panel.first != (0, 0) for panel in geometry.panels):
        return list(geometry.panels)
    heights = [panel.size[0] for panel in geometry.panels]
    if sum(heights) != shape[0]:
        raise GeometryError(
            f"expected raw data that hold the {len(heights)} panels of {geometry.source} one below "
            f"another ({sum(heights)} rows), found {shape[0]} rows"
        )
    starts = np.cumsum([0, *heights[:-1]])
    return [
        replace(panel, first=(int(start), 0))
        for panel, start in zip(geometry.panels, starts, strict=True)
    ]


def _straightened(panel: Panel) -> Panel:
    """Return `panel` along the axes and on whole pixels if it lies nearly so, else as it is.

    Its middle stays where it is to half a pixel; each raw pixel then shows exactly once.
    """
    steps = np.array([panel.fast, panel.slow])
    straight = np.rint(steps)
    tilt = np.abs(steps - straight).max()
    if tilt > _STRAIGHT or abs(round(np.linalg.det(straight))) != 1:
        return panel
    size = np.array([panel.size[1], panel.size[0]])
    middle = np.array(panel.corner) + size @ steps / 2
    corner = np.rint(middle - size @ straight / 2)
    return replace(
        panel,
        corner=(float(corner[0]), float(corner[1])),
        fast=(float(straight[0, 0]), float(straight[0, 1])),
        slow=(float(straight[1, 0]), float(straight[1, 1])),
    )


def _require_inside(panel: Panel, shape: tuple[int, ...], source: str) -> None:
    last = (panel.first[0] + panel.size[0], panel.first[1] + panel.size[1])
    fits = len(panel.module) == len(shape) - 2 and min(panel.first) >= 0
    fits = fits and last[0] <= shape[-2] and last[1] <= shape[-1]
    fits = fits and all(0 <= i < n for i, n in zip(panel.module, shape[:-2], strict=False))
    if not fits:
        raise GeometryError(
            f"expected panel {panel.name} of {source} inside the raw data, found data of {shape} "
            f"and a panel up to {(*panel.module, *last)}: is it the geometry of this detector?"
        )


def _corners(panel: Panel) -> NDArray[np.float64]:
    """Return the four corners (x, y) of `panel`."""
    slow, fast = panel.size
    steps = np.array([[0, 0], [fast, 0], [0, slow], [fast, slow]], dtype=np.float64)
    corners: NDArray[np.float64] = np.array(panel.corner) + steps @ np.array(
        [panel.fast, panel.slow]
    )
    return corners


def _place(
    panel: Panel, shape: tuple[int, ...], low: NDArray[np.float64], source: NDArray[np.int32]
) -> None:
    """Enter the raw value under the centre of each pixel that `panel` covers into `source`."""
    corners = _corners(panel) - low
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
    window = source[y0:y1, x0:x1]
    y = y0 + 0.5 + np.arange(window.shape[0])[:, None] - (panel.corner[1] - low[1])
    x = x0 + 0.5 + np.arange(window.shape[1])[None, :] - (panel.corner[0] - low[0])
    (fx, fy), (sx, sy) = panel.fast, panel.slow
    determinant = fx * sy - fy * sx
    fast = np.floor((x * sy - y * sx) / determinant).astype(np.int64)
    slow = np.floor((y * fx - x * fy) / determinant).astype(np.int64)
    inside = (slow >= 0) & (slow < panel.size[0]) & (fast >= 0) & (fast < panel.size[1])
    base = int(np.ravel_multi_index((*panel.module, *panel.first), shape))
    window[inside] = (base + slow * shape[-1] + fast)[inside]


def _bad_values(geometry: Geometry, panels: list[Panel], shape: tuple[int, ...]) -> Valid | None:
    """Return which raw values (flat) the bad regions of panels leave out, None without any."""
    regions = [region for region in geometry.bad if not region.in_plane]
    if not regions:
        return None
    bad = np.zeros(shape, dtype=np.bool_)
    for region in regions:
        rows = slice(max(0, int(region.low[1])), int(region.high[1]) + 1)
        columns = slice(max(0, int(region.low[0])), int(region.high[0]) + 1)
        for panel in panels:
            if region.panel not in {None, panel.name}:
                continue
            inside = np.zeros(shape[-2:], dtype=np.bool_)
            inside[rows, columns] = True
            within = np.zeros_like(inside)
            (r, c), (height, width) = panel.first, panel.size
            within[r : r + height, c : c + width] = True
            bad[panel.module] |= inside & within
    flat: Valid = bad.reshape(-1)
    return flat
