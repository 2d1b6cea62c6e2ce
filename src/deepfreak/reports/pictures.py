"""Detector images as small pictures inside a page, and what is drawn over them."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.features.peaks import MIN_SIGMA, find_peaks
from deepfreak.reports.palette import ACTIVATION_RGB, MISSING_RGB

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 256
SHADES = 64
MISSING_SHADE = SHADES
# The part of all shown pixels that may be white: a spot is a few pixels in ten thousand.
WHITE_PART = 0.002
MIN_WHITE_LEVEL = 24
MAX_OPAQUE = 130  # of 255; the image has to be seen through an activation map
# More circles than this hide the picture.
MAX_CIRCLES = 200
# In pixels of the picture, `SIDE` of them wide.
CIRCLE_RADIUS = 3.0


def white_level(images: list[NDArray[np.uint8]]) -> int:
    """Return the gray level to show as white, one for all `images` so that dark ones stay dark."""
    if not images:
        return MIN_WHITE_LEVEL
    counts = sum(np.bincount(image.ravel(), minlength=256) for image in images)
    brightest = np.searchsorted(np.cumsum(counts), (1 - WHITE_PART) * np.sum(counts))
    return int(np.clip(brightest, MIN_WHITE_LEVEL, 255))


def picture(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None, *, white: int) -> str:
    """Return `image` [slow, fast] as a PNG data URI, at most about `SIDE` pixels wide and high.

    Where several pixels become one the brightest is shown, so that no spot is lost. Missing
    pixels have a colour of their own.
    """
    from PIL.Image import fromarray

    shown = np.ones(image.shape, np.bool_) if valid is None else valid
    factor = _factor(image.shape)
    levels = brightest(np.where(shown, image, 0).astype(np.uint8), factor)
    shades = np.minimum(levels.astype(np.uint16) * (SHADES - 1) // white, SHADES - 1)
    shades[~brightest(shown, factor)] = MISSING_SHADE
    png = fromarray(shades.astype(np.uint8), mode="P")
    grays = [round(255 * shade / (SHADES - 1)) for shade in range(SHADES)]
    png.putpalette([value for gray in grays for value in (gray,) * 3] + list(MISSING_RGB))
    return png_uri(png)


def tint(activation: NDArray[np.float32]) -> str:
    """Return an activation map [slow, fast] as a translucent PNG data URI.

    One pixel for each of its parts, to be stretched smoothly over the image. The more a part spoke
    for the verdict, relative to the part that did most, the more opaque it is; parts that spoke
    against it are transparent.
    """
    from PIL.Image import fromarray

    favour = np.maximum(activation, 0)
    most = favour.max(initial=0)
    layer = np.empty((*activation.shape, 4), np.uint8)
    layer[..., :3] = ACTIVATION_RGB
    layer[..., 3] = np.rint(MAX_OPAQUE * (favour / most if most > 0 else favour))
    return png_uri(fromarray(layer))


def png_uri(image: "Image") -> str:
    """Return a PIL image as a PNG data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def brightest(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the largest value of each block of factor x factor pixels; the last may be smaller."""
    starts = [np.arange(0, size, factor) for size in image.shape]
    rows = np.maximum.reduceat(image, starts[0], axis=0)
    return np.asarray(np.maximum.reduceat(rows, starts[1], axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circles:
    """Circles about the peaks of a picture, as SVG.

    `size` is the picture's (width, height) in the units of `path`; `caption` says how many peaks
    there are and how many have a circle. `rings` are circles as (x, y, radius) in the same units.
    """

    size: tuple[int, int]
    path: str
    caption: str
    rings: tuple[tuple[float, float, float], ...] = ()


def circles(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> Circles | None:
    """Return circles about the peaks found on `image`, the highest `MAX_CIRCLES` of them.

    None on an image without valid pixels.
    """
    try:
        peaks = find_peaks(image, valid)
    except FrameError:
        return None
    return circles_at(image.shape, np.stack([peaks.slow, peaks.fast], axis=1), sigma=MIN_SIGMA)


def circles_at(
    shape: tuple[int, ...],
    places: NDArray[np.float64],
    rings: NDArray[np.float64] | None = None,
    *,
    sigma: float,
) -> Circles:
    """Return circles about `places` (n, 2), slow and fast, the highest peaks first.

    `shape`: of the image whose pixels the places are in; peaks beyond it have no circle. `rings`:
    (m, 3): slow and fast of the centre, radius. `sigma`: over how many standard deviations the
    peaks are.
    """
    factor = _factor(shape)
    height, width = (-(-size // factor) for size in shape)
    inside = ((places >= 0) & (places <= shape)).all(axis=1)
    drawn = () if rings is None else rings / factor
    caption = f"{len(places) or 'no'} peak{'s' if len(places) > 1 else ''} over {sigma:g} sigma"
    if len(places) > MAX_CIRCLES:
        caption += f", the {MAX_CIRCLES} highest circled"
    return Circles(
        size=(width, height),
        path=_path(places[inside], factor),
        caption=caption,
        rings=tuple((round(x, 1), round(y, 1), round(r, 1)) for y, x, r in np.asarray(drawn)),
    )


def _path(places: NDArray[np.float64], factor: int) -> str:
    """Return the circles as one path, each of two arcs."""
    radius = f"{CIRCLE_RADIUS:g}"
    arcs = (
        f"a{radius} {radius} 0 1 0 {2 * CIRCLE_RADIUS:g} 0"
        f"a{radius} {radius} 0 1 0 {-2 * CIRCLE_RADIUS:g} 0"
    )
    return "".join(
        f"M{fast / factor - CIRCLE_RADIUS:.1f} {slow / factor:.1f}{arcs}"
        for slow, fast in places[:MAX_CIRCLES].tolist()
    )


def _factor(shape: tuple[int, ...]) -> int:
    """Return how many pixels along each side become one of the picture."""
    return max(1, -(-max(shape) // SIDE))
