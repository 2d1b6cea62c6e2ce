"""One flat image made of a detector's panels.

Panels are laid into one image by moving whole pixels: for each pixel of the image the layout says
which value of the raw data it shows, if any. No value is interpolated, so counts stay counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import GeometryError
from deepfreak.formats.frame import MAX_PIXELS, Counts, Frame, Metadata, Valid, combined
from deepfreak.formats.geometry.geometry import Geometry, RawPanel

_STRAIGHT = 0.09  # largest slope (5 degrees) at which a panel is taken for one along the axes


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """How raw data become an image [slow, fast]."""

    places: NDArray[np.int32]  # each pixel's raw value by its number, 0 where no panel is
    shown: Valid  # where a panel is
    usable: Valid  # where one is and the geometry leaves nothing out
    missing: Mapping[str, Valid]  # what is not usable, by reason
    beam: tuple[float, float] | None  # (slow, fast) in pixels


def assemble(frame: Frame, geometry: Geometry | None) -> Frame:
    """Return `frame` as one image [slow, fast], with what `geometry` says.

    Raises `GeometryError`: panels lie outside the raw data, or the image would be too large.
    """
    if geometry is None:
        return frame
    frame = replace(
        frame, **combined(Metadata(origins=frame.origins, notes=frame.notes), geometry.metadata)
    )
    if not geometry.panels:
        if geometry.beam is None:
            return frame
        (slow_pixels, fast_pixels), (fast, slow) = frame.counts.shape, geometry.beam
        fast_from_end, slow_from_end = geometry.beam_from_end
        beam = (
            slow_pixels - slow if slow_from_end else slow,
            fast_pixels - fast if fast_from_end else fast,
        )
        origins = {**frame.origins, "beam_center_px": geometry.source}
        return replace(frame, beam_center_px=beam, origins=origins)
    layout = _layout(geometry, frame.counts.shape)

    def laid(raw: Valid) -> Valid:
        return np.asarray(raw.reshape(-1)[layout.places] & layout.shown)

    flagged = _flagged(geometry, frame.counts)
    valid = frame.valid if flagged is None else frame.valid & ~flagged
    missing: dict[str, Valid] = {}
    if frame.missing:
        missing |= {reason: laid(where) for reason, where in frame.missing.items()}
        if flagged is not None:
            missing["geometry: flagged by value"] = laid(flagged)
    missing |= layout.missing
    return replace(
        frame,
        counts=frame.counts.reshape(-1)[layout.places],
        valid=laid(valid) & layout.usable,
        missing=missing,
        beam_center_px=layout.beam,
        origins={**frame.origins, "beam_center_px": geometry.source},
    )


def _flagged(geometry: Geometry, counts: Counts) -> Valid | None:
    """Return the raw values that panels call bad by their counts, None without such rules."""
    rules = {rule.panel: rule for rule in geometry.rules if rule.reads_counts}
    found: Valid | None = None
    for panel in () if not rules else _numbered(geometry, counts.shape):
        rule = rules.get(panel.name)
        if rule is None:
            continue
        part = _part(panel)
        for limit, compare in (
            (rule.less_than, np.less),
            (rule.more_than, np.greater),
            (rule.equal, np.equal),
        ):
            if limit is not None:
                found = np.zeros(counts.shape, dtype=np.bool_) if found is None else found
                with np.errstate(invalid="ignore"):
                    found[part] |= compare(counts[part], limit)
    return found


def _part(panel: RawPanel) -> tuple[int | slice, ...]:
    """Return where the panel lies in the raw data."""
    (slow, fast), (height, width) = panel.first, panel.size
    return (*panel.module, slice(slow, slow + height), slice(fast, fast + width))


@lru_cache(maxsize=4)
def _layout(geometry: Geometry, shape: tuple[int, ...]) -> _Layout:
    """Return the map from raw data of `shape` to the image."""
    panels = [_straightened(panel) for panel in _numbered(geometry, shape)]
    for panel in panels:
        _require_inside(panel, shape, geometry.source)
    corners = np.concatenate([_corners(panel) for panel in panels])
    low, high = np.floor(corners.min(axis=0) + 1e-6), np.ceil(corners.max(axis=0) - 1e-6)
    fast, slow = (int(n) for n in np.clip(high - low, 1, 1 << 40))
    if slow * fast > MAX_PIXELS:
        raise GeometryError(
            f"expected panels that fit on {MAX_PIXELS} pixels, found {slow} x {fast} "
            f"in {geometry.source}: are its positions in pixels?"
        )
    bad = _bad_values(geometry, panels, shape)
    source = np.full((slow, fast), -1, dtype=np.int32)
    for panel in panels:
        _place(panel, shape, low, source)
    shown = source >= 0
    places = np.where(shown, source, 0)
    missing = {"geometry: no panel": ~shown}
    if bad is not None:
        missing["geometry: bad pixels"] = bad.reshape(-1)[places] & shown
    regions = [region for region in geometry.bad if region.in_plane]
    if regions:
        in_plane = np.zeros((slow, fast), dtype=np.bool_)
        for region in regions:
            start = np.clip(np.floor(region.low - low), 0, (fast, slow)).astype(int)
            stop = np.clip(np.ceil(region.high - low), 0, (fast, slow)).astype(int)
            in_plane[start[1] : stop[1], start[0] : stop[0]] = True
        missing["geometry: bad region"] = in_plane
    usable = shown.copy()
    for where in missing.values():
        usable &= ~where
    beam = geometry.beam
    return _Layout(
        places=places,
        shown=shown,
        usable=usable,
        missing={reason: where for reason, where in missing.items() if where.any()},
        beam=(float(beam[1] - low[1]), float(beam[0] - low[0])) if beam else None,
    )


def _numbered(geometry: Geometry, shape: tuple[int, ...]) -> list[RawPanel]:
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


def _straightened(panel: RawPanel) -> RawPanel:
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


def _require_inside(panel: RawPanel, shape: tuple[int, ...], source: str) -> None:
    last = (panel.first[0] + panel.size[0], panel.first[1] + panel.size[1])
    fits = len(panel.module) == len(shape) - 2 and min(panel.first) >= 0
    fits = fits and last[0] <= shape[-2] and last[1] <= shape[-1]
    fits = fits and all(0 <= i < n for i, n in zip(panel.module, shape[:-2], strict=False))
    if not fits:
        raise GeometryError(
            f"expected panel {panel.name} of {source} inside the raw data, found data of {shape} "
            f"and a panel up to {(*panel.module, *last)}: is it the geometry of this detector?"
        )


def _corners(panel: RawPanel) -> NDArray[np.float64]:
    """Return the four corners (x, y) of `panel`."""
    slow, fast = panel.size
    steps = np.array([[0, 0], [fast, 0], [0, slow], [fast, slow]], dtype=np.float64)
    corners: NDArray[np.float64] = np.array(panel.corner) + steps @ np.array(
        [panel.fast, panel.slow]
    )
    return corners


def _place(
    panel: RawPanel, shape: tuple[int, ...], low: NDArray[np.float64], source: NDArray[np.int32]
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


def _bad_values(geometry: Geometry, panels: list[RawPanel], shape: tuple[int, ...]) -> Valid | None:
    """Return which raw values the geometry leaves out by their place, None without any."""
    regions = [region for region in geometry.bad if not region.in_plane]
    rules = {rule.panel: rule for rule in geometry.rules if rule.all_bad or rule.edge}
    if not regions and not rules:
        return None
    bad = np.zeros(shape, dtype=np.bool_)
    for panel in panels:
        pixels = bad[_part(panel)]
        rule = rules.get(panel.name)
        if rule is not None and rule.all_bad:
            pixels[...] = True
        if rule is not None and rule.edge:
            edge = rule.edge
            pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:] = (True,) * 4
        for region in regions:
            if region.panel in {None, panel.name}:
                slow, fast = panel.first
                rows = slice(max(0, int(region.low[1]) - slow), int(region.high[1]) + 1 - slow)
                columns = slice(max(0, int(region.low[0]) - fast), int(region.high[0]) + 1 - fast)
                if rows.stop > 0 and columns.stop > 0:
                    pixels[rows, columns] = True
    return bad
