"""CrystFEL's geometry files."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from deepfreak.errors import GeometryError
from deepfreak.formats.frame import Metadata
from deepfreak.formats.geometry.geometry import (
    HC_EV_A,
    MAX_PANELS,
    BadRegion,
    FileMask,
    Geometry,
    Located,
    PixelRules,
    RawPanel,
)
from deepfreak.formats.headers import from_file, metadata_from, read_bits, read_number

_DIGITS = r"\d{1,30}"
_TERM = re.compile(
    rf"([+-]?)((?:{_DIGITS}(?:\.\d{{0,30}})?|\.{_DIGITS})(?:[eE][+-]?\d{{1,3}})?)?\*?([xyzXYZ])"
)
_MAX_VECTOR_TEXT = 200  # characters
_NO_PANEL = re.compile(r"(rigid_group|group)", re.IGNORECASE)
_MAX_PIXELS_PER_SIDE = 1 << 17
_MAX_MASKS = 8
_MASK_KEYS = {  # older names of the first mask's
    "mask": "mask0_data",
    "mask_file": "mask0_file",
    "mask_good": "mask0_goodbits",
    "mask_bad": "mask0_badbits",
}
_MASK = re.compile(r"mask([0-7])_(data|file|goodbits|badbits)")
_DIM = re.compile(r"dim\d")
# What else a panel may say; CrystFEL itself uses the last three to index, not to read.
_PANEL_KEYS = frozenset(
    {
        *("min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "fs", "ss"),
        *("data", "res", "clen", "coffset", "adu_per_photon", "adu_per_eV", "max_adu"),
        *("no_index", "mask_edge_pixels", "flag_lessthan", "flag_morethan", "flag_equal"),
        *("photon_energy", "wavelength", "electron_voltage"),
        *("badrow_direction", "saturation_map", "saturation_map_file", "name"),
    }
)
_BAD_KEYS = frozenset(
    {"min_fs", "max_fs", "min_ss", "max_ss", "min_x", "max_x", "min_y", "max_y", "panel"}
)
_SAME_FOR_ALL = (
    *("res", "data", "clen", "photon_energy", "wavelength", "electron_voltage"),
    *("adu_per_eV", "adu_per_photon"),
)
_NAMES_PIXELS = re.compile(r"mask|bad|flag|^dim|no_index|file", re.IGNORECASE)
_ENERGY_UNITS = {"": "eV", "ev": "eV", "kev": "keV", "mev": "MeV"}
_MM_IN = {"m": 1e3, "mm": 1.0}


@dataclass(slots=True)
class _Entries:
    """The lines of a file: what holds for the whole, for each panel, for each bad region."""

    whole: dict[str, str] = field(default_factory=dict)
    panels: dict[str, dict[str, str]] = field(default_factory=dict)
    bad: dict[str, dict[str, str]] = field(default_factory=dict)


def parse(text: str, source: str) -> Geometry:
    """Return the geometry in `text`, the content of a .geom file.

    Honoured are the panels with their corners and axes, `dim`, `data` (with `%` for groups), `res`,
    bad regions, `no_index`, `mask_edge_pixels`, `flag_*`, up to 8 masks with their bits, in the
    data file or beside it, `adu_per_photon`, `adu_per_eV`, `max_adu`, `clen` and `coffset`,
    `detector_shift_x/y`, `wavelength`, `photon_energy` and `electron_voltage`; those four and
    `clen` also from a place in the data file. A panel's x runs along the image's fast axis, y
    along its slow axis.

    Raises `GeometryError`: a line, number, panel or mask does not make sense, a key about pixels is
    not known, or panels have different pixels or data of their own.
    """
    entries = _split(text, source)
    if not entries.panels:
        raise GeometryError(f"expected panels (such as p0/min_fs = 0) in {source}, found none")
    if len(entries.panels) > MAX_PANELS:
        raise GeometryError(f"expected at most {MAX_PANELS} panels, found more in {source}")
    _require_known_keys(entries, source)
    panels = tuple(
        _panel(name, values, f"{name} of {source}") for name, values in entries.panels.items()
    )
    first = next(iter(entries.panels.values()))
    masks = [key for key in first if _MASK.fullmatch(key)]
    for key in (*_SAME_FOR_ALL, *masks):
        if any(values.get(key) != first.get(key) for values in entries.panels.values()):
            raise GeometryError(
                f"expected the same {key} for all panels, found several in {source}: panels with "
                f"a {key} of their own are not read; assemble the images first"
            )
    # wavelength and distance are the whole detector's, wherever in the file they stand
    overall = first | entries.whole
    # a pixel above the least of them may be an overload
    limits = [values for values in entries.panels.values() if "max_adu" in values]
    if limits:
        least = min(limits, key=lambda values: read_number(values["max_adu"], "max_adu", source))
        overall["max_adu"] = least["max_adu"]
    known, located = _overall_metadata(overall, source)
    return Geometry(
        source=source,
        panels=panels,
        bad=tuple(_bad(name, values, source) for name, values in entries.bad.items()),
        beam=_beam(overall, source),
        data_path=first.get("data"),
        masks=_masks(first, source),
        rules=tuple(
            rule
            for name, values in entries.panels.items()
            if (rule := _rules(name, values, f"{name} of {source}")) is not None
        ),
        metadata=known,
        located=located,
        gain_per_eV=_optional(first, "adu_per_eV", source),
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
                entries.whole[_MASK_KEYS.get(key, key)] = value
        elif owner.lower().startswith("bad"):
            entries.bad.setdefault(owner, {})[name] = value
        else:
            panel = entries.panels.setdefault(owner, dict(entries.whole))
            panel[_MASK_KEYS.get(name, name)] = value
    return entries


def _require_known_keys(entries: _Entries, source: str) -> None:
    """Raise `GeometryError` for a key that may name pixels to leave out and is not understood."""
    keys = set(entries.whole).union(*entries.panels.values())
    for key in sorted(keys - _PANEL_KEYS):
        known = _MASK.fullmatch(key) or _DIM.fullmatch(key)
        if not known and _NAMES_PIXELS.search(key):
            raise GeometryError(
                f"expected a known key in {source}, found {key:.60}, which may name pixels to "
                "leave out or files to read: remove it, or give a mask image with --mask"
            )
    for name, values in entries.bad.items():
        for key in values.keys() - _BAD_KEYS:
            raise GeometryError(f"expected a known key for {name} of {source}, found {key:.60}")
        if values.get("panel", next(iter(entries.panels))) not in entries.panels:
            raise GeometryError(
                f"expected a panel of {source} for {name}, found {values['panel']:.60}"
            )


def _panel(name: str, values: dict[str, str], where: str) -> RawPanel:
    low_fast, high_fast = _whole(values, "min_fs", where), _whole(values, "max_fs", where)
    low_slow, high_slow = _whole(values, "min_ss", where), _whole(values, "max_ss", where)
    if not (low_fast <= high_fast and low_slow <= high_slow):
        raise GeometryError(f"expected min_fs <= max_fs and min_ss <= max_ss in panel {where}")
    fast, slow = _vector(values, "fs", where), _vector(values, "ss", where)
    if abs(fast[0] * slow[1] - fast[1] * slow[0]) < 0.1:
        raise GeometryError(f"expected fs and ss to span the detector's plane in panel {where}")
    return RawPanel(
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
    keys = sorted((key for key in values if _DIM.fullmatch(key)), key=lambda key: key[3:])
    words = [values[key] for key in keys if values[key] != "%"]
    if not words:
        return ()
    fixed = words[:-2]
    if words[-2:] != ["ss", "fs"] or not all(re.fullmatch(r"[0-9]{1,6}", word) for word in fixed):
        raise GeometryError(
            f"expected dims of the form %, numbers, ss, fs in panel {where}, "
            f"found {', '.join(values[key][:20] for key in keys)}"
        )
    return tuple(int(word) for word in fixed)


def _bad(name: str, values: dict[str, str], source: str) -> BadRegion:
    where = f"{name} of {source}"
    if "min_x" in values:
        low = (_number(values, "min_x", where), _number(values, "min_y", where))
        high = (_number(values, "max_x", where), _number(values, "max_y", where))
        return BadRegion(low=low, high=high, in_plane=True)
    low = (_whole(values, "min_fs", where), _whole(values, "min_ss", where))
    high = (_whole(values, "max_fs", where), _whole(values, "max_ss", where))
    return BadRegion(low=low, high=high, panel=values.get("panel"))


def _masks(values: dict[str, str], source: str) -> tuple[FileMask, ...]:
    """Return the masks that stand in files."""
    masks: list[FileMask] = []
    for number in range(_MAX_MASKS):
        given = {
            key: values[f"mask{number}_{key}"]
            for key in ("data", "file", "goodbits", "badbits")
            if f"mask{number}_{key}" in values
        }
        if not given:
            continue
        if "data" not in given:
            raise GeometryError(
                f"expected mask{number}_data beside mask{number}_{next(iter(given))} in {source}, "
                "found none: say where in the file the mask stands"
            )
        masks.append(
            FileMask(
                path=given["data"],
                file=given.get("file"),
                folder=str(Path(source).parent),
                good_bits=read_bits(given.get("goodbits"), source),
                bad_bits=read_bits(given.get("badbits"), source),
            )
        )
    return tuple(masks)


def _rules(name: str, values: dict[str, str], where: str) -> PixelRules | None:
    """Return what makes pixels of a panel bad: all of it, its edge, their values."""
    edge = 0
    if "mask_edge_pixels" in values:
        edge = _whole(values, "mask_edge_pixels", where)
    rule = PixelRules(
        panel=name,
        all_bad=_is_true(values.get("no_index", "0"), where),
        edge=edge,
        less_than=_optional(values, "flag_lessthan", where),
        more_than=_optional(values, "flag_morethan", where),
        equal=_optional(values, "flag_equal", where),
    )
    return rule if rule != PixelRules(panel=name) else None


def _is_true(text: str, where: str) -> bool:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return read_number(text, "no_index", where) != 0


def _overall_metadata(values: dict[str, str], source: str) -> tuple[Metadata, dict[str, Located]]:
    """Return what holds for the whole detector, as numbers and as places in the data file."""
    located: dict[str, Located] = {}
    wavelength_A: float | None = None
    for key, units, default in (
        ("wavelength", {"m": "m", "a": "A"}, None),
        ("photon_energy", _ENERGY_UNITS, "eV"),
        ("electron_voltage", {"v": "V", "kv": "kV"}, None),
    ):
        if key not in values:
            continue
        text, unit = _with_unit(values[key], key, source, units, default)
        place = Located(path=text, unit=unit)
        if text.startswith("/"):
            located["wavelength_A"] = place
        else:
            wavelength_A = place.wavelength_A(read_number(text, key, source))
    offset_mm = 1e3 * (_optional(values, "coffset", source) or 0.0)
    distance_mm: float | None = None
    if "clen" in values:
        text, unit = _with_unit(values["clen"], "clen", source, {"m": "m", "mm": "mm"}, "")
        if text.startswith("/"):
            # without units metres for a number, millimetres for a place (crystfel_geometry(5))
            located["distance_mm"] = Located(path=text, unit=unit or "mm", offset_mm=offset_mm)
        else:
            distance_mm = read_number(text, "clen", source) * _MM_IN[unit or "m"] + offset_mm
    resolution = _optional(values, "res", source)
    gain = _optional(values, "adu_per_photon", source)
    per_eV = _optional(values, "adu_per_eV", source)
    if gain is None and per_eV is not None and wavelength_A is not None:
        gain = per_eV * HC_EV_A / wavelength_A

    return (
        metadata_from(
            gain=from_file(gain, "adu_per_photon" if per_eV is None else "adu_per_eV", source),
            saturation=from_file(_optional(values, "max_adu", source), "max_adu", source),
            pixel_size_mm=from_file(1e3 / resolution if resolution else None, "res", source),
            distance_mm=from_file(distance_mm, "clen", source),
            wavelength_A=from_file(wavelength_A, "wavelength", source),
        ),
        located,
    )


def _with_unit(
    text: str, key: str, source: str, units: dict[str, str], default: str | None
) -> tuple[str, str]:
    """Return a number or a place in the data file, and the unit behind it."""
    value, _, unit = text.strip().partition(" ")
    unit = unit.strip()
    if not unit and default is not None:
        return value, default
    if unit.lower() not in units:
        raise GeometryError(
            f"expected {key} with one of the units {', '.join(units.values())} in {source}, "
            f"found {unit[:20] or 'none'}"
        )
    return value, units[unit.lower()]


def _beam(values: dict[str, str], source: str) -> tuple[float, float]:
    """Return where the beam meets the plane, (x, y) in pixels: the origin, unless shifted."""
    shift: list[float] = []
    for key in ("detector_shift_x", "detector_shift_y"):
        text, unit = _with_unit(values.get(key, "0"), key, source, {"m": "m", "mm": "mm"}, "m")
        if text.startswith("/"):
            raise GeometryError(
                f"expected a number for {key} in {source}, found a place in the data file: "
                "shifts from frame to frame are not read; move the panels' corners instead"
            )
        shift.append(read_number(text, key, source) * _MM_IN[unit])
    resolution = _optional(values, "res", source) or 0.0
    if any(shift) and not resolution:
        raise GeometryError(f"expected res beside detector_shift in {source}, found none")
    x, y = (-length_mm * resolution / 1e3 for length_mm in shift)
    return x, y


def _vector(values: dict[str, str], key: str, where: str) -> tuple[float, float]:
    """Return (x, y) of an axis such as `+0.99x -0.01y`; both default to CrystFEL's, x and y."""
    text = values.get(key, "+1.0x" if key == "fs" else "+1.0y").replace(" ", "")
    parts = {"x": 0.0, "y": 0.0, "z": 0.0}
    place = 0
    while place < len(text) <= _MAX_VECTOR_TEXT:
        term = _TERM.match(text, place)
        if term is None:
            break
        sign, size, axis = term.groups()
        parts[axis.lower()] += float(size or 1) * (-1 if sign == "-" else 1)
        place = term.end()
    if not text or place != len(text):
        raise GeometryError(
            f"expected {key} such as +1.0x +0.0y in panel {where}, found {text:.60}"
        )
    if not all(math.isfinite(part) for part in parts.values()):
        raise GeometryError(f"expected {key} of finite length in panel {where}, found {text:.60}")
    return parts["x"], parts["y"]


def _number(values: dict[str, str], key: str, where: str) -> float:
    if key not in values:
        raise GeometryError(f"expected a number for {key} in {where}, found none")
    return read_number(values[key], key, where)


def _optional(values: dict[str, str], key: str, where: str) -> float | None:
    return None if key not in values else read_number(values[key].split(" ")[0], key, where)


def _whole(values: dict[str, str], key: str, where: str) -> int:
    found = _number(values, key, where)
    if not 0 <= found < _MAX_PIXELS_PER_SIDE:
        raise GeometryError(
            f"expected {key} from 0 to {_MAX_PIXELS_PER_SIDE} in {where}, found {found}"
        )
    return int(found)
