"""A shot's picture with resolution rings, the beam, the beamstop and what measures nothing."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.shot_metadata import ShotMetadata
from deepfreak.physics.detector import Panel
from deepfreak.reports.palette import BEAM_RGB, LABEL_RGB, MISSING_RGB, OBSTACLE_RGB, RING_RGB
from deepfreak.reports.pictures import brightest, white_level
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Array = NDArray[np.float64]

SIDE = 1024  # pixels of the picture's longer side, about
RINGS = 4
FONT_SIZE = 18
_DIGITS = 2  # of a ring's resolution
_STEPS = 721  # around a ring


def write_preview(path: Path, image: NDArray[Any], header: ShotMetadata, overwrite: bool) -> None:
    """Write `image` [slow, fast] as a PNG with rings, labelled in A, and a cross at the beam.

    An 8-bit image is shown as it is, any other by its square root; where several pixels become one
    the brightest is shown. Missing pixels have a colour of their own, and what stands behind a
    beamstop or another obstacle is tinted.
    """
    from PIL import Image, ImageDraw

    shown = ~header.missing
    root = image if image.dtype == np.uint8 else np.minimum(np.sqrt(np.maximum(image, 0)), 255)
    levels = np.where(shown, root, 0).astype(np.uint8)
    white = white_level([levels])
    shrink = max(1, round(max(image.shape) / SIDE))
    enlarge = max(1, round(SIDE / max(image.shape)))
    gray = np.minimum(brightest(levels, shrink).astype(np.uint16) * 255 // white, 255)
    colours = np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    shaded = brightest(header.shaded, shrink)
    colours[shaded] = colours[shaded] // 2 + np.array(OBSTACLE_RGB, dtype=np.uint8)
    colours[~brightest(shown, shrink)] = MISSING_RGB
    colours = colours.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    picture = Image.fromarray(colours)
    _draw_rings(ImageDraw.Draw(picture), header, enlarge / shrink)
    with whole_file(path, overwrite=overwrite) as partial:
        picture.save(partial, "PNG")


def ring_resolutions_A(header: ShotMetadata) -> list[float]:
    """Return the d-spacings to draw: round numbers, evenly spaced from beam to corner."""
    farthest = max(float(sin_theta_at(panel.corners_mm).max()) for panel in header.panels)
    steps = np.arange(1, RINGS + 1) / (RINGS + 0.5)
    # at most 72 degrees: towards 90 the tangent leaves every image
    tangents = steps * np.tan(2 * np.arcsin(min(farthest, np.sin(np.pi / 5))))
    sin_thetas = np.sin(np.arctan(tangents) / 2)
    return [float(f"{header.wavelength_A / (2 * s):.{_DIGITS}g}") for s in sin_thetas]


def ring_on_panel(panel: Panel, d_A: float, wavelength_A: float) -> Array:
    """Return where `d_A` meets the panel's plane: points (n, slow and fast) of the image in pixels.

    The cone of scattering at 2 theta, cut by the plane: a circle only where that faces the beam. A
    direction that does not meet the plane gives NaN.
    """
    two_theta = 2 * np.arcsin(wavelength_A / (2 * d_A))
    around = np.linspace(0, 2 * np.pi, _STEPS)
    directions = np.stack(
        [
            np.full(_STEPS, np.cos(two_theta)),
            np.sin(two_theta) * np.cos(around),
            np.sin(two_theta) * np.sin(around),
        ],
        axis=1,
    )
    towards = directions @ panel.normal
    reach = np.where(towards > 1e-6, panel.close_distance_mm / np.maximum(towards, 1e-6), np.nan)
    inside = (reach[:, None] * directions - panel.origin_mm) / panel.pixel_size_mm
    points: Array = np.stack(
        [panel.first[0] + inside @ panel.slow_axis, panel.first[1] + inside @ panel.fast_axis],
        axis=1,
    )
    return points


def sin_theta_at(positions_mm: Array) -> Array:
    """Return sin(theta) at positions (n, xyz) from the crystal."""
    cos_2theta = positions_mm[:, 0] / np.linalg.norm(positions_mm, axis=1)
    return np.asarray(np.sqrt(np.maximum(0.0, (1 - cos_2theta) / 2)))


def _draw_rings(pen: "ImageDraw", header: ShotMetadata, scale: float) -> None:
    """Draw rings, labels and the beam; a pixel of the image takes `scale` of the picture."""
    for d_A in ring_resolutions_A(header):
        seen = []
        for panel in header.panels:
            points = ring_on_panel(panel, d_A, header.wavelength_A)
            first, size = np.array(panel.first), np.array(panel.image_size)
            on_panel = np.all((points >= first) & (points <= first + size), axis=1)
            for here, there in pairwise(range(_STEPS)):
                if on_panel[here] and on_panel[there]:
                    pen.line([*_xy(points[here], scale), *_xy(points[there], scale)], RING_RGB)
            seen.append(points[on_panel])
        place = _place_for_label(np.concatenate(seen), header.image_size, FONT_SIZE / scale)
        if place is not None:
            pen.text(
                _xy(place, scale),
                f"{d_A:g} A",
                LABEL_RGB,
                anchor="mm",
                font_size=FONT_SIZE,
                stroke_width=2,
                stroke_fill=(0, 0, 0),
            )
    x, y = _xy(np.array(header.beam_center_px), scale)
    for dx, dy in ((8, 0), (0, 8)):
        pen.line([x - dx, y - dy, x + dx, y + dy], BEAM_RGB, width=2)


def _place_for_label(points: Array, image_size: tuple[int, int], margin: float) -> Array | None:
    """Return the highest point of a ring that leaves room for a label inside the image."""
    room = np.array([margin, 2 * margin])
    inside = np.all((points >= room) & (points <= np.array(image_size) - room), axis=1)
    if not inside.any():
        return None
    return np.asarray(points[inside][np.argmin(points[inside][:, 0])])


def _xy(point: Array, scale: float) -> tuple[float, float]:
    """Return the place (x, y) in the picture of a point (slow, fast) of the image."""
    return float(point[1] * scale), float(point[0] * scale)
