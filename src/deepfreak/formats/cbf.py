"""CBF: miniCBF of PILATUS and EIGER, and imgCIF with one image.

Read here and not by fabio, which never ends waiting for the image of a file that ends in its header
and fills up one that ends in its image. The comments `# Key value` of PILATUS and EIGER, which
their TIFF files have too, are read, and written for simulated shots.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.format import Format, require_bytes, single
from deepfreak.formats.frame import Counts, Frame, Metadata, combined, require_shape
from deepfreak.formats.headers import (
    NUMBER,
    WithOrigin,
    metadata_from,
    number,
    number_after,
    plain,
    times,
)
from deepfreak.formats.measured import counts_photons, make_frame
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from deepfreak.formats.shot_metadata import ShotMetadata

_MAGIC = b"###CBF"
_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_STARTER = b"\x0c\x1a\x04\xd5"
_TYPES = {
    "signed 8-bit integer": "<i1",
    "signed 16-bit integer": "<i2",
    "signed 32-bit integer": "<i4",
    "signed 64-bit integer": "<i8",
    "unsigned 8-bit integer": "<u1",
    "unsigned 16-bit integer": "<u2",
    "unsigned 32-bit integer": "<u4",
    "unsigned 64-bit integer": "<u8",
    "signed 32-bit real IEEE": "<f4",
    "signed 64-bit real IEEE": "<f8",
}


def read_cbf(path: Path, name: str) -> Frame:
    """Return the frame of a CBF file.

    Raises `FrameError`: truncated, several images, or a compression other than byte offset and
    none.
    """
    content = path.read_bytes()
    section, start = _find_image(content)
    text = content[:section].decode("latin-1")
    header = _binary_header(content[section:start])
    counts = _decode(header, content, start + len(_STARTER))
    names = _detector_names(text)
    found = dectris_metadata(text) if counts_photons(*names) else _imgcif_metadata(text)
    wrong = _wrong_checksum(header, content, start + len(_STARTER))
    if wrong is not None:
        found = combined(found, Metadata(notes=(wrong,)))
    return make_frame(counts, file=name, index=0, metadata=found, names=names)


def _detector_names(text: str) -> tuple[str | None, ...]:
    """Return what the header calls the detector.

    `header_convention` names a dialect, not a detector: it counts only where nothing else does.
    """
    name = dectris_name(text)
    if name is None:
        tags = r"_diffrn_detector\.(?:type|detector|details)[ \t]{1,40}([^\r\n]{1,80})"
        match = re.search(tags, text)
        name = match[1].strip(" '\"") if match else None
    if name is not None and counts_photons(name) is not None:
        return (name,)
    # eiger2cbf writes SLS_1.0
    if re.search(r'header_convention[ \t]{1,40}"?SLS', text):
        return ("EIGER", name)
    found = re.search(
        r"EIGER|PILATUS", re.sub(r"header_convention[^\r\n]*", "", text), re.IGNORECASE
    )
    if found is None:
        found = re.search("PILATUS", text, re.IGNORECASE)
    return (name, found[0].upper() if found else None)


def _wrong_checksum(header: dict[str, str], content: bytes, start: int) -> str | None:
    """Return the line that says that the image is not the one of which the file has the checksum.

    No error: there are writers of wrong checksums.
    """
    expected = header.get("Content-MD5", "").strip()
    if not expected:
        return None
    data = _data(header, content, start)
    found = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    if found == expected:
        return None
    return (
        f"expected image data with the Content-MD5 {expected:.24}, found {found}: the file is "
        "damaged, or its writer wrote a wrong checksum"
    )


def _check(path: Path) -> None:
    """Raise `FrameError` unless the image is as long as its header says; quicker than reading."""
    content = path.read_bytes()
    section, start = _find_image(content)
    _data(_binary_header(content[section:start]), content, start + len(_STARTER))


def _find_image(content: bytes) -> tuple[int, int]:
    """Return where the binary section's header starts, and where that ends."""
    section = content.find(_SECTION)
    start = content.find(_STARTER, section)
    if section < 0 or start < 0:
        raise FrameError(
            f"expected a CBF image, found {len(content)} bytes without one: "
            "the file is truncated or not a CBF; copy it again"
        )
    return section, start


