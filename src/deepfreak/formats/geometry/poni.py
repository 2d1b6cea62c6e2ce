"""pyFAI's point of normal incidence (.poni)."""

import json
import math
import re
from collections.abc import Mapping

from deepfreak.errors import GeometryError
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.headers import from_file, metadata_from, read_number

# Orientations in which pyFAI counts an axis from the image's far end (its manual, "orientation").
_SLOW_FROM_END = {1, 2}
_FAST_FROM_END = {1, 4}
_ORIENTATIONS = {0, 1, 2, 3, 4}  # 0: not said, as 3


def parse(text: str, source: str) -> Geometry:
    """Return the beam's place in `text`, the content of a .poni file; the last entry of each key.

    The direct beam meets the detector at poni1 + L tan(rot2) / cos(rot1) along the slow axis and
    at poni2 - L tan(rot1) along the fast axis (from pyFAI's definition of the rotations). The file
    speaks of no panels: the image stays as it is.

    Raises `GeometryError`: a length or the pixel size is missing or no number.
    """
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            entries[key.strip().lower()] = value.strip()
    config = _config(entries.get("detector_config", ""), source)
    named = _named_pixel(entries)
    pixel_slow = _number(config, "pixel1", source, _number(entries, "pixelsize1", source, named))
    pixel_fast = _number(config, "pixel2", source, _number(entries, "pixelsize2", source, named))
    distance, poni1, poni2 = (
        _number(entries, key, source) for key in ("distance", "poni1", "poni2")
    )
    if distance is None or poni1 is None or poni2 is None or not pixel_slow or not pixel_fast:
        raise GeometryError(
            f"expected Distance, Poni1, Poni2 and the pixel size (Detector_config) in {source}, "
            "found not all of them"
        )
    rot1, rot2 = (_number(entries, key, source, 0.0) or 0.0 for key in ("rot1", "rot2"))
    if min(math.cos(rot1), math.cos(rot2)) < 0.01 or min(pixel_slow, pixel_fast) <= 0:
        raise GeometryError(f"expected a detector that the beam meets in {source}, found another")
    slow = (poni1 + distance * math.tan(rot2) / math.cos(rot1)) / pixel_slow
    fast = (poni2 - distance * math.tan(rot1)) / pixel_fast
    orientation = _number(config, "orientation", source, 3.0) or 3.0
    if orientation not in _ORIENTATIONS:
        raise GeometryError(
            f"expected an orientation from 0 to 4 in {source}, found {orientation:g}"
        )
    wavelength = _number(entries, "wavelength", source)
    tilted_mm = distance * 1e3 * math.cos(rot1) * math.cos(rot2)
    return Geometry(
        source=source,
        beam=(fast, slow),
        beam_from_end=(orientation in _FAST_FROM_END, orientation in _SLOW_FROM_END),
        metadata=metadata_from(
            pixel_size_mm=from_file(pixel_slow * 1e3, "pixel size", source),
            distance_mm=from_file(tilted_mm, "Distance", source),
            wavelength_A=from_file(wavelength and wavelength * 1e10, "Wavelength", source),
        ),
    )


def _number(
    entries: Mapping[str, object], key: str, source: str, default: float | None = None
) -> float | None:
    """Return the number under `key`, `default` if it is missing or pyFAI's None."""
    text = entries.get(key)
    if text is None or text in {"", "None", "null"}:
        return default
    return read_number(text, key, source)


def _config(text: str, source: str) -> dict[str, object]:
    """Return the JSON of `Detector_config`, empty if it is missing."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    for key, value in config.items():
        if value and re.search(r"file|mask|spline", key, re.IGNORECASE):
            raise GeometryError(
                f"expected a detector without files of its own in {source}, found {key[:40]}: give "
                "the mask with --mask"
            )
    return config


def _named_pixel(entries: dict[str, str]) -> float | None:
    """Return the pixel size in m of detectors that need no `Detector_config`."""
    name = entries.get("detector", "")
    if re.match(r"pilatus", name, re.IGNORECASE):
        return 172e-6
    if re.match(r"eiger", name, re.IGNORECASE):
        return 75e-6
    return None
