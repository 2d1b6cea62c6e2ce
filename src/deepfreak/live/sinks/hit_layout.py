"""What a file of hits holds, and where: NXmx or CXI, and beside it what was found in each frame.

Both have the peaks in a group of CXI's form, where a whole number is a pixel's centre, as Cheetah
writes them; CrystFEL adds the half pixel. A geometry for CrystFEL begins with::

    dim0 = %                                NXmx (.h5)
    dim1 = ss
    dim2 = fs
    data = /entry/data/data
    mask0_data = /entry/instrument/detector/pixel_mask
    mask0_badbits = 0xffffffff
    peak_list = /entry/deepfreak
    peak_list_type = cxi
    wavelength = /entry/instrument/beam/incident_wavelength A
    clen = /entry/instrument/detector/distance m

and in CXI with /entry_1/data_1/data, /entry_1/data_1/mask, /entry_1/result_1,
/entry_1/instrument_1/beam_1/incident_wavelength and
/entry_1/instrument_1/detector_1/distance.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import h5py
import msgpack
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame
from deepfreak.formats.geometry.geometry import HC_EV_A
from deepfreak.live.messages import Hit
from deepfreak.storage.chunks import compression

# What is true of all frames of one file; a frame of which it is not begins another.
FileSetup = dict[str, Any]

MASK_TYPE = np.dtype("<u4")
MISSING = 1  # bit 0: a gap in NXmx's pixel mask, an invalid pixel in CXI's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HitRecord:
    """What a file holds of one frame."""

    series: str  # as `spelled`
    number: int
    label: str
    probabilities: tuple[float, ...]  # in the order of the setup's classes
    p_crystal: float
    received: float
    wavelength_A: float  # NaN where the frame does not say it
    # (n, 3) float64: fast and slow coordinates of pixels whose centres are whole numbers, and
    # photons
    peaks: NDArray[np.float64] = field(repr=False)
    # image, mask: the frame and its missing pixels as HDF5 stores them; an empty mask is that of
    # the record before
    image: bytes = field(repr=False)
    mask: bytes = field(repr=False)

    def pack(self) -> bytes:
        """Return it as bytes, `unpack` backwards."""
        table = asdict(self) | {"peaks": self.peaks.astype("<f8").tobytes()}
        packed: bytes = msgpack.packb(list(table.values()))
        return packed


def unpack(packed: bytes) -> HitRecord:
    """Return the record that `HitRecord.pack` made bytes of."""
    names = [each.name for each in fields(HitRecord)]
    found = dict(zip(names, msgpack.unpackb(packed), strict=True))
    found["probabilities"] = tuple(found["probabilities"])
    found["peaks"] = np.frombuffer(found["peaks"], "<f8").reshape(-1, 3)
    return HitRecord(**found)


def setup_of(frame: Frame, *, form: str, classes: tuple[str, ...]) -> FileSetup:
    """Return what the file of `frame` must say, as JSON has it; `FrameError` for anything else."""
    if frame.counts.ndim != 2 or frame.counts.dtype.kind not in "iuf":
        raise FrameError(
            f"expected counts [slow, fast] of integers or floats, found {frame.counts.ndim} axes "
            f"of {frame.counts.dtype}: give the detector's geometry"
        )
    center = frame.beam_center_px
    return {
        "form": form,
        "classes": list(classes),
        "shape": list(frame.counts.shape),
        "dtype": _stored_type(frame).str,
        "pedestal": float(frame.pedestal),
        "gain": float(frame.counts_per_photon),
        "beam_center_px": None if center is None else [float(center[0]), float(center[1])],
        **{
            name: None if (value := getattr(frame, name)) is None else float(value)
            for name in ("saturation", "pixel_size_mm", "distance_mm")
        },
    }


def record_of(hit: Hit, frame: Frame, *, image: bytes, mask: bytes) -> HitRecord:
    """Return the record of a hit, whose frame and missing pixels are compressed already."""
    outcome, peaks = hit.outcome, hit.peaks
    columns = [peaks.fast - 0.5, peaks.slow - 0.5, peaks.photons]
    return HitRecord(
        series=spelled(outcome.series),
        number=outcome.number,
        label=outcome.label or "",
        probabilities=tuple(map(float, outcome.probabilities)),
        p_crystal=float("nan") if outcome.p_crystal is None else float(outcome.p_crystal),
        received=float(outcome.received),
        wavelength_A=float("nan") if frame.wavelength_A is None else float(frame.wavelength_A),
        peaks=np.stack(columns, axis=-1).astype(np.float64).reshape(-1, 3),
        image=image,
        mask=mask,
    )


def spelled(series: str) -> str:
    """Return the name of a series as HDF5 can have it: UTF-8 without zeros."""
    return series.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _stored_type(frame: Frame) -> "np.dtype[Any]":
    """Return the little-endian type that the frame is stored as.

    In such files the largest of an unsigned type stands for "no measurement". Where it may be a
    count, the next larger type has it; bitshuffle and LZ4 make nothing of the empty bits.
    """
    dtype = frame.counts.dtype
    if dtype.kind == "u" and dtype.itemsize <= 2:
        top = np.iinfo(dtype).max
        if frame.saturation is None or frame.saturation >= top:
            return np.dtype(f"<u{2 * dtype.itemsize}")
    return dtype.newbyteorder("<")


OURS = {"nxmx": "/entry/deepfreak", "cxi": "/entry_1/deepfreak_1"}
SUFFIXES = {"nxmx": ".h5", "cxi": ".cxi"}
MIN_PEAKS = 1024  # columns; Cheetah's files have as many

_JOULE_IN_EV = 1.602176634e-19


class HitStack:
    """The images and masks of a file; the file's other content is written when it is made.

    Of `records`, all hits of the file in their order, images and masks are not looked at;
    `one_mask` says whether all of them miss the same pixels.
    """

    def __init__(
        self, file: h5py.File, setup: FileSetup, records: Sequence[HitRecord], *, one_mask: bool
    ) -> None:
        shape = tuple(setup["shape"])
        self._one_mask = one_mask
        self._last_mask = b""
        make = _nxmx if setup["form"] == "nxmx" else _cxi
        data, detector = make(file, setup, records)
        self._images = _chunked(data, "data", (len(records), *shape), setup["dtype"])
        mask_shape = shape if one_mask else (len(records), *shape)
        name = "pixel_mask" if setup["form"] == "nxmx" else "mask"
        self._mask = _chunked(detector, name, mask_shape, MASK_TYPE)
        if setup["form"] == "cxi":
            data["mask"] = self._mask
            detector["data"] = self._images

    def put(self, index: int, record: HitRecord) -> None:
        """Store the image and mask of hit `index`, which come in their order."""
        self._images.id.write_direct_chunk((index, 0, 0), record.image)
        self._last_mask = record.mask or self._last_mask
        if not self._one_mask:
            self._mask.id.write_direct_chunk((index, 0, 0), self._last_mask)
        elif index == 0:
            self._mask.id.write_direct_chunk((0, 0), self._last_mask)


def members(file: h5py.File) -> list[tuple[str, int]] | None:
    """Return series and number of each hit in a file, None where it is not ours."""
    for name in OURS.values():
        group = file.get(name)
        if not isinstance(group, h5py.Group):
            continue
        series, number = group.get("series"), group.get("number")
        if not (isinstance(series, h5py.Dataset) and isinstance(number, h5py.Dataset)):
            continue
        if series.ndim != 1 or series.shape != number.shape or number.dtype.kind not in "iu":
            continue
        if h5py.check_string_dtype(series.dtype) is None:
            continue
        names = [name.decode("utf-8", "backslashreplace") for name in series[()]]
        return list(zip(names, map(int, number[()]), strict=True))
    return None


def _nxmx(
    file: h5py.File, setup: FileSetup, records: Sequence[HitRecord]
) -> tuple[h5py.Group, h5py.Group]:
    file.attrs["NX_class"] = "NXroot"
    file.attrs["default"] = "entry"
    entry = _group(file, "entry", "NXentry")
    entry.attrs["default"] = "data"
    entry["definition"] = "NXmx"
    entry["definition"].attrs["version"] = "1.0"
    entry["title"] = "frames kept by DeepFreak"
    entry["start_time"] = _time(min(record.received for record in records))
    entry["end_time_estimated"] = _time(max(record.received for record in records))
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"] = "data"
    _scale(data, setup)
    instrument = _group(entry, "instrument", "NXinstrument")
    _wavelengths(_group(instrument, "beam", "NXbeam"), records)
    detector = _group(instrument, "detector", "NXdetector")
    _describe(detector, setup)
    ours = _group(entry, "deepfreak", "NXcollection")
    _describe_hits(ours, setup, records)
    _peaks(ours, records)
    return data, detector


def _cxi(
    file: h5py.File, setup: FileSetup, records: Sequence[HitRecord]
) -> tuple[h5py.Group, h5py.Group]:
    file["cxi_version"] = 160
    entry = file.create_group("entry_1")
    entry["title"] = "frames kept by DeepFreak"
    entry["start_time"] = _time(min(record.received for record in records))
    entry["end_time"] = _time(max(record.received for record in records))
    data = entry.create_group("data_1")
    _scale(data, setup)
    detector = entry.create_group("instrument_1/detector_1")
    _describe(detector, setup)
    wavelengths = _wavelengths(entry.create_group("instrument_1/beam_1"), records)
    if wavelengths is not None:
        source = entry.create_group("instrument_1/source_1")
        _quantity(source, "energy", HC_EV_A / wavelengths * _JOULE_IN_EV, "J")
    _peaks(entry.create_group("result_1"), records)
    _describe_hits(entry.create_group("deepfreak_1"), setup, records)
    return data, detector


def _describe(detector: h5py.Group, setup: FileSetup) -> None:
    """Write the detector's metadata."""
    for name, key, per_mm in (
        ("distance", "distance_mm", 1e-3),
        ("x_pixel_size", "pixel_size_mm", 1e-3),
        ("y_pixel_size", "pixel_size_mm", 1e-3),
    ):
        if setup[key] is not None:
            _quantity(detector, name, setup[key] * per_mm, "m")
    if setup["beam_center_px"] is not None:
        slow, fast = setup["beam_center_px"]
        _quantity(detector, "beam_center_x", fast, "pixel")
        _quantity(detector, "beam_center_y", slow, "pixel")
    if setup["saturation"] is not None:
        detector["saturation_value"] = setup["saturation"]


