"""CrystFEL's geometry files."""

import math
import re
from dataclasses import dataclass, field

from deepfreak.errors import GeometryError
from deepfreak.frames.geometry import MOST_PANELS, Bad, Geometry, Panel
from deepfreak.frames.headers import facts

_TERM = re.compile(
    r"([+-]?)\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?\s*\*?\s*([xyz])", re.IGNORECASE
)
_NO_PANEL = re.compile(r"(rigid_group|group|bad)", re.IGNORECASE)
_MOST_PIXELS_A_SIDE = 1 << 17


@dataclass(slots=True)
class _Entries:
    """The lines of a file: what holds for the whole, for each panel, for each bad region."""

    whole: dict[str, str] = field(default_factory=dict)
    panels: dict[str, dict[str, str]] = field(default_factory=dict)
    bad: dict[str, dict[str, str]] = field(default_factory=dict)


def parse(text: str, source: str) -> Geometry:
    """Return the geometry in `text`, the content of a .geom file.

    Honoured are the panels with their corners and axes, `dim`, `data`, bad regions, the mask in
    the data file with its bits, `adu_per_photon` (or `adu_per_eV` with `photon_energy`), `max_adu`,
    `res` and `clen` where they are numbers. A panel's x runs along the image's fast axis, y along
    its slow axis.

    Raises
    ------
    GeometryError
        A line, number or panel does not make sense, or panels have different pixels or files.
    """
    entries = _split(text, source)
    if not entries.panels:
        raise GeometryError(f"expected panels (such as p0/min_fs = 0) in {source}, found none")
    if len(entries.panels) > MOST_PANELS:
        raise GeometryError(f"expected at most {MOST_PANELS} panels, found more in {source}")
    panels = tuple(
        _panel(name, values, f"{name} of {source}") for name, values in entries.panels.items()
    )
    first = next(iter(entries.panels.values()))
    for key in ("res", "data", "mask", "mask0_data"):
        if any(values.get(key) != first.get(key) for values in entries.panels.values()):
            raise GeometryError(
                f"expected the same {key} for all panels, found several in {source}"
            )
    for name in ("data", "mask", "mask0_data"):
        if "%" in first.get(name, ""):
            raise GeometryError(
                f"expected a {name} path without %, found {first[name]} in {source}"
            )
    resolution = _optional(first, "res")
    good, bad = first.get("mask0_goodbits", first.get("mask_good")), first.get("mask0_badbits")
    bad = bad or first.get("mask_bad")
    distance = _optional(first, "clen")
    return Geometry(
        source=source,
        panels=panels,
        bad=tuple(_bad(name, values, source) for name, values in entries.bad.items()),
        data_path=first.get("data"),
        mask_path=first.get("mask0_data", first.get("mask")),
        mask_good=_bits(good, source),
        mask_bad=_bits(bad, source),
        facts=facts(
            gain=_gain(first),
            saturation=_optional(first, "max_adu"),
            pixel_size_mm=1e3 / resolution if resolution else None,
            distance_mm=distance * 1e3 if distance else None,
        ),
    )


def _split(text: str, source: str) -> _Entries:
    """Return the entries of `text`; one without a panel holds for the panels after it."""
    entries = _Entries()
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition(";")[0].strip()
        if not content:
            continue
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals:
            raise GeometryError(f"expected `key = value` in line {number} of {source}, found none")
        owner, slash, name = key.partition("/")
        if not slash:
            if not _NO_PANEL.match(key):
                entries.whole[key] = value
        elif owner.lower().startswith("bad"):
            entries.bad.setdefault(owner, {})[name] = value
        else:
            entries.panels.setdefault(owner, dict(entries.whole))[name] = value
    return entries


