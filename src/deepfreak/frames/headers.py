"""What headers say about a frame, in the units of `Frame`.

Every function here takes header text as some reader split it and returns only what it could make
sense of: a header that is silent, or says zero where it does not know, changes nothing.
"""

import math
import re
import struct
from collections.abc import Mapping
from typing import TypeGuard

from deepfreak.frames.frame import Facts

_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"


def facts(
    *,
    pedestal: float | None = None,
    gain: float | None = None,
    saturation: float | None = None,
    beam_slow: float | None = None,
    beam_fast: float | None = None,
    pixel_size_mm: float | None = None,
    distance_mm: float | None = None,
    wavelength_A: float | None = None,
) -> Facts:
    """Return the values that are known: finite, and positive where only that makes sense."""
    found = Facts()
    if pedestal is not None and math.isfinite(pedestal):
        found["pedestal"] = pedestal
    if _positive(gain):
        found["gain"] = gain
    if _positive(saturation):
        found["saturation"] = saturation
    if _positive(beam_slow) and _positive(beam_fast):
        found["beam_center_px"] = (beam_slow, beam_fast)
    if _positive(pixel_size_mm):
        found["pixel_size_mm"] = pixel_size_mm
    if _positive(distance_mm):
        found["distance_mm"] = distance_mm
    if _positive(wavelength_A):
        found["wavelength_A"] = wavelength_A
    return found


def number(header: Mapping[str, object], *keys: str) -> float | None:
    """Return the first number that stands under one of `keys`, None where none does."""
    for key in keys:
        match = re.match(r"\s*" + _NUMBER, str(header.get(key, "")))
        if match:
            return float(match[1])
    return None


def dectris_facts(text: str) -> Facts:
    """Return what the `# Key value` comments of PILATUS and EIGER files say.

    Lengths are in metres there; `Beam_xy` is (fast, slow) in pixels. `Pedestal` stands in simulated
    files only.
    """
    pixel = _after(text, "Pixel_size")
    distance = _after(text, "Detector_distance")
    beam = re.search(rf"Beam_xy[\s=:]*\(?\s*{_NUMBER}\s*,\s*{_NUMBER}", text)
    return facts(
        pedestal=_after(text, "Pedestal"),
        saturation=_after(text, "Count_cutoff"),
        beam_slow=float(beam[2]) if beam else None,
        beam_fast=float(beam[1]) if beam else None,
        pixel_size_mm=_times(pixel, 1e3),
        distance_mm=_times(distance, 1e3),
        wavelength_A=_after(text, "Wavelength"),
    )


def smv_facts(header: Mapping[str, str], slow_pixels: int) -> Facts:
    """Return what an SMV header says: ADSC's, Rigaku's, or that of nanoBragg.

    ADSC gives the beam in mm with X along the slow axis, nanoBragg (`BEAMLINE=fake`) with X along
    the fast axis and Y from the last row up; Rigaku in pixels along (fast, slow).
    """
    pixel = number(header, "PIXEL_SIZE")
    x, y = number(header, "BEAM_CENTER_X"), number(header, "BEAM_CENTER_Y")
    slow = fast = None
    if pixel and x is not None and y is not None:
        slow, fast = x / pixel, y / pixel
        if header.get("BEAMLINE", "").lower() == "fake":
            slow, fast = slow_pixels - fast, slow
    spatial = header.get("CCD_SPATIAL_BEAM_POSITION", "").split()
    if len(spatial) == 2:
        fast, slow = number({"x": spatial[0]}, "x"), number({"y": spatial[1]}, "y")
    return facts(
        pedestal=number(header, "IMAGE_PEDESTAL", "PEDESTAL", "ADC_OFFSET"),
        gain=number(header, "GAIN"),
        saturation=number(header, "CCD_IMAGE_SATURATION", "SATURATED_VALUE"),
        beam_slow=slow,
        beam_fast=fast,
        pixel_size_mm=pixel,
        distance_mm=number(header, "DISTANCE"),
        wavelength_A=number(header, "WAVELENGTH", "SOURCE_WAVELENGTH"),
    )


