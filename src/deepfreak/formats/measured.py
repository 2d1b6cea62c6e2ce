"""Which pixels measured something: one rule for all formats.

1. NaN, infinities and counts below the detector's underload value are always missing.
2. Otherwise the detector's own mask decides, where the file has one.
3. Without one the values decide: the largest values of unsigned types stand for "no measurement",
   so do the smallest of signed types and the negative counts of a photon counter; an area of one
   value among noisy pixels is a gap (`gaps`).

A mask or geometry that the user gives only adds to what is missing (`files`).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Frame, Metadata, Valid, combined
from deepfreak.formats.gaps import gaps as find_gaps

# From the makers' public descriptions. A photon counter stores photons: its gain is 1, it has no
# negative counts, and zero is a measurement.
_COUNTERS = re.compile(
    r"pilatus|eiger|timepix|medipix|merlin|lambda|xspectrum|pixirad|hypix|xpad|maxipix|mythen"
    r"|photon[ _-]?count",
    re.IGNORECASE,
)
_INTEGRATORS = re.compile(
    r"jungfrau|epix|cspad|agipd|mpccd|rayonix|mar\s?ccd|mar\s?165|mar\s?225|mar\s?325|mx\d{3}-?hs"
    r"|adsc|quantum|saturn|\bccd|pnccd|\blpd\b|dssc|m[oö]nch|gotthard|citius|percival"
    r"|apex|photon\s?(?:100|ii|iii)|smart|ruby|atlas|onyx|mar345|image\s?plate|r-?axis",
    re.IGNORECASE,
)


def counts_photons(*names: str | None) -> bool | None:
    """Return whether a detector so called counts photons; None where the names do not tell."""
    known = [name for name in names if name]
    # an integrating detector may name a counter's file format, never the other way round
    if any(_INTEGRATORS.search(name) for name in known):
        return False
    return True if any(_COUNTERS.search(name) for name in known) else None


def is_eiger(*names: str | None) -> bool:
    """Return whether a detector so called is an EIGER, which marks pixels by its largest value."""
    return any(name and re.search("eiger", name, re.IGNORECASE) for name in names)


_NO_MEASUREMENT = (0xFFFFFFFF, 0xFFFFFFFE)  # DECTRIS's gap and defect in 32 bits
_EIGER_16_BITS = 0xFFFF
_COUNTERS_MARKS = (-1, -2)  # DECTRIS's gap and defect in signed types


def make_frame(
    counts: Counts,
    *,
    file: str,
    index: int,
    metadata: Metadata,
    names: tuple[str | None, ...] = (),
    mask: Valid | None = None,
    underload: float | None = None,
    unmapped: Valid | None = None,
    simulated: bool = False,
) -> Frame:
    """Return the frame that a reader has read, with the pixels that measured something.

    `counts` are [slow, fast], or have more axes for stacks of modules; `names` are what the file
    calls its detector, from which photon counters are known. Of the same shape are the detector's
    own `mask`, true where a pixel is to be left out, and `unmapped`, true where the file holds
    nothing. `underload` is the least count that is a measurement.
    """
    counts = native(counts)
    counting = counts_photons(*names)
    missing = missing_by_reason(
        counts,
        counting=counting,
        eiger=counting is not False and is_eiger(*names),  # a JUNGFRAU's master may look like one
        mask=mask,
        underload=underload,
        saturation=metadata.get("saturation"),
        gaps=not simulated,
    )
    if unmapped is not None:
        missing = {"not in the file": unmapped, **missing}
    valid = np.ones(counts.shape, dtype=np.bool_)
    for where in missing.values():
        valid &= ~where
    if counting or (counting is None and _tells_a_counter(counts, missing)):
        known = Metadata(
            pedestal=0.0, gain=1.0, origins=dict.fromkeys(("pedestal", "gain"), "a photon counter")
        )
        metadata = combined(known, metadata)
    name = next((name for name in names if name), None)
    if name is not None:
        metadata = combined(Metadata(detector=name), metadata)
    return Frame(
        file=file,
        index=index,
        counts=counts,
        valid=valid,
        missing=missing,
        simulated=simulated,
        **metadata,
    )


def missing_by_reason(
    counts: Counts,
    *,
    counting: bool | None,
    eiger: bool = False,
    mask: Valid | None = None,
    underload: float | None = None,
    saturation: float | None = None,
    gaps: bool = True,
) -> dict[str, Valid]:
    """Return the pixels that measured nothing, by reason; only reasons that some pixel has.

    `counting`: whether the detector counts photons, None if unknown. `eiger`: whether it is one,
    whose 16-bit value for "no measurement" may stand in a wider type. `gaps`: whether to look for
    areas of one value, where there is no mask.
    """
    found = {}
    if counts.dtype.kind == "f":
        found["not finite"] = ~np.isfinite(counts)
    if underload is not None and np.isfinite(underload):
        with np.errstate(invalid="ignore"):
            found["below the underload value"] = np.asarray(counts < underload)
    if mask is not None:
        if mask.shape != counts.shape:
            raise FrameError(
                f"expected a mask of the frame's shape {counts.shape}, found {mask.shape}"
            )
        found["detector's mask"] = mask
        return _only_real(found)
    found["value for no measurement"] = _marked(counts, eiger=eiger, counting=counting)
    found = _only_real(found)
    if counting is None and _tells_a_counter(counts, found):
        counting = True
    negative = _negative_marks(counts, found.get("not finite"), counting)
    if negative is not None:
        found["negative count"], counting = negative, True
    if gaps and counts.ndim == 2:
        measured = np.ones(counts.shape, dtype=np.bool_)
        for where in found.values():
            measured &= ~where
        found["gap of one value"] = find_gaps(counts, measured, counting, saturation)
    return _only_real(found)


def _only_real(found: dict[str, Valid]) -> dict[str, Valid]:
    """Return the reasons that some pixel has."""
    return {reason: where for reason, where in found.items() if where.any()}


def _negative_marks(counts: Counts, undefined: Valid | None, counting: bool | None) -> Valid | None:
    """Return the negative pixels of a photon counter; None without any, or for other detectors."""
    if counts.dtype.kind == "u" or counting is False:
        return None
    lowest = counts.min(initial=0) if undefined is None else counts.min(initial=0, where=~undefined)
    if lowest >= 0 or not (counting or lowest in _COUNTERS_MARKS):
        return None
    with np.errstate(invalid="ignore"):
        negative = np.asarray(counts < 0)
    # without a name, all of them must be a photon counter's marks for gaps and defects
    return negative if counting or np.isin(counts[negative], _COUNTERS_MARKS).all() else None


def _tells_a_counter(counts: Counts, missing: Mapping[str, Valid]) -> bool:
    """Return whether the values for no measurement are those that only photon counters write."""
    if "value for no measurement" in missing and counts.dtype.kind == "u":
        return counts.dtype.itemsize >= 4
    return "negative count" in missing


def native(counts: Counts) -> Counts:
    """Return `counts` as numbers that compiled code takes: the machine's byte order, no halves."""
    if counts.dtype.kind not in "iuf":
        raise FrameError(f"expected an image of numbers, found {counts.dtype}")
    if counts.dtype.kind == "f" and counts.dtype.itemsize not in {4, 8}:
        return counts.astype(np.float32 if counts.dtype.itemsize < 4 else np.float64)
    return np.asarray(counts.astype(counts.dtype.newbyteorder("="), copy=False))