def _scale(data: h5py.Group, setup: FileSetup) -> None:
    """Say how counts become photons, after NXdata: (counts + offset) times factor."""
    if setup["pedestal"] or setup["gain"] != 1:
        data["data_offset"] = -setup["pedestal"]
        data["data_scaling_factor"] = 1 / setup["gain"]


def _wavelengths(beam: h5py.Group, records: Sequence[HitRecord]) -> "np.ndarray[Any, Any] | None":
    """Write a wavelength a frame, NaN where it is not known; none where no frame says it."""
    wavelengths = np.array([record.wavelength_A for record in records])
    if np.isnan(wavelengths).all():
        return None
    _quantity(beam, "incident_wavelength", wavelengths, "angstrom")
    return wavelengths


def _peaks(group: h5py.Group, records: Sequence[HitRecord]) -> None:
    counts = np.array([len(record.peaks) for record in records], np.int32)
    columns = max(MIN_PEAKS, int(counts.max()))
    table = np.zeros((3, len(records), columns), np.float32)
    for row, record in enumerate(records):
        table[:, row, : len(record.peaks)] = record.peaks.T
    group["nPeaks"] = counts
    names = ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity")
    for name, values in zip(names, table, strict=True):
        group.create_dataset(name, data=values, chunks=(1, columns), compression="gzip")


def _describe_hits(group: h5py.Group, setup: FileSetup, records: Sequence[HitRecord]) -> None:
    """Write what was found in each frame, and which frame it was."""
    text = h5py.string_dtype()
    group.create_dataset("series", data=[record.series for record in records], dtype=text)
    group["number"] = np.array([record.number for record in records], np.int64)
    group.create_dataset("label", data=[record.label for record in records], dtype=text)
    group["p_crystal"] = np.array([record.p_crystal for record in records])
    probabilities = np.full((len(records), len(setup["classes"])), np.nan)
    for row, record in zip(probabilities, records, strict=True):
        row[: len(record.probabilities)] = record.probabilities
    group["probabilities"] = probabilities
    group["probabilities"].attrs.create("classes", setup["classes"], dtype=text)
    _quantity(group, "received", np.array([record.received for record in records]), "s")


def _chunked(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: "str | np.dtype[Any]"
) -> h5py.Dataset:
    chunks = shape if len(shape) == 2 else (1, *shape[1:])
    return group.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, **compression())


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _quantity(
    group: h5py.Group, name: str, value: "float | np.ndarray[Any, Any]", units: str
) -> None:
    group[name] = value
    group[name].attrs["units"] = units


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