def _binary_header(section: bytes) -> dict[str, str]:
    """Return the MIME header of the binary section."""
    text = section.decode("latin-1")
    header = dict(
        re.findall(r'^[ \t]{0,40}([\w-]{1,80}):[ \t]{0,40}"?([^"\r\n]*)', text, re.MULTILINE)
    )
    conversions = re.search(r'conversions="?([\w-]+)', text)
    header["conversions"] = conversions[1] if conversions else "x-CBF_NONE"
    return header


def _decode(header: dict[str, str], content: bytes, start: int) -> Counts:
    """Return the image [slow, fast] of the binary section that starts at byte `start`."""
    shape = (
        _size(header, "X-Binary-Size-Second-Dimension"),
        _size(header, "X-Binary-Size-Fastest-Dimension"),
    )
    depth = plain(header, "X-Binary-Size-Third-Dimension") or 1
    require_shape(shape)
    data = _data(header, content, start)
    if content.find(_STARTER, start + len(data)) >= 0 or depth > 1:
        raise FrameError("expected one image in a CBF file, found several: split the file")
    kind = header.get("X-Binary-Element-Type", "signed 32-bit integer").strip()
    if kind not in _TYPES:
        raise FrameError(f"expected CBF values of a known type, found {kind!r:.60}")
    dtype = np.dtype(_TYPES[kind])
    pixels = shape[0] * shape[1]
    conversion = header["conversions"]
    if conversion.upper() == "X-CBF_BYTE_OFFSET":
        values = _byte_offset(data, pixels, dtype)
    elif conversion.upper() == "X-CBF_NONE":
        if header.get("X-Binary-Element-Byte-Order", "").startswith("BIG"):
            dtype = dtype.newbyteorder(">")
        values = np.frombuffer(data, dtype)
    else:
        raise FrameError(
            f"expected CBF data as x-CBF_BYTE_OFFSET or x-CBF_NONE, found {conversion:.40}: "
            "convert the file, for instance with cbflib's cif2cbf"
        )
    if values.size != pixels:
        raise FrameError(
            f"expected {pixels} pixels, found {values.size} in the data: the file is damaged"
        )
    return np.asarray(values.reshape(shape).astype(dtype.newbyteorder("="), copy=False))


def _data(header: dict[str, str], content: bytes, start: int) -> bytes:
    """Return the bytes of the image that starts at byte `start`."""
    size = _size(header, "X-Binary-Size")
    data = content[start : start + size]
    require_bytes(size, len(data))
    return data


def _byte_offset(data: bytes, pixels: int, dtype: np.dtype[np.generic]) -> Counts:
    """Return the values of byte-offset compressed `data`."""
    from fabio.compression import decByteOffset

    if len(data) < pixels:  # a value takes a byte or more
        raise FrameError(
            f"expected {pixels} pixels, found {len(data)} compressed bytes: the file is damaged"
        )
    return np.asarray(np.asarray(decByteOffset(data, size=pixels, dtype="int64")).astype(dtype))


def _size(header: dict[str, str], key: str) -> int:
    value = plain(header, key)
    if value is None or value < 1 or value > 1 << 40:
        raise FrameError(f"expected {key} in the CBF header, found {header.get(key)!r:.40}")
    return int(value)


def _imgcif_metadata(text: str) -> Metadata:
    """Return gain, overload and wavelength of a full imgCIF header."""
    import gemmi

    values: dict[str, WithOrigin | None] = {}
    try:
        block = gemmi.cif.read_string(text[: text.rfind("_array_data.data")]).sole_block()
        for tag in (
            "_array_intensities.gain",
            "_array_intensities.overload",
            "_array_intensities.offset",
            "_diffrn_radiation_wavelength.wavelength",
        ):
            found = block.find_values(tag)
            values[tag] = number({tag: found[0]}, tag) if len(found) else None
    except (RuntimeError, ValueError):  # the header is not valid CIF
        return Metadata()
    return metadata_from(
        gain=values["_array_intensities.gain"],
        saturation=values["_array_intensities.overload"],
        pedestal=values["_array_intensities.offset"],
        wavelength_A=values["_diffrn_radiation_wavelength.wavelength"],
    )


