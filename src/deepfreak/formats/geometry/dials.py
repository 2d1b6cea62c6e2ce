"""DIALS's models of experiments (.expt), as far as they speak of the detector."""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import GeometryError
from deepfreak.formats.geometry.geometry import (
    MAX_PANELS,
    BadRegion,
    Geometry,
    PixelRules,
    RawPanel,
)
from deepfreak.formats.headers import WithOrigin, from_file, metadata_from, read_number

Vector = NDArray[np.float64]


def parse(text: str, source: str) -> Geometry:
    """Return the geometry in `text`, the content of an .expt file; its first detector.

    The panels are projected along the normal of the first one, whose fast and slow axes become the
    image's; a group's frame is applied to the panels in it. Masked rectangles, gain, pedestal and
    trusted range are read. A mask file that it names is a pickle, and refused.

    Raises `GeometryError`: not JSON, or without a detector that makes sense.
    """
    try:
        content = json.loads(text)
        models = content["detector"]
        detector = models[0]
        descriptions = detector["panels"]
        panels = _in_laboratory(detector)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise GeometryError(
            f"expected a DIALS file with a detector in {source}, found none that makes sense"
        ) from error
    _refuse_mask_files(content, source)
    if not 0 < len(panels) <= MAX_PANELS:
        raise GeometryError(f"expected 1 to {MAX_PANELS} panels in {source}, found {len(panels)}")
    pixel = _vector(descriptions[0], "pixel_size", 2, source)
    if not (pixel > 0).all() or any(
        not np.allclose(_vector(one, "pixel_size", 2, source), pixel, rtol=1e-2)
        for one in descriptions
    ):
        raise GeometryError(f"expected panels with pixels of one size in {source}")
    _, fast, slow = panels[0]
    normal = np.cross(fast, slow)
    laid = tuple(
        _panel(str(i), one, place, (fast / pixel[0], slow / pixel[1]), pixel, source)
        for i, (one, place) in enumerate(zip(descriptions, panels, strict=True))
    )
    direct = _direct_beam(content, source)
    along = float(normal @ direct)
    origin = panels[0][0]
    beam = distance = None
    if abs(along) > 1e-3:
        hit = direct * float(normal @ origin) / along
        beam = (float(hit @ fast / pixel[0]), float(hit @ slow / pixel[1]))
        distance = abs(float(normal @ origin))
    first = descriptions[0]
    trusted = [_trusted(one, source) for one in descriptions]

    def given(key: str) -> WithOrigin | None:
        value = first.get(key)
        return from_file(None if value is None else read_number(value, key, source), key, source)

    return Geometry(
        source=source,
        panels=laid,
        bad=_bad(descriptions, source),
        rules=tuple(
            PixelRules(panel=str(i), less_than=low)
            for i, (low, _) in enumerate(trusted)
            if low is not None
        ),
        beam=beam,
        modules_by_order=True,
        metadata=metadata_from(
            gain=given("gain"),
            pedestal=given("pedestal"),
            saturation=from_file(trusted[0][1], "trusted_range", source),
            pixel_size_mm=from_file(float(pixel[0]), "pixel_size", source),
            distance_mm=from_file(distance, "origin", source),
        ),
    )


def _refuse_mask_files(content: dict[str, Any], source: str) -> None:
    """Raise `GeometryError` where an image set names a mask of its own."""
    imagesets = content.get("imageset")
    for imageset in imagesets if isinstance(imagesets, list) else ():
        named = imageset.get("mask") if isinstance(imageset, dict) else None
        if named:
            raise GeometryError(
                f"expected no mask file in {source}, found {str(named)[:80]!r}, which is a pickle "
                "and not read: write the mask as an image and give it with --mask"
            )


def _trusted(description: dict[str, Any], source: str) -> tuple[float | None, float | None]:
    """Return the least and the largest count that is trusted, None where unknown."""
    found = description.get("trusted_range")
    if found is None:
        return None, None
    low, high = _vector({"trusted_range": found}, "trusted_range", 2, source)
    return float(low), float(high)