def mar_facts(start: bytes) -> Facts:
    """Return what the binary header of a MarCCD or Rayonix TIFF says.

    `start` is the file's first 4096 bytes. The header begins at byte 1024, in the byte order of
    the TIFF; lengths are in units of 1e-3 mm (1e-6 mm for pixels), the bias in 1e-3 counts.
    """
    if len(start) < 4096 or start[1028:1031] != b"MMX":
        return Facts()
    order = ">" if start[:2] == b"MM" else "<"

    def word(offset: int) -> int:
        value: int = struct.unpack_from(order + "i", start, offset)[0]
        return value

    photons_per_100_counts = word(1808)
    return facts(
        pedestal=max(word(1804), 0) / 1e3,
        gain=100 / photons_per_100_counts if photons_per_100_counts > 0 else None,
        saturation=word(1128),
        beam_fast=word(1668) / 1e3,
        beam_slow=word(1672) / 1e3,
        pixel_size_mm=word(1796) / 1e6,
        distance_mm=(word(1664) or word(1720)) / 1e3,
        wavelength_A=word(1932) / 1e5,
    )


def bruker_facts(header: Mapping[str, object]) -> Facts:
    """Return what a Bruker header says.

    NEXP's third number is the baseline that was added (format 86; fabio takes that of format 100
    into account itself); CCDPARM holds noise, electrons/count, electrons/photon, bias, full scale.
    """
    exposures = _numbers(header.get("NEXP"))
    ccd = _numbers(header.get("CCDPARM"))
    center = _numbers(header.get("CENTER"))
    distance = _numbers(header.get("DISTANC"))
    old = str(header.get("FORMAT", "")).strip() == "86"
    has_ccd = len(ccd) >= 5 and ccd[1] > 0
    return facts(
        pedestal=exposures[2] if old and len(exposures) > 2 else None,
        gain=ccd[2] / ccd[1] if has_ccd else None,
        saturation=ccd[4] if has_ccd and not old else None,
        beam_fast=center[0] if len(center) > 1 else None,
        beam_slow=center[1] if len(center) > 1 else None,
        distance_mm=distance[-1] * 10 if distance else None,
        wavelength_A=number(header, "WAVELEN"),
    )


def oxd_facts(header: Mapping[str, object]) -> Facts:
    """Return what a header of CrysAlis (OXD) says; its beam is in unbinned pixels."""
    beam_fast, beam_slow = number(header, "Beam center x"), number(header, "Beam center y")
    return facts(
        gain=number(header, "Gain"),
        saturation=number(header, "Overflow threshold"),
        beam_slow=_times(beam_slow, 1 / (number(header, "Binning in y") or 1)),
        beam_fast=_times(beam_fast, 1 / (number(header, "Binning in x") or 1)),
        pixel_size_mm=number(header, "Real pixel size x (mm)"),
        distance_mm=number(header, "Distance in mm"),
        wavelength_A=number(header, "Wavelength alpha"),
    )


def edf_facts(header: Mapping[str, object]) -> Facts:
    """Return what an EDF or KCD header says: ESRF's SAXS keys (metres) or Nonius's own names."""
    return facts(
        pedestal=number(header, "Pedestal", "pedestal"),
        gain=number(header, "Detector gain (ADU/count)"),
        beam_fast=number(header, "Center_1"),
        beam_slow=number(header, "Center_2"),
        pixel_size_mm=_times(number(header, "PSize_1"), 1e3),
        distance_mm=_times(number(header, "SampleDistance"), 1e3) or number(header, "Dx start"),
        wavelength_A=_times(number(header, "WaveLength"), 1e10),
    )


def _positive(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _after(text: str, key: str) -> float | None:
    """Return the number behind `key`, whatever mixture of spaces, `=` and `:` parts the two."""
    match = re.search(rf"{key}[\s=:]+{_NUMBER}", text)
    return float(match[1]) if match else None


def _numbers(value: object) -> list[float]:
    """Return the numbers at the start of `value`."""
    numbers: list[float] = []
    for word in str(value or "").split():
        try:
            numbers.append(float(word))
        except ValueError:
            break
    return numbers
