"""What headers say about a frame, in the units of `Frame`.

Every function here takes header text as some reader split it and returns only what it could make
sense of: a header that is silent, or says zero where it does not know, changes nothing.
"""

import math
import re
import struct
from collections.abc import Mapping
from typing import Any, TypeGuard, cast

from deepfreak.formats.frame import Metadata

# digits are bounded, so that no text takes long to match
_NUMBER = r"([-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?)(?![\d.]|[eE][-+]?\d)"
_GAP = r"[\s=:]{1,40}"
_LEADING = re.compile(r"\s{0,40}" + _NUMBER)
_MAX_VALUE_LENGTH = 200  # characters of a header's value in which a number is sought

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
        match = _LEADING.match(str(header.get(key, ""))[:_MAX_VALUE_LENGTH])
        if match:
            value = float(match[1])
            if math.isfinite(value):
                return value, key
    return None


def plain(header: Mapping[str, object], *keys: str) -> float | None:
    """Return what `number` finds without its origin."""
    found = number(header, *keys)
    return None if found is None else found[0]


def times(found: WithOrigin | None, factor: float) -> WithOrigin | None:
    """Return a number in another unit."""
    return None if found is None else (float(f"{found[0] * factor:.12g}"), found[1])


def dectris_metadata(text: str) -> Metadata:
    """Return what the `# Key value` comments of PILATUS and EIGER files say.

    Lengths are in metres there; `Beam_xy` is (fast, slow) in pixels. `Pedestal` stands in simulated
    files only.
    """
    beam = re.search(
        rf"Beam_xy[\s=:]{{0,40}}\(?\s{{0,40}}{_NUMBER}\s{{0,40}},\s{{0,40}}{_NUMBER}", text
    )
    return metadata_from(
        pedestal=_after(text, "Pedestal"),
        saturation=_after(text, "Count_cutoff"),
        beam_slow=(float(beam[2]), "Beam_xy") if beam else None,
        beam_fast=(float(beam[1]), "Beam_xy") if beam else None,
        pixel_size_mm=times(_after(text, "Pixel_size"), 1e3),
        distance_mm=times(_after(text, "Detector_distance"), 1e3),
        wavelength_A=_after(text, "Wavelength"),
    )


def dectris_name(text: str) -> str | None:
    """Return the detector that the comments of a PILATUS or EIGER file name."""
    match = re.search(r"#[ \t]{0,10}Detector[ \t]{0,10}[:=][ \t]{0,10}([^\r\n,;]{1,80})", text)
    return match[1].strip() if match else None


def smv_metadata(header: Mapping[str, str], slow_pixels: int) -> Metadata:
    """Return what an SMV header says: ADSC's, Rigaku's, or that of nanoBragg.

    ADSC gives the beam in mm with X along the slow axis, nanoBragg (`BEAMLINE=fake`) with X along
    the fast axis and Y from the last row up; Rigaku in pixels along (fast, slow).
    """
    pixel = number(header, "PIXEL_SIZE")
    x, y = number(header, "BEAM_CENTER_X"), number(header, "BEAM_CENTER_Y")
    slow = fast = None
    if pixel and pixel[0] > 0 and x is not None and y is not None:
        slow, fast = times(x, 1 / pixel[0]), times(y, 1 / pixel[0])
        if header.get("BEAMLINE", "").lower() == "fake" and slow and fast:
            slow, fast = (slow_pixels - fast[0], fast[1]), slow
    spatial = header.get("CCD_SPATIAL_BEAM_POSITION", "")[:_MAX_VALUE_LENGTH].split()
    if len(spatial) == 2:
        key = "CCD_SPATIAL_BEAM_POSITION"
        fast, slow = (number({key: word}, key) for word in spatial)
    return metadata_from(
        pedestal=number(header, "IMAGE_PEDESTAL", "PEDESTAL", "ADC_OFFSET"),
        gain=number(header, "GAIN"),
        saturation=number(header, "CCD_IMAGE_SATURATION", "SATURATED_VALUE"),
        beam_slow=slow,
        beam_fast=fast,
        pixel_size_mm=pixel,
        distance_mm=number(header, "DISTANCE"),
        wavelength_A=number(header, "WAVELENGTH", "SOURCE_WAVELENGTH"),
    )


