"""miniCBF and TIFF as a PILATUS writes them: its header, 32-bit counts, -1 where there are none."""

import base64
import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.written.header import Header
from deepfreak.storage.files import whole_file

MISSING = -1
# Where a PILATUS puts them; readers tell its files from other TIFF by the first.
_DIRECTORY_AT, _DATA_AT = 130, 4096
_SHORT, _LONG, _TEXT = 3, 4, 2


def write_cbf(
    path: Path, counts: NDArray[np.uint16], header: Header, *, overwrite: bool = False
) -> None:
    """Write `counts` [slow, fast] as miniCBF, byte-offset compressed.

    The header states distance and beam centre; it has no field for a tilt.
    """
    from fabio.compression import compByteOffset

    # not by fabio's CbfImage, which names the data block after the temporary file
    data = bytes(compByteOffset(_with_gaps(counts, header)))
    rows, columns = counts.shape
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    lines = [
        "###CBF: VERSION 1.5",
        f"data_shot_{header.index:06d}",
        "",
        '_array_data.header_convention "PILATUS_1.2"',
        "_array_data.header_contents",
        ";",
        *_comments(header),
        ";",
        "",
        "_array_data.data",
        ";",
        "--CIF-BINARY-FORMAT-SECTION--",
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(data)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {digest}",
        f"X-Binary-Number-of-Elements: {rows * columns}",
        f"X-Binary-Size-Fastest-Dimension: {columns}",
        f"X-Binary-Size-Second-Dimension: {rows}",
        "X-Binary-Size-Padding: 0",
        "",
        "",
    ]
    text = "\r\n".join(lines).encode("ascii", "replace")
    end = b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(text + b"\x0c\x1a\x04\xd5" + data + end)


def write_tiff(
    path: Path,
    image: NDArray[np.uint16] | NDArray[np.float32],
    header: Header,
    *,
    overwrite: bool = False,
) -> None:
    """Write counts, or expected photons (float32), [slow, fast] as an uncompressed TIFF.

    Laid out as a PILATUS does it, with its header in the image description, so that programs find
    the geometry; missing pixels are -1 in counts and NaN in photons.
    """
    data = _with_gaps(image, header).astype("<f4" if image.dtype.kind == "f" else "<i4")
    rows, columns = image.shape
    description = "\r\n".join([*_comments(header), ""]).encode("ascii", "replace") + b"\0"
    entries = [
        (256, _LONG, 1, columns),
        (257, _LONG, 1, rows),
        (258, _SHORT, 1, 32),
        (259, _SHORT, 1, 1),  # no compression
        (262, _SHORT, 1, 1),  # zero is black
        (270, _TEXT, len(description), 0),
        (273, _LONG, 1, _DATA_AT),
        (277, _SHORT, 1, 1),  # one value a pixel
        (278, _LONG, 1, rows),
        (279, _LONG, 1, data.nbytes),
        (339, _SHORT, 1, 3 if image.dtype.kind == "f" else 2),  # IEEE floats or signed integers
    ]
    description_at = _DIRECTORY_AT + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, description_at if tag == 270 else value)
    start = struct.pack("<2sHI", b"II", 42, _DIRECTORY_AT).ljust(_DIRECTORY_AT, b"\0")
    start += directory + struct.pack("<I", 0) + description
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(start.ljust(_DATA_AT, b"\0") + data.tobytes())


def _comments(header: Header) -> list[str]:
    """Return the header's lines; lengths are in metres, the beam is (fast, slow) in pixels."""
    pixel = f"{header.pixel_size_mm * 1e-3:.9g} m"
    slow, fast = header.beam_center_px
    return [
        f"# Detector: PILATUS-like, simulated by DeepFreak, recipe {header.recipe:.80}",
        f"# Pixel_size {pixel} x {pixel}",
        f"# Exposure_time {header.exposure_s:.7f} s",
        f"# Exposure_period {header.exposure_s:.7f} s",
        f"# Count_cutoff {header.saturation_value} counts",
        f"# Pedestal {header.pedestal:.9g} counts",
        f"# Wavelength {header.wavelength_A:.10g} A",
        f"# Detector_distance {header.distance_mm * 1e-3:.10g} m",
        f"# Beam_xy ({fast:.4f}, {slow:.4f}) pixels",
        f"# Start_angle {header.start_deg:.4f} deg.",
        f"# Angle_increment {header.range_deg:.4f} deg.",
    ]


def _with_gaps(
    image: NDArray[np.uint16] | NDArray[np.float32], header: Header
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Return the image with what stands for "no measurement" in its missing pixels."""
    if image.dtype.kind == "f":
        return np.where(header.missing, np.float32(np.nan), image).astype(np.float32)
    return np.where(header.missing, np.int32(MISSING), image.astype(np.int32)).astype(np.int32)