def _in_laboratory(detector: dict[str, Any]) -> list[tuple[Vector, Vector, Vector]]:
    """Return (origin, fast, slow) of each panel in the laboratory's frame.

    Panels give theirs in the frame of the group they belong to (origin, fast axis, slow axis,
    normal), groups in that of their parent.
    """
    descriptions = detector["panels"]
    places = [_frame_of(panel, np.zeros(3), np.eye(3)) for panel in descriptions]

    def walk(node: dict[str, Any], origin: Vector, axes: Vector) -> None:
        if "panel" in node:
            number = node["panel"]
            if number not in range(len(places)):
                raise ValueError("a panel that is not there")
            places[number] = _frame_of(descriptions[number], origin, axes)
            return
        at, fast, slow = _frame_of(node, origin, axes)
        for child in node.get("children", ()):
            walk(child, at, np.stack([fast, slow, np.cross(fast, slow)]))

    if detector.get("hierarchy"):
        walk(detector["hierarchy"], np.zeros(3), np.eye(3))
    return places


def _frame_of(node: dict[str, Any], origin: Vector, axes: Vector) -> tuple[Vector, Vector, Vector]:
    """Return (origin, fast, slow) of `node` in the frame of which `origin` and `axes` are given."""
    place = np.array(node["origin"], dtype=np.float64)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError("an origin that is nowhere")
    return (
        origin + place @ axes,
        _unit(np.array(node["fast_axis"], dtype=np.float64) @ axes),
        _unit(np.array(node["slow_axis"], dtype=np.float64) @ axes),
    )


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length == 0 or vector.shape != (3,):
        raise ValueError("an axis without direction")
    return np.asarray(vector / length)


def _panel(
    name: str,
    description: dict[str, Any],
    place: tuple[Vector, Vector, Vector],
    axes: tuple[Vector, Vector],
    pixel: Vector,
    source: str,
) -> RawPanel:
    """Return a panel in pixels along the image's `axes` (divided by the pixel's size)."""
    origin, fast, slow = place
    size = _vector(description, "image_size", 2, source)
    offset = _vector({"raw_image_offset": [0, 0]} | description, "raw_image_offset", 2, source)
    x, y = axes
    fast_step = (float(fast @ x * pixel[0]), float(fast @ y * pixel[0]))
    slow_step = (float(slow @ x * pixel[1]), float(slow @ y * pixel[1]))
    flat = fast_step[0] * slow_step[1] - fast_step[1] * slow_step[0]
    inside = np.concatenate([size, offset])
    if size.min() < 1 or inside.min() < 0 or inside.max() > 1 << 17 or abs(flat) < 0.1:
        raise GeometryError(f"expected panel {name} of {source} of a sensible size and direction")
    return RawPanel(
        name=name,
        first=(int(offset[1]), int(offset[0])),
        size=(int(size[1]), int(size[0])),
        corner=(float(origin @ x), float(origin @ y)),
        fast=fast_step,
        slow=slow_step,
    )


def _direct_beam(content: dict[str, Any], source: str) -> Vector:
    """Return the direction in which the beam travels; DIALS stores the opposite."""
    beams = content.get("beam")
    first = beams[0] if isinstance(beams, list) and beams else {}
    if isinstance(first, dict) and "direction" in first:
        return -_vector(first, "direction", 3, source)
    return np.array([0.0, 0.0, -1.0])


def _bad(descriptions: list[dict[str, Any]], source: str) -> tuple[BadRegion, ...]:
    """Return the masked rectangles (fast, slow, to fast, to slow), ends left out."""
    regions: list[BadRegion] = []
    for i, description in enumerate(descriptions):
        offset = _vector({"raw_image_offset": [0, 0]} | description, "raw_image_offset", 2, source)
        rectangles = description.get("mask") or []
        if not isinstance(rectangles, list):
            raise GeometryError(f"expected rectangles for mask in {source}, found none")
        for rectangle in rectangles:
            edges = _vector({"mask": rectangle}, "mask", 4, source) + np.tile(offset, 2)
            low, high = (edges[0], edges[1]), (edges[2] - 1, edges[3] - 1)
            regions.append(BadRegion(low=low, high=high, panel=str(i)))
    return tuple(regions)


def _vector(values: dict[str, Any], key: str, length: int, source: str) -> Vector:
    try:
        vector = np.array(values[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        vector = np.empty(0)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise GeometryError(
            f"expected {length} numbers for {key} in {source}, found {str(values.get(key))[:60]}"
        )
    return vector
