"""SMV: ADSC, Rigaku (d*TREK), and simulated images as nanoBragg writes them.

Read here and not by fabio, which needs files without a byte after the image and takes every type
it does not know for 16-bit integers.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import (
    Counts,
    Extent,
    Frame,
    FrameFile,
    combined,
    require_shape,
)
from deepfreak.formats.headers import metadata_from, plain, smv_metadata
from deepfreak.formats.measured import make_frame

_HEADER = re.compile(rb"\{\s{0,80}HEADER_BYTES\s{0,80}=\s{0,80}(\d{1,12})\s{0,80};")
_MAX_HEADER_BYTES = 1 << 20
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


def is_smv(start: bytes) -> bool:
    """Return whether a file that starts so is SMV."""
    return _HEADER.match(start) is not None


@contextmanager
def open_smv(path: Path, name: str) -> Iterator[FrameFile]:
    """Open an SMV file; `name` is what the user calls it."""
    yield FrameFile(
        count=1, read=lambda index: read_smv(path, name, index), look=lambda: _look(path)
    )


def _look(path: Path) -> Extent:
    """Raise `FrameError` unless the image is as long as its header says; quicker than reading."""
    _read(path)
    return Extent(ready=1, written=1, expected=1)


def read_smv(path: Path, name: str, index: int = 0) -> Frame:
    """Return the frame of an SMV file; `FrameError` where header and data do not fit."""
    header, counts = _read(path)
    simulated = header.get("BEAMLINE", "").lower() == "fake"
    found = smv_metadata(header, counts.shape[0])
    if simulated:
        found = combined(metadata_from(gain=(1.0, "simulated")), found)
    return make_frame(
        counts,
        file=name,
        index=index,
        metadata=found,
        names=_detector_names(header),
        simulated=simulated,
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
    if len(data) < expected:
        raise FrameError(
            f"expected {expected} bytes of image data, found {len(data)}: "
            "the file is truncated; copy it again"
        )
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