def mar_metadata(start: bytes) -> Metadata:
    """Return what the binary header of a MarCCD or Rayonix TIFF says.

    `start` is the file's first 4096 bytes. The header begins at byte 1024, in the byte order of
    the TIFF; lengths are in units of 1e-3 mm (1e-6 mm for pixels), the bias in 1e-3 counts.
    """
    if not is_mar(start):
        return Metadata()
    order = ">" if start[:2] == b"MM" else "<"

    def word(offset: int, scale: float, name: str) -> WithOrigin:
        value: int = struct.unpack_from(order + "i", start, offset)[0]
        return round(value * scale, 12), f"MarCCD header, {name}"

    photons_per_100_counts, _ = word(1808, 1, "photons")
    distance = word(1664, 1e-3, "xtal_to_detector")
    return metadata_from(
        pedestal=(max(word(1804, 1e-3, "")[0], 0.0), "MarCCD header, mean_bias"),
        gain=(100 / photons_per_100_counts, "MarCCD header, photons_per_100adu")
        if photons_per_100_counts > 0
        else None,
        saturation=word(1128, 1, "saturated_value"),
        beam_slow=word(1672, 1e-3, "beam_y"),
        beam_fast=word(1668, 1e-3, "beam_x"),
        pixel_size_mm=word(1796, 1e-6, "pixelsize_x"),
        distance_mm=distance if distance[0] else word(1720, 1e-3, "start_xtal_to_detector"),
        wavelength_A=word(1932, 1e-5, "source_wavelength"),
    )


def is_mar(start: bytes) -> bool:
    """Return whether a TIFF that starts so has the header of a MarCCD or Rayonix."""
    return len(start) >= 4096 and start[1028:1031] == b"MMX"


def bruker_metadata(header: Mapping[str, object]) -> Metadata:
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
    return metadata_from(
        pedestal=(exposures[2], "NEXP") if old and len(exposures) > 2 else None,
        gain=(ccd[2] / ccd[1], "CCDPARM") if has_ccd else None,
        saturation=(ccd[4], "CCDPARM") if has_ccd and not old else None,
        beam_slow=(center[1], "CENTER") if len(center) > 1 else None,
        beam_fast=(center[0], "CENTER") if len(center) > 1 else None,
        distance_mm=(distance[-1] * 10, "DISTANC") if distance else None,
        wavelength_A=number(header, "WAVELEN"),
    )


def oxd_metadata(header: Mapping[str, object]) -> Metadata:
    """Return what a header of CrysAlis (OXD) says; its beam is in unbinned pixels."""
    slow, fast = number(header, "Beam center y"), number(header, "Beam center x")
    binned = plain(header, "Binning in y") or 1, plain(header, "Binning in x") or 1
    return metadata_from(
        gain=number(header, "Gain"),
        saturation=number(header, "Overflow threshold"),
        beam_slow=times(slow, 1 / binned[0]),
        beam_fast=times(fast, 1 / binned[1]),
        pixel_size_mm=number(header, "Real pixel size x (mm)"),
        distance_mm=number(header, "Distance in mm"),
        wavelength_A=number(header, "Wavelength alpha"),
    )


def edf_metadata(header: Mapping[str, object]) -> Metadata:
    """Return what an EDF or KCD header says: ESRF's SAXS keys (metres) or Nonius's own names."""
    distance = times(number(header, "SampleDistance"), 1e3)
    return metadata_from(
        pedestal=number(header, "Pedestal", "pedestal"),
        gain=number(header, "Detector gain (ADU/count)"),
        beam_slow=number(header, "Center_2"),
        beam_fast=number(header, "Center_1"),
        pixel_size_mm=times(number(header, "PSize_1"), 1e3),
        distance_mm=distance if distance and distance[0] else number(header, "Dx start"),
        wavelength_A=times(number(header, "WaveLength"), 1e10),
    )


def _positive(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def _after(text: str, key: str) -> WithOrigin | None:
    """Return the number behind `key`, whatever mixture of spaces, `=` and `:` parts the two."""
    match = re.search(key + _GAP + _NUMBER, text)
    return (float(match[1]), key) if match and math.isfinite(float(match[1])) else None


def _numbers(value: object) -> list[float]:
    """Return the finite numbers at the start of `value`."""
    numbers: list[float] = []
    for word in str(value or "")[:_MAX_VALUE_LENGTH].split():
        match = re.fullmatch(_NUMBER, word)
        if match is None or not math.isfinite(float(match[1])):
            break
        numbers.append(float(match[1]))
    return numbers
