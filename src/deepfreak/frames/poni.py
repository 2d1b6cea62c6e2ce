"""pyFAI's point of normal incidence (.poni)."""

import json
import math
import re

from deepfreak.errors import GeometryError
from deepfreak.frames.geometry import Geometry
from deepfreak.frames.headers import facts, number

# Orientations in which pyFAI counts an axis from the image's far end (its manual, "orientation").
_SLOW_FROM_END = {1, 2}
_FAST_FROM_END = {1, 4}


def parse(text: str, source: str) -> Geometry:
    """Return the beam's place in `text`, the content of a .poni file; the last entry of each key.

    The direct beam meets the detector at poni1 + L tan(rot2) / cos(rot1) along the slow axis and
    at poni2 - L tan(rot1) along the fast axis (from pyFAI's definition of the rotations). The file
    speaks of no panels: the image stays as it is.

    Raises
    ------
    GeometryError
        A length or the pixel size is missing or no number.
    """
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            entries[key.strip().lower()] = value.strip()
    config = _config(entries.get("detector_config", ""))
    pixel_slow = number(config, "pixel1") or number(entries, "pixelsize1") or _named_pixel(entries)
    pixel_fast = number(config, "pixel2") or number(entries, "pixelsize2") or _named_pixel(entries)
    distance, poni1, poni2 = (number(entries, key) for key in ("distance", "poni1", "poni2"))
    if distance is None or poni1 is None or poni2 is None or not pixel_slow or not pixel_fast:
        raise GeometryError(
            f"expected Distance, Poni1, Poni2 and the pixel size (Detector_config) in {source}, "
            "found not all of them"
        )
    rot1, rot2 = number(entries, "rot1") or 0.0, number(entries, "rot2") or 0.0
    if min(math.cos(rot1), math.cos(rot2)) < 0.01 or min(pixel_slow, pixel_fast) <= 0:
        raise GeometryError(f"expected a detector that the beam meets in {source}, found another")
    slow = (poni1 + distance * math.tan(rot2) / math.cos(rot1)) / pixel_slow
    fast = (poni2 - distance * math.tan(rot1)) / pixel_fast
    orientation = int(number(config, "orientation") or 3)

    wavelength = number(entries, "wavelength")
    return Geometry(
        source=source,
        beam=(fast, slow),
        beam_from_end=(orientation in _FAST_FROM_END, orientation in _SLOW_FROM_END),
        facts=facts(
            pixel_size_mm=pixel_slow * 1e3,
            distance_mm=distance * 1e3 * math.cos(rot1) * math.cos(rot2),
            wavelength_A=wavelength * 1e10 if wavelength else None,
        ),
    )


def _config(text: str) -> dict[str, object]:
    """Return the JSON of `Detector_config`, empty where there is none."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _named_pixel(entries: dict[str, str]) -> float | None:
    """Return the pixel size in m of detectors that need no `Detector_config`."""
    name = entries.get("detector", "")
    if re.match(r"pilatus", name, re.IGNORECASE):
        return 172e-6
    if re.match(r"eiger", name, re.IGNORECASE):
        return 75e-6
    return None
