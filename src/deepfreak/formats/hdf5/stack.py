"""The frames of an HDF5 file: one stack, or several of which its links make one.

A file may be growing: its stack gets longer, files appear to which it links.
"""

from bisect import bisect_right
from dataclasses import dataclass

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Extent, Frame, Metadata, combined
from deepfreak.formats.geometry.geometry import HC_EV_A, FileMask, Geometry
from deepfreak.formats.hdf5.coverage import Coverage, first_and_last, holes
from deepfreak.formats.hdf5.links import Writing, writing_of
from deepfreak.formats.hdf5.masks import MaskOf, find_mask
from deepfreak.formats.hdf5.metadata import FileMetadata
from deepfreak.formats.hdf5.search import FrameData, find_parts, not_there
from deepfreak.formats.hdf5.shapes import Channel, channel_of, frame_axes, require_alike
from deepfreak.formats.headers import metadata_from
from deepfreak.formats.measured import make_frame

_MAX_GROUPS = 64  # of images of which the metadata beside them are kept
_COUNTS_OF_IMAGES = ("nimages", "ntrigger")  # EIGER's; their product is the run's
_MAX_IMAGES = 1 << 31


@dataclass(frozen=True, slots=True)
class _Piece:
    """The frames of one data set: the first one's number, how many, and which were written."""

    part: FrameData
    start: int
    count: int
    coverage: Coverage | None


@dataclass(frozen=True, slots=True)
class _Group:
    """What stands beside the data sets of one group, and the mask of a frame by its number."""

    beside: FileMetadata
    metadata: Metadata
    mask: MaskOf | None