def dectris_metadata(text: str) -> Metadata:
    """Return what the `# Key value` comments of PILATUS and EIGER files say.

    Lengths are in metres there; `Beam_xy` is (fast, slow) in pixels. `Pedestal` stands in simulated
    files only.
    """
    beam = re.search(
        rf"Beam_xy[\s=:]{{0,40}}\(?\s{{0,40}}{NUMBER}\s{{0,40}},\s{{0,40}}{NUMBER}", text
    )
    return metadata_from(
        pedestal=number_after(text, "Pedestal"),
        saturation=number_after(text, "Count_cutoff"),
        beam_slow=(float(beam[2]), "Beam_xy") if beam else None,
        beam_fast=(float(beam[1]), "Beam_xy") if beam else None,
        pixel_size_mm=times(number_after(text, "Pixel_size"), 1e3),
        distance_mm=times(number_after(text, "Detector_distance"), 1e3),
        wavelength_A=number_after(text, "Wavelength"),
    )


def dectris_name(text: str) -> str | None:
    """Return the detector that the comments of a PILATUS or EIGER file name."""
    match = re.search(r"#[ \t]{0,10}Detector[ \t]{0,10}[:=][ \t]{0,10}([^\r\n,;]{1,80})", text)
    return match[1].strip() if match else None


def comments(header: "ShotMetadata") -> list[str]:
    """Return the header's lines; lengths are in metres, the beam is (fast, slow) in pixels."""
    pixel = f"{header.pixel_size_mm * 1e-3:.9g} m"
    slow, fast = header.beam_center_px
    return [
        f"# Detector: PILATUS-like, simulated by DeepFreak, recipe {header.recipe:.80}",
        f"# Pixel_size {pixel} x {pixel}",
        f"# Exposure_time {header.exposure_s:.7f} s",
        f"# Exposure_period {header.exposure_s:.7f} s",
        f"# Count_cutoff {header.saturation} counts",
        f"# Pedestal {header.pedestal:.9g} counts",
        f"# Wavelength {header.wavelength_A:.10g} A",
        f"# Detector_distance {header.distance_mm * 1e-3:.10g} m",
        f"# Beam_xy ({fast:.4f}, {slow:.4f}) pixels",
        f"# Start_angle {header.start_deg:.4f} deg.",
        f"# Angle_increment {header.range_deg:.4f} deg.",
    ]


def with_gaps(
    image: NDArray[np.uint16] | NDArray[np.float32], header: "ShotMetadata"
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Return the image with what stands for "no measurement" in its missing pixels."""
    if image.dtype.kind == "f":
        return np.where(header.missing, np.float32(np.nan), image).astype(np.float32)
    return np.where(header.missing, np.int32(-1), image.astype(np.int32)).astype(np.int32)


def write_cbf(
    path: Path, counts: NDArray[np.uint16], header: "ShotMetadata", *, overwrite: bool = False
) -> None:
    """Write `counts` [slow, fast] as miniCBF, byte-offset compressed.

    The header states distance and beam centre; it has no field for a tilt.
    """
    from fabio.compression import compByteOffset

    # not by fabio's CbfImage, which names the data block after the temporary file
    data = bytes(compByteOffset(with_gaps(counts, header)))
    rows, columns = counts.shape
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    lines = [
        "###CBF: VERSION 1.5",
        f"data_shot_{header.index:06d}",
        "",
        '_array_data.header_convention "PILATUS_1.2"',
        "_array_data.header_contents",
        ";",
        *comments(header),
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
        partial.write_bytes(text + _STARTER + data + end)


CBF = Format(
    name="CBF",
    suffixes=(".cbf",),
    recognises=lambda path, start: start.startswith(_MAGIC) or path.suffix.lower() == ".cbf",
    open=single(read_cbf, _check),
    read_image=lambda path: read_cbf(path, path.name).counts,
    write=write_cbf,
)
