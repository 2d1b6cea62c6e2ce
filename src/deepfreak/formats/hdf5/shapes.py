"""Which axes of a data set make a frame, and which of several images of a frame is taken.

The energy thresholds of a photon counter are such *channels*.
"""

import re
from dataclasses import dataclass

import h5py

from deepfreak.errors import FrameError
from deepfreak.formats.frame import dimensions, require_shape
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.hdf5.links import text_of

_MAX_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Channel:
    """Which of several images of a frame is taken."""

    axis: int  # of the channels: 1 behind the axis of frames, 0 in a data set of one frame
    number: int  # from 0
    name: str
    count: int  # how many there are

    def selection(self, index: int) -> tuple[int, ...]:
        """Return where in the data set the image of a frame is."""
        return (index, self.number) if self.axis else (self.number,)


def channel_of(data: h5py.Dataset, geometry: Geometry | None, wanted: str | None) -> Channel | None:
    """Return the channel of `data` to take, the first unless one is `wanted`; None without any.

    An axis is that of channels where the file says so (NeXus's `axes`, or names of its channels
    beside the images), and the geometry, if there is one, does not choose along it itself.

    Raises `FrameError`: there is no such channel.
    """
    names = _names_beside(data)
    axis = _axis(data, names)
    if axis is None or (geometry is not None and geometry.raw_axes(data.shape) > 2):
        if wanted is not None and wanted not in {"1", names[0] if names else "1"}:
            raise FrameError(f"expected several channels, found one image a frame: {wanted:.60}")
        return None
    count = data.shape[axis]
    names = names if len(names) == count else [f"threshold_{n}" for n in range(1, count + 1)]
    if wanted is None:
        return Channel(axis, 0, names[0], count)
    if wanted in names:
        return Channel(axis, names.index(wanted), wanted, count)
    if re.fullmatch(r"[0-9]{1,3}", wanted) and 1 <= int(wanted) <= count:
        return Channel(axis, int(wanted) - 1, names[int(wanted) - 1], count)
    raise FrameError(
        f"expected one of the channels {', '.join(names)}, or its number from 1, found {wanted:.60}"
    )


def _axis(data: h5py.Dataset, names: list[str]) -> int | None:
    """Return the axis of the channels, None without one."""
    if data.ndim not in {3, 4}:
        return None
    for node in (data, data.parent):
        axes = node.attrs.get("axes")
        words = [text_of(word).lower() for word in axes] if hasattr(axes, "__len__") else []
        if isinstance(axes, str | bytes):
            words = re.split(r"[:,\s]+", text_of(axes).lower().strip("[]"))
        if len(words) == data.ndim and "channel" in words[: data.ndim - 2]:
            return words.index("channel")
    if data.ndim == 4 and len(names) == data.shape[1]:
        return 1
    return None


def _names_beside(data: h5py.Dataset) -> list[str]:
    """Return the names of the channels, from the images' group or the detector's."""
    node = data.parent.get("channel")
    if isinstance(node, h5py.Dataset) and node.ndim == 1 and 0 < node.size <= _MAX_CHANNELS:
        if node.dtype.kind in "OS":
            return [text_of(name) for name in node[()]]
        if node.dtype.kind in "iu":
            return [str(number) for number in node[()]]
    detector = data.file.get("/entry/instrument/detector")
    if not isinstance(detector, h5py.Group):
        return []
    found = [key.removesuffix("_channel") for key in detector if key.endswith("_channel")]
    return sorted(found)[:_MAX_CHANNELS]


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
