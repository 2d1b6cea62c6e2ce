"""The pixel masks in an HDF5 file: the detector's own, and those that a geometry names."""

from collections.abc import Callable, Iterator

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Valid, dimensions
from deepfreak.formats.geometry.geometry import FileMask
from deepfreak.formats.hdf5.coverage import Coverage
from deepfreak.formats.hdf5.links import broken_link, missing_file
from deepfreak.formats.hdf5.metadata import MASKS, Entry, FileMetadata

MaskOf = Callable[[int], Valid]
Flags = Callable[[Counts], Valid]

# CXI's flags that mean "no measurement": invalid, hot, dead, shadowed, to be ignored, bad,
# missing, noisy, correction failed; not: saturated, near a peak, outside the resolution limit.
_CXI_MISSING = 0x1 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x200 | 0x400 | 0x1000


def find_mask(
    beside: FileMetadata, shape: tuple[int, ...], named: tuple[tuple[str, FileMask], ...] = ()
) -> tuple[MaskOf | None, tuple[str, ...]]:
    """Return the function that gives the mask of a frame by its number, and notes for the user.

    The mask is the file's, and those that the geometry names: one for all frames, or one for each;
    true where a pixel is missing. None if the file has no mask.

    `shape`: of a frame, with the axes of its modules. `named`: the geometry's masks, each with its
    path in the file.

    Raises `FrameError`: a mask has another size than the frames, or the geometry names one that is
    not there.
    """
    notes: list[str] = []
    masks = [_named(beside, path, mask, shape) for path, mask in named]
    own = _detectors(beside, shape, notes, frozenset(path for path, _ in named))
    if own is not None:
        masks.append(own)
    if not masks:
        return None, tuple(notes)
    return lambda index: np.logical_or.reduce([one(index) for one in masks]), tuple(notes)


def _named(beside: FileMetadata, path: str, mask: FileMask, shape: tuple[int, ...]) -> MaskOf:
    node = beside.file.get(path)
    unusable = _unusable(node) if isinstance(node, h5py.Dataset) else "none there"
    if unusable is not None:
        raise FrameError(f"expected a mask at {path}, as the geometry says, found {unusable}")
    return _by_frame(beside, path, node, shape, mask.masked)


def _detectors(
    beside: FileMetadata, shape: tuple[int, ...], notes: list[str], named: frozenset[str]
) -> MaskOf | None:
    """Return the detector's mask, unless the geometry has `named` it with bits of its own."""
    for entry, flags in _candidates(beside):
        if entry.path in named or (entry.node is not None and entry.node.size == 0):
            continue
        if entry.node is None:
            target = broken_link(beside.file, entry.path) or "a data set there"
            notes.append(
                f"expected the pixel mask at {entry.path}, found that {target} is missing: "
                "judged without the detector's mask"
            )
            continue
        unusable = _unusable(entry.node)
        if unusable is None:
            return _by_frame(beside, entry.path, entry.node, shape, flags)
        notes.append(
            f"expected a pixel mask at {entry.path}, found {unusable}: judged without the "
            "detector's mask"
        )
    return None


def _candidates(beside: FileMetadata) -> Iterator[tuple[Entry, Flags]]:
    """Yield the data sets that may be the detector's mask, and how their values are read."""
    for entry in beside.entries(*MASKS):
        yield entry, lambda values: np.asarray(values != 0)
    folder = beside.path.rpartition("/")[0]
    for entry in beside.entries("mask"):
        if entry.path.rpartition("/")[0] == folder or "detector" in entry.path.lower():
            yield entry, _cxi_flags


def _by_frame(
    beside: FileMetadata, path: str, node: h5py.Dataset, shape: tuple[int, ...], flags: Flags
) -> MaskOf:
    """Return the mask of a frame by its number; `FrameError` where the sizes differ."""
    lead: tuple[int, ...] = node.shape[: -len(shape)] if node.ndim > len(shape) else ()
    if node.shape[len(lead) :] != shape:
        raise FrameError(
            f"expected a mask of the frame's size {dimensions(shape)}, found "
            f"{dimensions(node.shape)} at {path}"
        )
    if set(lead) <= {1}:
        whole = flags(node[()]).reshape(shape)
        return lambda _: whole
    channel = beside.channel
    if channel is not None and lead == (channel.count,):
        of_channel = flags(node[channel.number])
        return lambda _: of_channel
    if len(lead) == 1 and (lead[0] == beside.frames or (beside.more and lead[0] > beside.frames)):
        return lambda index: flags(node[index])
    raise FrameError(
        f"expected one mask, or one a frame, of size {dimensions(shape)}, found "
        f"{dimensions(node.shape)} at {path}"
    )


def _unusable(node: h5py.Dataset) -> str | None:
    """Return what is wrong with a mask, None where it can be read."""
    if node.dtype.kind not in "iubf" or node.ndim < 2:
        return f"{node.dtype} of {node.ndim} axes"
    if Coverage(node, node.ndim).holds(0):
        return None
    missing = missing_file(node)
    return "that none was written" if missing is None else f"that {missing} is missing"


def _cxi_flags(values: Counts) -> Valid:
    if values.dtype.kind in "bf":
        return np.asarray(values != 0)
    flags = _CXI_MISSING & int(np.iinfo(values.dtype).max)
    return np.asarray((values & values.dtype.type(flags)) != 0)
