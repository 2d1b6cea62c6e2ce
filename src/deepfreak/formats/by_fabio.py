"""What fabio reads: EDF, Bruker, OXD (CrysAlis), Nonius KCD, mar345, R-AXIS, Esperanto, GE, ..."""

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
from deepfreak.formats.cbf import dectris_name
from deepfreak.formats.format import Format
from deepfreak.formats.frame import Counts, Extent, Frame, FrameFile, Metadata, require_shape
from deepfreak.formats.headers import metadata_from, number, numbers, plain, times
from deepfreak.formats.measured import make_frame

if TYPE_CHECKING:
    from fabio.fabioimage import FabioImage


# Formats that one maker's detectors write.
_FORMATS = {
    "BrukerImage": "Bruker CCD",
    "Bruker86Image": "Bruker CCD",
    "Bruker100Image": "Bruker CCD",
    "OxdImage": "Oxford CCD",
    "KcdImage": "Nonius CCD",
    "Mar345Image": "mar345",
    "RaxisImage": "R-AXIS",
}


@contextmanager
def open_by_fabio(path: Path, name: str) -> Iterator[FrameFile]:
    """Open a file with fabio; `name` is what the user calls it."""
    import fabio

    with path.open("rb") as file:
        start = file.read(4096)
    _require_size(start)
    with _quiet():
        image = fabio.open(str(path))
    try:
        count = max(1, int(image.nframes))

        def look() -> Extent:
            _read(image, count - 1)  # quicker than making a frame of it
            return Extent.complete(count)

        yield FrameFile(count=count, read=lambda index: _frame(image, name, index), extent=look)
    finally:
        with contextlib.suppress(Exception), _quiet():  # nothing was written that could be lost
            image.close()


def read_array(path: Path) -> Counts:
    """Return the first image of a file [slow, fast] as fabio reads it."""
    import fabio

    with _quiet():
        data = fabio.open(str(path)).data
    return _two_axes(data)


def _read(image: "FabioImage", index: int) -> tuple["FabioImage", Counts]:
    """Return one image of a file, and its counts [slow, fast]."""
    with _quiet():
        one = image if image.nframes <= 1 else image.getframe(index)
        data = one.data
    return one, _two_axes(data)


def _frame(image: "FabioImage", name: str, index: int) -> Frame:
    one, counts = _read(image, index)
    header: Mapping[str, object] = one.header
    text = "\n".join(f"{key} {value}" for key, value in header.items())
    kind = type(image).__name__
    return make_frame(
        _without_dummies(counts, header),
        file=name,
        index=index,
        metadata=_metadata(kind, header),
        names=_detector_names(kind, header, text),
    )


def _detector_names(kind: str, header: Mapping[str, object], text: str) -> tuple[str | None, ...]:
    """Return what the header calls the detector, else the one that the format belongs to."""
    keys = ("Detector", "detector", "DETECTOR", "DETTYPE", "Instrument", "Detector type", "Model")
    named = [str(header[key])[:80] for key in keys if header.get(key)]
    marked = re.search(r"PILATUS|EIGER", text, re.IGNORECASE)
    if dectris_name(text) is not None:
        named.insert(0, dectris_name(text) or "")
    if marked is not None:
        named.append(marked[0].upper())
    return (*named, _FORMATS.get(kind))


def _require_size(start: bytes) -> None:
    """Raise `FrameError` where a text header claims more than fabio should make room for."""
    for keys in (rb"Dim_", rb"N(?:ROWS|COLS)", rb"N[XY]"):
        lengths = re.findall(rb"\b" + keys + rb"\d?\s*[=:]\s*(\d+)", start)
        if len(lengths) >= 2:
            require_shape((int(lengths[0]), int(lengths[1])))


def _metadata(kind: str, header: Mapping[str, object]) -> Metadata:
    if kind.startswith("Bruker"):
        return _bruker_metadata(header)
    if kind == "OxdImage":
        return _oxd_metadata(header)
    if kind in {"EdfImage", "KcdImage"}:
        return _edf_metadata(header)
    return Metadata()


def _bruker_metadata(header: Mapping[str, object]) -> Metadata:
    """Return what a Bruker header says.

    NEXP's third number is the baseline that was added (format 86; fabio takes that of format 100
    into account itself); CCDPARM holds noise, electrons/count, electrons/photon, bias, full scale.
    """
    exposures = numbers(header.get("NEXP"))
    ccd = numbers(header.get("CCDPARM"))
    center = numbers(header.get("CENTER"))
    distance = numbers(header.get("DISTANC"))
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


def _oxd_metadata(header: Mapping[str, object]) -> Metadata:
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


def _edf_metadata(header: Mapping[str, object]) -> Metadata:
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
def _quiet() -> Iterator[None]:
    """Keep fabio's log and its prints from the terminal.

    Raises `FrameError` where its warnings say that it filled in pixels that the file lacks.
    """
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
            yield
    finally:
        log.removeHandler(keep)
        log.propagate = propagate
    words = ("padded", "incomplete", "truncated")
    if any(word in complaint.lower() for complaint in complaints for word in words):
        raise FrameError("expected a whole image, found less: the file is truncated; copy it again")


FABIO = Format(
    name="EDF, Bruker, OXD, KCD, mar345, R-AXIS, Esperanto, GE and others of fabio",
    suffixes=(
        *(".edf", ".cor", ".sfrm", ".gfrm", ".osc", ".stl", ".kcd", ".rodhypix", ".esperanto"),
        *(".mar1200", ".mar1600", ".mar1800", ".mar2300", ".mar2400", ".mar3450"),
    ),
    recognises=lambda _path, _start: True,
    open=open_by_fabio,
    read_image=read_array,
)
