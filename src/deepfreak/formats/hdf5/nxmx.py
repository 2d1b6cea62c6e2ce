"""NXmx: all shots of a run in one HDF5 file, with everything about the geometry.

NeXus has McStas's frame: z along the beam, y up, x to the left when looking along the beam. Ours
has x along the beam, y up and z to the right, so that (x, y, z) becomes (-z, y, x) (`to_mcstas`). A
detector that faces the beam has the fast axis (-1, 0, 0) and the slow axis (0, -1, 0) there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.shot_metadata import ShotMetadata
from deepfreak.storage.files import whole_hdf5

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float64]
WriteShot = Callable[[int, NDArray[np.uint16] | NDArray[np.float32]], None]

# NXmx demands a time; a simulation has none, and its file depends on the recipe and seed alone.
_NOMINAL_TIME = "1970-01-01T00:00:00Z"
_DETECTOR = "/entry/instrument/detector"
_DISTANCE = f"{_DETECTOR}/transformations/distance"
_GAP = 1  # bit 0 of NXmx's pixel mask


def to_mcstas(vector: Array) -> Array:
    """Return a vector (..., xyz) of our laboratory frame in that of NeXus."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    # adding zero turns -0 into 0
    return np.asarray(np.stack([-z, y, x], axis=-1) + 0.0)


@contextmanager
def nxmx_file(
    path: Path,
    header: ShotMetadata,
    wavelengths_A: Sequence[float],
    *,
    noiseless: bool = False,
    overwrite: bool = False,
) -> Iterator[WriteShot]:
    """Give a function that takes a frame's number and its image [slow, fast].

    `header`: of any of the shots; they share a detector. `wavelengths_A`: one a frame. `noiseless`:
    expected photons (float32) in place of counts (uint16, or uint32 where the largest count is the
    largest of 16 bits, which stands for "no measurement" in such files).

    Raises `OutputError`: the file exists and may not be replaced, or cannot be written.
    """
    with whole_hdf5(path, overwrite=overwrite) as (file, check_disk):
        entry = _group(file, "entry", "NXentry")
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        entry["definition"] = "NXmx"
        entry["definition"].attrs["version"] = "1.0"
        entry["title"] = f"{header.recipe}, simulated by DeepFreak"
        entry["start_time"] = entry["end_time_estimated"] = _NOMINAL_TIME
        data = _images(entry, header, len(wavelengths_A), noiseless=noiseless)
        sample = _group(entry, "sample", "NXsample")
        sample["name"] = header.recipe
        sample["depends_on"] = "."
        _group(entry, "source", "NXsource")["name"] = "DeepFreak simulation"
        instrument = _group(entry, "instrument", "NXinstrument")
        instrument["name"] = "DeepFreak simulation"
        beam = _group(instrument, "beam", "NXbeam")
        _quantity(beam, "incident_wavelength", np.array(wavelengths_A, np.float64), "angstrom")
        _describe_detector(_group(instrument, "detector", "NXdetector"), header)

        def write(frame: int, image: NDArray[np.uint16] | NDArray[np.float32]) -> None:
            data[frame] = image
            check_disk()

        yield write


def _images(
    entry: "h5py.Group", header: ShotMetadata, count: int, *, noiseless: bool
) -> "h5py.Dataset":
    """Make room for the images, a compressed chunk each, and say what their values mean."""
    import hdf5plugin

    group = _group(entry, "data", "NXdata")
    entry.attrs["default"] = "data"
    group.attrs["signal"] = "data"
    is_full = header.saturation >= np.iinfo(np.uint16).max
    if not noiseless:
        group["data_scaling_factor"] = 1.0
        group["data_offset"] = -header.pedestal
    return group.create_dataset(
        "data",
        shape=(count, *header.image_size),
        dtype="f4" if noiseless else "u4" if is_full else "u2",
        chunks=(1, *header.image_size),
        **hdf5plugin.Bitshuffle(cname="lz4"),
    )


def _describe_detector(detector: "h5py.Group", header: ShotMetadata) -> None:
    """Say where the detector stands, what it can count and which of its pixels cannot."""
    pixel_m = header.pixel_size_mm * 1e-3
    distance_m = header.distance_mm * 1e-3
    slow, fast = header.beam_center_px
    detector["description"] = "simulated"
    detector["depends_on"] = _DISTANCE
    detector["saturation_value"] = header.saturation
    _quantity(detector, "count_time", header.exposure_s, "s")
    _quantity(detector, "distance", distance_m, "m")
    _quantity(detector, "beam_center_x", fast, "pixel")
    _quantity(detector, "beam_center_y", slow, "pixel")
    _quantity(detector, "x_pixel_size", pixel_m, "m")
    _quantity(detector, "y_pixel_size", pixel_m, "m")
    detector["pixel_mask"] = np.where(header.missing, _GAP, 0).astype(np.uint32)
    _group(detector, "transformations", "NXtransformations")
    along = np.array([0.0, 0.0, 1.0])
    _translation(detector, "transformations/distance", distance_m, along, depends_on=".")
    for number, panel in enumerate(header.panels):
        name = f"module_{number}" if len(header.panels) > 1 else "module"
        group = _group(detector, name, "NXdetector_module")
        group["data_origin"] = np.array(panel.first, dtype=np.int64)
        group["data_size"] = np.array(panel.image_size, dtype=np.int64)
        group["data_stride"] = np.ones(2, dtype=np.int64)
        across_m = to_mcstas(panel.origin_mm) * 1e-3 - distance_m * along
        length_m = float(np.linalg.norm(across_m))
        direction = across_m / length_m if length_m > 0 else along
        # each step refers to the one before: detector, corner of the module, one pixel
        _translation(group, "module_offset", length_m, direction, depends_on=_DISTANCE)
        for axis, vector in (("fast", panel.fast_axis), ("slow", panel.slow_axis)):
            _translation(
                group,
                f"{axis}_pixel_direction",
                pixel_m,
                to_mcstas(vector),
                depends_on=f"{_DETECTOR}/{name}/module_offset",
            )


def _translation(
    group: "h5py.Group", name: str, length_m: float, direction: Array, *, depends_on: str
) -> None:
    """Write a translation by `length_m` along a unit vector of NeXus's frame."""
    _quantity(group, name, length_m, "m")
    attributes = group[name].attrs
    attributes["transformation_type"] = "translation"
    attributes["vector"] = direction
    attributes["offset"] = np.zeros(3)
    attributes["offset_units"] = "m"
    attributes["depends_on"] = depends_on


def _quantity(group: "h5py.Group", name: str, value: float | Array, units: str) -> None:
    group[name] = value
    group[name].attrs["units"] = units


def _group(parent: "h5py.Group", name: str, nx_class: str) -> "h5py.Group":
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group
