"""SMV: ADSC, Rigaku (d*TREK), and simulated images as nanoBragg writes them.

Read here and not by fabio, which needs files without a byte after the image and takes every type
it does not know for 16-bit integers.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.format import Format, require_bytes, single
from deepfreak.formats.frame import Counts, Frame, Metadata, combined, require_shape
from deepfreak.formats.headers import MAX_VALUE_LENGTH, metadata_from, number, plain, times
from deepfreak.formats.measured import make_frame
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from deepfreak.formats.shot_metadata import ShotMetadata

_HEADER = re.compile(rb"\{\s{0,80}HEADER_BYTES\s{0,80}=\s{0,80}(\d{1,12})\s{0,80};")
_MAX_HEADER_BYTES = 1 << 20
_HEADER_BYTES = 1024  # as nanoBragg writes it
_TYPES = {
    "unsigned_short": "u2",
    "unsigned short int": "u2",
    "short int": "i2",
    "signed_short": "i2",
    "unsigned_long": "u4",
    "unsigned long int": "u4",
    "signed_long": "i4",
    "long_integer": "i4",
    "long int": "i4",
    "unsigned_char": "u1",
    "unsigned char": "u1",
    "signed char": "i1",
    "float": "f4",
    "float ieee": "f4",
}


def read_smv(path: Path, name: str) -> Frame:
    """Return the frame of an SMV file; `FrameError` where header and data do not fit."""
    header, counts = _read(path)
    simulated = header.get("BEAMLINE", "").lower() == "fake"
    found = _metadata(header, counts.shape[0])
    if simulated:
        found = combined(metadata_from(gain=(1.0, "simulated")), found)
    return make_frame(
        counts,
        file=name,
        index=0,
        metadata=found,
        names=_detector_names(header),
        simulated=simulated,
    )


def _metadata(header: Mapping[str, str], slow_pixels: int) -> Metadata:
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
    spatial = header.get("CCD_SPATIAL_BEAM_POSITION", "")[:MAX_VALUE_LENGTH].split()
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


def _detector_names(header: dict[str, str]) -> tuple[str | None, ...]:
    """Return what the header calls the detector; without a name, the format's own: ADSC's CCDs."""
    keys = ("DETECTOR_TYPE", "DETECTOR", "CCD_DETECTOR_DESCRIPTION", "DETECTOR_NAMES", "BEAMLINE")
    names = tuple(header[key] for key in keys if header.get(key))
    if header.get("BEAMLINE", "").lower() == "fake":
        return ()
    return names or (("ADSC",) if "CCD_IMAGE_SATURATION" in header else ())


def _read(path: Path) -> tuple[dict[str, str], Counts]:
    """Return the header and the counts [slow, fast]."""
    with path.open("rb") as file:
        match = _HEADER.match(file.read(512))
        header_bytes = int(match[1]) if match else 0
        if not 0 < header_bytes <= _MAX_HEADER_BYTES:
            raise FrameError(
                f"expected an SMV header of a sensible size, found {header_bytes} bytes"
            )
        file.seek(0)
        header = _split(file.read(header_bytes))
        shape = (_size(header, "SIZE2"), _size(header, "SIZE1"))
        require_shape(shape)
        dtype = _dtype(header)
        expected = shape[0] * shape[1] * dtype.itemsize
        data = file.read(expected)
    require_bytes(expected, len(data))
    counts: Counts = np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    return header, counts


def _split(header: bytes) -> dict[str, str]:
    """Return the keys and values of `header`; of a key that comes twice, the last."""
    text = header.decode("latin-1").partition("}")[0]
    pairs = (entry.split("=", 1) for entry in re.split(r"[;\n]", text) if "=" in entry)
    return {key.strip(" {\r\t"): value.strip() for key, value in pairs}


def _dtype(header: dict[str, str]) -> np.dtype[np.generic]:
    kind = header.get("Data_type", header.get("TYPE", "unsigned_short"))
    if kind.lower() not in _TYPES:
        raise FrameError(f"expected SMV values of a known type, found {kind!r:.60}")
    if header.get("COMPRESSION", "None").lower() not in {"none", ""}:
        raise FrameError(
            f"expected SMV data without compression, found {header['COMPRESSION']:.40}"
        )
    order = ">" if header.get("BYTE_ORDER", "little_endian").lower().startswith("big") else "<"
    return np.dtype(order + _TYPES[kind.lower()])


def _size(header: dict[str, str], key: str) -> int:
    value = plain(header, key)
    if value is None or value < 1:
        raise FrameError(f"expected {key} in the SMV header, found {header.get(key)!r:.40}")
    return int(value)


def write_smv(
    path: Path, counts: NDArray[np.uint16], header: "ShotMetadata", *, overwrite: bool = False
) -> None:
    """Write `counts` [slow, fast] as 16-bit SMV, row after row from the first in memory.

    `BEAMLINE=fake` tells readers that the header is nanoBragg's: BEAM_CENTER_X and _Y are ADXV's,
    in mm along the fast axis and from the last row's outer edge up. It has no field for a tilt.
    """
    text = "{\n" + "".join(f"{name}={value};\n" for name, value in _written_fields(header)) + "}\f"
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(
            text.encode("ascii").ljust(_HEADER_BYTES) + counts.astype("<u2", copy=False).tobytes()
        )


def _written_fields(header: "ShotMetadata") -> list[tuple[str, str]]:
    """Return the header's names and values."""
    pixel = header.pixel_size_mm
    rows, columns = header.image_size
    slow, fast = (pixel * center for center in header.beam_center_px)
    closest = header.closest_px
    x, y, z = header.origin_mm
    numbers = {
        "PIXEL_SIZE": pixel,
        "DISTANCE": header.distance_mm,
        "WAVELENGTH": header.wavelength_A,
        "BEAM_CENTER_X": fast,
        "BEAM_CENTER_Y": rows * pixel - slow,
        "ADXV_CENTER_X": fast,
        "ADXV_CENTER_Y": rows * pixel - slow,
        "MOSFLM_CENTER_X": slow - pixel / 2,
        "MOSFLM_CENTER_Y": fast - pixel / 2,
        "DENZO_X_BEAM": slow,
        "DENZO_Y_BEAM": fast,
    }
    more_numbers = {
        "XDS_ORGX": closest[1] + 0.5,
        "XDS_ORGY": closest[0] + 0.5,
        "CLOSE_DISTANCE": header.main_panel.close_distance_mm,
        "PHI": header.start_deg,
        "OSC_START": header.start_deg,
        "OSC_RANGE": header.range_deg,
        "TIME": header.exposure_s,
        "TWOTHETA": 0.0,
    }
    return [
        ("HEADER_BYTES", str(_HEADER_BYTES)),
        ("DIM", "2"),
        ("BYTE_ORDER", "little_endian"),
        ("TYPE", "unsigned_short"),
        ("SIZE1", str(columns)),
        ("SIZE2", str(rows)),
        *((name, _written(value)) for name, value in numbers.items()),
        # imgCIF's frame: x along our z, y along our y, z against the beam
        ("DIALS_ORIGIN", ",".join(_written(float(value)) for value in (z, y, -x))),
        *((name, _written(value)) for name, value in more_numbers.items()),
        ("DETECTOR_SN", "000"),
        ("ADC_OFFSET", _written(header.pedestal)),
        ("CCD_IMAGE_SATURATION", str(header.saturation)),
        ("BEAMLINE", "fake"),
    ]


def _written(value: float) -> str:
    # adding zero turns -0 into 0
    return f"{round(value, 9) + 0.0:.10g}"


SMV = Format(
    name="SMV",
    suffixes=(".img",),
    recognises=lambda _, start: _HEADER.match(start) is not None,
    open=single(read_smv, _read),
    read_image=lambda path: _read(path)[1],
    write=write_smv,
)