def _panel(name: str, values: dict[str, str], where: str) -> Panel:
    low_fast, high_fast = _whole(values, "min_fs", where), _whole(values, "max_fs", where)
    low_slow, high_slow = _whole(values, "min_ss", where), _whole(values, "max_ss", where)
    if not (low_fast <= high_fast and low_slow <= high_slow):
        raise GeometryError(f"expected min_fs <= max_fs and min_ss <= max_ss in panel {where}")
    fast, slow = _vector(values, "fs", where), _vector(values, "ss", where)
    if abs(fast[0] * slow[1] - fast[1] * slow[0]) < 0.1:
        raise GeometryError(f"expected fs and ss to span the detector's plane in panel {where}")
    return Panel(
        name=name,
        module=_module(values, where),
        first=(low_slow, low_fast),
        size=(high_slow - low_slow + 1, high_fast - low_fast + 1),
        corner=(_number(values, "corner_x", where), _number(values, "corner_y", where)),
        fast=fast,
        slow=slow,
    )


def _module(values: dict[str, str], where: str) -> tuple[int, ...]:
    """Return the fixed indices of `dim0`, `dim1`, ... in front of the panel's own two axes."""
    keys = sorted((key for key in values if re.fullmatch(r"dim\d", key)), key=lambda key: key[3:])
    words = [values[key] for key in keys if values[key] != "%"]
    if not words:
        return ()
    if words[-2:] != ["ss", "fs"] or not all(word.isdecimal() for word in words[:-2]):
        raise GeometryError(
            f"expected dims of the form %, numbers, ss, fs in panel {where}, "
            f"found {', '.join(values[key] for key in keys)}"
        )
    return tuple(int(word) for word in words[:-2])


def _bad(name: str, values: dict[str, str], source: str) -> Bad:
    where = f"{name} of {source}"
    if "min_x" in values:
        low = (_number(values, "min_x", where), _number(values, "min_y", where))
        high = (_number(values, "max_x", where), _number(values, "max_y", where))
        return Bad(low=low, high=high, in_plane=True)
    low = (_whole(values, "min_fs", where), _whole(values, "min_ss", where))
    high = (_whole(values, "max_fs", where), _whole(values, "max_ss", where))
    return Bad(low=low, high=high, panel=values.get("panel"))


def _vector(values: dict[str, str], key: str, where: str) -> tuple[float, float]:
    """Return (x, y) of an axis such as `+0.99x -0.01y`; both default to CrystFEL's, x and y."""
    text = values.get(key, "+1.0x" if key == "fs" else "+1.0y").replace(" ", "")
    parts = {"x": 0.0, "y": 0.0, "z": 0.0}
    if not text or _TERM.sub("", text):
        raise GeometryError(
            f"expected {key} such as +1.0x +0.0y in panel {where}, found {text:.60}"
        )
    for sign, size, axis in _TERM.findall(text):
        parts[axis.lower()] += float(size or 1) * (-1 if sign == "-" else 1)
    if not all(math.isfinite(part) for part in parts.values()):
        raise GeometryError(f"expected {key} of finite length in panel {where}, found {text:.60}")
    return parts["x"], parts["y"]


def _number(values: dict[str, str], key: str, where: str) -> float:
    found = _optional(values, key)
    if found is None:
        raise GeometryError(
            f"expected a number for {key} in {where}, found {values.get(key)!r:.60}"
        )
    return found


def _optional(values: dict[str, str], key: str) -> float | None:
    """Return the number under `key`, None where there is none (but its place, as for clen)."""
    try:
        found = float(values.get(key, "").split(" ")[0])
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _whole(values: dict[str, str], key: str, where: str) -> int:
    found = _number(values, key, where)
    if not 0 <= found < _MOST_PIXELS_A_SIDE:
        raise GeometryError(
            f"expected {key} from 0 to {_MOST_PIXELS_A_SIDE} in {where}, found {found}"
        )
    return int(found)


def _bits(text: str | None, source: str) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError as error:
        raise GeometryError(f"expected mask bits such as 0x00 in {source}, found {text}") from error


def _gain(values: dict[str, str]) -> float | None:
    """Return counts for each photon."""
    by_photon = _optional(values, "adu_per_photon")
    by_energy, energy = _optional(values, "adu_per_eV"), _optional(values, "photon_energy")
    if by_photon is None and by_energy is not None and energy is not None:
        in_keV = "kev" in values["photon_energy"].lower()
        return by_energy * energy * (1e3 if in_keV else 1)
    return by_photon
