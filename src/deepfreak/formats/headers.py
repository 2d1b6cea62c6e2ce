"""Numbers in the headers of files, and the metadata made of them, in the units of `Frame`.

Only what makes sense is returned: a header without a value, or with zero where it is unknown,
changes nothing. Numbers of geometry files are bounded before they are parsed, finite after.
"""

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard, cast

from deepfreak.errors import GeometryError
from deepfreak.formats.frame import Metadata

# digits are bounded, so that no text takes long to match
NUMBER = r"([-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?)(?![\d.]|[eE][-+]?\d)"
_GAP = r"[\s=:]{1,40}"
_LEADING = re.compile(r"\s{0,40}" + NUMBER)
_MAX_CHARACTERS = 60  # of a number in a geometry
MAX_VALUE_LENGTH = 200  # characters of a header's value in which a number is sought

WithOrigin = tuple[float, str]  # a number and where it stands
Known = float | WithOrigin | None


def metadata_from(
    *,
    pedestal: Known = None,
    gain: Known = None,
    saturation: Known = None,
    beam_slow: Known = None,
    beam_fast: Known = None,
    pixel_size_mm: Known = None,
    distance_mm: Known = None,
    wavelength_A: Known = None,
) -> Metadata:
    """Return the values that are known: finite, and positive where only that makes sense."""
    numbers = {
        "pedestal": pedestal,
        "gain": gain,
        "saturation": saturation,
        "pixel_size_mm": pixel_size_mm,
        "distance_mm": distance_mm,
        "wavelength_A": wavelength_A,
    }
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, entry in numbers.items():
        value, origin = entry if isinstance(entry, tuple) else (entry, None)
        if _positive(value) or (name == "pedestal" and value is not None and math.isfinite(value)):
            found[name] = value
            if origin is not None:
                origins[name] = origin
    slow, _ = beam_slow if isinstance(beam_slow, tuple) else (beam_slow, None)
    fast, origin = beam_fast if isinstance(beam_fast, tuple) else (beam_fast, None)
    if _positive(slow) and _positive(fast):
        found["beam_center_px"] = (slow, fast)
        if origin is not None:
            origins["beam_center_px"] = origin
    if origins:
        found["origins"] = origins
    return cast("Metadata", found)


def number(header: Mapping[str, object], *keys: str) -> WithOrigin | None:
    """Return the first number that stands under one of `keys`, None where none does."""
    for key in keys:
        match = _LEADING.match(str(header.get(key, ""))[:MAX_VALUE_LENGTH])
        if match:
            value = float(match[1])
            if math.isfinite(value):
                return value, key
    return None


def plain(header: Mapping[str, object], *keys: str) -> float | None:
    """Return what `number` finds without its origin."""
    found = number(header, *keys)
    return None if found is None else found[0]


def from_file(value: float | None, key: str, source: str) -> WithOrigin | None:
    """Return a number with its origin, None for None."""
    return None if value is None else (value, f"{key} of {source}")


def times(found: WithOrigin | None, factor: float) -> WithOrigin | None:
    """Return a number in another unit."""
    return None if found is None else (float(f"{found[0] * factor:.12g}"), found[1])


def _positive(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def number_after(text: str, key: str) -> WithOrigin | None:
    """Return the number after `key`, separated by spaces, `=` or `:`."""
    match = re.search(key + _GAP + NUMBER, text)
    return (float(match[1]), key) if match and math.isfinite(float(match[1])) else None


def numbers(value: object) -> list[float]:
    """Return the finite numbers at the start of `value`."""
    numbers: list[float] = []
    for word in str(value or "")[:MAX_VALUE_LENGTH].split():
        match = re.fullmatch(NUMBER, word)
        if match is None or not math.isfinite(float(match[1])):
            break
        numbers.append(float(match[1]))
    return numbers


def read_number(text: object, key: str, where: str) -> float:
    """Return the finite number in `text`.

    Raises `GeometryError`: there is none; the message names key and file.
    """
    value = math.nan
    if isinstance(text, str | int | float) and not isinstance(text, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(text) if not isinstance(text, str) else float(text[: _MAX_CHARACTERS + 1])
    if not math.isfinite(value) or (isinstance(text, str) and len(text) > _MAX_CHARACTERS):
        raise GeometryError(f"expected a finite number for {key} in {where}, found {_shown(text)}")
    return value


def read_bits(text: str | None, where: str) -> int | None:
    """Return the whole number in `text`, also as 0x... or 0b...; raises as `read_number`."""
    if text is None:
        return None
    whole = re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)", text[: _MAX_CHARACTERS + 1])
    if whole is None or len(text) > _MAX_CHARACTERS:
        raise GeometryError(f"expected mask bits such as 0x00 in {where}, found {_shown(text)}")
    return int(text) if text.lstrip("+-").isdecimal() else int(text, 0)


def _shown(text: object) -> str:
    try:
        shown = repr(text)
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"
    return f"{shown[:40]}..." if len(shown) > 40 else shown
