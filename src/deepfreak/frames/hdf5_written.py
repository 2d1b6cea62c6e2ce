"""Which frames of a data set were written.

A data set may have room for frames that nobody has measured yet, and a virtual one maps what is not
there. HDF5 reads zeros in both places: blanks that never were.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.frames.frame import Valid
from deepfreak.frames.hdf5_links import MAX_DEPTH, Source, open_to_read, source_file, sources_of
from deepfreak.frames.writing import writing_of

Runs = NDArray[np.int64]  # (n, 2): first frame, one more than the last; sorted and apart


class Coverage:
    """Which frames of a data set hold counts, asked again and again.

    Parameters
    ----------
    axes
        How many of the last axes make a frame; data of so many hold one.
    """

    def __init__(self, data: h5py.Dataset, axes: int, depth: int = MAX_DEPTH) -> None:
        self._data, self._axes, self._depth = data, axes, depth
        self._parts = _parts(data, axes) if data.is_virtual else []
        self._complete: set[tuple[str, str]] = set()  # sources that hold all of their frames

    def runs(self) -> Runs:
        """Return the runs of frames that were written, whole."""
        data, axes = self._data, self._axes
        count = 1 if data.ndim == axes else int(data.id.shape[0])
        if count == 0 or not self._depth:
            return _runs([])
        if data.is_virtual:
            return self._runs_of_parts(count)
        if data.chunks is None:
            stored = data.id.get_storage_size() > 0 or data.external is not None
            return _runs([(0, count)] if stored else [])
        return _of_chunks(data, axes, count)

    def holds(self, index: int) -> bool:
        """Return whether all of a frame was written, in each source of a virtual data set."""
        data, axes = self._data, self._axes
        if not self._depth:
            return False
        if data.is_virtual:
            parts = [part for part in self._parts if part.number_in_source(index) is not None]
            return bool(parts) and all(self._part_holds(part, index) for part in parts)
        if data.chunks is None:
            return bool(data.id.get_storage_size() > 0 or data.external is not None)
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

    def _runs_of_parts(self, count: int) -> Runs:
        """Return the runs of frames that the sources of each piece of the frame hold."""
        pieces: dict[tuple[tuple[int, int], ...], list[tuple[int, int]]] = {}
        for part in self._parts:
            plane = tuple((side.start, side.stop) for side in part.plane)
            with _opened(self._data, part.source) as inside:
                written = _runs([])
                if inside is not None:
                    written = Coverage(inside, _axes_of(inside, self._axes), self._depth - 1).runs()
            pieces.setdefault(plane, []).extend(part.frames_of(written, count))
        common: Runs | None = None
        for pairs in pieces.values():
            runs = _merged(pairs)
            common = runs if common is None else _intersection(common, runs)
        return _runs([]) if common is None else common

    def _part_holds(self, part: "_Part", index: int) -> bool:
        name = part.source.file_name, part.source.path
        if name in self._complete:
            return True
        number = part.number_in_source(index)
        with _opened(self._data, part.source) as inside:
            if inside is None or number is None:
                return False
            axes = _axes_of(inside, self._axes)
            count = 1 if inside.ndim == axes else int(inside.shape[0])
            number = 0 if inside.ndim == axes else number
            if number >= count:
                return False
            coverage = Coverage(inside, axes, self._depth - 1)
            if not inside.is_virtual and not holes(coverage.runs(), count):
                self._complete.add(name)
                return True
            return coverage.holds(number)


def frames_written(data: h5py.Dataset, axes: int) -> tuple[int, int]:
    """Return how many frames from the first on were written, and one more than the last one."""
    return first_and_last(Coverage(data, axes).runs())


def first_and_last(runs: Runs) -> tuple[int, int]:
    """Return how many frames from the first on are in `runs`, and one more than the last one."""
    if not len(runs):
        return 0, 0
    return int(runs[0, 1]) if runs[0, 0] == 0 else 0, int(runs[-1, 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of a virtual data set, its frames by number.

    Attributes
    ----------
    start, stride, block, count
        The frames of the virtual data set: `count` blocks of `block`, `stride` apart.
    first
        Number of its first frame in the source.
    plane
        The part of the frame that it fills.
    """

    source: Source
    start: int
    stride: int
    block: int
    count: int
    first: int
    plane: tuple[slice, ...]

    def number_in_source(self, index: int) -> int | None:
        """Return the number in the source of frame `index`, None if it is not of this part."""
        behind = index - self.start
        if behind < 0:
            return None
        turn, inside = divmod(behind, self.stride)
        if turn >= self.count or inside >= self.block:
            return None
        return int(self.first + turn * self.block + inside)

    def frames_of(self, written: Runs, count: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of frames of the virtual data set that runs of the source fill."""
        total = self.block * self.count
        for begin, end in written:
            low, high = max(int(begin) - self.first, 0), min(int(end) - self.first, total)
            if low >= high:
                continue
            if self.count == 1:
                yield self.start + low, min(self.start + high, count)
                continue
            for number in range(low, high):
                turn, place = divmod(number, self.block)
                frame = self.start + turn * self.stride + place
                yield frame, frame + 1


class _opened:  # noqa: N801 - used as a function
    """Give the data set of a source, None where it cannot be had; closes what it opened."""

    def __init__(self, data: h5py.Dataset, source: Source) -> None:
        self._data, self._source = data, source
        self._file: h5py.File | None = None

    def __enter__(self) -> h5py.Dataset | None:
        path = source_file(self._data.file, self._source)
        try:
            if path is None:
                return None
            if self._source.file_name == ".":
                found = self._data.file.get(self._source.path)
            else:
                if not writing_of(path).readable:
                    return None
                self._file = open_to_read(path)
                found = self._file.get(self._source.path.replace("%b", "0"))
        except (OSError, KeyError, RuntimeError, FrameError):
            return None
        return found if isinstance(found, h5py.Dataset) else None

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _axes_of(inside: h5py.Dataset, axes: int) -> int:
    """Return how many axes of a source make a frame: a module may lack the axis of its number."""
    dimensions = int(inside.ndim)
    return min(axes, max(2, dimensions - 1)) if dimensions > 2 else dimensions


def _parts(data: h5py.Dataset, axes: int) -> list[_Part]:
    """Return the parts of a virtual data set."""
    shape = data.id.shape
    leading = len(shape) > axes
    found: list[_Part] = []
    for source in sources_of(data):
        low, high = _bounds(source.vspace, shape)
        start, stride, block, count = low[0], 1, 1, 1
        if leading:
            start, stride, block, count = _frames(source.vspace, low[0], high[0], shape[0])
        else:
            start = 0
        first = 0
        if leading and source.src_space.get_select_type() != h5py.h5s.SEL_ALL:
            first = int(source.src_space.get_select_bounds()[0][0])
        plane = tuple(slice(a, b + 1) for a, b in zip(low[-axes:], high[-axes:], strict=True))
        found.append(
            _Part(
                source=source,
                start=start,
                stride=stride,
                block=block,
                count=count,
                first=first,
                plane=plane,
            )
        )
    return found


def _bounds(space: h5py.h5s.SpaceID, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the first and last element that is selected along each axis."""
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return [0] * len(shape), [n - 1 for n in shape]
    low, high = space.get_select_bounds()
    # an unlimited selection goes on as long as its source
    return [int(n) for n in low], [min(int(h), n - 1) for h, n in zip(high, shape, strict=True)]


def _frames(space: h5py.h5s.SpaceID, low: int, high: int, length: int) -> tuple[int, int, int, int]:
    """Return start, stride, block and count of the selected frames."""
    if space.get_select_type() != h5py.h5s.SEL_ALL and space.is_regular_hyperslab():
        start, stride, count, block = (int(n[0]) for n in space.get_regular_hyperslab())
        if 0 < block <= stride and 0 < count < 1 << 40:
            count = min(count, -(-(length - start) // stride))
            if count * block > 0 and (stride > block and count > 1):
                return start, stride, block, count
    frames = high - low + 1
    return low, frames, frames, 1


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
    runs: Runs = np.stack([first, last], axis=1)[first < count]
    return runs


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


def _intersection(one: Runs, other: Runs) -> Runs:
    """Return the frames that are in both."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, stop = max(one[i, 0], other[j, 0]), min(one[i, 1], other[j, 1])
        if start < stop:
            found.append((int(start), int(stop)))
        if one[i, 1] < other[j, 1]:
            i += 1
        else:
            j += 1
    return _runs(found)


def holes(runs: Runs, count: int) -> list[range]:
    """Return the frames of `count` that are in no run."""
    edges = [0, *(int(n) for n in runs.reshape(-1)), count]
    return [
        range(start, stop)
        for place, (start, stop) in enumerate(pairwise(edges))
        if place % 2 == 0 and start < stop
    ]
