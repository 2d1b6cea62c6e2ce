"""SMV with the header that nanoBragg writes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.written.header import Header
from deepfreak.storage.files import whole_file

HEADER_BYTES = 1024


def write_smv(
    path: Path, counts: NDArray[np.uint16], header: Header, *, overwrite: bool = False
) -> None:
    """Write `counts` [slow, fast] as 16-bit SMV, row after row from the first in memory.

    `BEAMLINE=fake` tells readers that the header is nanoBragg's: BEAM_CENTER_X and _Y are ADXV's,
    in mm along the fast axis and from the last row's outer edge up. No field of it tells a tilt.
    """
    text = "{\n" + "".join(f"{name}={value};\n" for name, value in _fields(header)) + "}\f"
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(
            text.encode("ascii").ljust(HEADER_BYTES) + counts.astype("<u2", copy=False).tobytes()
        )


def _fields(header: Header) -> list[tuple[str, str]]:
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
        ("HEADER_BYTES", str(HEADER_BYTES)),
        ("DIM", "2"),
        ("BYTE_ORDER", "little_endian"),
        ("TYPE", "unsigned_short"),
        ("SIZE1", str(columns)),
        ("SIZE2", str(rows)),
        *((name, _number(value)) for name, value in numbers.items()),
        # imgCIF's frame: x along our z, y along our y, z against the beam
        ("DIALS_ORIGIN", ",".join(_number(float(value)) for value in (z, y, -x))),
        *((name, _number(value)) for name, value in more_numbers.items()),
        ("DETECTOR_SN", "000"),
        ("ADC_OFFSET", _number(header.pedestal)),
        ("CCD_IMAGE_SATURATION", str(header.saturation_value)),
        ("BEAMLINE", "fake"),
    ]


def _number(value: float) -> str:
    # adding zero turns -0 into 0
    return f"{round(value, 9) + 0.0:.10g}"
