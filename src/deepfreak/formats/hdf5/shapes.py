"""Which axes of a data set make a frame, and what cannot be read as frames."""

import h5py

from deepfreak.errors import FrameError
from deepfreak.formats.frame import dimensions, require_shape
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.hdf5.channels import Channel

# Single modules of segmented detectors, (slow, fast) pixels; files stack them along one axis.
_MODULES = {
    "CSPAD": (185, 388),
    "AGIPD": (512, 128),
    "ePix10k": (352, 384),
    "Jungfrau": (512, 1024),
    "Jungfrau with gaps": (514, 1030),
}
_ALSO_DETECTORS = {(512, 1024), (514, 1030)}  # in use as single modules
_CSPAD_SLAB = (1480, 1552)


def require_alike(whole: list[h5py.Dataset], axes: int) -> None:
    """Raise `FrameError` unless the data sets hold readable frames of one sensible size."""
    shape = whole[0].shape[-axes:]
    require_shape(shape)
    for data in whole:
        require_filters(data)
        if data.shape[-axes:] != shape:
            raise FrameError(
                f"expected frames of one size, {shape}, found {data.shape[-axes:]} in {data.name}"
            )


def frame_axes(
    shape: tuple[int, ...], geometry: Geometry | None, channel: Channel | None = None
) -> int:
    """Return how many of the last axes of `shape` make one frame.

    Raises `FrameError`: the frames are stacks of modules and there is no geometry that says where
    these are.
    """
    if geometry is not None:
        axes = geometry.raw_axes(shape)
        if len(shape) not in {axes, axes + 1}:
            raise FrameError(
                f"expected data of {axes} or {axes + 1} axes after {geometry.source}, found {shape}"
            )
        return axes
    if channel is not None:
        return len(shape) - channel.axis
    if len(shape) == 4 and shape[1] == 1:
        return 3  # one module: an image
    modules = _modules(shape)
    if modules:
        raise FrameError(
            f"expected one assembled image a frame, found {modules} in data of "
            f"{dimensions(shape)}: "
            "give their layout with --geometry FILE (CrystFEL .geom or DIALS .expt)"
        )
    return 2


def _modules(shape: tuple[int, ...]) -> str:
    """Return which raw modules data of this shape hold; an empty string where it holds images."""
    if len(shape) > 3:
        return "raw modules"
    image = shape[-2:]
    if image == _CSPAD_SLAB:
        return "the raw modules of a CSPAD"
    for detector, module in _MODULES.items():
        stacked = image[1] == module[1] and image[0] % module[0] == 0
        if stacked and image[0] >= 4 * module[0]:
            return f"the raw modules of a {detector}"
        if image == module and len(shape) == 3 and module not in _ALSO_DETECTORS:
            return f"the raw modules of a {detector}"
    return ""


def require_filters(data: h5py.Dataset) -> None:
    """Raise `FrameError` when `data` was compressed in a way that nothing here can undo."""
    plist = data.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise FrameError(
                f"expected a known compression, found HDF5 filter {code}, which is not installed: "
                "install its plugin or recompress the file, for instance with h5repack"
            )
