"""Several images per frame: the energy thresholds of a photon counter."""

import re
from dataclasses import dataclass

import h5py

from deepfreak.errors import FrameError
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
