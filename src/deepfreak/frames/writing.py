"""Whether somebody is writing an HDF5 file, and which of its frames were written.

A data set may have room for frames that nobody has measured yet. HDF5 reads them as zeros: blanks
that never were.
"""

import contextlib
import fcntl
import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from deepfreak.errors import FrameError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGGED_VERSION = 3  # of the superblock: those before say nothing of writers
_WRITING, _SWMR = 0x1, 0x4
_MOST_USER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Writing:
    """Whether somebody writes a file.

    Attributes
    ----------
    line
        Who does, None if nobody.
    readable
        Whether others may read it meanwhile, that is by SWMR.
    locked
        Whether the writer is certainly alive.
    """

    line: str | None = None
    readable: bool = True
    locked: bool = False


def writing_of(path: str | Path) -> Writing:
    """Return whether somebody has the HDF5 file open for writing.

    A writer marks the file, if it uses the newer file format, or holds its lock. One that does
    neither, old format and locking off, goes unnoticed; one that was killed leaves its mark.

    Raises
    ------
    FrameError
        The file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FrameError(f"cannot be read: {error.strerror}") from error
    try:
        flags = _flags(descriptor)
        if flags & _SWMR:
            return Writing("a program is writing it (SWMR)")
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                # for a moment only, so as not to keep a writer out
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Writing("a program has locked it for writing", readable=False, locked=True)
        if flags & _WRITING:
            return Writing("a program has it open for writing, or was killed", readable=False)
    finally:
        os.close(descriptor)  # gives the lock back
    return Writing()


def _flags(descriptor: int) -> int:
    """Return the consistency flags of the file's superblock, 0 where it has none."""
    place = 0
    while place <= _MOST_USER_BLOCK:
        start = os.pread(descriptor, 12, place)
        if len(start) < 12:
            return 0
        if start.startswith(_SIGNATURE):
            return start[11] if start[8] >= _FLAGGED_VERSION else 0
        place = max(512, 2 * place)  # behind a user block, whose size is a power of two
    return 0


def frames_written(data: h5py.Dataset, axes: int) -> tuple[int, int]:
    """Return how many frames from the first on were written, and one more than the last one.

    Parameters
    ----------
    axes
        How many of the last axes make a frame; data of so many hold one.
    """
    shape = data.id.shape
    count = 1 if len(shape) == axes else int(shape[0])
    if count == 0:
        return 0, 0
    if data.is_virtual:
        return _of_sources(data, count, axes)
    if data.chunks is None:
        stored = data.id.get_storage_size() > 0 or data.external is not None
        return (count, count) if stored else (0, 0)
    chunks = data.chunks[-axes:] if len(shape) > axes else data.chunks
    frames_a_chunk = data.chunks[0] if len(shape) > axes else 1
    pieces = int(np.prod([-(-n // c) for n, c in zip(shape[-axes:], chunks, strict=True)]))
    stored = data.id.get_num_chunks()
    if stored >= pieces * -(-count // frames_a_chunk):
        return count, count
    return _of_chunks(data, stored, axes, pieces, frames_a_chunk, count)


def is_written(data: h5py.Dataset, index: int, axes: int) -> bool:
    """Return whether frame `index` of `data` was written, at least in its first piece."""
    if data.is_virtual:
        return True  # as far as its sources go
    if data.chunks is None:
        return data.id.get_storage_size() > 0 or data.external is not None
    first = (index, *[0] * axes)[-len(data.id.shape) :]
    return data.id.get_chunk_info_by_coord(first).byte_offset is not None


def _of_chunks(
    data: h5py.Dataset, stored: int, axes: int, pieces: int, frames_a_chunk: int, count: int
) -> tuple[int, int]:
    """Return `frames_written` of chunked data by asking for each chunk."""
    if len(data.id.shape) == axes:
        return 0, 0  # the only frame lacks a piece
    # by the chunks that are stored: the file may declare many more
    found: Counter[int] = Counter()

    def visit(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.chunk_offset[0] < count:
            found[chunk.chunk_offset[0] // frames_a_chunk] += 1

    if stored:
        data.id.chunk_iter(visit)
    ready = next(place for place in itertools.count() if found.get(place, 0) < pieces)
    last = max(found, default=-1) + 1
    return min(ready * frames_a_chunk, count), min(last * frames_a_chunk, count)


def _of_sources(data: h5py.Dataset, count: int, axes: int) -> tuple[int, int]:
    """Return `frames_written` of data that are put together from those of other files."""
    if len(data.id.shape) == axes:
        return count, count
    ready, written = count, 0
    folder = Path(data.file.filename).parent
    for source in data.virtual_sources():
        if "%" in source.file_name or "%" in source.dset_name:
            return count, count  # a rule for names: HDF5 itself stops at the first that is missing
        low, high = _rows(source.vspace, axes) or (0, count - 1)
        high = min(high, count - 1)
        first, last = _rows(source.src_space, axes) or (0, high - low)
        frames = high - low + 1
        there = _written_in_source(data, folder, source, axes) - first
        if last - first + 1 < frames or there >= frames:
            written = max(written, high + 1)
            continue  # all there, or mapped in a way that tells nothing
        ready = min(ready, low + max(there, 0))
        written = max(written, low + there if there > 0 else 0)
    return ready, max(ready, written)


def _rows(space: h5py.h5s.SpaceID, axes: int) -> tuple[int, int] | None:
    """Return the first and last frame that is selected in `space`, None for all there are."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return None
    low, high = space.get_select_bounds()
    return (0, 0) if len(low) == axes else (int(low[0]), int(high[0]))


def _written_in_source(
    data: h5py.Dataset, folder: Path, source: "h5py._hl.vds.VDSmap", axes: int
) -> int:
    """Return how many frames of a source were written, 0 while it cannot be read."""
    if source.file_name == ".":
        inside = data.file.get(source.dset_name)
        return frames_written(inside, axes)[0] if isinstance(inside, h5py.Dataset) else 0
    path = folder / source.file_name
    try:
        if not writing_of(path).readable:
            return 0
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            return frames_written(file[source.dset_name], axes)[0]
    except (OSError, KeyError, FrameError):
        return 0
