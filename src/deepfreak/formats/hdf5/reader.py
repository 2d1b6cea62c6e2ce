"""HDF5: NXmx and EIGER masters, CXI, plain stacks, and our own data sets.

An NXmx master holds no images; `/entry/data/data_000001`, ... link to the files that do. Other
files hold one stack of frames, in a place that depends on the program that wrote it (`search`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from deepfreak.errors import FrameError, GeometryError
from deepfreak.formats.format import Format
from deepfreak.formats.frame import Counts, FrameFile, require_shape
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.hdf5.coverage import Coverage
from deepfreak.formats.hdf5.links import open_to_read, writing_of
from deepfreak.formats.hdf5.shapes import require_filters
from deepfreak.formats.hdf5.stack import Stack
from deepfreak.formats.pictures import from_root

_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path, start: bytes) -> bool:
    """Return whether the file is HDF5, also behind a user block."""
    return start.startswith(_MAGIC) or bool(h5py.is_hdf5(str(path)))


@contextmanager
def open_hdf5(
    path: Path,
    name: str,
    *,
    geometry: Geometry | None = None,
    channel: str | None = None,
    growing: bool = False,
) -> Iterator[FrameFile]:
    """Open an HDF5 file of frames, laid out as `geometry` says; take `channel` of several.

    With `growing` it may lack frames, or hold none yet, and is opened beside its writer.

    Raises `FrameError`: no image data set or several, a missing linked file or compression filter,
    or the modules of a segmented detector without a geometry; a writer whose files others must not
    read, that is without SWMR.
    """
    import hdf5plugin  # noqa: F401 - its import registers the compression filters

    writing = writing_of(path)
    if not writing.readable:
        raise FrameError(writing.refusal)
    with open_to_read(path) as file:
        if _is_our_data_set(file):
            images = file["images"]
            require_shape(images.shape[1:])
            require_filters(images)
            count = int(images.shape[0])
            yield FrameFile(count=count, read=lambda index: from_root(images[index], name, index))
            return
        stacked = Stack(file, name, geometry, channel, growing=growing)
        yield FrameFile(
            count=stacked.count, read=stacked.read, extent=stacked.look, holes=stacked.holes
        )


def _is_our_data_set(file: h5py.File) -> bool:
    """Return whether `generate` wrote this file: 8-bit roots with their labels."""
    images, labels = file.get("images"), file.get("label")
    return (
        isinstance(images, h5py.Dataset)
        and isinstance(labels, h5py.Dataset)
        and images.dtype == np.uint8
        and images.ndim == 3
        and "classes" in labels.attrs
    )


def read_hdf5_array(path: Path, place: str | None = None) -> Counts:
    """Return a data set of an HDF5 file: at `place`, else the only mask in it.

    Raises `GeometryError`: there is no such data set, or several.
    """

    def fits(node: object) -> bool:
        return isinstance(node, h5py.Dataset) and node.ndim >= 2 and node.dtype.kind in "biuf"

    found: list[h5py.Dataset] = []
    with open_to_read(path) as file:
        if place is not None:
            node = file.get(place)
            found = [node] if fits(node) else []
        else:
            file.visititems(lambda _, node: found.append(node) if fits(node) else None)
        named = [node for node in found if "mask" in node.name.lower()] or found
        if len(named) != 1:
            names = ", ".join(node.name for node in named[:4]) or "none"
            where = "" if place is None else f" at {place}"
            raise GeometryError(f"expected one data set with a mask{where}, found {names}")
        require_shape(named[0].shape)
        if not Coverage(named[0], named[0].ndim).holds(0):
            raise GeometryError(f"expected values in {named[0].name}, found that none were written")
        values: Counts = named[0][()]
    return values


HDF5 = Format(
    name="HDF5",
    suffixes=(".h5", ".hdf5", ".nxs", ".nx", ".cxi"),
    recognises=is_hdf5,
    open=open_hdf5,
    read_image=read_hdf5_array,
)
