"""What an HDF5 file says about its detector beside the images: NXmx's and CXI's groups."""

from collections.abc import Callable

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.frames.frame import Counts, Facts, Valid
from deepfreak.frames.geometry import Geometry
from deepfreak.frames.headers import facts

_DETECTORS = ("/entry/instrument/detector", "/entry_1/instrument_1/detector_1")
_WAVELENGTHS = (
    "/entry/instrument/beam/incident_wavelength",
    "/entry/sample/beam/incident_wavelength",
    "/entry/instrument/monochromator/wavelength",
    "/entry_1/instrument_1/beam_1/incident_wavelength",
)
_MM_IN = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "micron": 1e-3, "microns": 1e-3}
# CXI's flags that mean "no measurement": invalid, hot, dead, shadowed, to be ignored, bad,
# missing, noisy, correction failed; not: saturated, near a peak, outside the resolution limit.
_CXI_MISSING = 0x1 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x200 | 0x400 | 0x1000


def facts_beside(file: h5py.File, data: h5py.Dataset) -> Facts:
    """Return what the detector's group says of the frames in `data`."""
    group = _detector(file, data)
    if group is None:
        return Facts()
    wavelengths = (_value(file, name) for name in _WAVELENGTHS)
    # NXdata: corrected = (data + data_offset) * data_scaling_factor
    offset = _value(data.parent, "data_offset")
    distance = _value(group, "detector_distance", length=True)
    return facts(
        pedestal=None if offset is None else -offset,
        saturation=_value(group, "saturation_value"),
        beam_fast=_value(group, "beam_center_x"),
        beam_slow=_value(group, "beam_center_y"),
        pixel_size_mm=_value(group, "x_pixel_size", length=True),
        distance_mm=distance or _value(group, "distance", length=True),
        wavelength_A=next((value for value in wavelengths if value), None),
    )


def wavelengths_beside(file: h5py.File, count: int) -> list[float] | None:
    """Return the wavelength in A of each of `count` frames, None where they are not told apart."""
    for name in _WAVELENGTHS:
        node = file.get(name)
        if isinstance(node, h5py.Dataset) and node.shape == (count,) and node.dtype.kind == "f":
            values: list[float] = node[()].tolist()
            return values
    return None


def mask_beside(
    file: h5py.File, data: h5py.Dataset, axes: int, geometry: Geometry | None
) -> Callable[[int], Valid | None]:
    """Return the function that gives the mask of a frame by its number: true where missing.

    The mask is the geometry's, if that names one, else NXmx's `pixel_mask` or CXI's `mask`; one
    for all frames or one for each.

    Raises
    ------
    FrameError
        The mask has another size than the frames.
    """
    found, flags = _find_mask(file, data, geometry)
    if found is None:
        return lambda _: None
    shape = data.shape[-axes:]
    size = int(np.prod(shape))
    if int(np.prod(found.shape)) == size:
        whole = flags(found[()]).reshape(shape)
        return lambda _: whole
    if found.shape[-axes:] == shape and found.ndim == axes + 1:
        return lambda index: flags(found[min(index, found.shape[0] - 1)])
    raise FrameError(
        f"expected a mask of the frame's size {shape}, found {found.shape} at {found.name}"
    )


def _find_mask(
    file: h5py.File, data: h5py.Dataset, geometry: Geometry | None
) -> tuple[h5py.Dataset | None, Callable[[Counts], Valid]]:
    """Return the mask's data set, None where there is none, and what turns it into a mask."""
    if geometry is not None and geometry.mask_path:
        found = file.get(geometry.mask_path)
        if isinstance(found, h5py.Dataset):
            return found, geometry.masked
    group = _detector(file, data)
    if group is None:
        return None, _any_flag
    for name in ("pixel_mask", "detectorSpecific/pixel_mask"):
        found = group.get(name)
        if isinstance(found, h5py.Dataset) and found.ndim >= 2:
            return found, _any_flag
    found = group.get("mask")
    if isinstance(found, h5py.Dataset) and found.ndim >= 2 and found.dtype.kind in "iu":
        return found, _cxi_flags
    return None, _any_flag


def _any_flag(values: Counts) -> Valid:
    return np.asarray(values != 0)


def _cxi_flags(values: Counts) -> Valid:
    flags = _CXI_MISSING & int(np.iinfo(values.dtype).max)
    return np.asarray((values & values.dtype.type(flags)) != 0)


def _detector(file: h5py.File, data: h5py.Dataset) -> h5py.Group | None:
    """Return the group of the detector that measured `data`, None where there is none."""
    for name in _DETECTORS:
        group = file.get(name)
        if isinstance(group, h5py.Group):
            return group
    instrument = file.get("/entry/instrument")
    if isinstance(instrument, h5py.Group):
        for key in instrument:
            node = instrument.get(key)
            kind = node.attrs.get("NX_class", b"") if isinstance(node, h5py.Group) else b""
            if kind in {"NXdetector", b"NXdetector"}:
                return node
    return data.parent if "pixel_mask" in data.parent or "mask" in data.parent else None


def _value(group: h5py.Group, name: str, *, length: bool = False) -> float | None:
    """Return the number at `name`, in mm if it is a length, None where there is none."""
    node = group.get(name)
    if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.kind not in "iuf":
        return None
    value = float(np.ravel(node[()])[0])
    if not length:
        return value
    units = node.attrs.get("units", "m")
    text = units.decode("utf-8", "replace") if isinstance(units, bytes) else str(units)
    return value * _MM_IN.get(text.strip().lower(), 1e3)
