"""HDF5: NXmx and EIGER masters, CXI, plain stacks, and our own data sets.

An NXmx master holds no images; `/entry/data/data_000001`, ... link to the files that do. Other
files hold one stack of frames, in a place that depends on who wrote it (`hdf5_search`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import FrameFile, require_shape
from deepfreak.formats.hdf5.links import open_to_read
from deepfreak.formats.hdf5.stack import Stack, require_filters
from deepfreak.formats.hdf5.writing import writing_of
from deepfreak.formats.options import ReadOptions
from deepfreak.formats.plain import from_root

_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path, start: bytes) -> bool:
    """Return whether the file is HDF5, also behind a user block."""
    return start.startswith(_MAGIC) or bool(h5py.is_hdf5(str(path)))


@contextmanager
def open_hdf5(
    path: Path, name: str, options: ReadOptions, *, growing: bool = False
) -> Iterator[FrameFile]:
    """Open an HDF5 file of frames.

    With `growing` it may lack frames, or hold none yet, and is opened beside its writer.

    Raises
    ------
    FrameError
        No image data set or several, a missing linked file or compression filter, or the modules
        of a segmented detector without a geometry; a writer whose files others must not read, that
        is without SWMR.
    """
    import hdf5plugin  # noqa: F401 - its import registers the compression filters

    with ExitStack() as stack:
        writing = writing_of(path)
        if not writing.readable:
            raise FrameError(writing.refusal)
        file = stack.enter_context(open_to_read(path))
        if _is_our_data_set(file):
            yield _our_frames(file["images"], name)
            return
        stacked = Stack(file, name, options, growing=growing)
        yield FrameFile(
            count=stacked.count, read=stacked.read, look=stacked.look, holes=stacked.holes
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


def _our_frames(images: h5py.Dataset, name: str) -> FrameFile:
    require_shape(images.shape[1:])
    require_filters(images)
    return FrameFile(
        count=int(images.shape[0]), read=lambda index: from_root(images[index], name, index)
    )