def _marked(counts: Counts, *, eiger: bool, counting: bool | None) -> Valid:
    """Return the pixels with a value that stands for "no measurement"."""
    dtype: np.dtype[Any] = counts.dtype
    if dtype.kind == "f":
        # converted from integers; a float of 32 bits rounds both values to this one
        return np.asarray(counts == np.float32(2.0**32)) | _equal_any(counts, _NO_MEASUREMENT)
    limits = np.iinfo(dtype)
    if dtype.kind == "u":
        if dtype.itemsize >= 4:
            marked = np.asarray(counts >= limits.max - 1)
        elif counting:
            marked = np.asarray(counts == limits.max)
        else:
            marked = np.zeros(counts.shape, dtype=np.bool_)
    else:
        marked = np.asarray(counts == limits.min)
        if dtype.itemsize >= 4:  # nothing counts two thousand million photons
            marked |= counts == limits.max
    if dtype.itemsize == 8:
        marked |= _equal_any(counts, _NO_MEASUREMENT)
    if eiger and dtype.itemsize > 2:
        marked |= counts == _EIGER_16_BITS
    return marked


def _equal_any(counts: Counts, values: tuple[int, ...]) -> Valid:
    found = np.zeros(counts.shape, dtype=np.bool_)
    for value in values:
        found |= counts == value
    return found


def counted(missing: Mapping[str, Valid]) -> dict[str, int]:
    """Return how many pixels are missing for each reason, each pixel by its first one."""
    counts: dict[str, int] = {}
    seen: Valid | None = None
    for reason, where in missing.items():
        new = where if seen is None else where & ~seen
        if new.any():
            counts[reason] = int(np.count_nonzero(new))
        seen = where if seen is None else seen | where
    return counts