class Stack:
    """The frames of an open file up to the first part whose file is missing.

    Raises `FrameError`: as `open_hdf5`; with `growing` not for want of frames.
    """

    def __init__(
        self,
        file: h5py.File,
        name: str,
        geometry: Geometry | None,
        channel: str | None,
        *,
        growing: bool,
    ) -> None:
        self._file, self._name, self._growing = file, name, growing
        self._geometry = geometry
        self._axes = 2
        self._channel: Channel | None = None
        self._pieces: list[_Piece] = []
        self._holes: list[range] = []
        self._extent = Extent(ready=0, written=0)
        self._groups: dict[str, _Group] = {}
        self._parts = find_parts(file, self._geometry.data_path if self._geometry else None)
        whole = [part.data for part in self._parts if part.data is not None]
        if whole:
            self._channel = channel_of(whole[0], self._geometry, channel)
            self._axes = frame_axes(whole[0].shape, self._geometry, self._channel)
            require_alike(whole, self._axes)
        elif not growing:
            raise FrameError(self._parts[0].missing or "expected frames, found none")
        self._number()
        if not growing and self._extent.written == 0:
            raise FrameError(self._nothing())

    @property
    def count(self) -> int:
        """How many frames it had when it was last looked at; a missing part counts as one."""
        return sum(piece.count for piece in self._pieces)

    @property
    def holes(self) -> tuple[range, ...]:
        """The frames for which there is room but no counts."""
        return tuple(self._holes)

    def look(self) -> Extent:
        """Return how much there is now.

        Files that have appeared since, and what was written without SWMR, are found when it is
        opened again.
        """
        # data of another kind must not be refreshed: HDF5 2.0 crashes
        growing = [
            part.data for part in self._parts if part.data is not None and _is_swmr(part.data)
        ]
        for data in growing:
            data.refresh()
        if growing:
            self._number()
        return self._extent

    def read(self, index: int) -> Frame:
        """Return a frame by its number."""
        if not 0 <= index < self.count:
            raise FrameError(f"expected a frame below number {self.count}, found {index}")
        place = bisect_right(self._pieces, index, key=lambda piece: piece.start) - 1
        piece = self._pieces[place]
        part, inside = piece.part, index - piece.start
        if part.data is None or piece.coverage is None:
            raise FrameError(part.missing or "a linked file is missing")
        # what lies before the first hole was found written, but for sources that may go away
        if (index >= self._extent.ready or part.data.is_virtual) and not piece.coverage.holds(
            inside
        ):
            lacking = piece.coverage.lacking(inside)
            raise FrameError(
                f"expected counts of frame {index}, found that none were written"
                if lacking is None
                else not_there(part.path, lacking)
            )
        counts = self._counts(part.data, inside)
        group = self._group(part, counts.shape)
        unmapped = piece.coverage.unmapped(inside)
        if unmapped is not None and self._channel is not None:
            unmapped = unmapped[self._channel.number]
        found = group.metadata
        wavelength = group.beside.wavelength_A(index, each=True)
        if wavelength is not None:
            found = combined(found, metadata_from(wavelength_A=wavelength))
        return make_frame(
            counts,
            file=self._name,
            index=index,
            metadata=combined(found, self._located(index)),
            names=group.beside.names,
            mask=None if group.mask is None else group.mask(index),
            underload=group.beside.underload(),
            unmapped=None if unmapped is None else unmapped.reshape(counts.shape),
        )

    def _counts(self, data: h5py.Dataset, inside: int) -> Counts:
        """Return the counts of a frame of one data set, of one channel."""
        if self._channel is not None:
            counts: Counts = data[self._channel.selection(inside)]
            return counts
        counts = data[()] if data.ndim == self._axes else data[inside]
        if counts.ndim == 3 and self._geometry is None:
            counts = counts[0]
        return counts

    def _group(self, part: FrameData, shape: tuple[int, ...]) -> _Group:
        """Return what stands beside a data set; those of one group share it."""
        path = part.path.rpartition("/")[0]
        if path not in self._groups:
            if len(self._groups) >= _MAX_GROUPS:
                self._groups.clear()
            beside = FileMetadata(
                self._file,
                part.data,
                part.path,
                frames=self.count,
                more=self._growing or self._extent.waiting is not None,
                channel=self._channel,
            )
            mask, notes = find_mask(beside, shape, self._named_masks(part))
            metadata = combined(beside.metadata(), Metadata(notes=notes))
            self._groups[path] = _Group(beside, metadata, mask)
        return self._groups[path]

    def _named_masks(self, part: FrameData) -> tuple[tuple[str, FileMask], ...]:
        """Return the masks that the geometry names in this file, each with its path."""
        if self._geometry is None:
            return ()
        wanted, found = (self._geometry.data_path or "").split("/"), part.path.split("/")
        groups = [name for here, name in zip(wanted, found, strict=False) if here == "%"]
        named = []
        for mask in self._geometry.masks:
            path = mask.path
            for group in groups:  # each in the place of a %
                path = path.replace("%", group, 1)
            if mask.file is None:
                named.append((path, mask))
        return tuple(named)

    def _located(self, index: int) -> Metadata:
        """Return what the geometry says stands in this file."""
        geometry = self._geometry
        if geometry is None or not geometry.located:
            return Metadata()
        wavelength_A = distance_mm = gain = None
        for name, place in geometry.located.items():
            value = self._number_at(place.path, index)
            if name == "wavelength_A":
                wavelength_A = place.wavelength_A(value), place.path
                if geometry.gain_per_eV is not None and "gain" not in geometry.metadata:
                    gain = (
                        geometry.gain_per_eV * HC_EV_A / wavelength_A[0],
                        f"adu_per_eV of {geometry.source} and {place.path}",
                    )
            else:
                distance_mm = place.length_mm(value), place.path
        return metadata_from(wavelength_A=wavelength_A, distance_mm=distance_mm, gain=gain)

    def _number_at(self, path: str, index: int) -> float:
        node = self._file.get(path)
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "iuf" and node.size:
            if node.size == 1:
                return float(np.ravel(node[()])[0])
            if node.ndim >= 1 and node.shape[0] > index and node.size == node.shape[0]:
                return float(np.ravel(node[index])[0])
        found = "none" if node is None else f"{getattr(node, 'shape', 'a group')}"
        raise FrameError(
            f"expected one number, or one a frame, at {path}, as the geometry says, found {found}"
        )

    def _number(self) -> None:
        """Give numbers to the frames of all parts up to the first one that may still get more.

        Those behind it would get wrong numbers.
        """
        master = writing_of(self._file.filename) if self._growing else Writing()
        waiting, swmr, missing_file = master.line, master.line is not None, False
        unwritten: str | None = None
        ready, written, start = 0, 0, 0
        pieces: list[_Piece] = []
        empty: list[range] = []
        for part in self._parts:
            if part.data is None:
                waiting, missing_file = part.missing, True
                if not self._growing:
                    pieces.append(_Piece(part, start, 1, None))
                break
            writing = writing_of(part.data.file.filename) if self._growing else master
            if writing.line is not None:
                waiting, swmr = writing.line, writing.readable
                if not writing.readable:
                    break
            count = 1 if part.data.ndim == self._axes else int(part.data.shape[0])
            coverage = Coverage(part.data, self._axes)
            pieces.append(_Piece(part, start, count, coverage))
            runs = coverage.runs()
            whole, last = first_and_last(runs)
            empty += [range(start + h.start, start + h.stop) for h in holes(runs, count)]
            if ready == start:
                ready = start + whole
            written = start + last
            start += count
            if part.missing is not None:
                waiting, missing_file = part.missing, True
                break
            if whole < count:
                unwritten = f"{whole} of its {count} frames were written"
            if writing.line is not None:
                break
        self._groups.clear()  # what they know depends on the number of frames
        self._pieces, self._holes = pieces, empty
        self._extent = Extent(
            ready=ready,
            written=written,
            expected=self._expected() or (None if waiting else start),
            waiting=waiting or unwritten,
            missing_file=missing_file,
            swmr=swmr,
        )

    def _nothing(self) -> str:
        """Return why there is no frame."""
        missing = next((part.missing for part in self._parts if part.missing), None)
        if missing is not None:
            return missing
        if not self.count:
            return "expected frames in the HDF5 file, found a stack of none"
        for piece in self._pieces:
            if piece.coverage is not None and (lacking := piece.coverage.lacking(0)) is not None:
                return not_there(piece.part.path, lacking)
        return (
            f"expected counts, found room for {self.count} frames of which none was written: "
            "was the run interrupted?"
        )

    def _expected(self) -> int | None:
        """Return how many frames an EIGER's master announces."""
        group = self._file.get("/entry/instrument/detector/detectorSpecific")
        if not isinstance(group, h5py.Group):
            return None
        total = 1
        for name in _COUNTS_OF_IMAGES:
            node = group.get(name)
            if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.kind not in "iu":
                return None
            total *= int(np.ravel(node[()])[0])
        return total if 0 < total < _MAX_IMAGES else None


def _is_swmr(data: h5py.Dataset) -> bool:
    writing = writing_of(data.file.filename)
    return writing.line is not None and writing.readable
