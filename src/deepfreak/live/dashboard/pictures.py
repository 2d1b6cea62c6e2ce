"""Hits as PNG files, and what is drawn over them."""

import base64
from functools import lru_cache
from typing import Any

from deepfreak.live.messages import FramePicture
from deepfreak.live.statistics import ShownHit
from deepfreak.live.statistics.gallery import MOST
from deepfreak.reports.pictures import picture, tint, white_level

# The pictures are small: more circles than these, of the highest peaks, would hide the spots.
_MAX_CIRCLES = 40
_MAX_RINGS = 20


@lru_cache(maxsize=2 * MOST)
def hit_png(shown: FramePicture) -> bytes:
    """Return what the model saw as PNG, its brightest spots white."""
    return _bytes_of(picture(shown.image, shown.valid, white=white_level([shown.image])))


@lru_cache(maxsize=2 * MOST)
def activation_png(shown: FramePicture) -> bytes | None:
    """Return the activation map as a translucent PNG; None without one."""
    return None if shown.activation is None else _bytes_of(tint(shown.activation))


def peaks_to_json(hit: ShownHit) -> dict[str, Any]:
    """Return where the first peaks of a hit are, as parts of the picture's height and width.

    Rings are (slow, fast, radius along slow, radius along fast) in the same parts.
    """
    shown = hit.outcome.picture
    if shown is None:
        return {"peaks": [], "rings": []}
    height, width = shown.image.shape
    return {
        "peaks": [
            [round(slow / height, 4), round(fast / width, 4)]
            for slow, fast in shown.peaks[:_MAX_CIRCLES].tolist()
            if 0 <= slow <= height and 0 <= fast <= width
        ],
        "rings": [
            [round(part, 4) for part in (y / height, x / width, r / height, r / width)]
            for y, x, r in shown.rings[:_MAX_RINGS].tolist()
        ],
    }


def _bytes_of(data_uri: str) -> bytes:
    return base64.b64decode(data_uri.partition(",")[2])
