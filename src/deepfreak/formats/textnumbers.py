"""Numbers in text files: bounded before they are parsed, finite after."""

import contextlib
import math
import re

from deepfreak.errors import GeometryError

_MAX_CHARACTERS = 60


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


def read_whole(text: str, key: str, where: str) -> int:
    """Return the whole number in `text`, also as 0x... or 0b...; raises as `read_number`."""
    if len(text) <= _MAX_CHARACTERS and re.fullmatch(
        r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)", text
    ):
        return int(text, 0) if not text.lstrip("+-").isdecimal() else int(text)
    raise GeometryError(f"expected {key} in {where}, found {_shown(text)}")


def _shown(text: object) -> str:
    try:
        shown = repr(text)
    except ValueError:  # more digits than Python writes
        return "a number of thousands of digits"
    return f"{shown[:40]}..." if len(shown) > 40 else shown
