"""Which frames of a data set were written.

A data set may have room for frames that were not measured yet, and a virtual one may map files that
are missing. HDF5 reads zeros in both cases: blank frames that were never measured.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise, product

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Valid
from deepfreak.formats.hdf5.links import (
    MAX_DEPTH,
    VirtualSource,
    missing_file,
    open_to_read,
    raw_files,
    source_file,
    sources_of,
    writing_of,
)

_MAX_FRAMES = 10_000_000  # of a virtual data set
Runs = NDArray[np.int64]  # (n, 2): first frame, one more than the last; sorted and apart


class Coverage:
    """Which frames of a data set hold counts; can be queried repeatedly.

    The last `axes` make a frame; data with just these hold one frame.
    """

    def __init__(self, data: h5py.Dataset, axes: int, depth: int = MAX_DEPTH) -> None:
        self._data, self._axes, self._depth = data, axes, depth
        self._parts = _parts(data, axes) if data.is_virtual else []
        self._complete: dict[tuple[str, str], int] = {}  # frames of sources that hold all of them

    def runs(self) -> Runs:
        """Return the runs of frames that were written, whole."""
        data, axes = self._data, self._axes
        count = 1 if data.ndim == axes else int(data.id.shape[0])
        if count == 0 or not self._depth:
            return _runs([])
        if data.is_virtual:
            return self._runs_of_parts(count)
        if data.external is not None:
            return _of_raw_files(data, axes, count)
        if data.chunks is None:
            return _runs([(0, count)] if data.id.get_storage_size() > 0 else [])
        return _of_chunks(data, axes, count)

    def holds(self, index: int) -> bool:
        """Return whether all of a frame was written, in each source of a virtual data set."""
        data, axes = self._data, self._axes
        if not self._depth:
            return False
        if data.is_virtual:
            parts = [part for part in self._parts if part.number_in_source(index) is not None]
            return bool(parts) and all(self._part_holds(part, index) for part in parts)
        if data.external is not None:
            return any(start <= index < stop for start, stop in self.runs())
        if data.chunks is None:
            return bool(data.id.get_storage_size() > 0)
        starts = (
            range(0, n, c) for n, c in zip(data.id.shape[-axes:], data.chunks[-axes:], strict=True)
        )
        lead = (index,) if data.ndim > axes else ()
        return all(
            data.id.get_chunk_info_by_coord((*lead, *corner)).byte_offset is not None
            for corner in product(*starts)
        )

    def unmapped(self, index: int) -> Valid | None:
        """Return the pixels of a frame that come from nowhere, None without any."""
        if not self._data.is_virtual:
            return None
        empty = np.ones(self._data.id.shape[-self._axes :], dtype=np.bool_)
        for part in self._parts:
            if part.number_in_source(index) is not None:
                empty[part.plane] = False
        return empty if empty.any() else None

    def lacking(self, index: int) -> str | None:
        """Return the file or data set that a frame needs and that is not there, None for none.

        Raises `FrameError`: it is there, and a program writes it.
        """
        for part in self._parts:
            if part.number_in_source(index) is not None:
                path = source_file(self._data.file, part.source)
                if path is not None and path.is_file():
                    writing = writing_of(path)
                    if not writing.readable:
                        raise FrameError(f"{path.name}: {writing.refusal}")
                with _opened(self._data, part.source) as inside:
                    if inside is None:
                        name = part.source.file_name
                        return part.source.path if name == "." or path is not None else name
                    found = missing_file(inside, self._depth)
                if found is not None:
                    return found
        return next((str(path) for path, _, _ in raw_files(self._data) if not path.is_file()), None)

    def _runs_of_parts(self, count: int) -> Runs:
        """Return the runs of frames of which no part is missing."""
        whole, lacking = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        for part in self._parts:
            with _opened(self._data, part.source) as inside:
                written = _runs([])
                if inside is not None:
                    written = Coverage(inside, _axes_of(inside, self._axes), self._depth - 1).runs()
            place = np.searchsorted(written[:, 0], part.numbers, side="right") - 1
            there = place >= 0
            there[there] = part.numbers[there] < written[place[there], 1]
            whole[part.frames] = True
            lacking[part.frames[~there]] = True
        edges = np.diff((whole & ~lacking).astype(np.int8), prepend=0, append=0)
        return np.asarray(np.stack([np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)], axis=1))

    def _part_holds(self, part: "_VirtualPart", index: int) -> bool:
        name = part.source.file_name, part.source.path
        number = part.number_in_source(index)
        if number is not None and number < self._complete.get(name, 0):
            return True
        with _opened(self._data, part.source) as inside:
            if inside is None or number is None:
                return False
            axes = _axes_of(inside, self._axes)
            count = 1 if inside.ndim == axes else int(inside.shape[0])
            if number >= count:
                return False
            coverage = Coverage(inside, axes, self._depth - 1)
            if not inside.is_virtual and not holes(coverage.runs(), count):
                self._complete[name] = count
                return True
            return coverage.holds(number)


def first_and_last(runs: Runs) -> tuple[int, int]:
    """Return how many frames from the first on are in `runs`, and one more than the last one."""
    if not len(runs):
        return 0, 0
    return int(runs[0, 1]) if runs[0, 0] == 0 else 0, int(runs[-1, 1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _VirtualPart:
    """A part of a virtual data set."""

    source: VirtualSource
    # the frames that it fills, ascending, and their numbers in the source
    frames: NDArray[np.int64]
    numbers: NDArray[np.int64]
    # the part of each frame that it fills, as an index of its axes
    plane: tuple[NDArray[np.int64], ...]

    def number_in_source(self, index: int) -> int | None:
        """Return the number in the source of frame `index`, None if it is not of this part."""
        place = int(np.searchsorted(self.frames, index))
        if place == len(self.frames) or self.frames[place] != index:
            return None
        return int(self.numbers[place])


@contextmanager
def _opened(data: h5py.Dataset, source: VirtualSource) -> Iterator[h5py.Dataset | None]:
    """Give the data set of a source, None where it cannot be had."""
    with ExitStack() as stack:
        found = None
        with suppress(OSError, KeyError, RuntimeError, FrameError):
            path = source_file(data.file, source)
            if source.file_name == ".":
                found = data.file.get(source.path)
            elif path is not None and writing_of(path).readable:
                found = stack.enter_context(open_to_read(path)).get(source.path)
        yield found if isinstance(found, h5py.Dataset) else None


def _axes_of(inside: h5py.Dataset, axes: int) -> int:
    """Return how many axes of a source make a frame: a module may lack the axis of its number."""
    dimensions = int(inside.ndim)
    return min(axes, max(2, dimensions - 1)) if dimensions > 2 else dimensions


def _parts(data: h5py.Dataset, axes: int) -> list[_VirtualPart]:
    """Return the parts of a virtual data set."""
    shape = data.id.shape
    if shape[0] > _MAX_FRAMES:
        raise FrameError(f"expected at most {_MAX_FRAMES} frames, found {shape[0]}")
    found: list[_VirtualPart] = []
    for source in sources_of(data):
        filled = _selected(source.vspace, shape, source.block)
        frames = filled[0] if len(shape) > axes else np.zeros(1, np.int64)
        numbers = np.arange(len(frames))
        if source.src_space.get_select_type() != h5py.h5s.SEL_ALL:
            inside = source.src_space.shape
            taken = _selected(source.src_space, inside, None)[0]
            one = len(inside) == 2 or (len(frames) == 1 < len(taken))  # a module, or several
            numbers = numbers if one else taken
        if len(numbers) > len(frames):
            numbers = numbers[: len(frames)]  # of a source without end
        if len(numbers) != len(frames):
            raise FrameError(
                f"expected a virtual data set made of frames, found parts of {data.name} that "
                f"take {len(numbers)} frames to {len(frames)}"
            )
        plane = np.ix_(*filled[-axes:])
        found.append(_VirtualPart(source=source, frames=frames, numbers=numbers, plane=plane))
    return found


def _selected(
    space: h5py.h5s.SpaceID, shape: tuple[int, ...], block: int | None
) -> list[NDArray[np.int64]]:
    """Return the places that are selected along each axis.

    `block`: number of the only block along the first axis that counts.
    """
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return [np.arange(n) for n in shape]
    if space.is_regular_hyperslab():
        found = []
        for axis, (start, stride, count, size) in enumerate(
            zip(*space.get_regular_hyperslab(), strict=True)
        ):
            length = shape[axis]
            # an unlimited selection goes on as long as its data set
            blocks = np.arange(min(count, max(0, -(-(length - start) // stride))))
            if block is not None and axis == 0:
                blocks = blocks[block : block + 1]
            places = start + stride * blocks[:, None] + np.arange(min(size, length))
            found.append(places[places < length])
        return found
    corners = space.get_select_hyper_blocklist()
    found = [
        np.unique(np.concatenate([np.arange(low, high + 1) for low, high in corners[:, :, axis]]))
        for axis in range(len(shape))
    ]
    if np.prod([len(places) for places in found]) != space.get_select_npoints():
        raise FrameError("expected a virtual data set made of rectangles, found other parts")
    return found


def _of_raw_files(data: h5py.Dataset, axes: int, count: int) -> Runs:
    """Return the runs of frames all of whose bytes the raw files have."""
    size = int(np.prod(data.id.shape[-axes:])) * data.dtype.itemsize
    there: list[tuple[int, int]] = []
    end = 0
    for path, start, length in raw_files(data):
        held = path.stat().st_size - start if path.is_file() else 0
        there.append((end, end + max(0, min(length, held))))
        end += length
    runs = [(-(-start // size), min(stop // size, count)) for start, stop in _merged(there)]
    return _runs([(start, stop) for start, stop in runs if start < stop])


def _of_chunks(data: h5py.Dataset, axes: int, count: int) -> Runs:
    """Return the runs of frames all of whose chunks are stored."""
    shape = data.id.shape
    leading = len(shape) > axes
    frames_per_chunk = data.chunks[0] if leading else 1
    pieces = int(
        np.prod([-(-n // c) for n, c in zip(shape[-axes:], data.chunks[-axes:], strict=True)])
    )
    stored = data.id.get_num_chunks()
    if stored == 0:
        return _runs([])
    if stored >= pieces * -(-count // frames_per_chunk):
        return _runs([(0, count)])
    if not leading:
        return _runs([])  # the only frame lacks a piece
    places: list[int] = []
    data.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset[0] // frames_per_chunk))
    numbers, found = np.unique(np.array(places, dtype=np.int64), return_counts=True)
    whole = numbers[found >= pieces]
    if not len(whole):
        return _runs([])
    ends = np.flatnonzero(np.diff(whole) > 1)
    starts = np.concatenate([[0], ends + 1])
    stops = np.concatenate([ends, [len(whole) - 1]])
    first = whole[starts] * frames_per_chunk
    last = np.minimum((whole[stops] + 1) * frames_per_chunk, count)
    return np.asarray(np.stack([first, last], axis=1)[first < count])


def _runs(pairs: list[tuple[int, int]]) -> Runs:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _merged(pairs: list[tuple[int, int]]) -> Runs:
    """Return sorted runs of which none touches another."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(pairs):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return _runs(merged)


def holes(runs: Runs, count: int) -> list[range]:
    """Return the frames of `count` that are in no run."""
    edges = [0, *(int(n) for n in runs.reshape(-1)), count]
    return [
        range(start, stop)
        for place, (start, stop) in enumerate(pairwise(edges))
        if place % 2 == 0 and start < stop
    ]
