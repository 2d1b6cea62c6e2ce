"""Detector images as small pictures inside a page."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 256
SHADES = 64
MISSING_SHADE = SHADES
MISSING_COLOUR = (52, 74, 128)
# The part of all shown pixels that may be white: a spot is a few pixels in ten thousand.
WHITE_PART = 0.002
MIN_WHITE_LEVEL = 24


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
    from PIL import Image

    shown = np.ones(image.shape, np.bool_) if valid is None else valid
    factor = max(1, -(-max(image.shape) // SIDE))
    levels = _brightest(np.where(shown, image, 0).astype(np.uint8), factor)
    shades = np.minimum(levels.astype(np.uint16) * (SHADES - 1) // white, SHADES - 1)
    shades[~_brightest(shown, factor)] = MISSING_SHADE
    png = Image.fromarray(shades.astype(np.uint8), mode="P")
    grays = [round(255 * shade / (SHADES - 1)) for shade in range(SHADES)]
    png.putpalette([value for gray in grays for value in (gray,) * 3] + list(MISSING_COLOUR))
    buffer = io.BytesIO()
    png.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _brightest(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the largest value of each block of factor x factor pixels; the last may be smaller."""
    starts = [np.arange(0, size, factor) for size in image.shape]
    rows = np.maximum.reduceat(image, starts[0], axis=0)
    return np.asarray(np.maximum.reduceat(rows, starts[1], axis=1))
