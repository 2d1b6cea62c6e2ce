"""All other formats of one or more frames: MarCCD, TIFF, EDF, Bruker, OXD, mar345, R-AXIS, ..."""

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import (
    Counts,
    Extent,
    Frame,
    FrameFile,
    Metadata,
    require_shape,
)
from deepfreak.formats.headers import (
    bruker_metadata,
    dectris_metadata,
    dectris_name,
    edf_metadata,
    is_mar,
    mar_metadata,
    oxd_metadata,
    plain,
)
from deepfreak.formats.measured import make_frame

if TYPE_CHECKING:
    from fabio.fabioimage import FabioImage


# Formats that one maker's detectors write.
_FORMATS = {
    "PilatusImage": "PILATUS",
    "MarccdImage": "MarCCD",
    "BrukerImage": "Bruker CCD",
    "Bruker86Image": "Bruker CCD",
    "Bruker100Image": "Bruker CCD",
    "OxdImage": "Oxford CCD",
    "KcdImage": "Nonius CCD",
    "Mar345Image": "mar345",
    "RaxisImage": "R-AXIS",
    "AdscImage": "ADSC",
    "HiPiCImage": None,
}


@contextmanager
def open_by_fabio(path: Path, name: str) -> Iterator[FrameFile]:
    """Open a file with fabio; `name` is what the user calls it."""
    import fabio

    with path.open("rb") as file:
        start = file.read(4096)
    _require_size(start)
    with _quiet() as complaints:
        image = fabio.open(str(path))
    _refuse_padding(complaints)
    try:
        yield FrameFile(
            count=max(1, int(image.nframes)),
            read=lambda index: _frame(image, start, name, index),
            look=lambda: _look(image),
        )
    finally:
        with _quiet(), contextlib.suppress(Exception):  # nothing was written that could be lost
            image.close()


def read_array(path: Path) -> Counts:
    """Return the first image of a file [slow, fast] as fabio reads it."""
    import fabio

    with _quiet() as complaints:
        image = fabio.open(str(path))
        data = image.data
    _refuse_padding(complaints)
    return _two_axes(data)


def _look(image: "FabioImage") -> Extent:
    """Raise `FrameError` unless the last image can be read; quicker than making a frame of it."""
    count = max(1, int(image.nframes))
    _read(image, count - 1)
    return Extent(ready=count, written=count, expected=count)


def _read(image: "FabioImage", index: int) -> tuple["FabioImage", Counts]:
    """Return one image of a file, and its counts [slow, fast]."""
    with _quiet() as complaints:
        one = image if image.nframes <= 1 else image.getframe(index)
        data = one.data
    _refuse_padding(complaints)
    return one, _two_axes(data)


def _frame(image: "FabioImage", start: bytes, name: str, index: int) -> Frame:
    one, counts = _read(image, index)
    header: Mapping[str, object] = one.header
    text = "\n".join(f"{key} {value}" for key, value in header.items())
    kind = type(image).__name__
    found = _metadata(kind, header, text, start)
    return make_frame(
        _without_dummies(counts, header),
        file=name,
        index=index,
        metadata=found,
        names=_detector_names(kind, header, text, start),
    )


def _detector_names(
    kind: str, header: Mapping[str, object], text: str, start: bytes
) -> tuple[str | None, ...]:
    """Return what the header calls the detector, else the one that the format belongs to."""
    keys = ("Detector", "detector", "DETECTOR", "DETTYPE", "Instrument", "Detector type", "Model")
    named = [str(header[key])[:80] for key in keys if header.get(key)]
    marked = re.search(r"PILATUS|EIGER", text, re.IGNORECASE)
    if dectris_name(text) is not None:
        named.insert(0, dectris_name(text) or "")
    if marked is not None:
        named.append(marked[0].upper())
    elif is_mar(start):
        named.append("MarCCD or Rayonix")
    return (*named, _FORMATS.get(kind))


def _require_size(start: bytes) -> None:
    """Raise `FrameError` where a text header claims more than fabio should make room for."""
    for keys in (rb"Dim_", rb"N(?:ROWS|COLS)", rb"N[XY]"):
        lengths = re.findall(rb"\b" + keys + rb"\d?\s*[=:]\s*(\d+)", start)
        if len(lengths) >= 2:
            require_shape((int(lengths[0]), int(lengths[1])))


def _metadata(kind: str, header: Mapping[str, object], text: str, start: bytes) -> Metadata:
    if kind.startswith("Bruker"):
        return bruker_metadata(header)
    if kind == "OxdImage":
        return oxd_metadata(header)
    if kind in {"EdfImage", "KcdImage"}:
        return edf_metadata(header)
    if kind == "PilatusImage":
        return dectris_metadata(text)
    return mar_metadata(start)


def _two_axes(data: Counts | None) -> Counts:
    """Return `data` as native numbers [slow, fast]."""
    if data is None:
        raise FrameError("expected image data, found a header alone: the file is truncated")
    counts: Counts = np.squeeze(np.asarray(data)) if np.ndim(data) > 2 else np.asarray(data)
    if counts.ndim != 2 or counts.dtype.kind not in "iuf":
        raise FrameError(
            f"expected an image of two axes of numbers, found {counts.ndim} of {counts.dtype}: "
            "a picture in colours is no detector image"
        )
    require_shape(counts.shape)
    return counts.astype(counts.dtype.newbyteorder("="), copy=False)


def _without_dummies(counts: Counts, header: Mapping[str, object]) -> Counts:
    """Return `counts` with NaN for the value that ESRF's SAXS headers name for "no measurement"."""
    dummy = plain(header, "Dummy", "dummy")
    if dummy is None:
        return counts
    width = plain(header, "DDummy", "ddummy") or 0.0
    where = np.abs(counts.astype(np.float64) - dummy) <= width
    if not where.any():
        return counts
    wide = np.float64 if counts.dtype.itemsize > 2 else np.float32
    return np.where(where, wide(np.nan), counts.astype(wide))


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep fabio's log and its prints from the terminal; give the log's warnings to the caller."""
    complaints: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    log, keep = logging.getLogger("fabio"), Keep(logging.WARNING)
    propagate = log.propagate
    log.addHandler(keep)
    log.propagate = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield complaints
    finally:
        log.removeHandler(keep)
        log.propagate = propagate


def _refuse_padding(complaints: list[str]) -> None:
    """Raise `FrameError` where fabio made up for pixels that the file lacks."""
    words = ("padded", "incomplete", "truncated")
    if any(word in complaint.lower() for complaint in complaints for word in words):
        raise FrameError("expected a whole image, found less: the file is truncated; copy it again")
